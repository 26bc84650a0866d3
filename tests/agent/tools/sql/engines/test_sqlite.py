import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest

from agent.errors import DataError, ToolFailure
from agent.tools.sql.data_source import open_data_source


@pytest.fixture
def make_file(tmp_path):
    def make(script):
        file = tmp_path / "data.db"
        with closing(sqlite3.connect(file)) as database:
            database.executescript(script)
        return file

    return make


def run(query, sql):
    return query.invoke({"sql": sql})


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT nm, v FROM s ORDER BY nm", [{"nm": "ANN", "v": 3.5}, {"nm": "BOB", "v": 4.0}]),
        ("SELECT nm, SUM(v) AS v FROM s GROUP BY nm ORDER BY nm", [{"nm": "ANN", "v": 3.5}, {"nm": "BOB", "v": 4.0}]),
        ("SELECT SUM(n) AS n FROM s WHERE nm LIKE 'A%'", [{"n": 7}]),
        # The bytes of a column of bytes are still bytes.
        ("SELECT b FROM s WHERE nm = 'ANN'", [{"b": "AQI="}]),
        ("SELECT mixed FROM s ORDER BY nm", [{"mixed": "1"}, {"mixed": "two"}]),
        ("SELECT r FROM s WHERE nm = 'ANN'", [{"r": 0.1 + 0.2}]),
    ],
)
def test_a_column_without_a_type_has_the_values_that_sqlite_has(make_file, open_tools, sql, rows):
    file = make_file(
        "CREATE TABLE s (nm, v, n, b BLOB, mixed, r);"
        "INSERT INTO s VALUES ('ANN', 3.5, 7, x'0102', 1, 0.1 + 0.2), ('BOB', 4, 8, x'03', 'two', 1);"
    )
    _, query = open_tools(file)
    assert query.preflight({"sql": sql}, {}).problems == ()
    assert run(query, sql)["rows"] == rows


VIEWS = """
CREATE TABLE o (id INTEGER, placed TEXT, qty INTEGER, name TEXT);
INSERT INTO o VALUES (1, '2024-01-05', 7, 'Ann'), (2, '2024-01-20', 2, 'bob'), (3, '2024-02-01', 10, 'Al');
CREATE TABLE gone (x);
CREATE VIEW monthly AS
    SELECT strftime('%Y-%m', placed) AS month, count(*) AS orders, sum(qty) * 1.5 AS s FROM o GROUP BY 1;
CREATE VIEW halves AS SELECT qty / 2 AS half FROM o;
CREATE VIEW starts AS SELECT date(placed, 'start of month') AS start FROM o;
CREATE VIEW caseless AS SELECT name FROM o WHERE name LIKE 'a%';
CREATE VIEW nested AS SELECT max(orders) AS most FROM monthly;
CREATE VIEW broken AS SELECT nope FROM gone;
"""


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT id FROM o WHERE id = 1", [{"id": 1}]),
        ("SELECT * FROM monthly WHERE orders > 1", [{"month": "2024-01", "orders": 2, "s": 13.5}]),
        ("SELECT s FROM monthly ORDER BY s", [{"s": 13.5}, {"s": 15.0}]),
        ("SELECT SUM(half) AS halves FROM halves", [{"halves": 9}]),
        ("SELECT MAX(start) AS last FROM starts", [{"last": "2024-02-01"}]),
        ("SELECT COUNT(*) AS n FROM caseless", [{"n": 2}]),
        ("SELECT most FROM nested", [{"most": 2}]),
        (
            "SELECT m.orders FROM monthly AS m JOIN o ON strftime(o.placed::DATE, '%Y-%m') = m.month WHERE id = 3",
            [{"orders": 1}],
        ),
    ],
)
def test_a_view_is_run_by_sqlite_and_its_numbers_are_numbers(make_file, open_tools, sql, rows):
    _, query = open_tools(make_file(VIEWS))
    assert query.preflight({"sql": sql}, {}).problems == ()
    assert run(query, sql)["rows"] == rows


def test_a_view_that_nothing_can_run_is_named_and_spoils_nothing(make_file, open_tools):
    describe, query = open_tools(make_file(VIEWS))
    relations = {each["name"]: each for each in describe.invoke({})["relations"]}
    assert relations["broken"]["comment"] == "not available: no such column: nope."
    assert relations["monthly"]["row_count"] == 2
    assert [column["type"] for column in relations["monthly"]["columns"]] == ["VARCHAR", "BIGINT", "DOUBLE"]
    with pytest.raises(ToolFailure, match=r"The view 'broken' cannot be read, not by SQLite either: no such column"):
        run(query, "SELECT * FROM broken")
    assert query.preflight({"sql": "SELECT * FROM broken"}, {}).problems


