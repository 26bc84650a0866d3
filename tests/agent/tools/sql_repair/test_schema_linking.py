"""What is looked up before and around a query: its tables, its best rows, the columns that its literals belong to."""

import pytest

from agent.tools.sql.data_source import open_data_source
from agent.tools.sql.query_database import QueryDatabase, database_tools
from tests.support.databases import library_duckdb

GOAL = "?"
BORROWERS = (
    "SELECT member_name, title, SUM(days) AS days FROM lending {where} GROUP BY member_name, title ORDER BY days DESC"
)


@pytest.fixture(scope="module")
def query(tmp_path_factory) -> QueryDatabase:
    return database_tools(open_data_source(library_duckdb(tmp_path_factory.mktemp("library"))))[1]


@pytest.mark.parametrize(
    ("columns", "tables", "known"),
    [
        (["member_name", "title", "days"], ("lending",), {"member_name": "member_name", "title": "title"}),
        (["member", "title"], ("lending",), {"member": "member_name"}),
        (["genre", "books"], ("books",), {"genre": "genre"}),
        (["title"], ("lending", "books"), {}),
        (["books", "loans"], ("lending", "authors", "books", "loans", "members"), {}),
    ],
)
def test_the_tables_that_have_most_of_the_columns_are_found(query, columns, tables, known):
    found = query.find_tables_for(columns)
    assert found.tables == tables
    assert known.items() <= found.columns.items()
    assert "books" not in found.columns


async def test_no_limit_cuts_off_the_row_of_a_value_that_was_asked_for(query):
    given = {"member_name": ["Ada", "Bola", "Chen"]}
    sql = BORROWERS.format(where="WHERE member_name IN (SELECT unnest($member_name))")
    args = {"sql": f"{sql} LIMIT 1", "params": given, "first_row_of_each": "member_name"}
    found = query.preflight(args, {}, GOAL)
    assert found.problems == ()
    rows = (await query.ainvoke(found.args))["rows"]
    assert [(row["member_name"], row["title"], row["days"]) for row in rows] == [
        ("Chen", "Things Fall Apart", 30),
        ("Ada", "The Dispossessed", 21),
        ("Bola", "Solaris", 7),
    ]


async def test_a_limit_counts_the_chosen_rows_where_no_list_names_them(query):
    args = {"sql": f"{BORROWERS.format(where='')} LIMIT 2", "first_row_of_each": "member_name"}
    rows = (await query.ainvoke(query.preflight(args, {}, GOAL).args))["rows"]
    assert [row["member_name"] for row in rows] == ["Chen", "Ada"]


@pytest.mark.parametrize("limit", ["LIMIT 2", "LIMIT 2 OFFSET 1", "LIMIT 1 + 1", ""])
def test_a_limit_stands_where_it_changes_no_choice(query, limit):
    one_each = f"SELECT member_name, SUM(days) AS days FROM lending GROUP BY 1 ORDER BY days DESC {limit}"
    assert query.preflight({"sql": one_each, "first_row_of_each": "member_name"}, {}, GOAL).args["sql"] == one_each
    with_offset = f"{BORROWERS.format(where='')} {limit}"
    kept = query.preflight({"sql": with_offset, "first_row_of_each": "member_name"}, {}, GOAL).args["sql"]
    assert ("LIMIT" in kept) is (limit not in ("LIMIT 2", ""))


def test_a_text_that_another_column_has_is_told(query):
    sql = "SELECT name FROM authors WHERE name = 'poland'"
    found = query.preflight({"sql": sql}, {}, GOAL)
    assert found.args["sql"] == sql
    assert found.warnings == ("No row has 'poland' in authors.name; 'country' has it.",)


def test_a_text_that_no_column_has_stays_where_it_is(query):
    sql = "SELECT name FROM authors WHERE name = 'Atlantis'"
    assert query.preflight({"sql": sql}, {}, GOAL).args["sql"] == sql
