"""DuckDB values as JSON values, and DuckDB types as JSON Schemas."""

import base64
import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING

from pydantic import JsonValue

from agent.core.plan.tool_spec import JsonSchema

if TYPE_CHECKING:
    from duckdb.sqltypes import DuckDBPyType

_INTEGERS = frozenset(
    {"tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint", "uhugeint"}
)
_FORMATS = {"date": "date", "time": "time", "uuid": "uuid"}


def cell_to_json(value: object) -> JsonValue:
    """Return a fetched value as JSON: dates in ISO 8601, bytes in base64, no NaN or infinity.

    A decimal is a number if that keeps each digit, else its text.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Decimal():
            return _decimal_to_json(value) if value.is_finite() else None
        case datetime() | date() | time():
            return value.isoformat()
        case bytes():
            return base64.b64encode(value).decode()
        case Mapping():
            return {str(key): cell_to_json(inner) for key, inner in value.items()}
        case list() | tuple():
            return [cell_to_json(inner) for inner in value]
        case _:
            return str(value)


def _decimal_to_json(value: Decimal) -> float | int | str:
    number = float(value)
    if Decimal(repr(number)) == value:
        return number
    return int(value) if value == value.to_integral_value() else str(value)


def build_cell_schema(kind: "DuckDBPyType") -> JsonSchema:
    """Return the JSON Schema of what `cell_to_json` returns for a column of this type; null is always allowed.

    Decimals are numbers in it, although one of more than 15 digits may be text: whatever calculates takes both.
    """
    name = kind.id
    if name in _INTEGERS:
        return {"type": ["integer", "null"]}
    if name in {"decimal", "double", "float"}:
        return {"type": ["number", "null"]}
    if name == "boolean":
        return {"type": ["boolean", "null"]}
    if name in {"list", "array"}:
        return {"type": ["array", "null"], "items": next(iter(_build_part_schemas(kind).values()))}
    if name == "struct":
        return {"type": ["object", "null"], "properties": _build_part_schemas(kind)}
    if name == "map":
        return {"type": ["object", "null"]}
    if name in {"sqlnull", "null", "union", "variant"}:
        return {}
    text: JsonSchema = {"type": ["string", "null"]}
    if name.startswith("timestamp"):
        return {**text, "format": "date-time"}
    return {**text, "format": _FORMATS[name]} if name in _FORMATS else text


def _build_part_schemas(kind: "DuckDBPyType") -> dict[str, JsonSchema]:
    """Return the schemas of a nested type's parts by name; the length of an array is not a type and is left out."""
    from duckdb.sqltypes import DuckDBPyType  # noqa: PLC0415 - slow to import

    return {name: build_cell_schema(part) for name, part in kind.children if isinstance(part, DuckDBPyType)}


def deduplicate_names(names: Iterable[str]) -> list[str]:
    """Return `names` with a number appended to repeated ones, so that a row can be a JSON object."""
    seen: set[str] = set()
    unique = []
    for name in names:
        candidate, number = name, 1
        while candidate in seen:
            number += 1
            candidate = f"{name}_{number}"
        seen.add(candidate)
        unique.append(candidate)
    return unique
