"""Questions about JSON Schemas: the subschema at a path, and whether an output may fit an argument.

Both answers are cautious: only what a schema rules out counts. A `type` that JSON Schema does not know is ignored. The
listed `properties` count as complete unless another keyword allows more; a list counts as having items.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from urllib.parse import unquote

from pydantic import JsonValue

from agent.core.plan.references import JsonPath
from agent.core.plan.tool_spec import JsonSchema

_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
_TYPE_NAMES = {
    "string": "a text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_MAX_DEPTH = 12
#: Keywords that let an object have more properties than `properties` lists.
_OPENING_KEYWORDS = frozenset(
    {"patternProperties", "allOf", "anyOf", "oneOf", "$ref", "$dynamicRef", "if", "dependentSchemas"}
)
#: Keywords whose value is a map of schemas, a list of schemas, or one schema.
SCHEMA_MAP_KEYWORDS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
SCHEMA_LIST_KEYWORDS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
SCHEMA_KEYWORDS = frozenset(
    {
        *("items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames"),
        *("unevaluatedItems", "unevaluatedProperties"),
    }
)


class NoSuchPath(LookupError):  # noqa: N818 - says what it is
    """A schema rules out a path; the message completes "the output of 'x' ..."."""


def get_subschema(schema: JsonSchema, path: JsonPath, *, root: JsonSchema) -> JsonSchema:
    """Return the schema of the value at `path`; `{}` if nothing is known. Raises `NoSuchPath` if it is ruled out."""
    if not path:
        return schema
    step, rest = path[0], path[1:]
    found: list[JsonSchema] = []
    errors: list[NoSuchPath] = []
    for branch in branches(schema, root):
        if branch.get("type") == "null":
            continue
        try:
            found.append(_descend_into(branch, step, rest, root))
        except NoSuchPath as error:
            errors.append(error)
    if not found and errors:
        raise errors[0]
    return found[0] if len(found) == 1 else {"anyOf": found} if found and {} not in found else {}


def _descend_into(schema: JsonSchema, step: str | int, rest: JsonPath, root: JsonSchema) -> JsonSchema:
    kinds = find_allowed_types(schema, root)
    is_counting = isinstance(step, int) or (step == "*" and (kinds is None or "array" in kinds))
    if kinds is not None and ("array" if is_counting else "object") not in kinds:
        part = f"item {step}" if isinstance(step, int) else "items" if step == "*" else repr(step)
        raise NoSuchPath(f"is {describe_types(kinds)}, which has no {part}")
    if is_counting:
        inner = get_subschema(_get_items_schema(schema), rest, root=root)
        return {"type": "array", "items": inner} if step == "*" else inner
    properties = schema.get("properties")
    if isinstance(properties, dict) and step in properties:
        return get_subschema(as_schema(properties[step]), rest, root=root)
    if isinstance(properties, dict) and is_closed_object(schema):
        raise NoSuchPath(f"has no {step!r}; it has {', '.join(map(repr, properties)) or 'nothing'}")
    return (
        get_subschema(as_schema(schema.get("additionalProperties")), rest, root=root) if "allOf" not in schema else {}
    )


def _get_items_schema(schema: JsonSchema) -> JsonSchema:
    return {} if "prefixItems" in schema else as_schema(schema.get("items"))


def get_argument_schema(schema: JsonSchema, place: JsonPath) -> JsonSchema:
    """Return the schema of the argument at `place`; `{}` if nothing is known about it."""
    try:
        return get_subschema(schema, place, root=schema)
    except NoSuchPath:
        return {}


def find_mismatch(
    producer: JsonSchema, consumer: JsonSchema, *, roots: tuple[JsonSchema, JsonSchema], depth: int = 0
) -> str | None:
    """Return why no value of `producer` can be a value of `consumer`; None if one may be.

    `roots` are the documents in which the local references of each are looked up. The reason completes a sentence that
    begins with "it": "gives a text where a number is expected".
    """
    if depth > _MAX_DEPTH:
        return None
    reasons: list[str] = []
    for given in branches(producer, roots[0]):
        for wanted in branches(consumer, roots[1]):
            reason = _find_pair_mismatch(given, wanted, roots, depth)
            if reason is None:
                return None
            reasons.append(reason)
    if not reasons:
        return None
    given_types, wanted_types = find_allowed_types(producer, roots[0]), find_allowed_types(consumer, roots[1])
    if given_types and wanted_types and not _intersect_types(given_types, wanted_types):
        return _describe_mismatch(given_types, wanted_types)
    return reasons[0]


def _find_pair_mismatch(
    given: JsonSchema, wanted: JsonSchema, roots: tuple[JsonSchema, JsonSchema], depth: int
) -> str | None:
    given_types, wanted_types = find_allowed_types(given, roots[0]), find_allowed_types(wanted, roots[1])
    if given_types is None or wanted_types is None:
        return None
    common = _intersect_types(given_types, wanted_types)
    if not common:
        return _describe_mismatch(given_types, wanted_types)
    if common == {"array"}:
        inner = find_mismatch(_get_items_schema(given), _get_items_schema(wanted), roots=roots, depth=depth + 1)
        return inner and f"{inner} in its items"
    if common == {"object"}:
        return _find_object_mismatch(given, wanted, roots, depth)
    values, allowed = given.get("enum"), wanted.get("enum")
    if isinstance(values, list) and isinstance(allowed, list) and not any(value in allowed for value in values):
        return f"gives one of {values!r} where one of {allowed!r} is expected"
    return None


def _find_object_mismatch(
    given: JsonSchema, wanted: JsonSchema, roots: tuple[JsonSchema, JsonSchema], depth: int
) -> str | None:
    have, want = as_schema(given.get("properties")), as_schema(wanted.get("properties"))
    if is_closed_object(given):
        for name in wanted.get("required", []):
            if name not in have:
                return f"has no {name!r}, which is required"
    for name in wanted.get("required", []):
        if name not in have or name not in want:
            continue
        inner = find_mismatch(as_schema(have[name]), as_schema(want[name]), roots=roots, depth=depth + 1)
        if inner:
            return f"{inner} at {name!r}"
    return None


def _intersect_types(given: frozenset[str], wanted: frozenset[str]) -> set[str]:
    both = set(given & wanted)
    if "integer" in given and "number" in wanted:
        both.add("integer")
    if "number" in given and "integer" in wanted:
        both.add("number")
    return both


def _describe_mismatch(given: frozenset[str], wanted: frozenset[str]) -> str:
    return f"gives {describe_types(given)} where {describe_types(wanted)} is expected"


def find_allowed_types(schema: JsonSchema, root: JsonSchema) -> frozenset[str] | None:
    """Return the JSON types that `schema` allows; None if it does not say."""
    found: set[str] = set()
    for branch in branches(schema, root):
        declared = branch.get("type")
        words = [declared] if isinstance(declared, str) else declared if isinstance(declared, list) else None
        if words is not None and is_valid_type(words):
            found.update(words)
        elif words is None and ("enum" in branch or "const" in branch):
            found.update(get_json_type(value) for value in branch.get("enum", [branch.get("const")]))
        else:
            return None
    return frozenset(found)


def is_valid_type(declared: object) -> bool:
    """Whether `declared`, the value of a `type` keyword, is a JSON type or a list of JSON types."""
    words: Iterable[object] = declared if isinstance(declared, list) else [declared]
    return declared != [] and all(isinstance(word, str) and word in _TYPES for word in words)


def get_json_type(value: JsonValue) -> str:
    """Return the narrowest JSON type of `value`."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def describe_types(kinds: frozenset[str]) -> str:
    """Return JSON types in words: "a text or null"."""
    return " or ".join(_TYPE_NAMES[kind] for kind in sorted(kinds, key=list(_TYPE_NAMES).index)) or "nothing"


