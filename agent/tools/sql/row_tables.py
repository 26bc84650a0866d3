"""Rows of earlier outputs as tables of an in-memory database."""

import json
import re
import tempfile
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from agent.core.plan.tool_spec import JsonSchema, Preflight
from agent.errors import ToolFailure
from agent.tools.db_schema.introspection import read_memory_schema
from agent.tools.sql.data_source import DEFAULT_TIME_ZONE, lock_down
from agent.tools.sql.engines.attachment import quote_identifier
from agent.tools.sql.preflight import get_json_types, preflight_query, to_duckdb_type

#: Digits that a float keeps, and that a decimal has at most.
_FLOAT_DIGITS, _MAX_DIGITS = 15, 38
#: Digits after the point up to which numbers are decimals: products of several must not exceed `_MAX_DIGITS`.
_MAX_EXACT_SCALE = 4
#: How a decimal is written, unlike a telephone number.
_LONG_DECIMAL = re.compile(r"-?(0|[1-9]\d*)\.\d+")
_ZONED_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d(:?\d\d)?)")

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
    time_zone: str = DEFAULT_TIME_ZONE,
) -> Preflight:
    """Bind a query to empty tables with the columns in the output schemas of the tasks that will provide them.

    `connection` is to a new in-memory database, which is locked. Raises `ToolFailure` for rows that are none.
    """
    create_row_tables(args.get("tables", {}), connection=connection)
    for path, schema in left_open.items():
        if path.startswith("tables."):
            columns = _infer_columns(schema)
            if columns is None:
                # The columns are unknown, so nothing can be checked before the rows are there.
                return Preflight()
            _create_empty_table(path.partition(".")[2], columns, connection=connection)
    lock_down(connection, time_zone=time_zone)
    schema_here = read_memory_schema(connection)
    return preflight_query(args, left_open=left_open, schema=schema_here, connection=connection)


def parse_table_rows(given: object, *, table: str) -> list[dict[str, JsonValue]]:
    """Return the rows of a table that is given as a list of rows or as a whole query output. Raises `ToolFailure`."""
    rows = given.get("rows") if isinstance(given, dict) else given
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ToolFailure(f"tables[{table!r}] is not a list of rows; give the rows of an earlier output.")
    return rows


def _create_row_table(name: str, rows: list[dict[str, JsonValue]], *, connection: "DuckDBPyConnection") -> None:
    """Create the table `name` from rows; DuckDB infers the column types as it does for JSON files."""
    columns = {key: _choose_column_type([row.get(key) for row in rows]) for row in rows for key in row}
    if not columns:
        # A table needs a column. A query that names another one fails with a message that says so.
        connection.execute(f"CREATE TABLE {quote_identifier(name)} (no_rows VARCHAR)")
        return
    with tempfile.TemporaryDirectory(prefix="planwave-") as folder:
        file = Path(folder) / "rows.json"
        file.write_text(
            "\n".join(
                json.dumps(
                    {key: _mark_text(row.get(key)) if kind else row.get(key) for key, kind in columns.items()},
                    allow_nan=False,
                )
                for row in rows
            ),
            encoding="utf-8",
        )
        # The whole file is sampled: a type inferred from the first rows alone could fail on a later row.
        connection.read_json(str(file), format="newline_delimited", sample_size=-1).create(quote_identifier(name))
    for column, kind in columns.items():
        if kind:
            table, quoted = quote_identifier(name), quote_identifier(column)
            value = f"CAST(substr({quoted}, 2) AS {kind})"
            connection.execute(f"ALTER TABLE {table} ALTER {quoted} TYPE {kind} USING {value}")


def _choose_column_type(values: list[JsonValue]) -> str | None:
    """Return the DuckDB type of a column that JSON does not tell; None if it does.

    Numbers with few digits are decimals, so that 0.1 and 0.2 are 0.3. A decimal that a number cannot hold comes as
    text, among numbers. Numbers among other texts are text.
    """
    present = [value for value in values if value is not None]
    texts = [value for value in present if isinstance(value, str)]
    if texts and len(texts) < len(present) and any(isinstance(value, list | dict) for value in present):
        return None
    if texts and len(texts) == len(present) and all(map(_ZONED_TIME.fullmatch, texts)):
        # The reader of JSON would take them for times without a zone.
        return "TIMESTAMPTZ"
    exact = [_parse_exact(value) for value in present]
    if any(number is None for number in exact) or all(isinstance(value, int) for value in present):
        return "VARCHAR" if texts and len(texts) < len(present) else None
    numbers = [number for number in exact if number is not None]
    after = max(0, *(-int(number.as_tuple().exponent) for number in numbers))
    before = max(number.adjusted() + 1 for number in numbers)
    if texts:
        return f"DECIMAL(38, {after})" if before + after <= _MAX_DIGITS else "DOUBLE"
    return f"DECIMAL(18, {after})" if after <= _MAX_EXACT_SCALE and before + after <= _FLOAT_DIGITS else None


def _parse_exact(value: JsonValue) -> Decimal | None:
    """Return a number as it is written; text only if it is a decimal that a float does not hold. None otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not _LONG_DECIMAL.fullmatch(value):
        return None
    number = Decimal(str(value))
    return None if isinstance(value, str) and Decimal(repr(float(value))) == number else number


def _mark_text(value: JsonValue) -> str | None:
    """Return the text of a scalar behind a letter, so that the reader of JSON takes it for nothing but text."""
    match value:
        case None:
            return None
        case bool():
            return f"={json.dumps(value)}"
        case int() | float():
            return f"={Decimal(str(value)):f}"
        case _:
            return f"={value}"


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
