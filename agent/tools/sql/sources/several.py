"""Several sources as one: a schema each, whose views are the tables of the source."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import ToolFailure
from agent.tools.data_files.notes import FileNotes, TableNotes, save_notes
from agent.tools.sql.engines.attachment import (
    TableReader,
    TableReading,
    find_table_names,
    quote_identifier,
    quote_literal,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_DEFAULT_SCHEMAS = frozenset({"main", "public"})
_OWN_SCHEMAS = frozenset({"information_schema", "pg_catalog", "pg_toast"})


def name_part_catalog(name: str) -> str:
    """Return the name under which one of several sources is attached."""
    return f"data_of_{name}"


def make_overview(
    connection: "DuckDBPyConnection", readers: Mapping[str, TableReader | None], *, folder: Path, catalog: str
) -> None:
    """Attach a database `catalog`, read only, with a schema for each source and a view for each of its tables.

    The sources are attached already, each by `name_part_catalog`; comments on their tables are those of the views.
    `readers` know, by source, the tables that DuckDB does not read as their engine would. What they say of values is
    kept in the folder of the source, as it is for files.
    """
    file = quote_literal(os.fspath(folder / f"several-{os.getpid()}.duckdb"))
    connection.execute(f"ATTACH {file} AS {catalog}")
    for name, reader in readers.items():
        schema = f"{catalog}.{quote_identifier(name)}"
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        said: list[TableNotes] = []
        views = [("main", view) for view in reader.list_views()] if reader is not None else []
        for inner, table in dict.fromkeys((*_list_tables(connection, name_part_catalog(name)), *views)):
            view = table if inner in _DEFAULT_SCHEMAS else f"{inner}_{table}"
            reading = _find_reading(reader, inner, table, connection)
            place = (name_part_catalog(name), inner, table)
            _make_view(connection, f"{schema}.{quote_identifier(view)}", place, reading.view)
            if guesses := (*(reading.notes or {}).values(), *([reading.problem] if reading.problem else ())):
                said.append(TableNotes(view, f"{name}.{view}: values looked at when it was opened", guesses))
        if said:
            (folder / name).mkdir(exist_ok=True)
            save_notes(FileNotes(tables=tuple(said)), folder / name)
    connection.execute(f"DETACH {catalog}")
    connection.execute(f"ATTACH {file} AS {catalog} (READ_ONLY)")


def find_ambiguous_tables(sql: str, connection: "DuckDBPyConnection", *, catalog: str) -> Iterator[str]:
    """Yield a sentence for each table that `sql` names without its source and several sources have."""
    for schema, name in find_table_names(sql, connection):
        # What the query itself calls so is none of the source.
        if schema or re.search(
            rf"\b{re.escape(name)}\"?\s*(\([^)]*\)\s*)?AS\s+((NOT\s+)?MATERIALIZED\s+)?\(", sql, re.IGNORECASE
        ):
            continue
        rows = connection.execute(
            "SELECT schema_name FROM duckdb_views() WHERE database_name = $catalog AND lower(view_name) = lower($name) "
            "ORDER BY list_position(string_split(current_setting('search_path'), ','), $catalog || '.' || schema_name)",
            {"catalog": catalog, "name": name},
        ).fetchall()
        if len(rows) > 1:
            sources = [source for (source,) in rows]
            listed = f"{', '.join(sources[:-1])} and {sources[-1]}"
            yield f"{name!r} is a table of {listed}; that of {sources[0]} is read. Write {sources[0]}.{name} to say so."


def _find_reading(
    reader: TableReader | None, schema: str, table: str, connection: "DuckDBPyConnection"
) -> TableReading:
    import duckdb  # noqa: PLC0415 - slow to import

    try:
        return reader.find_reading(schema, table, connection) if reader is not None else TableReading()
    except (ToolFailure, duckdb.Error) as error:
        return TableReading(problem=f"The values of {table} could not be looked at: {error}")


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


def _make_view(connection: "DuckDBPyConnection", view: str, place: tuple[str, str, str], select: str | None) -> None:
    import duckdb  # noqa: PLC0415 - slow to import

    catalog, schema, table = place
    try:
        select = select or f"SELECT * FROM {'.'.join(map(quote_identifier, place))}"
        connection.execute(f"CREATE OR REPLACE VIEW {view} AS {select}")
    except duckdb.Error:
        # A view over a table that no longer exists cannot be queried.
        return
    parameters = {"catalog": catalog, "schema": schema, "table": table}
    where = "WHERE database_name = $catalog AND schema_name = $schema AND comment IS NOT NULL"
    for (comment,) in connection.execute(
        f"SELECT comment FROM duckdb_tables() {where} AND table_name = $table", parameters
    ).fetchall():
        connection.execute(f"COMMENT ON VIEW {view} IS {quote_literal(comment)}")
    for column, comment in connection.execute(
        f"SELECT column_name, comment FROM duckdb_columns() {where} AND table_name = $table", parameters
    ).fetchall():
        connection.execute(f"COMMENT ON COLUMN {view}.{quote_identifier(column)} IS {quote_literal(comment)}")
