"""Right queries over values that are easily taken for each other: they run as written, and what looks wrong is told."""

import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from agent.tools.sql.data_source import open_data_source
from agent.tools.sql.query_database import QueryDatabase, database_tools

TABLES = """
CREATE TABLE visits (country VARCHAR, state VARCHAR, blood VARCHAR, language VARCHAR, rate VARCHAR, month VARCHAR,
    home VARCHAR, away VARCHAR, ship_state VARCHAR, bill_state VARCHAR, score INTEGER, n INTEGER);
INSERT INTO visits VALUES
    ('Ireland', 'asymptomatic', 'A-', 'C++', '<18', 'Mar', 'Feyenoord', 'Ajax', 'NY', 'CA', 10, 7),
    ('Zambia', 'typical', 'B+', 'Python', '10', 'Apr', 'PSV', 'AZ', 'TX', 'TX', NULL, 8);
"""
#: What each query compares, and how the nearest value is spelt.
NEAR = {
    "country = 'Iceland'": "Ireland",
    "country <> 'Iceland'": "Ireland",
    "country IN ('Iceland', 'Zambia')": "Ireland",
    "country NOT IN ('Gambia')": "Zambia",
    "country LIKE 'Iceland'": "Ireland",
    "EXISTS (SELECT 1 FROM visits o WHERE o.country = 'Iceland')": "Ireland",
    "'Iceland' = country": "Ireland",
    "lower(country) = 'iceland'": "Ireland",
    "CASE WHEN country = 'Iceland' THEN 1 END = 1": "Ireland",
    "country IN (SELECT t.country FROM (SELECT * FROM visits) t WHERE t.country = 'Iceland')": "Ireland",
    "country IN (WITH c AS (SELECT country AS land FROM visits) SELECT land FROM c WHERE land = 'Iceland')": "Ireland",
    "country NOT IN (SELECT o.country FROM visits o WHERE visits.country = 'Iceland')": "Ireland",
    "state = 'symptomatic'": "asymptomatic",
    "state = 'atypical'": "typical",
    "blood = 'A+'": "A-",
    "blood = 'B-'": "B+",
    "language = 'C#'": "C++",
    "rate = '>18'": "<18",
    "rate = '10%'": "10",
    "month = 'Mars'": "Mar",
    "CASE country WHEN 'Iceland' THEN 1 END = 1": "Ireland",
    "country IS NOT DISTINCT FROM 'Iceland'": "Ireland",
    "(country, month) IN (('Iceland', 'Mar'), ('Zambia', 'Mar'))": "Ireland",
    "country = ANY(['Iceland', 'Zambia'])": "Ireland",
    "coalesce(country, 'Irelamd') = 'Iceland'": "Ireland",
    "country::VARCHAR = 'Iceland'": "Ireland",
    "nullif(country, 'Iceland') IS NULL": "Ireland",
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("visits") / "visits.duckdb"
    with duckdb.connect(str(file)) as database:
        database.execute(TABLES)
    return file


@pytest.fixture(scope="module")
def query(file: Path) -> QueryDatabase:
    return database_tools(open_data_source(file))[1]


@pytest.mark.parametrize("goal", [None, "?"], ids=["caller", "model"])
@pytest.mark.parametrize("condition", NEAR)
def test_a_value_that_is_not_there_is_never_another_one(query, condition, goal):
    sql = f"select COUNT(*)  AS n FROM visits WHERE {condition} -- as it is"
    found = query.preflight({"sql": sql}, {}, goal)
    assert (found.problems, found.args["sql"], found.notes) == ((), sql, ())
    [warning] = found.warnings
    assert NEAR[condition] in warning


@pytest.mark.parametrize("goal", [None, "?"], ids=["caller", "model"])
@pytest.mark.parametrize("given", ["Iceland", ["Iceland", "Zambia"]])
def test_nor_in_a_parameter(query, given, goal):
    condition = "= $c" if isinstance(given, str) else "IN (SELECT unnest($c))"
    args = {"sql": f"SELECT COUNT(*) AS n FROM visits WHERE country {condition}", "params": {"c": given}}
    found = query.preflight(args, {}, goal)
    assert (found.problems, found.args) == ((), args)
    assert found.warnings == ("No row has 'Iceland' in visits.country; near it: 'Ireland'.",)


@pytest.mark.parametrize("goal", [None, "?"], ids=["caller", "model"])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT COUNT(*) AS score FROM visits",
        "SELECT COUNT(score) AS score, COUNT(*) AS n FROM visits",
        "WITH c AS (SELECT COUNT(*) AS n FROM visits) SELECT n FROM c",
        "SELECT COUNT(*) AS a FROM visits WHERE home = 'PSV' UNION ALL SELECT COUNT(*) FROM visits WHERE home = 'X'",
        "SELECT COUNT(*) AS k FROM visits WHERE ship_state = 'CA'",
        "SELECT COUNT(*) AS k FROM visits WHERE home = 'Ajax'",
        "SELECT COUNT(*) AS k FROM visits WHERE language ~ 'C.*' AND country = 'Ireland'",
        "SELECT COUNT(*) AS k FROM visits WHERE country ILIKE 'IRELAND'",
        "SELECT COUNT(*) AS k FROM visits WHERE upper(country) = 'IRELAND'",
        "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 3) SELECT i FROM r",
        "WITH RECURSIVE r AS (SELECT country FROM visits UNION SELECT country FROM r WHERE country = 'X') FROM r",
    ],
)
def test_a_query_that_binds_runs_as_it_is_written(query, sql, goal):
    found = query.preflight({"sql": sql}, {}, goal)
    assert (found.problems, found.args, found.notes) == ((), {"sql": sql}, ())


