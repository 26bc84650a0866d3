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
from agent.tools.sql.statement import parse_select, walk_tree

#: Digits that a float keeps, and that a decimal has at most.
_FLOAT_DIGITS, _MAX_DIGITS = 15, 38
#: Digits after the point up to which numbers are decimals: products of several must not exceed `_MAX_DIGITS`.
_MAX_EXACT_SCALE = 4
#: How a decimal is written, unlike a telephone number.
_LONG_DECIMAL = re.compile(r"-?(0|[1-9]\d*)\.\d+")
_ISO_START = re.compile(r"\d{4}-")
_ZONED_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d(:?\d\d)?)")

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: Types whose values are texts in JSON, or JSON itself: bytes are in base64.
_TEXT_TYPES = re.compile(r"(BLOB|BIT|ENUM|INTERVAL|JSON|VARIANT|UNION|GEOMETRY)\b")
#: Integers beyond this are rounded where they are read as floating-point numbers.
_MAX_EXACT_INTEGER = 2**53
_MAX_HUGE_INTEGER = 2**127
#: The type that a function takes its columns as, if no more is known of them.
_FUNCTION_TYPES = {
    **dict.fromkeys(("sum", "avg", "mean", "median", "stddev", "round", "abs", "+", "-", "*", "/", "%"), "DOUBLE"),
    **dict.fromkeys(("date_trunc", "date_part", "strftime", "year", "month", "day", "quarter"), "TIMESTAMP"),
}


def create_row_tables(
    tables: Mapping[str, object],
    *,
    columns: Mapping[str, object] | None = None,
    sql: str = "",
    connection: "DuckDBPyConnection",
) -> None:
    """Create a table for each list of rows or whole query output.

    `columns` are the columns of queries, by the table that has their rows: their types are taken, so that decimals stay
    exact and texts stay texts; other types are inferred. A table without rows whose columns are not known gets those
    that `sql` names. Raises `ToolFailure`.
    """
    unknown: list[str] = []
    taken: dict[str, set[str]] = {}
    for name, given in tables.items():
        listed = given.get("columns") if isinstance(given, dict) else None
        types = _read_types(listed or (columns or {}).get(name))
        rows = parse_table_rows(given, table=name)
        names = list(dict.fromkeys(key for row in rows for key in row))
        taken[name.lower()] = {each.lower() for each in names or types}
        if names:
            _create_row_table(name, rows, names, types, connection=connection)
        elif types:
            _create_empty_table(name, types, connection=connection)
        else:
            unknown.append(name)
    for name in unknown:
        named = _name_columns(name, _parse_tree(sql, connection=connection), taken=taken)
        _create_empty_table(name, named or {"no_rows": "VARCHAR"}, connection=connection)


def preflight_rows(
    args: Mapping[str, Any],
    *,
    left_open: Mapping[str, JsonSchema],
    connection: "DuckDBPyConnection",
    goal: str | None,
    time_zone: str = DEFAULT_TIME_ZONE,
) -> Preflight:
    """Bind a query to empty tables with the columns in the output schemas of the tasks that will provide them.

    `connection` is to a new in-memory database, which is locked; `goal` as for `check_query`. Raises `ToolFailure` for
    rows that are none.
    """
    create_row_tables(args.get("tables", {}), sql=str(args["sql"]), connection=connection)
    for path, schema in left_open.items():
        if path.startswith("tables."):
            columns = _infer_columns(schema)
            if columns is None:
                # The columns are unknown, so nothing can be checked before the rows are there.
                return Preflight()
            _create_empty_table(path.partition(".")[2], columns, connection=connection)
    lock_down(connection, time_zone=time_zone)
    schema_here = read_memory_schema(connection)
    return preflight_query(args, left_open=left_open, schema=schema_here, connection=connection, goal=goal)


def parse_table_rows(given: object, *, table: str) -> list[dict[str, JsonValue]]:
    """Return the rows of a table that is given as a list of rows or as a whole query output. Raises `ToolFailure`."""
    rows = given.get("rows") if isinstance(given, dict) else given
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ToolFailure(f"tables[{table!r}] is not a list of rows; give the rows of an earlier output.")
    return rows


def _create_row_table(
    name: str,
    rows: list[dict[str, JsonValue]],
    names: list[str],
    types: dict[str, str],
    *,
    connection: "DuckDBPyConnection",
) -> None:
    with tempfile.TemporaryDirectory(prefix="planwave-") as folder:
        file = Path(folder) / "rows.json"
        file.write_text(
            "\n".join(json.dumps({key: row.get(key) for key in names}, allow_nan=False) for row in rows),
            encoding="utf-8",
        )
        known = {column: types[column] for column in names if column in types}
        if len(known) == len(names) and _load_rows(name, file, known, connection=connection):
            return
        inferred = _infer_types(rows, names, file, connection=connection)
        chosen = {key: kind for key in names if (kind := _choose_column_type([row.get(key) for row in rows]))}
        if not any(
            _load_rows(name, file, kinds, connection=connection) for kinds in ({**inferred, **chosen}, inferred)
        ):
            raise ToolFailure(f"The rows of tables[{name!r}] cannot be read as a table.")


