"""Rows of earlier outputs as tables of an in-memory database."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from agent.core.plan.tool_spec import JsonSchema, Preflight
from agent.errors import ToolFailure
from agent.tools.db_schema.introspection import quote_identifier, read_memory_schema
from agent.tools.sql.data_source import lock_down
from agent.tools.sql.preflight import get_json_types, preflight_query, to_duckdb_type

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def create_row_tables(tables: Mapping[str, object], *, connection: "DuckDBPyConnection") -> None:
    """Create a table for each list of rows or whole query output. Raises `ToolFailure`."""
    for name, given in tables.items():
        _create_row_table(name, parse_table_rows(given, table=name), connection=connection)


def preflight_rows(
    args: Mapping[str, Any],
    *,
    left_open: Mapping[str, JsonSchema],
    connection: "DuckDBPyConnection",
    goal: str | None,
) -> Preflight:
    """Bind a query to empty tables with the columns in the output schemas of the tasks that will provide them.

    `connection` is to a new in-memory database, which is locked; `goal` as for `check_query`. Raises `ToolFailure` for
    rows that are none.
    """
    create_row_tables(args.get("tables", {}), connection=connection)
    for path, schema in left_open.items():
        if path.startswith("tables."):
            columns = _infer_columns(schema)
            if columns is None:
                # The columns are unknown, so nothing can be checked before the rows are there.
                return Preflight()
            _create_empty_table(path.partition(".")[2], columns, connection=connection)
    lock_down(connection)
    schema_here = read_memory_schema(connection)
    return preflight_query(args, left_open=left_open, schema=schema_here, connection=connection, goal=goal)


def parse_table_rows(given: object, *, table: str) -> list[dict[str, JsonValue]]:
    """Return the rows of a table that is given as a list of rows or as a whole query output. Raises `ToolFailure`."""
    rows = given.get("rows") if isinstance(given, dict) else given
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ToolFailure(f"tables[{table!r}] is not a list of rows; give the rows of an earlier output.")
    return rows


def _create_row_table(name: str, rows: list[dict[str, JsonValue]], *, connection: "DuckDBPyConnection") -> None:
    """Create the table `name` from rows; DuckDB infers the column types as it does for JSON files."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if not columns:
        # A table needs a column. A query that names another one fails with a message that says so.
        connection.execute(f"CREATE TABLE {quote_identifier(name)} (no_rows VARCHAR)")
        return
    with tempfile.TemporaryDirectory(prefix="planwave-") as folder:
        file = Path(folder) / "rows.json"
        file.write_text(
            "\n".join(json.dumps({key: row.get(key) for key in columns}, allow_nan=False) for row in rows),
            encoding="utf-8",
        )
        # The whole file is sampled: a type inferred from the first rows alone could fail on a later row.
        connection.read_json(str(file), format="newline_delimited", sample_size=-1).create(name)


def _infer_columns(schema: JsonSchema) -> dict[str, str] | None:
    """Return the columns, with DuckDB types, of rows that fit `schema`; None if it does not list them."""
    properties = schema.get("properties")
    if "object" in get_json_types(schema) and isinstance(properties, dict) and "rows" in properties:
        schema = properties["rows"]
    items = schema.get("items")
    if not isinstance(items, dict) or not isinstance(items.get("properties"), dict):
        return None
    return {name: to_duckdb_type(inner) or "VARCHAR" for name, inner in items["properties"].items()} or None


def _create_empty_table(name: str, columns: Mapping[str, str], *, connection: "DuckDBPyConnection") -> None:
    listed = ", ".join(f"{quote_identifier(column)} {kind}" for column, kind in columns.items())
    connection.execute(f"CREATE TABLE {quote_identifier(name)} ({listed})")
