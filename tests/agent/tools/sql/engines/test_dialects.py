import sqlite3
from contextlib import closing

import duckdb
import pytest

from agent.errors import SettingsError
from agent.settings import Settings

ROWS = """
CREATE TABLE o (id INTEGER, placed VARCHAR, d DATE, qty INTEGER, brand VARCHAR, price DOUBLE);
INSERT INTO o VALUES (1, '2024-01-15 10:30:00', '2024-01-15', 7, 'Nordvik', 1.5),
    (2, '2024-02-29 23:00:00', '2024-02-29', 2, 'abc', 2.5);
"""


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT strftime('%Y-%m', placed) AS m, count(*) AS n FROM o GROUP BY 1 ORDER BY 1",
        "SELECT julianday(d) - julianday(placed) AS v FROM o",
        "SELECT julianday(placed) AS v FROM o",
        "SELECT [brand] FROM o ORDER BY 1 LIMIT 1, 1",
        "SELECT [brand] FROM o ORDER BY 1",
        "SELECT date(placed, 'start of month', '+1 month', '-1 day') AS v FROM o",
        "SELECT id FROM o WHERE d >= date('2024-02-01', 'start of month')",
        "SELECT id FROM o WHERE placed >= date('2024-02-01', '-1 day')",
        "SELECT datetime(placed) AS v, unixepoch(placed) AS u, time(placed) AS t FROM o",
        "SELECT qty / 2 AS v, unixepoch(placed) AS u FROM o",
        "SELECT sum(qty) / count(*) AS v, julianday(min(placed)) AS j FROM o",
        "SELECT total(price) AS v, ifnull(sum(qty), 0) AS q FROM o",
        "SELECT id FROM o WHERE brand LIKE 'NORD%' AND julianday(placed) > 0",
        "SELECT strftime('%s', placed) AS v FROM o",
        "SELECT cast(strftime('%m', placed) AS integer) + 1 AS v FROM o",
        "SELECT date(1704067200 + id * 86400, 'unixepoch') AS v FROM o",
        "SELECT strftime('%Y-%m', 1704067200 + qty * 86400.5, 'unixepoch', '+40 days') AS v FROM o",
        # A day that a month does not have is one of the next month.
        "SELECT date('2024-01-31', '+1 month') AS v, date(placed, '+1 year') AS y FROM o",
        "SELECT datetime(placed, '-1 month', '+3 days', '+1 month') AS v FROM o",
        "SELECT date(placed, 'weekday 0') AS s, date(placed, 'weekday 1', '-7 days') AS m FROM o",
    ],
)
def test_what_is_written_for_sqlite_gives_what_sqlite_gives(tmp_path, open_tools, sql):
    file = tmp_path / "o.db"
    with closing(sqlite3.connect(file)) as database:
        database.executescript(ROWS)
        cursor = database.execute(sql)
        expected = [dict(zip([column[0] for column in cursor.description], row, strict=True)) for row in cursor]
    _, query = open_tools(file)
    found = query.preflight({"sql": sql}, {})
    assert found.problems == ()
    # The plan keeps what its author wrote.
    assert found.args == {"sql": sql}
    output = query.invoke({"sql": sql})
    assert output["rows"] == expected
    assert output["warning"].startswith(f"The SQL is in the dialect of SQLite. As written: {sql}. As run: SELECT ")
    assert found.warnings == (output["warning"],)


