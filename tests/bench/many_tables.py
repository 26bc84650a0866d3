"""How long the description of a database with many tables takes: `python -m tests.bench.many_tables [TABLES] [ROWS]`.

It prints, for SQLite and PostgreSQL, the seconds of `describe_database` for all tables and then for one by name.
"""

import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from agent.tools.sql.data_source import open_data_source
from agent.tools.sql.query_database import database_tools
from tests.support.postgres import PostgresServer

#: Understood by SQLite and PostgreSQL alike.
_TABLE = "CREATE TABLE t{number} (id INTEGER PRIMARY KEY, name VARCHAR(20), price DECIMAL(10, 2), placed DATE);"
_ROWS = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) "
    "INSERT INTO t{number} SELECT i, 'name ' || (i % 50), i * 0.25, DATE('2024-01-01') FROM n;"
)


def build_script(tables: int, rows: int) -> str:
    """Return the SQL that makes the tables with their rows."""
    return "".join(
        _TABLE.format(number=number) + _ROWS.format(number=number, rows=rows) for number in range(1, tables + 1)
    )


def time_descriptions(location: str | Path) -> tuple[float, float]:
    """Return the seconds for the description of all tables and of one, in an open source."""
    with closing(open_data_source(location)) as source:
        describe = database_tools(source)[0]
        start = time.perf_counter()
        describe.invoke({})
        middle = time.perf_counter()
        describe.invoke({"tables": ["t7"]})
        return middle - start, time.perf_counter() - middle


@contextmanager
def make_sqlite(script: str) -> Iterator[Path]:
    """Yield a SQLite file with the tables."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "many.db"
        with closing(sqlite3.connect(file)) as database:
            database.executescript(script)
        yield file


@contextmanager
def make_postgres(script: str) -> Iterator[str]:
    """Yield the URL of a PostgreSQL database with the tables."""
    import psycopg

    with tempfile.TemporaryDirectory(prefix="planwave-postgres-") as folder:
        server = PostgresServer(Path(folder) / "data")
        try:
            url = server.create()
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(script)
            yield url
        finally:
            server.stop()


def main(tables: int = 200, rows: int = 10_000) -> None:
    """Print the figures."""
    script = build_script(tables, rows)
    for name, make in (("SQLite", make_sqlite), ("PostgreSQL", make_postgres)):
        with make(script) as location:
            every, one = time_descriptions(location)
        print(
            f"{name}: {tables} tables of {rows:,} rows described in {every:.2f} s, one of them by name in {one:.2f} s"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
