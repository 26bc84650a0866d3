"""The part of a JSON Schema that a validator can use as it stands, without asking anyone for more."""

from collections.abc import Callable
from functools import partial

from agent.core.schema import dereferenced, sound_type
from agent.core.tool import JsonSchema

_SCHEMA_MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_SCHEMA_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_SCHEMAS = frozenset(
    {
        *("items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames"),
        *("unevaluatedItems", "unevaluatedProperties"),
    }
)


def known_words(schema: JsonSchema) -> JsonSchema:
    """Return `schema` without what a validator would stumble over.

    Those are words of `type` that JSON Schema does not know, and references that lead out of the document or nowhere:
    nothing is fetched.
    """
    return _known_words(schema, root=schema)


def each_inside(word: str, value: object, change: Callable[[JsonSchema], JsonSchema]) -> object:
    """Return what stands under `word` with each schema in it changed; `enum`, `default` and their like hold values."""
    if isinstance(value, dict) and word in _SCHEMA_MAPS:
        return {name: change(inner) if isinstance(inner, dict) else inner for name, inner in value.items()}
    if isinstance(value, list) and word in _SCHEMA_LISTS:
        return [change(inner) if isinstance(inner, dict) else inner for inner in value]
    return change(value) if isinstance(value, dict) and word in _SCHEMAS else value


def _known_words(schema: JsonSchema, *, root: JsonSchema) -> JsonSchema:
    inside = partial(_known_words, root=root)
    return {
        word: each_inside(word, value, inside)
        for word, value in schema.items()
        if not (word == "type" and not sound_type(value))
        and not (word == "$ref" and (isinstance(value, str) and not dereferenced(schema, root)))
        and not (word in {"$dynamicRef", "$id"} and isinstance(value, str))
    }