@pytest.mark.parametrize(
    ("values", "expected", "said"),
    [
        (
            ["2024-01-01T10:00:00+02:00", "2024-01-01T10:00:00Z"],
            ["2024-01-01T08:00:00+00:00", "2024-01-01T10:00:00+00:00"],
            None,
        ),
        (["2024-01-01 10:00:00", "2024-01-02"], ["2024-01-01T10:00:00", "2024-01-02T00:00:00"], None),
        (
            ["2024-01-01T10:00:00+02:00", "2024-01-01 10:00:00"],
            ["2024-01-01 10:00:00", "2024-01-01T10:00:00+02:00"],
            "t.v is declared as TIMESTAMP, but holds times with and without their zone and is read as text.",
        ),
    ],
)
def test_the_offset_of_a_time_is_not_lost(make_file, open_tools, values, expected, said):
    listed = ", ".join(f"('{value}')" for value in values)
    _, query = open_tools(make_file(f"CREATE TABLE t (v TIMESTAMP); INSERT INTO t VALUES {listed};"))
    output = run(query, "SELECT v FROM t ORDER BY v")
    assert [row["v"] for row in output["rows"]] == expected
    assert output.get("warning") == said


def test_columns_of_types_that_sqlite_does_not_know_have_their_values(make_file, open_tools):
    file = make_file(
        "CREATE TABLE t (m MONEY, y YESNO, j JSON, v); INSERT INTO t VALUES (3.5, -1, '{}', 1), (4, 0, '[]', 2);"
        "CREATE TABLE 'a.b' (v); INSERT INTO 'a.b' VALUES ('ANN');"
    )
    _, query = open_tools(file)
    sql = "SELECT sum(m) AS m, sum(y) AS y, min(j) AS j FROM t"
    assert query.preflight({"sql": sql}, {}).problems == ()
    assert run(query, sql)["rows"] == [{"m": 7.5, "y": -1, "j": "[]"}]
    assert run(query, 'SELECT v FROM "a.b"')["rows"] == [{"v": "ANN"}]


@pytest.mark.parametrize(
    ("kind", "odd", "rows", "said"),
    [
        ("INTEGER", "'n/a'", [{"v": 6}], "1 value of t.v is no number and read as NULL: 'n/a'."),
        ("INTEGER", "''", [{"v": 6}], "1 value of t.v is no number and read as NULL: ''."),
        # A column of integers with a fraction is a column of numbers.
        ("INTEGER", "2.5", [{"v": 8.5}], None),
        ("REAL", "'x'", [{"v": 6.0}], "1 value of t.v is no number and read as NULL: 'x'."),
        # What SQLite does not know as a type takes numbers, too.
        ("MONEY", "2.5", [{"v": 8.5}], None),
        ("DECIMAL(8, 2)", "'1,5'", [{"v": 6.0}], "1 value of t.v is no number and read as NULL: '1,5'."),
    ],
)
def test_one_odd_cell_does_not_stop_the_queries_of_its_column(make_file, open_tools, kind, odd, rows, said):
    file = make_file(f"CREATE TABLE t (id INTEGER, v {kind}); INSERT INTO t VALUES (1, 1), (2, 2), (3, 3), (4, {odd});")
    describe, query = open_tools(file)
    output = run(query, "SELECT SUM(v) AS v FROM t")
    assert output["rows"] == rows
    assert output.get("warning") == said
    assert query.preflight({"sql": "SELECT SUM(v) AS v FROM t"}, {}).warnings == ((said,) if said else ())
    # Who does not ask for the column is told nothing.
    assert "warning" not in run(query, "SELECT COUNT(*) AS n FROM t WHERE id > 1")
    column = describe.invoke({})["relations"][0]["columns"][1]
    assert column["comment"] == said