def branches(schema: JsonSchema, root: JsonSchema) -> list[JsonSchema]:
    """Return the alternatives of `schema`: those of `anyOf` or `oneOf`, or `schema` itself, with `$ref` followed."""
    found: list[JsonSchema] = []
    seen: set[int] = set()
    stack = [schema]
    while stack:
        one = dereference_schema(stack.pop(), root)
        if id(one) in seen:
            continue
        seen.add(id(one))
        options = one.get("anyOf") or one.get("oneOf")
        if isinstance(options, list):
            stack.extend(as_schema(option) for option in reversed(options) if option is not False)
        else:
            found.append(one)
    return found


def dereference_schema(schema: JsonSchema, root: JsonSchema) -> JsonSchema:
    """Follow a local `$ref`; a remote or endless one gives `{}`."""
    for _ in range(_MAX_DEPTH):
        ref = schema.get("$ref")
        if not isinstance(ref, str):
            return schema
        target = find_reference_target(ref, root)
        if target is None:
            return {}
        schema = target
    return {}


def find_reference_target(reference: str, root: JsonSchema) -> JsonSchema | None:
    """Return the schema in the document `root` to which a `$ref` leads; None if it leads out of it or nowhere."""
    target: object = root
    steps = reference.removeprefix("#/").split("/") if reference.startswith("#/") else ["?"]
    for step in [] if reference == "#" else steps:
        name = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(target, list):
            target = target[int(name)] if name.isdecimal() and int(name) < len(target) else None
        else:
            target = target.get(name) if isinstance(target, dict) else None
    return target if isinstance(target, dict) else {} if target is True else None


