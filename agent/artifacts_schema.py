"""The schema of a value that nobody described."""

from collections.abc import Sequence

from pydantic import JsonValue

from agent.core.schema import type_of
from agent.core.tool import JsonSchema

_DEPTH = 5
_ITEMS = 100
_PROPERTIES = 50


def schema_of(value: JsonValue) -> JsonSchema:
    """Return a JSON Schema that says what `value` looks like, of long lists judged by their first hundred items."""
    return _schema([value], depth=_DEPTH)


def _schema(values: Sequence[JsonValue], *, depth: int) -> JsonSchema:
    kinds = {type_of(value) for value in values}
    if "number" in kinds:
        kinds.discard("integer")
    schema: JsonSchema = {"type": kinds.pop() if len(kinds) == 1 else sorted(kinds)}
    if depth == 0:
        return schema
    objects = [value for value in values if isinstance(value, dict)]
    keys = list(dict.fromkeys(key for value in objects for key in value))[:_PROPERTIES]
    if keys:
        schema["properties"] = {
            key: _schema([value[key] for value in objects if key in value], depth=depth - 1) for key in keys
        }
    items = [item for value in values if isinstance(value, list) for item in value[:_ITEMS]][:_ITEMS]
    if items:
        schema["items"] = _schema(items, depth=depth - 1)
    return schema
