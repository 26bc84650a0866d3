"""Several sources as one: a schema each, whose views are the tables of the source."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from agent.tools.data_files.column_types import quote_name, quote_text

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_DEFAULT_SCHEMAS = frozenset({"main", "public"})
_OWN_SCHEMAS = frozenset({"information_schema", "pg_catalog", "pg_toast"})


def name_part_catalog(name: str) -> str:
    """Return the name under which one of several sources is attached."""
    return f"data_of_{name}"


def make_overview(connection: "DuckDBPyConnection", names: Sequence[str], *, folder: Path, catalog: str) -> None:
    """Attach a database `catalog`, read only, with a schema for each source and a view for each of its tables.

    The sources are attached already, each by `name_part_catalog`; comments on their tables are those of the views.
    """
    file = quote_text(os.fspath(folder / f"several-{os.getpid()}.duckdb"))
    connection.execute(f"ATTACH {file} AS {catalog}")
    for name in names:
        schema = f"{catalog}.{quote_name(name)}"
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        for inner, table in _list_tables(connection, name_part_catalog(name)):
            view = table if inner in _DEFAULT_SCHEMAS else f"{inner}_{table}"
            _make_view(connection, f"{schema}.{quote_name(view)}", name_part_catalog(name), inner, table)
    connection.execute(f"DETACH {catalog}")
    connection.execute(f"ATTACH {file} AS {catalog} (READ_ONLY)")


def _list_tables(connection: "DuckDBPyConnection", catalog: str) -> Iterator[tuple[str, str]]:
    """Yield the schema and the name of each table and view of an attached source."""
    import duckdb  # noqa: PLC0415 - slow to import

    found = dict.fromkeys(
        connection.execute(
            "SELECT schema_name, table_name FROM duckdb_columns() WHERE database_name = $catalog ORDER BY ALL",
            {"catalog": catalog},
        ).fetchall()
    )
    # One view that only its own engine can run makes this fail as a whole; the tables are of use without.
    with suppress(duckdb.Error):
        # Views of SQLite have no columns in DuckDB's catalogue.
        found |= dict.fromkeys(
            connection.execute(
                "SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = $catalog ORDER BY ALL",
                {"catalog": catalog},
            ).fetchall()
        )
    yield from (entry for entry in found if entry[0] not in _OWN_SCHEMAS)


def _make_view(connection: "DuckDBPyConnection", view: str, catalog: str, schema: str, table: str) -> None:
    import duckdb  # noqa: PLC0415 - slow to import

    place = f"{quote_name(catalog)}.{quote_name(schema)}.{quote_name(table)}"
    try:
        connection.execute(f"CREATE OR REPLACE VIEW {view} AS SELECT * FROM {place}")
    except duckdb.Error:
        # A view over a table that no longer exists cannot be queried.
        return
    parameters = {"catalog": catalog, "schema": schema, "table": table}
    where = "WHERE database_name = $catalog AND schema_name = $schema AND comment IS NOT NULL"
    for (comment,) in connection.execute(
        f"SELECT comment FROM duckdb_tables() {where} AND table_name = $table", parameters
    ).fetchall():
        connection.execute(f"COMMENT ON VIEW {view} IS {quote_text(comment)}")
    for column, comment in connection.execute(
        f"SELECT column_name, comment FROM duckdb_columns() {where} AND table_name = $table", parameters
    ).fetchall():
        connection.execute(f"COMMENT ON COLUMN {view}.{quote_name(column)} IS {quote_text(comment)}")
