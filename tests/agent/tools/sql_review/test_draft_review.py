"""What rules find wrong in a planner's draft, on a true database, and right queries that they leave alone."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent.tools.db_schema.as_ddl import render_schema_as_ddl
from agent.tools.sql.data_source import open_data_source
from agent.tools.sql.query_database import QueryDatabase, database_tools
from tests.support.databases import library_duckdb

VISITS = """
CREATE TABLE patient (patient_id INTEGER PRIMARY KEY, patient_name TEXT, born TEXT, seen_at TEXT, note TEXT);
INSERT INTO patient VALUES (1, 'Ada', '1980-02-03', '2024-01-05 10:30:00', '2024-01-05'),
    (2, 'Bola', '1990-07-01', '2024-02-11 08:00:00', 'none'), (3, 'Chen', NULL, '2023-12-31 23:59:59', '2020-02-30');
"""


def query_tool(file: Path) -> QueryDatabase:
    return next(tool for tool in database_tools(open_data_source(file)) if isinstance(tool, QueryDatabase))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> QueryDatabase:
    return query_tool(library_duckdb(tmp_path_factory.mktemp("library")))


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> QueryDatabase:
    file = tmp_path_factory.mktemp("clinic") / "clinic.sqlite"
    with closing(sqlite3.connect(file)) as database:
        database.executescript(VISITS)
    return query_tool(file)


PRICE = "What is the total price of the books of each author?"
LOANS_OF = "JOIN loans l ON l.book_id = b.book_id"


@pytest.mark.parametrize(
    ("sql", "goal", "told"),
    [
        # A fan: each book's price once for each of its loans.
        (
            f"SELECT a.name, SUM(b.price) AS p FROM authors a JOIN books b ON b.author_id = a.author_id {LOANS_OF} GROUP BY a.name",  # noqa: E501
            PRICE,
            "the join with 'l' repeats them",
        ),
        (f"SELECT AVG(b.price) AS p FROM books b {LOANS_OF}", "What is the average price?", "repeats them"),
        ("SELECT SUM(price) AS p FROM books JOIN loans USING (book_id)", "What is the total price?", "repeats them"),
        ("SELECT SUM(b.price) AS p FROM books b, loans l WHERE l.book_id = b.book_id", "The price?", "repeats them"),
        # Only the measure.
        ("SELECT SUM(days) AS d FROM lending GROUP BY member_name", "Days of each member", "which is not shown"),
        ("SELECT COUNT(*) AS n FROM books GROUP BY genre, author_id", "Books per genre", "which is not shown"),
        # An id with a name.
        (
            "SELECT m.member_id, SUM(l.days) AS d FROM loans l JOIN members m USING (member_id) GROUP BY m.member_id",
            "Who kept books for the most days?",
            "members.member_name is its name",
        ),
        (
            "SELECT author_id, COUNT(*) AS n FROM books GROUP BY author_id",
            "Books of each author",
            "authors.name is its",
        ),
        (
            "SELECT loan_id, member_id FROM loans WHERE days > 20",
            "Which members kept a book over 20 days?",
            "member_name",
        ),
        # A key in place of a count.
        (
            "SELECT name FROM authors JOIN books USING (author_id) WHERE book_id > 1",
            "Which authors have more than 1 books?",
            "compares the numbers of a key",
        ),
        (
            "SELECT member_name FROM members WHERE member_id >= 2",
            "Which members have at least two loans?",
            "compares the numbers of a key",
        ),
        # Another grain.
        ("SELECT COUNT(*) AS n FROM loans", "How many loans were there in each genre?", "one row for all together"),
        ("SELECT genre, COUNT(*) AS n FROM books GROUP BY genre", "How many books are there?", "asks for one number"),
        ("SELECT year(lent_on) AS y, COUNT(*) AS n FROM loans GROUP BY 1", "Loans per month", "has no month"),
        ("SELECT lent_on FROM loans ORDER BY days DESC LIMIT 1", "Which month had most days?", "has no month"),
        ("SELECT month(lent_on) AS m FROM loans ORDER BY days DESC LIMIT 1", "Which month had most?", "single rows"),
        ("SELECT lent_on, COUNT(*) AS n FROM loans GROUP BY 1", "Show the loans by quarter", "has no quarter"),
    ],
)
def test_what_looks_wrong_for_the_goal_is_told(library: QueryDatabase, sql: str, goal: str, told: str) -> None:
    assert any(told in sentence for sentence in library.review_query(sql, goal, True))


@pytest.mark.parametrize(
    ("sql", "goal"),
    [
        ("SELECT SUM(l.days) AS d FROM loans l JOIN books b ON b.book_id = l.book_id", "How many days in all?"),
        (
            "SELECT a.name, SUM(b.price) AS p FROM authors a JOIN books b ON b.author_id = a.author_id GROUP BY a.name",
            PRICE,
        ),
        (f"SELECT b.title, COUNT(*) AS n FROM books b {LOANS_OF} GROUP BY b.title", "How many loans has each book?"),
        (f"SELECT MAX(b.price) AS p FROM books b {LOANS_OF}", "What is the highest price of a lent book?"),
        ("SELECT author_id, COUNT(*) AS n FROM books GROUP BY author_id", "Books for each author id"),
        ("SELECT author_id, MAX(title) AS t FROM books GROUP BY author_id", "The last title of each author"),
        ("SELECT COUNT(*) AS n FROM books", "How many books are there?"),
        (
            "SELECT name FROM authors JOIN books USING (author_id) GROUP BY name HAVING COUNT(*) > 1",
            "Which authors have more than 1 books?",
        ),
        ("SELECT title FROM books WHERE price > 10", "Which books cost more than 10?"),
        ("SELECT date_trunc('month', lent_on) AS m, COUNT(*) AS n FROM loans GROUP BY 1", "Loans per month"),
        ("SELECT genre, COUNT(*) AS n FROM books GROUP BY genre", "How many are novels, fiction and stories?"),
        ("SELECT plan, COUNT(*) AS n FROM members GROUP BY plan ORDER BY n DESC LIMIT 1", "Which plan has most?"),
        ("SELECT * FROM (SELECT SUM(days) AS d FROM loans GROUP BY member_id)", "The days"),
    ],
)
def test_what_is_right_is_left_alone(library: QueryDatabase, sql: str, goal: str) -> None:
    assert library.review_query(sql, goal, True) == ()


def test_only_a_query_whose_rows_nobody_uses_has_to_show_names(library: QueryDatabase) -> None:
    sql = "SELECT author_id, COUNT(*) AS n FROM books GROUP BY author_id"
    assert library.review_query(sql, "Books of each author", False) == ()


@pytest.mark.parametrize(
    ("sql", "goal", "told"),
    [
        ("SELECT COUNT(*) AS n FROM loans", "How many loans were there in 2024?", "2024"),
        ("SELECT COUNT(*) AS n FROM books", "How many Novel books are there?", "'Novel'"),
        ("SELECT name FROM authors", "Which authors have more than 2 books?", "no query counts them"),
    ],
)
def test_what_the_goal_names_and_no_query_does_is_told(library: QueryDatabase, sql: str, goal: str, told: str) -> None:
    (sentence,) = library.review_coverage([sql], goal)
    assert told in sentence
    assert library.review_coverage([sql, f"{told} COUNT(*)"], goal) == ()


@pytest.mark.parametrize("goal", ["Books that cost 2,024 or 20.24", "The Dispossessed by novels", "over 2 days"])
def test_other_numbers_and_words_are_no_years_and_values(library: QueryDatabase, goal: str) -> None:
    assert library.review_coverage(["SELECT 1"], goal.replace("The Dispossessed", "It")) == ()


def test_texts_that_are_all_iso_dates_are_dates_to_the_planner(clinic: QueryDatabase) -> None:
    relation = clinic.database.load_schema().relation("patient")
    assert relation is not None
    held = {column.name: (column.holds, column.first, column.last) for column in relation.columns}
    assert held["born"] == ("DATE", "1980-02-03", "1990-07-01")
    assert held["seen_at"] == ("TIMESTAMP", "2023-12-31 23:59:59", "2024-02-11 08:00:00")
    assert held["note"] == (None, None, None)
    text = render_schema_as_ddl(clinic.database.load_schema())
    assert "born DATE, -- 1980-02-03 to 1990-07-01" in text
    assert "seen_at TIMESTAMP" in text


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("year(born) = 1980", ["Ada"]),
        ("EXTRACT(year FROM seen_at) = 2023", ["Chen"]),
        ("strftime('%Y', born) = '1990'", ["Bola"]),
        ("strftime(p.seen_at, '%Y-%m') = '2024-01'", ["Ada"]),
        ("date_trunc('month', seen_at) = DATE '2024-02-01'", ["Bola"]),
        ("born < DATE '1985-01-01'", ["Ada"]),
        ("seen_at - INTERVAL 1 DAY < DATE '2023-12-31'", ["Chen"]),
        ("seen_at BETWEEN DATE '2024-01-01' AND DATE '2024-01-31'", ["Ada"]),
        ("date_diff('year', born, seen_at) > 40", ["Ada"]),
        ("born > '1985-01-01'", ["Bola"]),
    ],
)
def test_a_text_that_is_used_as_a_date_is_cast_in_a_draft_and_never_for_a_caller(
    clinic: QueryDatabase, where: str, names: list[str]
) -> None:
    sql = f"SELECT patient_name FROM patient p WHERE {where}"
    found = clinic.preflight({"sql": sql}, {}, goal="Who?")
    assert not found.problems, found
    rows = clinic.invoke({"sql": (found.args or {"sql": sql})["sql"]})["rows"]
    assert [row["patient_name"] for row in rows] == names
    asked = clinic.preflight({"sql": sql}, {})
    assert (asked.args or {"sql": sql})["sql"] == sql


@pytest.mark.parametrize(
    ("sql", "column"),
    [
        ("SELECT genre FROM books GROUP BY genre ORDER BY COUNT(*) DESC LIMIT 2", "count"),
        ("SELECT member_name FROM lending GROUP BY member_name ORDER BY SUM(days) DESC", "sum_days"),
    ],
)
def test_the_total_that_ranks_is_shown_behind_the_label(library: QueryDatabase, sql: str, column: str) -> None:
    fitted = library.fit_to_goal(sql, "Which 2 are the most common ids?")
    before, after = library.invoke({"sql": sql})["rows"], library.invoke({"sql": fitted.sql})["rows"]
    assert [next(iter(row.values())) for row in after] == [next(iter(row.values())) for row in before]
    assert list(after[0])[1].startswith(column)
    assert fitted.notes


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT genre, COUNT(*) AS n FROM books GROUP BY genre ORDER BY COUNT(*) DESC",
        "SELECT genre FROM books GROUP BY genre ORDER BY genre",
        "SELECT genre, MAX(price) AS p FROM books GROUP BY genre ORDER BY COUNT(*)",
        "SELECT title FROM books ORDER BY price DESC",
    ],
)
def test_a_query_that_shows_a_total_or_ranks_by_none_stays_letter_by_letter(library: QueryDatabase, sql: str) -> None:
    assert library.fit_to_goal(sql, "Which 2 are the most common ids?").sql == sql