def test_an_odd_date_is_said_and_many_odd_ones_make_a_column_text(make_file, open_tools):
    _, query = open_tools(
        make_file(
            "CREATE TABLE t (day DATE, at DATETIME, bad DATE);"
            "INSERT INTO t VALUES ('2024-01-01', '2024-01-01 10:00:00', '01.02.2024'),"
            "('2024-02-01', '2024-02-01T11:00:00', '2.2.2024'), ('soon', 'later', '2024-02-30');"
        )
    )
    output = run(query, "SELECT MAX(day) AS day, MAX(at) AS at FROM t")
    assert output["rows"] == [{"day": "2024-02-01", "at": "2024-02-01T11:00:00"}]
    assert "1 value of t.day is no date and read as NULL: 'soon'." in output["warning"]
    assert "1 value of t.at is no point in time and read as NULL: 'later'." in output["warning"]
    output = run(query, "SELECT bad FROM t")
    assert [row["bad"] for row in output["rows"]] == ["01.02.2024", "2.2.2024", "2024-02-30"]
    assert output["warning"] == "t.bad is declared as DATE, but holds texts and is read as text."


def test_values_that_come_later_are_seen(make_file, open_tools):
    file = make_file("CREATE TABLE t (v INTEGER); INSERT INTO t VALUES (1), (2);")
    _, query = open_tools(file)
    assert run(query, "SELECT SUM(v) AS v FROM t")["rows"] == [{"v": 3}]
    with closing(sqlite3.connect(file)) as database:
        database.executescript("INSERT INTO t VALUES ('n/a'), (4); CREATE VIEW twice AS SELECT 2 * v AS v FROM t;")
    assert run(query, "SELECT SUM(v) AS v FROM t")["rows"] == [{"v": 7}]
    assert run(query, "SELECT SUM(v) AS v FROM twice")["rows"] == [{"v": 14}]


def test_computed_columns_are_there_and_the_tables_of_an_index_are_not(make_file, open_tools):
    describe, query = open_tools(
        make_file(
            "CREATE TABLE t (a INTEGER, b INTEGER AS (a * 2) VIRTUAL, c INTEGER AS (a + 1) STORED);"
            "INSERT INTO t (a) VALUES (1), (2);"
            "CREATE VIRTUAL TABLE docs USING fts5(title, body); INSERT INTO docs VALUES ('hello', 'world');"
        )
    )
    relations = {each["name"]: each for each in describe.invoke({})["relations"]}
    assert set(relations) == {"t", "docs"}
    assert [column["name"] for column in relations["t"]["columns"]] == ["a", "b", "c"]
    assert run(query, "SELECT SUM(b) AS b, SUM(c) AS c FROM t")["rows"] == [{"b": 6, "c": 5}]
    assert run(query, "SELECT title, body FROM docs")["rows"] == [{"title": "hello", "body": "world"}]


def test_the_row_number_of_a_table_can_still_be_asked_for(make_file, open_tools):
    _, query = open_tools(make_file("CREATE TABLE t (v INTEGER); INSERT INTO t VALUES (5);"))
    assert run(query, "SELECT rowid, v FROM t")["rows"] == [{"rowid": 1, "v": 5}]


HOLDER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_lock_is_waited_for_and_then_said(make_file, open_tools):
    file = make_file("CREATE TABLE t (v INTEGER); INSERT INTO t VALUES (5);")
    # Another process: this one would lose its lock by closing the file anywhere.
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises((DataError, ToolFailure), match=r"data\.db.*is locked.*try again when that has finished"):
            open_tools(file)[1].invoke({"sql": "SELECT v FROM t"})
        release = threading.Timer(1, holder.stdin.close)
        release.start()
        assert open_tools(file)[1].invoke({"sql": "SELECT v FROM t"})["rows"] == [{"v": 5}]
        release.join()


def test_a_damaged_file_is_named_with_what_can_be_done(tmp_path):
    file = tmp_path / "broken.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE t (v)")
        database.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * 200)
        database.commit()
    data = bytearray(file.read_bytes())
    data[100:4096] = b"\xff" * 3996
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"'broken.db' cannot be opened.*the file is damaged: restore it from a copy"):
        open_data_source(file)


def test_a_page_that_is_damaged_is_told_of_by_the_query_that_reads_it(tmp_path, open_tools):
    file = tmp_path / "cut.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE t (v TEXT)")
        database.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * 200)
        database.commit()
    data = bytearray(file.read_bytes())
    data[8192:20480] = b"\xff" * 12288
    file.write_bytes(data)
    _, query = open_tools(file)
    with pytest.raises(ToolFailure, match=r"cut\.db is damaged.*restore it from a copy"):
        query.invoke({"sql": "SELECT v FROM t"})
    (problem,) = query.preflight({"sql": "SELECT v FROM t"}, {}).problems
    assert problem.startswith("cut.db is damaged: restore it from a copy")
