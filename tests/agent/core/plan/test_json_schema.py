"""What schemas say of each other: only what is ruled out counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from agent.core.plan.json_schema import (
    NoSuchPath,
    branches,
    drop_unsupported_keywords,
    find_allowed_types,
    find_mismatch,
    get_subschema,
)
from agent.core.plan.references import UnresolvedReference, follow_path
from tests.support.plans import ROWS

NAMES = ["a", "b", "c"]
SCALARS = {
    "string": st.text(max_size=3),
    "number": st.floats(-5, 5) | st.integers(-5, 5),
    "integer": st.integers(-5, 5),
    "boolean": st.booleans(),
    "null": st.none(),
}


def objects(inner):
    def make(properties, required, extra):
        return {
            "type": "object",
            "properties": properties,
            "required": sorted(required & properties.keys()),
            **extra,
        }

    extras = st.sampled_from([{}, {"additionalProperties": False}, {"additionalProperties": True}])
    named = st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    return st.builds(make, named, st.sets(st.sampled_from(NAMES)), extras)


leaves = st.one_of(
    st.sampled_from(sorted(SCALARS)).map(lambda word: {"type": word}),
    st.lists(st.sampled_from(sorted(SCALARS)), min_size=1, max_size=3, unique=True).map(lambda found: {"type": found}),
    st.lists(st.sampled_from([1, 1.5, "x", None, True]), min_size=1, max_size=3, unique_by=repr).map(
        lambda found: {"enum": found}
    ),
    st.sampled_from([{}, {"type": "int or float"}, {"$ref": "#/$defs/Text"}, {"$ref": "#/$defs/None"}]),
)
schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(lambda items: {"type": "array", "items": items}),
        objects(inner),
        st.lists(inner, min_size=1, max_size=3).map(lambda found: {"anyOf": found}),
    ),
    max_leaves=6,
)
DEFS = {"Text": {"type": "string"}}


def fitting(schema):
    """Values that fit `schema` as the module reads it: no properties but the listed ones, lists with items."""
    if "anyOf" in schema:
        return st.one_of([fitting(option) for option in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("$ref") == "#/$defs/Text":
        return SCALARS["string"]
    match schema.get("type"):
        case "array":
            return st.lists(fitting(schema["items"]), min_size=1, max_size=2)
        case "object":
            needed = {name: fitting(schema["properties"][name]) for name in schema["required"]}
            others = {name: fitting(inner) for name, inner in schema["properties"].items() if name not in needed}
            return st.fixed_dictionaries(needed, optional=others)
        case [*several]:
            return st.one_of([SCALARS[word] for word in several])
        case str(word) if word in SCALARS:
            return SCALARS[word]
    return st.one_of(*SCALARS.values(), st.just([1]), st.just({"a": 1}))


def rooted(schema):
    return {**schema, "$defs": DEFS}


@given(st.data(), schemas, schemas)
def test_what_fits_is_never_called_a_misfit(data, producer, consumer):
    """One value that both allow is enough."""
    value = data.draw(fitting(producer))
    if Draft202012Validator(drop_unsupported_keywords(rooted(consumer))).is_valid(value):
        assert find_mismatch(producer, consumer, roots=(rooted(producer), rooted(consumer))) is None


@given(schemas)
def test_a_schema_fits_itself(schema):
    assert find_mismatch(schema, schema, roots=(rooted(schema), rooted(schema))) is None


@given(st.data(), schemas)
def test_a_path_that_a_value_has_is_never_refused(data, schema):
    value = data.draw(fitting(schema))
    path = tuple(data.draw(st.lists(st.sampled_from([*NAMES, 0, -1, "*"]), max_size=3)))
    try:
        found = follow_path(value, path, of="value")
    except UnresolvedReference:
        return
    inner = get_subschema(schema, path, root=rooted(schema))
    if not any(step == "*" for step in path):
        assert Draft202012Validator(drop_unsupported_keywords(rooted(inner))).is_valid(found)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ((), ROWS),
        (("row_count",), {"type": "integer"}),
        (("rows", 0, "total"), {"type": "number"}),
        (("rows", "*", "total"), {"type": "array", "items": {"type": "number"}}),
        (("rows", "*", "tags", 0), {"type": "array", "items": {"type": "string"}}),
        (("best", "owner", "email"), {"type": "string"}),
    ],
)
def test_the_part_at_a_path(path, expected):
    assert get_subschema(ROWS, path, root=ROWS) == expected


MAYBE = {"anyOf": [{"type": "object", "properties": {"x": {"type": "string"}}}, {"type": "array", "items": {}}]}


@pytest.mark.parametrize(
    ("schema", "path", "expected"),
    [
        (MAYBE, ("x",), {"type": "string"}),
        (MAYBE, (0,), {}),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, ("any",), {"type": "integer"}),
        ({"type": "object", "properties": {"x": True}}, ("x", "deeper"), {}),
        ({"type": "object", "properties": {"x": {}}, "additionalProperties": {}}, ("y",), {}),
        ({"type": "object", "properties": {"x": {}}, "patternProperties": {"^y": {}}}, ("y",), {}),
        ({"type": "object", "properties": {"x": {}}, "allOf": [{"properties": {"y": {}}}]}, ("y",), {}),
        ({"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "null"}}, (0,), {}),
        ({"type": "int or float"}, ("x",), {}),
        ({"type": [{"type": "string"}]}, ("x",), {}),
        ({"$ref": "https://example.org/schema"}, ("x",), {}),
        ({"$ref": "#/nowhere"}, ("x",), {}),
        ({"$ref": "#"}, ("x",), {}),
        ({}, ("x", 0, "y"), {}),
    ],
)
def test_where_nothing_is_ruled_out(schema, path, expected):
    assert get_subschema(schema, path, root=schema) == expected


@pytest.mark.parametrize(
    ("schema", "path", "reason"),
    [
        ({"type": "string"}, ("x",), "is a text, which has no 'x'"),
        ({"enum": ["a", 1]}, ("x",), "is a text or a whole number, which has no 'x'"),
        ({"type": "object", "properties": {}}, ("x",), "has no 'x'; it has nothing"),
        ({"type": "object"}, (0,), "is an object, which has no item 0"),
        ({"type": "array"}, ("x",), "is a list, which has no 'x'"),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, ("x",), "is a text, which has no 'x'"),
    ],
)
def test_where_a_path_is_ruled_out(schema, path, reason):
    with pytest.raises(NoSuchPath) as caught:
        get_subschema(schema, path, root=schema)
    assert str(caught.value) == reason


def test_a_schema_that_is_its_own_alternative():
    loop = {"$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/A"}, {"type": "string"}]}}}
    loop["$ref"] = "#/$defs/A"
    assert branches(loop, loop) == [{"type": "string"}]
    assert find_allowed_types(loop, loop) == {"string"}
    assert find_mismatch(loop, {"type": "integer"}, roots=(loop, {})) == "gives a text where a whole number is expected"


def test_a_schema_without_end():
    tree = {
        "type": "object",
        "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}},
        "required": ["left", "right"],
    }
    assert find_mismatch(tree, tree, roots=(tree, tree)) is None
    assert get_subschema(tree, ("left",) * 40, root=tree) == {"$ref": "#"}


@pytest.mark.parametrize(
    ("given", "wanted", "reason"),
    [
        ({"type": "string"}, {"type": "integer"}, "gives a text where a whole number is expected"),
        ({"type": ["string", "null"]}, {"type": "array"}, "gives a text or null where a list is expected"),
        ({"enum": ["a"]}, {"type": "object"}, "gives a text where an object is expected"),
        (
            {"type": "string", "enum": ["a"]},
            {"type": "string", "enum": ["b"]},
            "gives one of ['a'] where one of ['b'] is",
        ),
        (
            {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
            {"type": "array", "items": {"type": "array", "items": {"type": "null"}}},
            "gives a text where null is expected in its items in its items",
        ),
        (
            {"type": "object", "properties": {"x": {"type": "string"}}},
            {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
            "gives a text where a whole number is expected at 'x'",
        ),
        ({"type": "object", "properties": {}}, {"required": ["x"], "type": "object"}, "has no 'x', which is required"),
        (
            {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
            {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]},
            "gives a text where a list is expected",
        ),
    ],
)
def test_misfits(given, wanted, reason):
    found = find_mismatch(given, wanted, roots=(given, wanted))
    assert found is not None
    assert found.startswith(reason)


def test_a_validator_gets_only_what_it_knows():
    schema = {
        "$id": "https://example.org/schema",
        "type": "int or float",
        "properties": {
            "type": {"type": "string"},
            "enum": {"type": ["text"]},
            "x": {"const": {"type": "text", "$ref": "y"}, "anyOf": [{"type": "str"}, True]},
            "far": {"$ref": "https://example.org/other", "description": "kept"},
            "here": {"$ref": "#/$defs/T"},
        },
        "items": {"type": {"type": "string"}},
        "$defs": {"T": {"type": "number"}},
    }
    assert drop_unsupported_keywords(schema) == {
        "properties": {
            "type": {"type": "string"},
            "enum": {},
            "x": {"const": {"type": "text", "$ref": "y"}, "anyOf": [{}, True]},
            "far": {"description": "kept"},
            "here": {"$ref": "#/$defs/T"},
        },
        "items": {},
        "$defs": {"T": {"type": "number"}},
    }