@pytest.mark.parametrize("goal", [None, "?"], ids=["caller", "model"])
def test_a_text_in_a_case_that_a_function_never_gives_is_told(query, goal):
    sql = "SELECT COUNT(*) AS k FROM visits WHERE lower(country) = 'Ireland' AND upper(state) IN ('TYPICAL')"
    found = query.preflight({"sql": sql}, {}, goal)
    assert (found.args["sql"], found.warnings) == (
        sql,
        ("lower(visits.country) is never 'Ireland'; write 'ireland'.",),
    )


def test_a_column_that_has_the_value_is_told(query):
    found = query.preflight({"sql": "SELECT COUNT(*) AS k FROM visits WHERE ship_state = 'CA'"}, {})
    assert found.warnings == ("No row has 'CA' in visits.ship_state; 'bill_state' has it.",)


def test_a_literal_is_replaced_in_its_place_and_nothing_else_is_printed_anew(query):
    sql = "select  count(*) as n from visits where country = 'IRELAND'  and language ~ 'C.*' -- it''s 'IRELAND'"
    found = query.preflight({"sql": sql}, {}, "How many visits are from there?")
    assert found.args["sql"] == sql.replace("= 'IRELAND'", "= 'Ireland'")
    assert found.notes == ("There is no value 'IRELAND'; 'Ireland' was used instead.",)


@pytest.mark.parametrize("goal", ["Visits from IRELAND", "visits from ireland?", "在 IRELAND 的访问"])
def test_a_literal_that_stands_in_the_goal_is_what_was_asked_for(query, goal):
    sql = "SELECT COUNT(*) AS n FROM visits WHERE country = 'IRELAND'"
    found = query.preflight({"sql": sql}, {}, goal)
    assert found.args["sql"] == sql
    assert found.warnings == ("No row has 'IRELAND' in visits.country; near it: 'Ireland'.",)


def test_values_are_read_again_before_one_is_said_to_be_missing(tmp_path):
    source = open_data_source(_sqlite(tmp_path, "canceled"))
    query = database_tools(source)[1]
    sql = "SELECT name FROM orders WHERE status = 'Cancelled'"
    assert query.preflight({"sql": sql}, {}, "?").warnings
    _sqlite(tmp_path, "Cancelled")
    found = query.preflight({"sql": sql}, {}, "?")
    assert (found.args["sql"], found.warnings) == (sql, ())
    source.close()


def _sqlite(folder: Path, status: str) -> Path:
    file = folder / "orders.sqlite"
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE IF NOT EXISTS orders (name TEXT, status TEXT)")
        database.execute("INSERT INTO orders VALUES ('Bob', ?)", (status,))
        database.commit()
    return file


def test_a_long_list_of_values_is_looked_up_within_bounds(query):
    args = {
        "sql": "SELECT n FROM visits WHERE country IN (SELECT unnest($c))",
        "params": {"c": ["Iceland", *(f"place {number}" for number in range(10_000))]},
    }
    found = query.preflight(args, {})
    assert (found.problems, found.args) == ((), args)
    assert found.warnings == ("No row has 'Iceland' in visits.country; near it: 'Ireland'.",)


def test_a_callers_query_that_does_not_bind_is_told_how_it_would(query):
    found = query.preflight({"sql": "SELECT contry FROM visits"}, {})
    assert found.args is None
    assert found.problems[-1] == "It would fit as 'SELECT country FROM visits'; write that if it is meant."


def test_an_ambiguous_column_of_a_caller_is_refused_and_of_a_model_told(query):
    sql = "SELECT score FROM visits a, visits b"
    assert "mbiguous" in query.preflight({"sql": sql}, {}).problems[0]
    found = query.preflight({"sql": sql}, {}, "?")
    assert found.notes == ("Several tables have a column 'score'; it was taken from 'a'.",)


def test_a_callers_limit_and_first_rows_stay_and_are_told(query):
    args = {"sql": "SELECT home, score FROM visits LIMIT 1", "first_row_of_each": "home"}
    found = query.preflight(args, {})
    assert found.args == args
    assert "max_rows" in found.warnings[0]


@pytest.mark.parametrize("goal", [None, "?"], ids=["caller", "model"])
def test_a_column_in_square_brackets_is_told_to_be_a_list(query, goal):
    sql = "SELECT [home] AS home, [away, home] AS both FROM visits"
    found = query.preflight({"sql": sql}, {}, goal)
    assert found.args["sql"] == sql
    assert found.warnings == ("[home] is a list of one value here; for the column write 'home' without brackets.",)


def test_a_list_that_is_compared_as_one_value_is_told(query):
    args = {"sql": "SELECT n FROM visits WHERE country = $c", "params": {"c": ["Ireland", "Zambia"]}}
    found = query.preflight(args, {})
    assert found.args == args
    assert "IN (SELECT unnest($c))" in found.warnings[0]
