"""A lending library as a SQLite file: dates as ISO texts, copies and loans of books, and goals over it."""

import sqlite3
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from random import Random

from tests.evals.sets.goal import Goal, Gold

_SCHEMA = """
CREATE TABLE branch (branch_id INTEGER PRIMARY KEY, branch_name TEXT NOT NULL);
CREATE TABLE author (author_id INTEGER PRIMARY KEY, author_name TEXT NOT NULL);
CREATE TABLE book (
    book_id INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    author_id INTEGER NOT NULL REFERENCES author (author_id),
    genre TEXT NOT NULL,
    pages INTEGER NOT NULL,
    published INTEGER NOT NULL
);
CREATE TABLE copy (
    copy_id INTEGER PRIMARY KEY,
    book_id INTEGER NOT NULL REFERENCES book (book_id),
    branch_id INTEGER NOT NULL REFERENCES branch (branch_id)
);
CREATE TABLE member (
    member_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    category TEXT NOT NULL,
    branch_id INTEGER NOT NULL REFERENCES branch (branch_id),
    joined_on TEXT NOT NULL
);
CREATE TABLE loan (
    loan_id INTEGER PRIMARY KEY,
    copy_id INTEGER NOT NULL REFERENCES copy (copy_id),
    member_id INTEGER NOT NULL REFERENCES member (member_id),
    loaned_on TEXT NOT NULL,
    due_on TEXT NOT NULL,
    returned_on TEXT
);
"""
_BRANCHES = ("Riverside", "Old Town", "Harbour", "Northgate")
_AUTHORS = ("Ana Petrov", "Ben Okafor", "Clara Weiss", "Daniel Yun", "Eva Lindqvist", "Felix Moreau", "Gita Rao")
_FIRST = ("Silent", "Golden", "Broken", "Hidden", "Winter", "Paper", "Iron", "Distant")
_SECOND = ("Garden", "Bridge", "Letters", "Harvest", "Mirror")
_GENRES = ("Fantasy", "Crime", "History", "Poetry", "Science")
_CATEGORIES = ("Student", "Adult", "Senior", "Child")
_MEMBERS = ("Abara", "Bianchi", "Costa", "Duval", "Evans", "Fofana", "Green", "Hansen", "Ito", "Jovic")
_GIVEN = ("Alma", "Boris", "Celia", "Dimas", "Edda", "Frank")


def build_lending(file: Path) -> Path:
    """Write the library to `file`, the same rows each time, and return it."""
    rng = Random(7)  # noqa: S311 - sample data, no secret
    titles = [f"{first} {second}" for first in _FIRST for second in _SECOND]
    books = [
        (number, title, 1 + rng.randrange(len(_AUTHORS)), rng.choice(_GENRES), rng.randrange(90, 700), year)
        for number, title in enumerate(titles, 1)
        for year in (rng.randrange(1950, 2023),)
    ]
    copies = [(n, 1 + n % len(books), rng.choices((1, 2, 3, 4), (5, 4, 2, 3))[0]) for n in range(1, 121)]
    names = [f"{given} {family}" for given in _GIVEN for family in _MEMBERS]
    members = [
        (n, name, rng.choices(_CATEGORIES, (5, 6, 2, 3))[0], rng.randrange(1, 5), str(_day(rng, 2018, 2_000)))
        for n, name in enumerate(names, 1)
    ]
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executescript(_SCHEMA)
        connection.executemany("INSERT INTO branch VALUES (?, ?)", list(enumerate(_BRANCHES, 1)))
        connection.executemany("INSERT INTO author VALUES (?, ?)", list(enumerate(_AUTHORS, 1)))
        connection.executemany("INSERT INTO book VALUES (?, ?, ?, ?, ?, ?)", books)
        connection.executemany("INSERT INTO copy VALUES (?, ?, ?)", copies)
        connection.executemany("INSERT INTO member VALUES (?, ?, ?, ?, ?)", members)
        connection.executemany("INSERT INTO loan VALUES (?, ?, ?, ?, ?, ?)", list(_loans(rng)))
    return file


def _day(rng: Random, year: int, days: int) -> date:
    return date(year, 1, 1) + timedelta(days=rng.randrange(days))


