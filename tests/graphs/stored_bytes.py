"""All that a database holds, as bytes, to look for what should not be there."""

import sqlite3
from pathlib import Path


def stored_bytes(url: str) -> bytes:
    """Return the bytes of a SQLite database's files, or every row of every table of a PostgreSQL database."""
    if url.startswith("sqlite"):
        file = Path(url.removeprefix("sqlite:///"))
        return b"\n".join(part.read_bytes() for part in sorted(file.parent.glob(f"{file.name}*")))
    import psycopg

    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        parts = []
        for (table,) in tables:
            for row in connection.execute(f'SELECT * FROM "{table}"').fetchall():
                parts += [value if isinstance(value, bytes) else str(value).encode() for value in row]
        return b"\n".join(parts)


def rows_of(url: str, table: str, where: str = "TRUE") -> int:
    """Return how many rows of a table there are."""
    statement = f"SELECT COUNT(*) FROM {table} WHERE {where}"
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            return connection.execute(statement).fetchone()[0]
    import psycopg

    with psycopg.connect(url) as connection:
        return connection.execute(statement).fetchone()[0]


def execute(url: str, statement: str, *values: object) -> None:
    """Change a database behind everybody's back; `?` stands for each value."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        connection.execute(statement, values)
    else:
        import psycopg

        connection = psycopg.connect(url)
        connection.execute(statement.replace("?", "%s").encode(), values)
    connection.commit()
    connection.close()
