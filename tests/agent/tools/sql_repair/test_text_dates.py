"""Dates, points in time and months that a database keeps as texts: dates to the planner, and in its drafts only."""

import sqlite3
from contextlib import closing

import pytest

from agent.tools.db_schema.as_ddl import render_schema_as_ddl
from agent.tools.db_schema.as_text import render_schema
from agent.tools.sql.data_source import open_data_source
from agent.tools.sql.query_database import QueryDatabase, database_tools

RENTALS = """
CREATE TABLE rental (name TEXT, out_on TEXT, back_on TEXT, paid_at TEXT, month TEXT);
INSERT INTO rental VALUES ('Ada', '2024-01-01', '2024-01-11', '2024-01-31 18:30:00', '2024-01'),
    ('Bola', '2024-01-31', NULL, '2024-02-01 00:00:00', '2024-02'),
    ('Chen', '2023-12-31', '2024-03-01', '2023-12-31 23:00:00', '2023-12');
"""


@pytest.fixture(scope="module")
def rentals(tmp_path_factory: pytest.TempPathFactory) -> QueryDatabase:
    file = tmp_path_factory.mktemp("rentals") / "rentals.sqlite"
    with closing(sqlite3.connect(file)) as database:
        database.executescript(RENTALS)
    return next(tool for tool in database_tools(open_data_source(file)) if isinstance(tool, QueryDatabase))


def test_a_month_is_a_date_to_the_planner(rentals: QueryDatabase) -> None:
    schema = rentals.database.load_schema()
    column = schema.relations[0].column("month")
    assert column is not None
    assert (column.holds, column.first, column.last, column.values) == ("MONTH", "2023-12", "2024-02", None)
    assert "month DATE -- months, 2023-12 to 2024-02" in render_schema_as_ddl(schema)
    assert "month date 2023-12..2024-02" in render_schema(schema)


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT name FROM rental WHERE year(month) = 2023", ["Chen"]),
        ("SELECT name FROM rental WHERE strftime(month, '%Y-%m') = '2024-01'", ["Ada"]),
        ("SELECT name FROM rental WHERE date_trunc('quarter', month) = DATE '2024-01-01' ORDER BY 1", ["Ada", "Bola"]),
        ("SELECT name FROM rental WHERE back_on - out_on > 20", ["Chen"]),
        ("SELECT name FROM rental WHERE COALESCE(back_on, CURRENT_DATE) - out_on > 100", ["Bola"]),
        ("SELECT name FROM rental GROUP BY name HAVING MAX(back_on) - MIN(out_on) > 20", ["Chen"]),
        ("SELECT name FROM rental WHERE julianday(back_on) - julianday(out_on) BETWEEN 9 AND 11", ["Ada"]),
        ("SELECT name FROM (SELECT name, out_on AS day FROM rental) AS r WHERE year(day) = 2023", ["Chen"]),
        ("WITH r AS (SELECT name, paid_at FROM rental) SELECT name FROM r WHERE hour(r.paid_at) = 18", ["Ada"]),
        ("SELECT name FROM rental WHERE out_on > CURRENT_DATE - INTERVAL 1 DAY", []),
    ],
)
def test_functions_and_operators_of_dates_work(rentals: QueryDatabase, sql: str, names: list[str]) -> None:
    assert find_names(rentals, sql) == names


@pytest.mark.parametrize(
    ("where", "names"),
    [
        # A month sorts before its first day.
        ("month BETWEEN '2024-01-01' AND '2024-01-31'", ["Ada"]),
        ("month >= '2024-01-01'", ["Ada", "Bola"]),
        ("month = '2024-02-01'", ["Bola"]),
        # A day sorts before its first minute.
        ("out_on >= '2024-01-01 00:00:00'", ["Ada", "Bola"]),
        ("out_on IN ('2023-12-31T00:00:00')", ["Chen"]),
        # The last day of a period has its hours, too.
        ("paid_at <= '2024-01-31'", ["Ada", "Chen"]),
        ("paid_at BETWEEN '2023-12-01' AND '2023-12-31'", ["Chen"]),
        ("paid_at = '2024-01-31'", ["Ada"]),
        ("paid_at > '2023-12-31'", ["Ada", "Bola"]),
        # A bound that is left out, and what is right anyway.
        ("paid_at <= '2024-02-01'", ["Ada", "Chen"]),
        ("paid_at < '2024-01-31'", ["Chen"]),
        ("paid_at > '2024-01-31 12:00:00'", ["Ada", "Bola"]),
        ("out_on <= '2024-01-01'", ["Ada", "Chen"]),
        ("month > '2023-12'", ["Ada", "Bola"]),
    ],
)
def test_a_text_is_compared_in_the_precision_of_the_column(
    rentals: QueryDatabase, where: str, names: list[str]
) -> None:
    assert find_names(rentals, f"SELECT name FROM rental WHERE {where} ORDER BY name") == names


@pytest.mark.parametrize("where", ["month >= '2024-01-01'", "paid_at <= '2024-01-31'", "year(month) = 2024"])
def test_a_caller_s_query_stays_as_it_is(rentals: QueryDatabase, where: str) -> None:
    sql = f"SELECT name FROM rental WHERE {where}"
    assert (rentals.preflight({"sql": sql}, {}).args or {"sql": sql})["sql"] == sql


def find_names(tool: QueryDatabase, sql: str) -> list[str]:
    """Run a draft as its check leaves it, and return the names that it finds."""
    found = tool.preflight({"sql": sql}, {}, goal="Who?")
    assert not found.problems, found
    return [row["name"] for row in tool.invoke({"sql": (found.args or {"sql": sql})["sql"]})["rows"]]