def _loans(rng: Random):
    for number in range(1, 1_101):
        loaned = date(2022, 1, 3) + timedelta(days=int(1_080 * rng.random() ** 0.7))
        kept = timedelta(days=rng.choices((4, 11, 19, 26, 35), (4, 6, 6, 3, 2))[0] + rng.randrange(5))
        is_out = rng.random() < (0.4 if loaned > date(2024, 9, 1) else 0.03)
        # A few members read much, and some copies are never lent.
        member, copy = 1 + int(57 * rng.random() ** 1.6), 1 + int(112 * rng.random() ** 1.3)
        due = loaned + timedelta(days=28)
        yield number, copy, member, str(loaned), str(due), None if is_out else str(loaned + kept)


_LENT = "loan JOIN copy USING (copy_id) JOIN book USING (book_id)"

LENDING = (
    Goal(
        "lending_per_year",
        "How many loans were there in each year?",
        (Gold("SELECT year(loaned_on::DATE), COUNT(*) FROM loan GROUP BY 1", ordered=False),),
    ),
    Goal(
        "lending_by_month",
        "How did the number of loans develop by month in 2024? Draw a line chart.",
        (
            Gold(
                """SELECT COUNT(*) FROM loan WHERE year(loaned_on::DATE) = 2024
                GROUP BY left(loaned_on, 7) ORDER BY left(loaned_on, 7)"""
            ),
        ),
        chart=True,
    ),
    Goal(
        "lending_days_kept",
        "How many days does each category of members keep a book on average?",
        (
            Gold(
                """SELECT category, AVG(returned_on::DATE - loaned_on::DATE) FROM loan JOIN member USING (member_id)
                WHERE returned_on IS NOT NULL GROUP BY 1""",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "lending_overdue",
        "How many loans that were due before 1 December 2024 have not been returned?",
        (Gold("SELECT COUNT(*) FROM loan WHERE due_on < '2024-12-01' AND returned_on IS NULL"),),
    ),
    Goal(
        "lending_keen_members",
        "Which members have more than 40 loans?",
        (
            Gold(
                "SELECT name FROM member JOIN loan USING (member_id) GROUP BY 1 HAVING COUNT(*) > 40",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "lending_active_members",
        "How many members borrowed something in 2023?",
        (Gold("SELECT COUNT(DISTINCT member_id) FROM loan WHERE year(loaned_on::DATE) = 2023"),),
    ),
    Goal(
        "lending_not_students",
        "How many members are not students?",
        (Gold("SELECT COUNT(*) FROM member WHERE category <> 'Student'"),),
    ),
    Goal(
        "lending_top_authors",
        "Which 3 authors are borrowed most often, and how often?",
        (
            Gold(
                f"""SELECT author_name, COUNT(*) FROM {_LENT} JOIN author USING (author_id)
                GROUP BY 1 ORDER BY 2 DESC LIMIT 3"""
            ),
        ),
    ),
    Goal(
        "lending_late_percentage",
        "What percentage of the loans that were returned came back after the due date?",
        (Gold("SELECT 100.0 * AVG((returned_on > due_on)::INT) FROM loan WHERE returned_on IS NOT NULL"),),
    ),
    Goal(
        "lending_longest_per_genre",
        "Which book of each genre has the most pages?",
        (
            Gold(
                """SELECT genre, title FROM book
                QUALIFY row_number() OVER (PARTITION BY genre ORDER BY pages DESC) = 1""",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "lending_pages_per_author",
        "How many pages have the books of each author in total?",
        (Gold("SELECT author_name, SUM(pages) FROM book JOIN author USING (author_id) GROUP BY 1", ordered=False),),
    ),
    Goal(
        "lending_branch_loans",
        "From which branch were the most copies lent in 2022, and how many?",
        (
            Gold(
                """SELECT branch_name, COUNT(*) FROM loan JOIN copy USING (copy_id) JOIN branch USING (branch_id)
                WHERE year(loaned_on::DATE) = 2022 GROUP BY 1 ORDER BY COUNT(*) DESC LIMIT 1"""
            ),
        ),
    ),
    Goal(
        "lending_save_fantasy",
        "Save title and year of publication of all Fantasy books as fantasy.csv, the oldest first",
        (Gold("SELECT title, published FROM book WHERE genre = 'Fantasy' ORDER BY published", ordered=False),),
        file=".csv",
    ),
)
