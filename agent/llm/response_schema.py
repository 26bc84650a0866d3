"""A JSON Schema in the form that a model's server accepts, and replies to it in the form of the original schema."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from jsonschema import Draft202012Validator

from agent.core.plan.tool_spec import JsonSchema

_MAX_PROPERTIES: Final = 5_000
_MAX_DEPTH: Final = 10
_MAX_CHARACTERS: Final = 120_000
_MAX_ENUM_VALUES: Final = 1_000
_LONG_ENUM: Final = 250
_MAX_LONG_ENUM_CHARACTERS: Final = 15_000


def find_exceeded_limits(schema: JsonSchema) -> str | None:
    """Return a sentence that names the limits of strict mode that a schema exceeds; None if it exceeds none."""
    parts = list(_walk_schema(schema, level=0))
    names = [name for part, _ in parts for word in ("properties", "$defs") for name in part.get(word, {})]
    lists = [part["enum"] for part, _ in parts if isinstance(part.get("enum"), list)]
    values = [value for each in lists for value in each] + [part["const"] for part, _ in parts if "const" in part]
    counted = (
        ("properties", sum(len(part.get("properties", {})) for part, _ in parts), _MAX_PROPERTIES),
        ("levels of objects", max((level for _, level in parts), default=0), _MAX_DEPTH),
        (
            "characters of names and values",
            sum(map(len, names)) + sum(len(str(value)) for value in values),
            _MAX_CHARACTERS,
        ),
        ("values in lists of choices", sum(map(len, lists)), _MAX_ENUM_VALUES),
        (
            "characters in one list of choices",
            max((sum(map(len, each)) for each in lists if len(each) > _LONG_ENUM and _is_string_list(each)), default=0),
            _MAX_LONG_ENUM_CHARACTERS,
        ),
    )
    found = [f"{number} {what}, at most {most}" for what, number, most in counted if number > most]
    return f"The schema has {'; '.join(found)}." if found else None


def _walk_schema(part: JsonSchema, *, level: int) -> Iterator[tuple[JsonSchema, int]]:
    """Yield each schema within `part` with the number of objects around it."""
    level += "properties" in part
    yield part, level
    for word in ("properties", "$defs"):
        start = 0 if word == "$defs" else level
        for inner in part.get(word, {}).values():
            yield from _walk_schema(inner, level=start)
    for inner in part.get("anyOf", ()):
        yield from _walk_schema(inner, level=level)
    if isinstance(part.get("items"), Mapping):
        yield from _walk_schema(part["items"], level=level)


def _is_string_list(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


#: What the strict mode of OpenAI's structured outputs understands; other keywords only narrow, and the reply is
#: checked against the whole schema anyway. Source: the guide "Structured model outputs", "Supported schemas".
_STRICT_KEYWORDS: Final = frozenset(
    {
        *("type", "enum", "const", "title", "description", "pattern", "minItems", "maxItems"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    }
)
_NULL_SCHEMA: Final[JsonSchema] = {"type": "null"}
#: A small model may never stop writing a string or a list that has no limit.
_MAX_LENGTH: Final = 1000
_MAX_ITEMS: Final = 20


class _UnsupportedSchemaError(Exception):
    """Raised inside this module for a schema that strict mode cannot express."""


def to_strict_schema(schema: JsonSchema) -> JsonSchema | None:
    """Return `schema` in the subset of OpenAI's strict mode, or None if it cannot be expressed there or is too large.

    Every object is closed and has all of its properties required; a property that was optional allows null instead,
    which `remove_optional_nulls` removes again. Objects of any shape, tuples and mixed `allOf` cannot be expressed.
    """
    try:
        strict = _to_strict(schema)
        definitions = {name: _to_strict(part) for name, part in schema.get("$defs", {}).items()}
    except _UnsupportedSchemaError:
        return None
    if strict.get("type") != "object":
        return None
    whole = strict | ({"$defs": definitions} if definitions else {})
    return None if find_exceeded_limits(whole) else whole


def add_size_limits(schema: JsonSchema, *, max_length: int = _MAX_LENGTH, max_items: int = _MAX_ITEMS) -> JsonSchema:
    """Return `schema` with a limit for every string (characters) and every list (items) that has none."""

    def limit_part(part: JsonSchema) -> JsonSchema:
        kinds = _get_types(part)
        limits: JsonSchema = {}
        if "string" in kinds and not part.keys() & {"enum", "const", "maxLength"}:
            limits["maxLength"] = max(max_length, part.get("minLength", 0))
        if "array" in kinds and "maxItems" not in part:
            limits["maxItems"] = max(max_items, part.get("minItems", 0))
        return _map_parts(part, change=limit_part) | limits

    return limit_part(schema)


def remove_optional_nulls(value: Any, *, schema: JsonSchema) -> Any:  # noqa: ANN401 - a JSON value
    """Return `value` without the nulls that stand for an optional property that was left out.

    A null is removed only if its property is optional and `schema` does not allow null there.
    """
    return _prune_nulls(value, schema, schema.get("$defs", {}))


def _to_strict(part: JsonSchema) -> JsonSchema:
    if "$ref" in part:
        if not part["$ref"].startswith("#/$defs/"):
            raise _UnsupportedSchemaError
        return {"$ref": part["$ref"]}
    match part.get("allOf"):
        case [only]:
            return _to_strict(only | {key: value for key, value in part.items() if key != "allOf"})
        case list():
            raise _UnsupportedSchemaError
    strict = {key: value for key, value in part.items() if key in _STRICT_KEYWORDS}
    choices = [*part.get("anyOf", ()), *part.get("oneOf", ())]
    if choices:
        return {key: strict[key] for key in ("title", "description") if key in strict} | {
            "anyOf": [_to_strict(choice) for choice in choices]
        }
    kinds = _get_types(part)
    if not kinds and not part.keys() & {"enum", "const"}:
        raise _UnsupportedSchemaError
    if "object" in kinds:
        strict |= _close_object(part)
    if "array" in kinds:
        if not isinstance(part.get("items"), dict) or "prefixItems" in part:
            raise _UnsupportedSchemaError
        strict["items"] = _to_strict(part["items"])
    return strict


def _close_object(part: JsonSchema) -> JsonSchema:
    properties: JsonSchema = part.get("properties", {})
    if part.get("additionalProperties", not properties) is not False or "patternProperties" in part:
        raise _UnsupportedSchemaError
    required = part.get("required", ())
    return {
        "properties": {
            name: _to_strict(each) if name in required else _make_nullable(_to_strict(each))
            for name, each in properties.items()
        },
        "required": list(properties),
        "additionalProperties": False,
    }


def _make_nullable(strict: JsonSchema) -> JsonSchema:
    kinds = _get_types(strict)
    if "null" in kinds or _NULL_SCHEMA in strict.get("anyOf", ()):
        return strict
    if "anyOf" in strict:
        return strict | {"anyOf": [*strict["anyOf"], _NULL_SCHEMA]}
    if kinds and not strict.keys() & {"enum", "const"}:
        return strict | {"type": [*kinds, "null"]}
    return {"anyOf": [strict, _NULL_SCHEMA]}


def _get_types(part: JsonSchema) -> list[str]:
    kinds = part.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _map_parts(part: JsonSchema, *, change: Callable[[JsonSchema], JsonSchema]) -> JsonSchema:
    """Return `part` with `change` made to each schema directly inside it."""
    changed = dict(part)
    for key in ("properties", "$defs", "patternProperties"):
        if key in part:
            changed[key] = {name: change(each) for name, each in part[key].items()}
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if key in part:
            changed[key] = [change(each) for each in part[key]]
    for key in ("items", "additionalProperties"):
        if isinstance(part.get(key), dict):
            changed[key] = change(part[key])
    return changed


def _prune_nulls(value: Any, part: JsonSchema, definitions: Mapping[str, JsonSchema]) -> Any:  # noqa: ANN401
    if "$ref" in part:
        return _prune_nulls(value, definitions.get(part["$ref"].removeprefix("#/$defs/"), {}), definitions)
    choices = [*part.get("anyOf", ()), *part.get("oneOf", ()), *part.get("allOf", ())]
    for choice in choices:
        candidate = _prune_nulls(value, choice, definitions)
        if _is_valid(choice, candidate, definitions):
            return candidate
    if isinstance(value, list) and isinstance(part.get("items"), dict):
        return [_prune_nulls(each, part["items"], definitions) for each in value]
    if isinstance(value, dict):
        properties: JsonSchema = part.get("properties", {})
        required = part.get("required", ())
        return {
            name: _prune_nulls(each, properties.get(name, {}), definitions)
            for name, each in value.items()
            if each is not None
            or name not in properties
            or name in required
            or _is_valid(properties[name], None, definitions)
        }
    return value


def _is_valid(part: JsonSchema, value: Any, definitions: Mapping[str, JsonSchema]) -> bool:  # noqa: ANN401
    return Draft202012Validator(part | {"$defs": dict(definitions)}).is_valid(value)