@pytest.mark.parametrize(
    ("dialect", "sql", "rows"),
    [
        ("mysql", "SELECT date_format(d, '%Y-%m') AS m, `brand` FROM o LIMIT 1, 1", [{"m": "2024-02", "brand": "abc"}]),
        (
            "tsql",
            "SELECT TOP 1 [brand], DATEADD(day, 1, d) AS x FROM o ORDER BY id",
            [{"brand": "Nordvik", "x": "2024-01-16T00:00:00"}],
        ),
        (
            "tsql",
            "SELECT qty / 2 AS h, CONVERT(varchar(10), d, 120) AS x FROM o WHERE id = 1",
            [{"h": 3, "x": "2024-01-15"}],
        ),
        ("snowflake", "SELECT iff(qty > 2, 1, 0) AS x FROM o ORDER BY id", [{"x": 1}, {"x": 0}]),
        ("bigquery", "SELECT format_date('%Y-%m', d) AS m FROM `o` ORDER BY id", [{"m": "2024-01"}, {"m": "2024-02"}]),
        # What DuckDB understands is run as it is.
        ("tsql", "SELECT brand FROM o ORDER BY id LIMIT 1", [{"brand": "Nordvik"}]),
    ],
)
def test_another_dialect_is_named_by_a_setting(tmp_path, open_tools, dialect, sql, rows):
    file = tmp_path / "o.duckdb"
    with duckdb.connect(str(file)) as database:
        database.execute(ROWS)
    _, query = open_tools(file, dialect=dialect)
    assert query.preflight({"sql": sql}, {}).problems == ()
    output = query.invoke({"sql": sql})
    assert output["rows"] == rows
    assert ("As written" in output.get("warning", "")) == ("LIMIT 1" not in sql[-7:])


def test_what_has_no_counterpart_is_refused_not_left_out(tmp_path, open_tools):
    file = tmp_path / "o.duckdb"
    with duckdb.connect(str(file)) as database:
        database.execute(ROWS)
    _, query = open_tools(file, dialect="oracle")
    assert query.preflight({"sql": "SELECT nvl(qty, 0) AS q, to_char(d, 'YYYY-MM') AS m FROM o"}, {}).problems


def test_a_name_in_brackets_is_warned_of_where_it_makes_a_list(tmp_path, open_tools):
    file = tmp_path / "o.duckdb"
    with duckdb.connect(str(file)) as database:
        database.execute(ROWS)
    _, query = open_tools(file)
    output = query.invoke({"sql": "SELECT [brand] FROM o WHERE id = 1"})
    assert output["warning"] == "[brand] is a list of one value here; for the column write 'brand' without brackets."
    assert "warning" not in query.invoke({"sql": "SELECT [1, 2][id] AS x, '[brand]' AS y FROM o"})


@pytest.mark.parametrize(
    ("sql", "rows", "said"),
    [
        ("SELECT qty / 2 AS h FROM o WHERE id = 1", [{"h": 3.5}], "7 / 2 is 3.5 here, and 3 in SQLite"),
        ("SELECT count(*) / 2 AS h FROM o", [{"h": 1.0}], "7 / 2 is 3.5 here, and 3 in SQLite"),
        ("SELECT qty // 2 AS h, price / 2 AS p FROM o WHERE id = 1", [{"h": 3, "p": 0.75}], None),
        ("SELECT count(*) AS n FROM o WHERE brand LIKE 'nord%'", [{"n": 0}], "LIKE heeds case here, and not in SQLite"),
        ("SELECT count(*) AS n FROM o WHERE lower(brand) LIKE 'nord%' OR placed LIKE '2024%'", [{"n": 2}], None),
        ("SELECT '7/2 like' AS t -- 7 / 2\nFROM o WHERE id = 1", [{"t": "7/2 like"}], None),
    ],
)
def test_an_operator_with_another_meaning_in_the_source_is_said(tmp_path, open_tools, sql, rows, said):
    file = tmp_path / "o.db"
    with closing(sqlite3.connect(file)) as database:
        database.executescript(ROWS)
    _, query = open_tools(file)
    output = query.invoke({"sql": sql})
    assert output["rows"] == rows
    assert (said in output["warning"]) if said else "warning" not in output
    assert query.preflight({"sql": sql}, {}).warnings == ((output["warning"],) if said else ())


def test_a_dialect_that_there_is_not_is_a_sentence():
    with pytest.raises(SettingsError, match=r"'sql_dialect'.*'klingon'.*there is no such dialect; there are .*tsql"):
        Settings(sql_dialect="klingon")
