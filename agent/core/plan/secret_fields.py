"""Where private values stand in a tool's arguments, at whatever depth: as its JSON Schema says."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache

from pydantic import JsonValue

from agent.core.plan.json_schema import dereferenced, each_inside
from agent.core.plan.references import Place, special
from agent.core.plan.tool_spec import JsonSchema, SchemaKey

#: Words under which schemas of the very same value stand.
_ALSO = ("anyOf", "oneOf", "allOf", "then", "else")


def is_private(schema: JsonSchema) -> bool:
    """Whether `schema` itself is that of a private value, as pydantic writes it for a `SecretStr`."""
    return schema.get("writeOnly") is True and schema.get("format") == "password"


def with_private(schema: JsonSchema, change: Callable[[JsonSchema], JsonSchema]) -> JsonSchema:
    """Return `schema` with that of each private value changed."""
    if is_private(schema):
        return change(schema)
    return {word: each_inside(word, value, lambda inner: with_private(inner, change)) for word, value in schema.items()}


def private_places(schema: JsonSchema, args: Mapping[str, JsonValue]) -> Iterator[tuple[Place, JsonValue]]:
    """Yield each place in `args` where a private value stands, with what is there.

    So does a reference that would fill in something with a private value inside.
    """
    if not _has_private(SchemaKey(schema)):
        return
    holding: dict[int, bool] = {}
    stack = list(_parts((), [schema], args, schema, holding))
    while stack:
        place, wanted, given = stack.pop()
        here = _alike(wanted, schema)
        if special(given) is not None or any(map(is_private, here)):
            yield place, given
        else:
            stack.extend(_parts(place, here, given, schema, holding))


def _parts(
    place: Place, around: Sequence[JsonSchema], given: object, root: JsonSchema, holding: dict[int, bool]
) -> Iterator[tuple[Place, list[JsonSchema], JsonValue]]:
    """Yield the parts of a value in which a private one may stand, with the schemas of each."""
    steps = given.items() if isinstance(given, Mapping) else enumerate(given) if isinstance(given, list) else ()
    alike = _alike(around, root)
    for step, inner in steps:
        found = [each for one in alike for each in _at(one, step)]
        for each in found:
            if id(each) not in holding:
                holding[id(each)] = _holds_private(each, root)
        if any(holding[id(each)] for each in found):
            yield (*place, step), found, inner


@lru_cache(maxsize=2048)
def _has_private(key: SchemaKey) -> bool:
    return _holds_private(key.schema, key.schema)


def _alike(schemas: Sequence[object], root: JsonSchema) -> list[JsonSchema]:
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
            stack.append(dereferenced(one, root))
        for word in _ALSO:
            under = one.get(word)
            stack += under if isinstance(under, list) else [under]
    return found


def _at(schema: JsonSchema, step: str | int) -> list[JsonSchema]:
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


def _holds_private(schema: JsonSchema, root: JsonSchema) -> bool:
    """Whether a value of `schema` can have a private one inside, or be one."""
    seen: set[int] = set()
    stack = [schema]
    while stack:
        for one in _alike([stack.pop()], root):
            if id(one) in seen:
                continue
            seen.add(id(one))
            if is_private(one):
                return True
            for word, value in one.items():
                each_inside(word, value, _collecting(stack))
    return False


def _collecting(into: list[JsonSchema]) -> Callable[[JsonSchema], JsonSchema]:
    def take(schema: JsonSchema) -> JsonSchema:
        into.append(schema)
        return schema

    return take
