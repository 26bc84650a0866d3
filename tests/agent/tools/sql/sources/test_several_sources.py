"""Several sources in one run: each is a schema, and one query joins them."""

import sqlite3
from contextlib import closing

import duckdb
import pytest

from agent.errors import DataError
from agent.tools.sql.data_source import open_data_source
from agent.tools.sql.query_database import database_tools


@pytest.fixture
def places(tmp_path):
    with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as database:
        database.executescript(
            "CREATE TABLE orders (id INTEGER, person INTEGER, amount REAL);"
            "INSERT INTO orders VALUES (1, 1, 10.5), (2, 2, 3);"
            "CREATE VIEW large AS SELECT * FROM orders WHERE amount > 5"
        )
    (tmp_path / "people.csv").write_text("id;name;born\n1;Ann;01/02/1990\n2;Bob;03/04/1991\n")
    with duckdb.connect(str(tmp_path / "2024.duckdb")) as database:
        database.execute("CREATE TABLE goals (person INTEGER, goal INTEGER)")
        database.execute("COMMENT ON TABLE goals IS 'What was agreed'")
        database.execute("INSERT INTO goals VALUES (1, 10)")
    return tmp_path


async def test_one_query_joins_sources_by_their_names(places):
    source = open_data_source([f"shop={places}/shop.sqlite", f"crm={places}/people.csv", places / "2024.duckdb"])
    describe, query, _ = database_tools(source)
    relations = {each["name"]: each for each in (await describe.ainvoke({}))["relations"]}
    assert sorted(relations) == ["crm.people", "data_2024.goals", "shop.large", "shop.orders"]
    assert relations["crm.people"]["comment"].startswith("people.csv: fields separated by semicolons")
    assert "Dates were written" in relations["crm.people"]["columns"][2]["comment"]
    assert relations["data_2024.goals"]["comment"] == "What was agreed"
    assert relations["shop.orders"]["row_count"] == 2
    sql = (
        "SELECT p.name, o.amount, g.goal FROM shop.orders o JOIN crm.people p ON p.id = o.person "
        "LEFT JOIN goals g ON g.person = p.id ORDER BY o.id"
    )
    assert (await query.ainvoke({"sql": sql}))["rows"] == [
        {"name": "Ann", "amount": 10.5, "goal": 10},
        {"name": "Bob", "amount": 3.0, "goal": None},
    ]
    assert any(guess.startswith("people.csv, column 'born'") for guess in source.notes.guesses)
    source.close()


@pytest.mark.parametrize(
    ("sql", "rows", "said"),
    [
        (
            "SELECT count(*) AS n FROM t",
            [{"n": 1}],
            "'t' is a table of b and a; that of b is read. Write b.t to say so.",
        ),
        ("SELECT count(*) AS n FROM a.t", [{"n": 2}], None),
        ("WITH t AS (SELECT 1 AS x UNION ALL SELECT 2) SELECT count(*) AS n FROM t", [{"n": 2}], None),
        ("SELECT count(*) AS n FROM only_a", [{"n": 1}], None),
    ],
)
async def test_a_table_that_several_sources_have_is_said(tmp_path, sql, rows, said):
    for name, content in {"a/t.csv": "x\n1\n2\n", "a/only_a.csv": "x\n1\n", "b/t.csv": "x\n1\n"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    with closing(open_data_source([f"b={tmp_path}/b", f"a={tmp_path}/a"])) as source:
        _, query, _ = database_tools(source)
        output = await query.ainvoke({"sql": sql})
        assert (output["rows"], output.get("warning")) == (rows, said)
        assert query.preflight({"sql": sql}, {}).warnings == ((said,) if said else ())


async def test_a_table_among_several_sources_is_read_as_it_is_alone(tmp_path):
    with closing(sqlite3.connect(tmp_path / "odd.sqlite")) as database:
        database.executescript(
            "CREATE TABLE s AS SELECT upper('ann') AS nm, 3.0 AS v;"
            "CREATE TABLE t (v INTEGER); INSERT INTO t VALUES (1), (2), (3), ('n/a');"
            "CREATE VIEW half AS SELECT v / 2 AS h, strftime('%Y', '2024-01-02') AS y FROM t WHERE v <> 'n/a';"
            "CREATE VIEW broken AS SELECT * FROM gone"
        )
    (tmp_path / "p.csv").write_text("id\n1\n")
    source = open_data_source([f"odd={tmp_path}/odd.sqlite", f"p={tmp_path}/p.csv"])
    _, query, _ = database_tools(source)
    assert (await query.ainvoke({"sql": "SELECT nm, SUM(v) AS v FROM odd.s GROUP BY nm"}))["rows"] == [
        {"nm": "ANN", "v": 3.0}
    ]
    assert (await query.ainvoke({"sql": "SELECT h, y FROM odd.half ORDER BY h"}))["rows"] == [
        {"h": 0, "y": "2024"},
        {"h": 1, "y": "2024"},
        {"h": 1, "y": "2024"},
    ]
    odd = await query.ainvoke({"sql": "SELECT SUM(v) AS v FROM odd.t"})
    assert (odd["rows"], "1 value of t.v is no number" in odd["warning"]) == ([{"v": 6}], True)
    source.close()


def test_several_sources_cannot_be_written(places):
    source = open_data_source([f"shop={places}/shop.sqlite", f"crm={places}/people.csv"])
    with source.get_connection() as connection:
        for sql in ("DELETE FROM shop.orders", "CREATE TABLE crm.more (x INTEGER)", "DROP VIEW crm.people"):
            with pytest.raises(duckdb.Error):
                connection.execute(sql)
        with pytest.raises(duckdb.Error, match="read-only"):
            connection.execute("DELETE FROM data_of_shop.orders")
    source.close()


@pytest.mark.parametrize(
    ("locations", "says"),
    [
        (["a={folder}/people.csv", "a={folder}/shop.sqlite"], "cannot be called 'a', which is taken"),
        (["main={folder}/people.csv", "b={folder}/shop.sqlite"], "cannot be called 'main', which is taken"),
        (["a={folder}/people.csv", "b=nowhere.db"], "There is no data source 'nowhere.db'"),
    ],
)
def test_sources_that_cannot_be_told_apart_are_refused(places, locations, says):
    with pytest.raises(DataError) as refused:
        open_data_source([each.format(folder=places) for each in locations])
    assert says in str(refused.value)