def _parse_tree(sql: str, *, connection: "DuckDBPyConnection") -> dict[str, Any]:
    """Return the tree of a query; an empty one if it has none, which its run reports."""
    try:
        return parse_select(sql, connection=connection).tree
    except ToolFailure:
        return {}


def _load_rows(name: str, file: Path, types: dict[str, str], *, connection: "DuckDBPyConnection") -> bool:
    """Create the table `name` from a JSON file; return False if a value does not fit the type of its column."""
    import duckdb  # noqa: PLC0415 - slow to import

    try:
        connection.read_json(str(file), format="newline_delimited", columns=types).create(quote_identifier(name))
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error:
        return False
    return True


def _infer_types(
    rows: list[dict[str, JsonValue]], names: list[str], file: Path, *, connection: "DuckDBPyConnection"
) -> dict[str, str]:
    """Return the types that DuckDB infers for a JSON file, except those that would change a value.

    Different kinds of values in one column are texts without JSON's quotes; whole numbers stay exact.
    """
    # The whole file is sampled: a type inferred from the first rows alone could fail on a later row.
    relation = connection.read_json(str(file), format="newline_delimited", sample_size=-1)
    types = {name: str(kind) for name, kind in zip(relation.columns, relation.types, strict=True)}
    # DuckDB compares the names of columns without regard to case.
    by_name = {name: types.get(name, "VARCHAR") for name in names}
    for name, kind in by_name.items():
        values = [value for row in rows if (value := row.get(name)) is not None]
        if "JSON" in kind and not (kind == "JSON" and any(isinstance(value, dict | list) for value in values)):
            by_name[name] = re.sub(r"\bJSON\b", "VARCHAR", kind)
        elif kind in {"DATE", "TIMESTAMP"} and not all(map(_ISO_START.match, map(str, values))):
            # It infers dates in forms that it cannot read, and reads 24-01-05 as of the year 24.
            by_name[name] = "VARCHAR"
        elif kind == "DOUBLE" and any(type(value) is int and abs(value) > _MAX_EXACT_INTEGER for value in values):
            is_whole = all(type(value) is int and abs(value) < _MAX_HUGE_INTEGER for value in values)
            by_name[name] = "HUGEINT" if is_whole else "VARCHAR"
    return by_name


def _read_types(columns: object) -> dict[str, str]:
    """Return the types in the `columns` of a query's output by name, as values in JSON have them; none if unknown."""
    types: dict[str, str] = {}
    for column in columns if isinstance(columns, list) else ():
        if not isinstance(column, dict) or not isinstance(kind := column.get("type"), str):
            return {}
        # Bytes are in base64, intervals and labels are texts.
        text = _TEXT_TYPES.match(kind) is not None
        types[str(column.get("name"))] = "VARCHAR" if text else kind
    return types


def _name_columns(table: str, tree: Mapping[str, Any], *, taken: Mapping[str, set[str]]) -> dict[str, str]:
    """Return the columns that a query reads of a table of which nothing is known, with the types that it takes them as.

    `taken` are the columns of the other tables by table, all in lower case.
    """
    nodes = list(walk_tree(tree))
    sources = [node for node in nodes if node.get("type") == "BASE_TABLE"]
    aliases = {table.lower()} | {
        str(node.get("alias")).lower() for node in sources if str(node.get("table_name")).lower() == table.lower()
    }
    elsewhere = {column for node in sources for column in taken.get(str(node.get("table_name")).lower(), set())}
    kinds: dict[str, str] = {}
    for node in nodes:
        if node.get("class") == "FUNCTION":
            kind = _FUNCTION_TYPES.get(str(node["function_name"]).lower())
            for child in node.get("children") or () if kind else ():
                if child.get("class") == "COLUMN_REF":
                    kinds[child["column_names"][-1].lower()] = str(kind)
    names = [column for node in nodes for column in node.get("using_columns") or ()]
    for node in nodes:
        if node.get("class") == "COLUMN_REF":
            *qualifier, column = node["column_names"]
            if qualifier[-1].lower() in aliases if qualifier else column.lower() not in elsewhere:
                names.append(column)
    # DuckDB compares names without regard to case.
    return {name: kinds.get(name.lower(), "VARCHAR") for name in {each.lower(): each for each in names}.values()}


def _choose_column_type(values: list[JsonValue]) -> str | None:
    """Return the DuckDB type of a column that JSON does not tell; None if it does.

    Numbers with few digits are decimals, so that 0.1 and 0.2 are 0.3. A decimal that a number cannot hold comes as
    text, among numbers. Numbers among other texts are text.
    """
    present = [value for value in values if value is not None]
    texts = [value for value in present if isinstance(value, str)]
    if texts and len(texts) < len(present) and any(isinstance(value, list | dict) for value in present):
        return None
    zoned = sum(_ZONED_TIME.fullmatch(text) is not None for text in texts)
    if zoned and len(texts) == len(present):
        # The reader of JSON would take them for times without a zone; beside such times they have no common type.
        return "TIMESTAMPTZ" if zoned == len(texts) else "VARCHAR"
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
