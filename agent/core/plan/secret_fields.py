"""Where private values stand in a tool's arguments, at whatever depth: as its JSON Schema says."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache

from pydantic import JsonValue

from agent.core.plan.json_schema import dereference_schema, map_subschemas
from agent.core.plan.references import JsonPath, parse_reference
from agent.core.plan.tool_spec import JsonSchema, SchemaKey

#: Words under which schemas of the very same value stand.
_BRANCH_KEYWORDS = ("anyOf", "oneOf", "allOf", "then", "else")


def is_secret_schema(schema: JsonSchema) -> bool:
    """Whether `schema` itself is that of a private value, as pydantic writes it for a `SecretStr`."""
    return schema.get("writeOnly") is True and schema.get("format") == "password"


def map_secret_schemas(schema: JsonSchema, change: Callable[[JsonSchema], JsonSchema]) -> JsonSchema:
    """Return `schema` with that of each private value changed."""
    if is_secret_schema(schema):
        return change(schema)
    return {
        word: map_subschemas(word, value, lambda inner: map_secret_schemas(inner, change))
        for word, value in schema.items()
    }


def find_secret_values(schema: JsonSchema, args: Mapping[str, JsonValue]) -> Iterator[tuple[JsonPath, JsonValue]]:
    """Yield each place in `args` where a private value stands, with what is there.

    So does a reference that would fill in something with a private value inside.
    """
    if not _has_secret(SchemaKey(schema)):
        return
    holding: dict[int, bool] = {}
    stack = list(_find_parts((), [schema], args, schema, holding))
    while stack:
        place, wanted, given = stack.pop()
        here = _expand_schemas(wanted, schema)
        if parse_reference(given) is not None or any(map(is_secret_schema, here)):
            yield place, given
        else:
            stack.extend(_find_parts(place, here, given, schema, holding))


def _find_parts(
    place: JsonPath, around: Sequence[JsonSchema], given: object, root: JsonSchema, holding: dict[int, bool]
) -> Iterator[tuple[JsonPath, list[JsonSchema], JsonValue]]:
    """Yield the parts of a value in which a private one may stand, with the schemas of each."""
    steps = given.items() if isinstance(given, Mapping) else enumerate(given) if isinstance(given, list) else ()
    alike = _expand_schemas(around, root)
    for step, inner in steps:
        found = [each for one in alike for each in _get_schemas_at(one, step)]
        for each in found:
            if id(each) not in holding:
                holding[id(each)] = _contains_secret(each, root)
        if any(holding[id(each)] for each in found):
            yield (*place, step), found, inner


@lru_cache(maxsize=2048)
def _has_secret(key: SchemaKey) -> bool:
    return _contains_secret(key.schema, key.schema)


def _expand_schemas(schemas: Sequence[object], root: JsonSchema) -> list[JsonSchema]:
    """Return the schemas with all others that are of the same value: what they refer to, and their branches."""
    found: list[JsonSchema] = []
    seen: set[int] = set()
    stack = list(schemas)
    while stack:
        one = stack.pop()
        if not isinstance(one, dict) or id(one) in seen:
            continue
        seen.add(id(one))
        found.append(one)
        if "$ref" in one:
            stack.append(dereference_schema(one, root))
        for word in _BRANCH_KEYWORDS:
            under = one.get(word)
            stack += under if isinstance(under, list) else [under]
    return found


def _get_schemas_at(schema: JsonSchema, step: str | int) -> list[JsonSchema]:
    """Return the schemas of what stands at `step` within a value of `schema`."""
    found: list[object]
    if isinstance(step, int):
        first = schema.get("prefixItems")
        found = [*(first[step : step + 1] if isinstance(first, list) else []), schema.get("items")]
    else:
        listed, patterns = schema.get("properties"), schema.get("patternProperties")
        named = listed.get(step) if isinstance(listed, dict) else None
        others = [*(patterns.values() if isinstance(patterns, dict) else []), schema.get("additionalProperties")]
        found = [named] if named is not None else others
    return [each for each in found if isinstance(each, dict)]


def _contains_secret(schema: JsonSchema, root: JsonSchema) -> bool:
    """Whether a value of `schema` can have a private one inside, or be one."""
    seen: set[int] = set()
    stack = [schema]
    while stack:
        for one in _expand_schemas([stack.pop()], root):
            if id(one) in seen:
                continue
            seen.add(id(one))
            if is_secret_schema(one):
                return True
            for word, value in one.items():
                map_subschemas(word, value, _make_collector(stack))
    return False


def _make_collector(into: list[JsonSchema]) -> Callable[[JsonSchema], JsonSchema]:
    def take(schema: JsonSchema) -> JsonSchema:
        into.append(schema)
        return schema

    return take
