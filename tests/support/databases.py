"""A small library's database, the same in every kind of data source."""

import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb

#: Understood by DuckDB, SQLite and PostgreSQL alike.
LIBRARY = """
CREATE TABLE authors (author_id INTEGER PRIMARY KEY, name VARCHAR(80) NOT NULL, country VARCHAR(40));
CREATE TABLE books (
    book_id INTEGER PRIMARY KEY, title VARCHAR(120) NOT NULL, genre VARCHAR(30),
    author_id INTEGER NOT NULL REFERENCES authors (author_id), published DATE, price DECIMAL(8, 2)
);
CREATE TABLE members (member_id INTEGER PRIMARY KEY, member_name VARCHAR(80), plan VARCHAR(20));
CREATE TABLE loans (
    loan_id INTEGER PRIMARY KEY, book_id INTEGER NOT NULL REFERENCES books (book_id),
    member_id INTEGER NOT NULL REFERENCES members (member_id), lent_on DATE, days INTEGER
);
INSERT INTO authors VALUES (1, 'Ursula K. Le Guin', 'United States'), (2, 'Stanislaw Lem', 'Poland'),
    (3, 'Chinua Achebe', 'Nigeria');
INSERT INTO books VALUES (1, 'The Dispossessed', 'Science Fiction', 1, '1974-05-01', 12.50),
    (2, 'Solaris', 'Science Fiction', 2, '1961-01-01', 9.90), (3, 'Things Fall Apart', 'Novel', 3, '1958-06-17', 11.00),
    (4, 'The Cyberiad', 'Short Stories', 2, '1965-01-01', 10.25);
INSERT INTO members VALUES (1, 'Ada', 'Yearly'), (2, 'Bola', 'Monthly'), (3, 'Chen', 'Yearly');
INSERT INTO loans VALUES (1, 2, 1, '2024-01-05', 14), (2, 1, 1, '2024-02-01', 21), (3, 2, 2, '2024-02-11', 7),
    (4, 3, 3, '2024-03-02', 30), (5, 4, 3, '2024-03-20', 10), (6, 2, 3, '2024-04-02', 5);
CREATE VIEW lending AS SELECT l.loan_id, m.member_name, b.title, l.days
    FROM loans l JOIN members m ON m.member_id = l.member_id JOIN books b ON b.book_id = l.book_id;
"""
TABLES = ("authors", "books", "members", "loans")


def library_duckdb(folder: Path) -> Path:
    file = folder / "library.duckdb"
    with duckdb.connect(str(file)) as database:
        database.execute(LIBRARY)
        database.execute("COMMENT ON TABLE loans IS 'What was lent to whom'")
        database.execute("COMMENT ON COLUMN loans.days IS 'Days kept'")
    return file


def library_sqlite(folder: Path) -> Path:
    file = folder / "library.sqlite"
    with closing(sqlite3.connect(file)) as database:
        database.executescript(LIBRARY)
    return file


def library_files(folder: Path, *, suffix: str) -> Path:
    place = folder / f"library-{suffix}"
    place.mkdir()
    with duckdb.connect() as database:
        database.execute(LIBRARY)
        for table in TABLES:
            database.table(table).create_view(f"all_{table}")
            rows = database.view(f"all_{table}")
            target = str(place / f"{table}.{suffix}")
            rows.to_csv(target) if suffix == "csv" else rows.to_parquet(target)
    return place
