"""Queries brought closer to the goal: rows that nobody asked to cut off, names in the place of ids."""

from collections.abc import Iterator

import pytest

from agent.tools.sql.data_source import open_data_source
from agent.tools.sql.query_database import QueryDatabase, database_tools
from agent.tools.sql_repair.output_rows import FittedQuery, may_have_number, remove_unrequested_limit
from tests.support.databases import library_duckdb


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryDatabase]:
    source = open_data_source(library_duckdb(tmp_path_factory.mktemp("library")))
    [tool] = [each for each in database_tools(source) if isinstance(each, QueryDatabase)]
    yield tool
    source.close()


def rows(tool: QueryDatabase, sql: str) -> list[tuple[object, ...]]:
    with tool.database.source.get_connection() as connection:
        return connection.execute(sql).fetchall()


GENRES = "SELECT genre, COUNT(*) AS books FROM books GROUP BY genre ORDER BY books DESC"


@pytest.mark.parametrize(
    ("limit", "goal", "kept"),
    [
        (5, "What are the most common genres?", False),
        (5, "What were the most common genres in 2024?", True),
        (5, "Welche Genres sind die drei beliebtesten?", True),
        (5, "Les cinq genres les plus lus", True),
        (5, "Los diez generos mas leidos", True),
        (5, "Find de tre mest almindelige for hver by", True),
        (5, "最も多い三つのジャンル", True),
        (5, "Which ٣ genres are the most common?", True),
        (3, "Which 3 genres are the most common?", True),
        (3, "Which three genres are the most common?", True),
        (5, "The top genres", True),
        (1, "Which genre is the most common?", True),
    ],
)
def test_a_limit_that_the_goal_has_no_number_for_is_taken_away(limit, goal, kept):
    sql = f"{GENRES} LIMIT {limit}"
    assert remove_unrequested_limit(sql, asked=goal).sql == (sql if kept else GENRES)


def test_a_limit_is_cut_out_and_all_else_stays_letter_by_letter():
    sql = "select  genre, count(*) AS n -- LIMIT 3\nFROM books WHERE genre ~ 'N.*' GROUP BY 1 limit  5 -- done"
    found = remove_unrequested_limit(sql, asked="What are the genres that start with N?")
    assert found.sql == "select  genre, count(*) AS n -- LIMIT 3\nFROM books WHERE genre ~ 'N.*' GROUP BY 1 -- done"
    assert found.notes == ("LIMIT 5 was left out: the goal names no number of rows.",)
    assert not may_have_number("What are the genres that start with N?")


@pytest.mark.parametrize("sql", [GENRES, "SELECT FROM WHERE", "SELECT genre FROM books LIMIT $most"])
def test_what_has_no_such_limit_stays_letter_by_letter(sql):
    assert remove_unrequested_limit(sql, asked="What are the genres?") == FittedQuery(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT member_id, SUM(days) AS days FROM loans GROUP BY member_id ORDER BY days DESC",
        "SELECT l.member_id AS reader, SUM(l.days) AS days FROM loans l GROUP BY 1 ORDER BY days DESC, reader",
        "SELECT member_id, SUM(days) AS days FROM loans GROUP BY ALL ORDER BY days DESC",
    ],
)
def test_the_name_is_shown_beside_the_key_that_rows_are_grouped_by(tool, sql):
    found = tool.fit_to_goal(sql, "Who kept books for how many days?")
    assert [values[1:] for values in rows(tool, found.sql)] == [(45, "Chen"), (35, "Ada"), (7, "Bola")]
    assert found.notes == ("'member_name' is shown beside 'member_id', by which the rows are grouped.",)


@pytest.mark.parametrize(
    ("sql", "goal"),
    [
        ("SELECT member_id, SUM(days) AS days FROM loans GROUP BY member_id", "The days of each member id"),
        ("SELECT member_id, days FROM loans", "The days of each loan"),
        ("SELECT lent_on, COUNT(*) AS loans FROM loans GROUP BY lent_on", "The loans of each day"),
        ("SELECT nothing FROM nowhere GROUP BY", "What?"),
    ],
)
def test_a_query_is_left_alone_where_ids_are_asked_for_or_a_name_is_shown_or_none_can_be(tool, sql, goal):
    assert tool.fit_to_goal(sql, goal) == FittedQuery(sql)


@pytest.mark.parametrize(
    ("sql", "goal", "name"),
    [
        # Beside another text, of a table that is joined already, of its own table, and where nothing is grouped.
        ("SELECT genre, author_id, COUNT(*) AS books FROM books GROUP BY ALL", "The genres of each author", "name"),
        (
            "SELECT m.member_id, COUNT(*) AS n FROM loans m JOIN members USING (member_id) GROUP BY 1",
            "Loans",
            "member_name",
        ),
        ("SELECT member_id, MAX(plan) AS p FROM members GROUP BY member_id", "The plan of each", "member_name"),
        ("SELECT book_id, days FROM loans WHERE days > 9", "Which books were kept for over 9 days?", "title"),
        ("SELECT DISTINCT book_id FROM loans", "Which books were lent?", "title"),
        ("SELECT member_id FROM loans ORDER BY days DESC LIMIT 1", "Which member kept a book longest?", "member_name"),
    ],
)
def test_an_id_is_shown_with_its_name(tool, sql, goal, name):
    found = tool.fit_to_goal(sql, goal)
    with tool.database.source.get_connection() as connection:
        result = connection.execute(found.sql)
        assert name in [column[0] for column in result.description]
        assert len(result.fetchall()) == len(rows(tool, sql))
    assert any(name in note for note in found.notes)


def test_rows_of_one_name_stay_apart(tmp_path):
    source = open_data_source(library_duckdb(tmp_path))
    [tool] = [each for each in database_tools(source) if isinstance(each, QueryDatabase)]
    found = tool.fit_to_goal("SELECT member_id, COUNT(*) AS loans FROM loans GROUP BY member_id", "The loans of each")
    source.close()
    assert "GROUP BY loans.member_id, members.member_name" in found.sql
