"""Finds the secret values in a tool's arguments, at any depth, by its JSON Schema, and the secrets that they name."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache

from pydantic import JsonValue

from agent.core.plan.json_schema import dereference_schema, map_subschemas
from agent.core.plan.references import JsonPath, parse_reference
from agent.core.plan.tool_spec import JsonSchema, SchemaKey

#: Keywords whose schemas apply to the same value as the schema that has the keyword.
_BRANCH_KEYWORDS = ("anyOf", "oneOf", "allOf", "then", "else")
#: What stands in a plan for a secret: its name.
SECRET_REFERENCE = re.compile("secret:([A-Za-z0-9_]+)")


def is_secret_schema(schema: JsonSchema) -> bool:
    """Whether `schema` is that of a secret, as pydantic writes it for a `SecretStr`."""
    return schema.get("writeOnly") is True and schema.get("format") == "password"


def map_secret_schemas(schema: JsonSchema, change: Callable[[JsonSchema], JsonSchema]) -> JsonSchema:
    """Return `schema` with the schema of each secret in it changed."""
    if is_secret_schema(schema):
        return change(schema)
    return {
        keyword: map_subschemas(keyword, value, lambda inner: map_secret_schemas(inner, change))
        for keyword, value in schema.items()
    }


def find_secret_values(schema: JsonSchema, args: Mapping[str, JsonValue]) -> Iterator[tuple[JsonPath, JsonValue]]:
    """Yield the place and the value of each secret in `args`.

    A reference whose value would contain a secret is yielded too.
    """
    if not _has_secret(SchemaKey(schema)):
        return
    has_secret: dict[int, bool] = {}
    stack = list(_find_parts((), [schema], args, schema, has_secret))
    while stack:
        place, schemas, value = stack.pop()
        expanded = _expand_schemas(schemas, schema)
        if parse_reference(value) is not None or any(map(is_secret_schema, expanded)):
            yield place, value
        else:
            stack.extend(_find_parts(place, expanded, value, schema, has_secret))


def parse_secret_name(value: JsonValue) -> str | None:
    """Return the name that a value gives in place of a secret; None if the value is anything else."""
    found = SECRET_REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return found[1] if found else None


def find_named_secrets(schema: JsonSchema, args: Mapping[str, JsonValue]) -> dict[JsonPath, str]:
    """Return the secrets that `args` name, as they stand in a plan, by place."""
    found = ((place, parse_secret_name(value)) for place, value in find_secret_values(schema, args))
    return {place: name for place, name in found if name is not None}


def _find_parts(
    place: JsonPath, schemas: Sequence[JsonSchema], value: object, root: JsonSchema, has_secret: dict[int, bool]
) -> Iterator[tuple[JsonPath, list[JsonSchema], JsonValue]]:
    """Yield the members of a value that may contain a secret, each with its place and its schemas.

    `has_secret` caches by the identity of a schema whether a value of it can contain one.
    """
    members = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    expanded = _expand_schemas(schemas, root)
    for step, inner in members:
        found = [each for one in expanded for each in _get_schemas_at(one, step)]
        for each in found:
            if id(each) not in has_secret:
                has_secret[id(each)] = _contains_secret(each, root)
        if any(has_secret[id(each)] for each in found):
            yield (*place, step), found, inner


@lru_cache(maxsize=2048)
def _has_secret(key: SchemaKey) -> bool:
    return _contains_secret(key.schema, key.schema)


def _expand_schemas(schemas: Sequence[object], root: JsonSchema) -> list[JsonSchema]:
    """Return the schemas with all others that apply to the same value: what they refer to, and their branches."""
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
        for keyword in _BRANCH_KEYWORDS:
            branch = one.get(keyword)
            stack += branch if isinstance(branch, list) else [branch]
    return found


def _get_schemas_at(schema: JsonSchema, step: str | int) -> list[JsonSchema]:
    """Return the schemas of the member at `step` of a value of `schema`."""
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
    """Whether a value of `schema` can contain a secret, or be one."""
    seen: set[int] = set()
    stack = [schema]

    def push(inner: JsonSchema) -> JsonSchema:
        stack.append(inner)
        return inner

    while stack:
        for one in _expand_schemas([stack.pop()], root):
            if id(one) in seen:
                continue
            seen.add(id(one))
            if is_secret_schema(one):
                return True
            for keyword, value in one.items():
                map_subschemas(keyword, value, push)
    return False
