"""A JSON Schema as a model's server takes it, and the way back for what was written to it."""

from collections.abc import Mapping
from typing import Any, Final

from jsonschema import Draft202012Validator

from agent.core.tool import JsonSchema

#: What the strict mode of OpenAI's structured outputs understands; other keywords only narrow, and the reply is
#: checked against the whole schema anyway. Source: the guide "Structured model outputs", "Supported schemas".
_STRICT_KEYWORDS: Final = frozenset(
    ("type", "enum", "const", "description", "title", "pattern", "minItems", "maxItems")
    + ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
)
_NULL: Final[JsonSchema] = {"type": "null"}
#: A small model fills what has no end: these end it.
_MAX_LENGTH: Final = 1000
_MAX_ITEMS: Final = 20


class _NotStrict(Exception):
    """Raised inside this module where a schema admits something that the strict mode cannot say."""


def strict_schema(schema: JsonSchema) -> JsonSchema | None:
    """Return `schema` in the subset of OpenAI's strict mode, or None if it cannot be said there.

    Every object is closed and has all of its properties required; one that was optional admits null instead,
    which `without_nulls` takes out again. Objects of any shape, tuples and mixed `allOf` cannot be said.
    """
    try:
        strict = _strict(schema)
        definitions = {name: _strict(part) for name, part in schema.get("$defs", {}).items()}
    except _NotStrict:
        return None
    if strict.get("type") != "object":
        return None
    return strict | ({"$defs": definitions} if definitions else {})


def bounded(schema: JsonSchema, *, max_length: int = _MAX_LENGTH, max_items: int = _MAX_ITEMS) -> JsonSchema:
    """Return `schema` with an end to every string and every list that has none."""

    def bound(part: JsonSchema) -> JsonSchema:
        kinds = _kinds(part)
        limits: JsonSchema = {}
        if "string" in kinds and not part.keys() & {"enum", "const", "maxLength"}:
            limits["maxLength"] = max(max_length, part.get("minLength", 0))
        if "array" in kinds and "maxItems" not in part:
            limits["maxItems"] = max(max_items, part.get("minItems", 0))
        return _each_part(part, change=bound) | limits

    return bound(schema)


def without_nulls(value: Any, *, schema: JsonSchema) -> Any:  # noqa: ANN401 - a JSON value
    """Return `value` without the nulls that stand for an optional property left out.

    A null goes only where its property is optional and `schema` does not admit null there.
    """
    return _pruned(value, schema, schema.get("$defs", {}))
