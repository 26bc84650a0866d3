from contextlib import closing

import duckdb
import pytest

from agent.errors import SettingsError
from agent.settings import Settings
from agent.tools.analytics import build_query_limits
from agent.tools.sql.analyze_rows import AnalyzeRows
from agent.tools.sql.data_source import open_data_source
from agent.tools.sql.query_database import database_tools
from agent.tools.sql.query_process import QueryLimits, QueryProcesses

ROWS = """
CREATE TABLE t AS SELECT * FROM (VALUES
    (1, DATE 'infinity', TIMESTAMP '-infinity', TIMESTAMPTZ '2024-01-01 23:30:00+00',
        1234567890123456789.01::DECIMAL(38, 2), 12345678901234567890::DECIMAL(20, 0)),
    (2, DATE '9999-12-31', TIMESTAMP '2024-01-01 10:00:00', TIMESTAMPTZ 'infinity', 0.30, 5)) t(id, d, ts, tz, m, w)
"""


@pytest.fixture
def file(tmp_path):
    with duckdb.connect(str(tmp_path / "t.duckdb")) as database:
        database.execute(ROWS)
    return tmp_path / "t.duckdb"


def test_a_decimal_is_a_number_or_if_that_changes_it_its_text(file):
    with closing(open_data_source(file)) as source:
        output = database_tools(source)[1].invoke({"sql": "SELECT m, w, SUM(m) OVER () AS s FROM t ORDER BY id"})
    total = "1234567890123456789.31"
    assert output["rows"] == [
        {"m": "1234567890123456789.01", "w": 12345678901234567890, "s": total},
        {"m": 0.3, "w": 5, "s": total},
    ]


def test_infinity_is_told_from_the_last_day_that_python_has(file):
    with closing(open_data_source(file)) as source:
        output = database_tools(source)[1].invoke({"sql": "SELECT d, ts, tz, d FROM t ORDER BY id"})
    assert [column["type"] for column in output["columns"]] == ["DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "DATE"]
    assert output["rows"] == [
        {"d": "infinity", "ts": "-infinity", "tz": "2024-01-01T23:30:00+00:00", "d_2": "infinity"},
        {"d": "9999-12-31", "ts": "2024-01-01T10:00:00", "tz": "infinity", "d_2": "9999-12-31"},
    ]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("TIMESTAMP_NS '2024-01-01 10:00:00.123456789'", "2024-01-01T10:00:00.123456789"),
        ("TIMESTAMP_NS '2024-01-01 10:00:00'", "2024-01-01T10:00:00"),
        # A month is no number of days.
        ("INTERVAL '1 month'", "1 month"),
        ("age(DATE '2024-03-01', DATE '2023-01-30')", "1 year 1 month 2 days"),
        ("INTERVAL '40 days 01:30:00'", "40 days, 1:30:00"),
    ],
)
def test_a_time_that_python_does_not_have_is_told_as_it_is(file, expression, value):
    with closing(open_data_source(file)) as source:
        output = database_tools(source)[1].invoke({"sql": f"SELECT id, {expression} AS v, d FROM t ORDER BY id"})
    assert [row["v"] for row in output["rows"]] == [value, value]
    assert output["rows"][0]["d"] == "infinity"


def test_a_number_that_json_does_not_have_is_told_to_be_missing(file):
    sql = "SELECT unnest([1.5, 'inf'::DOUBLE, 'nan'::DOUBLE, NULL]) AS v, {'x': [1.5, '-inf'::FLOAT]} AS w"
    with closing(open_data_source(file)) as source:
        output = database_tools(source)[1].invoke({"sql": sql})
    assert [row["v"] for row in output["rows"]] == [1.5, None, None, None]
    assert output["warning"] == (
        "2 values are infinite or no number (NaN) in 'v', and given as null. "
        "4 values are infinite or no number (NaN) in 'w', and given as null."
    )


@pytest.mark.parametrize(
    ("rows", "sql", "value"),
    [
        ([{"v": 0.1}, {"v": 0.2}], "SELECT SUM(v) AS v FROM t", 0.3),
        ([{"v": 0.1}, {"v": "1234567890123456789.01"}], "SELECT SUM(v) AS v FROM t", "1234567890123456789.11"),
        ([{"v": 19.99, "q": 3}], "SELECT SUM(v * q) AS v FROM t", 59.97),
        ([{"v": 1.5}, {"v": 2}], "SELECT AVG(v) AS v FROM t", 1.75),
        ([{"v": 1.5}, {"v": None}], "SELECT MAX(v) / 4 AS v FROM t", 0.375),
        ([{"v": 1e300}, {"v": 1.5}], "SELECT MAX(v) AS v FROM t", 1e300),
        ([{"v": 0.123456789}], "SELECT v FROM t", 0.123456789),
        # Forms of dates that the reader infers and cannot read, or takes for the year 24.
        ([{"v": "1-2-2024"}], "SELECT v FROM t", "1-2-2024"),
        ([{"v": "24-01-05"}], "SELECT v FROM t", "24-01-05"),
        ([{"v": "2024-01-05"}], "SELECT v - 1 AS v FROM t", "2024-01-04"),
        # A time with its zone beside one without is no time.
        (
            [{"v": "2024-01-31T10:00:00+02:00"}, {"v": "2024-01-31T10:00:00"}],
            "SELECT count(DISTINCT v) AS v FROM t",
            2,
        ),
        # Text stays text, also where it looks like a number.
        ([{"v": "01067"}, {"v": "10115"}], "SELECT MIN(v) AS v FROM t", "01067"),
        ([{"v": "0.10"}, {"v": "0.20"}], "SELECT MIN(v) AS v FROM t", "0.10"),
        ([{"v": 1}, {"v": "a"}], "SELECT MAX(v) AS v FROM t", "a"),
    ],
)
def test_rows_of_earlier_outputs_are_calculated_exactly(rows, sql, value):
    with closing(QueryProcesses(QueryLimits())) as processes:
        tool = AnalyzeRows(processes=processes)
        assert tool.invoke({"sql": sql, "tables": {"t": rows}})["rows"] == [{"v": value}]


def test_a_day_is_cut_at_midnight_in_the_time_zone_of_the_setting(file):
    limits = build_query_limits(Settings(time_zone="Europe/Berlin"))
    with closing(open_data_source(file, limits=limits)) as source:
        describe, query, analyze = database_tools(source)
        output = query.invoke({"sql": "SELECT CAST(tz AS DATE) AS day, tz FROM t WHERE id = 1"})
        assert output["rows"] == [{"day": "2024-01-02", "tz": "2024-01-02T00:30:00+01:00"}]
        described = describe.invoke({})
        assert described["time_zone"] == "Europe/Berlin"
        assert "points in time are shown, and cut into days, in the time zone Europe/Berlin" in describe.as_context(
            described
        )
        rows = analyze.invoke(
            {"sql": "SELECT CAST(CAST(tz AS TIMESTAMPTZ) AS DATE) AS day FROM t", "tables": {"t": output["rows"]}}
        )
        assert rows["rows"] == [{"day": "2024-01-02"}]
    with closing(open_data_source(file)) as source:
        describe, query, _ = database_tools(source)
        assert query.invoke({"sql": "SELECT CAST(tz AS DATE) AS day FROM t WHERE id = 1"})["rows"] == [
            {"day": "2024-01-01"}
        ]
        assert describe.invoke({})["time_zone"] == "UTC"


def test_a_time_zone_that_there_is_not_is_a_sentence():
    with pytest.raises(SettingsError, match=r"'time_zone'.*'Berlin'.*there is no such time zone; write one such as"):
        Settings(time_zone="Berlin")
