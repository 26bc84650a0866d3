"""Names of files and folders: each file is read itself, and is a table that can be told from the others."""

from collections.abc import Iterator

import duckdb
import pytest

from agent.tools.db_schema.introspection import read_schema
from agent.tools.sql.data_source import DataSource, open_data_source
from agent.tools.sql.query_database import database_tools

#: File name -> the value of its only cell.
SINGLE = {
    "report[1].csv": 1,
    "report1.csv": 777,
    "b*.csv": 2,
    "bb.csv": 3,
    "what?.csv": 4,
    "whats.csv": 5,
    "sales.2024.csv": 6,
    'a"b.csv': 7,
    "it's.csv": 8,
    "ümlaut {x}.csv": 9,
    "order.csv": 10,
    "%41.csv": 11,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("names")
    for name, value in SINGLE.items():
        (made / name).write_text(f"n\n{value}\n")
    return made


@pytest.fixture(scope="module")
def named(folder) -> Iterator[DataSource]:
    source = open_data_source(folder)
    yield source
    source.close()


def rows(source: DataSource, sql: str) -> list[tuple[object, ...]]:
    with source.get_connection() as connection:
        return connection.execute(sql).fetchall()


@pytest.mark.parametrize("name", SINGLE)
def test_no_letter_of_a_name_stands_for_others(named, name):
    table = name.removesuffix(".csv").replace('"', '""')
    assert rows(named, f'SELECT n FROM "{table}"') == [(SINGLE[name],)]


@pytest.mark.parametrize("name", ["report[1].csv", "b*.csv", "what?.csv", "sales.2024.csv", 'a"b.csv'])
def test_a_file_alone_is_read_itself(folder, name):
    source = open_data_source(folder / name)
    (relation,) = read_schema(source).relations
    assert relation.row_count == 1
    quoted = relation.name if relation.name.startswith('"') else f'"{relation.name}"'
    assert rows(source, f"SELECT n FROM {quoted}") == [(SINGLE[name],)]
    source.close()


def test_a_question_mark_of_a_name_goes_before_options_and_may_stand_before_them(folder):
    source = open_data_source(f"{folder}/what?.csv?text=n")
    assert rows(source, 'SELECT n FROM "what?"') == [("4",)]
    source.close()


async def test_a_table_with_a_dot_is_described_and_queried(named):
    describe, query, _ = database_tools(named)
    (relation,) = (await describe.ainvoke({"tables": ["sales.2024"]}))["relations"]
    assert (relation["name"], relation["row_count"]) == ('"sales.2024"', 1)
    assert (await query.ainvoke({"sql": f"SELECT n FROM {relation['name']}"}))["rows"] == [{"n": 6}]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Iterator[DataSource]:
    made = tmp_path_factory.mktemp("mixed")
    (made / "Sales.csv").write_text("n\n1\n")
    (made / "sales.csv").write_text("n\n2\n")
    duckdb.sql("SELECT 3 AS n").write_parquet(str(made / "sales.parquet"))
    duckdb.sql("SELECT 4 AS n").write_parquet(str(made / "part-00000-ab12.snappy.parquet"))
    (made / "._sales.csv").write_bytes(b"\0\5\26\7 junk of another system")
    (made / "~$sales.xlsx").write_bytes(b"a lock")
    for month, text in (("01", "n,y\n6,1\n"), ("02", "y,n\n2,7.5\n")):
        part = made / "by_month" / "year=2024" / f"month={month}" / "part-0.csv"
        part.parent.mkdir(parents=True)
        part.write_text(text)
        (part.parent / "_SUCCESS").touch()
    one = made / "one_part" / "year=2023"
    one.mkdir(parents=True)
    duckdb.sql("SELECT 1 AS n").write_parquet(str(one / "part-0.parquet"))
    spark = made / "spark.parquet"
    spark.mkdir()
    duckdb.sql("SELECT 9 AS n").write_parquet(str(spark / "part-0.parquet"))
    (made / "unlike").mkdir()
    (made / "unlike" / "orders.csv").write_text("a,b\n1,2\n")
    (made / "unlike" / "people.csv").write_text("c,d\n1,2\n")
    (made / "alike").mkdir()
    (made / "alike" / "north.csv").write_text("a,b\n1,2\n")
    (made / "alike" / "south.csv").write_text("a,b\n3,4\n")
    (made / "sold_2023.csv").write_text("a,b\n1,2\n")
    (made / "sold_2024.csv").write_text("a,b\n1,2\n")
    source = open_data_source(made)
    yield source
    source.close()


TABLES = {
    'SELECT n FROM "Sales"': [(1,)],
    "SELECT n FROM sales_2": [(2,)],
    "SELECT n FROM sales_parquet": [(3,)],
    'SELECT n FROM "part-00000-ab12.snappy"': [(4,)],
    "SELECT n, y, year, month FROM by_month ORDER BY n": [(6.0, 1, 2024, "01"), (7.5, 2, 2024, "02")],
    "SELECT n, year FROM one_part": [(1, 2023)],
    "SELECT n FROM spark": [(9,)],
    "SELECT a FROM unlike_orders": [(1,)],
    "SELECT c FROM unlike_people": [(1,)],
    "SELECT sum(a), sum(b) FROM alike": [(4, 6)],
}


@pytest.mark.parametrize("sql", TABLES)
def test_each_file_and_each_folder_of_parts_is_a_table(mixed, sql):
    assert rows(mixed, sql) == TABLES[sql]


def test_no_table_is_made_of_what_is_none(mixed):
    assert [relation.name for relation in read_schema(mixed).relations if "_sales" in relation.name] == []


def test_what_is_called_otherwise_than_its_file_is_said(mixed):
    said = "\n".join(mixed.notes.guesses)
    assert "sales.csv is the table 'sales_2', because Sales.csv is called 'Sales'." in said
    assert "sales.parquet is the table 'sales_parquet', because" in said
    assert "sold_2023.csv, sold_2024.csv are a table each; put them into a folder of their own" in said


@pytest.mark.parametrize(
    ("place", "table", "row"), [("by_month", "by_month", 2024), ("by_month/year=2024", "by_month", 2024)]
)
def test_a_partition_by_itself_keeps_its_columns(mixed, place, table, row):
    source = open_data_source(mixed.file / place)
    assert rows(source, f"SELECT DISTINCT year FROM {table}") == [(row,)]
    source.close()