def as_schema(schema: object) -> JsonSchema:
    """Return `schema` if it is an object, else `{}`: `true`, or something that is not a schema."""
    return schema if isinstance(schema, dict) else {}


def is_closed_object(schema: JsonSchema) -> bool:
    """Whether an object can have no properties besides those that `properties` lists."""
    return (
        "properties" in schema
        and schema.get("additionalProperties", False) is False
        and not any(schema.get(word) for word in _OPENING_KEYWORDS)
    )


def iterate_properties(schema: JsonSchema) -> Iterator[tuple[str, JsonSchema]]:
    """Yield the named properties of an object schema with their schemas."""
    listed = schema.get("properties")
    for name, inner in listed.items() if isinstance(listed, dict) else ():
        if isinstance(inner, dict):
            yield name, inner


def drop_unsupported_keywords(schema: JsonSchema, *, root: JsonSchema | None = None) -> JsonSchema:
    """Return `schema` without what would make a validator fail or fetch something.

    Those are types that JSON Schema does not know, and references that lead out of the document or nowhere. `root` is
    the document in which references are looked up; None: `schema` itself.
    """
    root = schema if root is None else root
    inside = partial(drop_unsupported_keywords, root=root)
    return {
        keyword: map_subschemas(keyword, value, inside)
        for keyword, value in schema.items()
        if not (keyword == "type" and not is_valid_type(value))
        and not (keyword == "$ref" and (isinstance(value, str) and not dereference_schema(schema, root)))
        and not (keyword in {"$dynamicRef", "$id"} and isinstance(value, str))
    }


def map_subschemas(keyword: str, value: object, change: Callable[[JsonSchema], JsonSchema]) -> object:
    """Return the value of `keyword` with each schema directly in it changed.

    A keyword such as `enum` or `default`, which contains values and not schemas, keeps its value.
    """
    if isinstance(value, dict) and keyword in SCHEMA_MAP_KEYWORDS:
        return {name: change(inner) if isinstance(inner, dict) else inner for name, inner in value.items()}
    if isinstance(value, list) and keyword in SCHEMA_LIST_KEYWORDS:
        return [change(inner) if isinstance(inner, dict) else inner for inner in value]
    return change(value) if isinstance(value, dict) and keyword in SCHEMA_KEYWORDS else value
