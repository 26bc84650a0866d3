import psycopg
import pytest

from agent.tools.sql.query_database import DescribeDatabase

TABLES = """
CREATE TABLE n (id int, a numeric, b numeric(12, 2), c numeric(38, 10), d date, ts timestamp, tz timestamptz, ip inet,
    net cidr);
INSERT INTO n VALUES
    (1, 'NaN', 'NaN', 1.5, 'infinity', '-infinity', 'infinity', '10.0.0.1', '10.1.0.0/16'),
    (2, 1.5, 1.25, 1234567890123456789.0123456789, '9999-12-31', '2024-01-01 10:00', '2024-01-01 00:30+01',
        '::1', NULL);
CREATE TABLE bills (id int, amount numeric);
INSERT INTO bills VALUES (1, 0.1), (2, 0.2), (3, 1234567890123456789.01);
CREATE TABLE small (amount numeric);
INSERT INTO small VALUES (0.1), (0.2);
CREATE VIEW seen AS SELECT id, b FROM n;
CREATE SCHEMA other;
CREATE TABLE other.n (x numeric);
INSERT INTO other.n VALUES ('Infinity'), (1);
CREATE TABLE other.plain (k int);
INSERT INTO other.plain VALUES (3);
CREATE TABLE part (id int, y int) PARTITION BY RANGE (y);
CREATE TABLE part_24 PARTITION OF part FOR VALUES FROM (2024) TO (2025);
INSERT INTO part VALUES (1, 2024);
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN pieces AS int CHECK (VALUE > 0);
CREATE TABLE moods (m mood, p pieces, a numeric);
INSERT INTO moods VALUES ('happy', 5, 'NaN'), ('sad', 7, 1), ('ok', 1, 2);
CREATE SCHEMA "Odd Schema";
CREATE TABLE "Odd Schema"."My.Table" ("Col A" int, a numeric);
INSERT INTO "Odd Schema"."My.Table" VALUES (7, 'NaN');
"""


@pytest.fixture
def tools(postgres_url, open_tools):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(TABLES)
    return open_tools(postgres_url)


def test_no_number_and_no_time_is_another_than_on_the_server(tools):
    describe, query = tools
    for sql, rows, said in [
        ("SELECT a FROM n ORDER BY id", [{"a": None}, {"a": 1.5}], "n.a has values that are NaN"),
        ("SELECT SUM(b) AS b FROM n", [{"b": None}], "n.b has values that are NaN"),
        ("SELECT id FROM public.n WHERE b < 1", [], "n.b has values that are NaN"),
        ("SELECT b FROM seen WHERE id = 1", [{"b": None}], "seen.b has values that are NaN"),
        ("SELECT x FROM other.n ORDER BY x", [{"x": 1.0}, {"x": None}], "n.x has values that are NaN or infinite"),
        ("SELECT k FROM other.plain", [{"k": 3}], None),
        ("SELECT c FROM n ORDER BY id", [{"c": 1.5}, {"c": "1234567890123456789.0123456789"}], None),
        ("SELECT SUM(amount) AS s FROM bills", [{"s": "1234567890123456789.31"}], None),
        ("SELECT SUM(amount) AS s FROM small", [{"s": 0.3}], None),
        ("SELECT d FROM n ORDER BY id", [{"d": "infinity"}, {"d": "9999-12-31"}], None),
        ("SELECT ts, tz FROM n WHERE id = 1", [{"ts": "-infinity", "tz": "infinity"}], None),
        ("SELECT tz FROM n WHERE id = 2", [{"tz": "2023-12-31T23:30:00+00:00"}], None),
        (
            "SELECT ip, net FROM n ORDER BY id",
            [{"ip": "10.0.0.1", "net": "10.1.0.0/16"}, {"ip": "::1", "net": None}],
            None,
        ),
        # An enum is ordered as it is declared, also where the numbers of its table come as text.
        ("SELECT m FROM moods WHERE a > 0 OR true ORDER BY m", [{"m": "sad"}, {"m": "ok"}, {"m": "happy"}], "moods.a"),
        ("SELECT sum(p) AS p FROM moods", [{"p": 13}], None),
        ('SELECT "Col A" AS c, a FROM "Odd Schema"."My.Table"', [{"c": 7, "a": None}], "My.Table.a has values"),
        ("SELECT count(*) AS n FROM moods WHERE m::text ~ 'a'", [{"n": 0}], "~ matches a whole text here"),
        (
            "SELECT to_char(d, 'YYYY') AS y FROM n WHERE id = 2",
            [{"y": "9999"}],
            "As run: SELECT STRFTIME(d, '%Y') AS y",
        ),
    ]:
        assert query.preflight({"sql": sql}, {}).problems == (), sql
        output = query.invoke({"sql": sql})
        assert output["rows"] == rows, sql
        assert (said in output["warning"]) if said else "warning" not in output, sql
    names = [each["name"] for each in describe.invoke({})["relations"]]
    assert "part" in names
    assert "part_24" not in names


def count_scans(url):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_stat_clear_snapshot()")
        rows = connection.execute("SELECT relname, seq_scan FROM pg_stat_user_tables").fetchall()
    return {name for name, scans in rows if scans}


def test_only_the_tables_that_are_asked_about_are_counted(postgres_url, open_tools):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "".join(
                f"CREATE TABLE t{number} (id int, name text); INSERT INTO t{number} VALUES (1, 'x');"
                for number in range(60)
            )
        )
    describe, query = open_tools(postgres_url)
    assert isinstance(describe, DescribeDatabase)
    described = describe.invoke({})
    assert len(described["relations"]) == 60
    assert all(each["row_count"] is None and each["columns"] for each in described["relations"])
    assert describe.invoke({"tables": ["t7"]})["relations"][0]["row_count"] == 1
    assert query.preflight({"sql": "SELECT name FROM t9"}, {}).problems == ()
    describe.database.source.close()
    assert count_scans(postgres_url) <= {"t7", "t9"}


def test_a_query_looks_at_no_other_table_than_its_own(postgres_url, open_tools):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE a (id int); CREATE TABLE b (id int); INSERT INTO a VALUES (1)")
    with psycopg.connect(postgres_url) as other:
        other.execute("LOCK TABLE b IN ACCESS EXCLUSIVE MODE")
        _, query = open_tools(postgres_url, seconds=4)
        assert query.preflight({"sql": "SELECT id FROM a"}, {}).problems == ()
        assert query.database.load_schema([]).relation("b").row_count is None
        assert query.invoke({"sql": "SELECT id FROM a"})["rows"] == [{"id": 1}]
