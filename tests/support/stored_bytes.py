"""All that a database holds, as bytes, to look for what should not be there."""

import sqlite3
from contextlib import closing
from pathlib import Path


def stored_bytes(url: str) -> bytes:
    """Return the bytes of a SQLite database's files, or every row of every table of a PostgreSQL database."""
    if not url.startswith("sqlite"):
        return b"\n".join(table_bytes(url, table) for table in tables(url))
    file = Path(url.removeprefix("sqlite:///"))
    return b"\n".join(part.read_bytes() for part in sorted(file.parent.glob(f"{file.name}*")))


def tables(url: str) -> list[str]:
    """Return the names of all tables."""
    if url.startswith("sqlite"):
        return [row[0] for row in execute(url, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    return [row[0] for row in execute(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]


def table_bytes(url: str, table: str) -> bytes:
    """Return every row of a table."""
    rows = execute(url, f'SELECT * FROM "{table}"')
    return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row)


def rows_of(url: str, table: str, **where: object) -> int:
    """Return how many rows of a table there are with these values."""
    condition = " AND ".join([f"{column} = ?" for column in where] or ["1 = 1"])
    return execute(url, f"SELECT COUNT(*) FROM {table} WHERE {condition}", *where.values())[0][0]


def execute(url: str, statement: str, *values: object) -> list[tuple]:
    """Read or change a database behind everybody's back; `?` stands for each value."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            return connection.execute(statement, values).fetchall()
    import psycopg

    with psycopg.connect(url) as connection:
        found = connection.execute(statement.replace("?", "%s").encode(), values)
        return found.fetchall() if found.description else []
