"""Schemas as servers take them: what strict mode can say, and the way back."""

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict

from agent.llm.response_schema import add_size_limits, remove_optional_nulls, to_strict_schema

TEXT = {"type": "string"}


def closed(properties, *, required=()):
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("part", "strict"),
    [
        ({"type": "integer"}, {"type": ["integer", "null"]}),
        ({"type": ["integer", "null"]}, {"type": ["integer", "null"]}),
        ({"enum": ["a", "b"]}, {"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]}),
        ({"anyOf": [TEXT, {"type": "null"}]}, {"anyOf": [TEXT, {"type": "null"}]}),
        ({"oneOf": [TEXT, {"type": "integer"}]}, {"anyOf": [TEXT, {"type": "integer"}, {"type": "null"}]}),
        ({"type": "string", "maxLength": 9, "default": "x", "format": "color"}, {"type": ["string", "null"]}),
        ({"$ref": "#/$defs/other"}, {"anyOf": [{"$ref": "#/$defs/other"}, {"type": "null"}]}),
        (
            {"allOf": [{"$ref": "#/$defs/other"}], "description": "d"},
            {"anyOf": [{"$ref": "#/$defs/other"}, {"type": "null"}]},
        ),
    ],
)
def test_an_optional_property_becomes_required_and_nullable(part, strict):
    assert to_strict_schema(closed({"a": part})) == closed({"a": strict}, required=["a"])


@pytest.mark.parametrize(
    "part",
    [
        {},
        {"type": "object"},
        {"type": "object", "additionalProperties": TEXT},
        {"type": "object", "properties": {"x": TEXT}, "additionalProperties": True},
        {"type": "object", "properties": {}, "patternProperties": {"^x": TEXT}},
        {"type": "array"},
        {"type": "array", "prefixItems": [TEXT], "items": TEXT},
        {"allOf": [TEXT, {"maxLength": 3}]},
        {"$ref": "elsewhere.json"},
        {"type": "array", "items": {"type": "object"}},
    ],
)
def test_what_has_no_fixed_shape_cannot_be_strict(part):
    assert to_strict_schema(closed({"a": part}, required=["a"])) is None


@pytest.mark.parametrize("schema", [{"anyOf": [closed({"a": TEXT})]}, TEXT, {"type": "array", "items": TEXT}])
def test_the_top_must_be_an_object(schema):
    assert to_strict_schema(schema) is None


def test_definitions_come_along():
    schema = closed({"next": {"$ref": "#/$defs/node"}}) | {"$defs": {"node": closed({"name": TEXT}, required=["name"])}}
    strict = to_strict_schema(schema)
    assert strict is not None
    assert strict["$defs"] == schema["$defs"]


class Call(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["call"]
    tool: str
    retries: int = 0
    note: str | None = None


class Wait(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["wait"]
    seconds: float
    reason: str = ""


class Plan(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: str = "none"
    steps: list[Call | Wait]
    first: Call | None = None


@given(st.from_type(Plan))
def test_what_strict_mode_makes_of_a_model_of_pydantic_comes_back(plan):
    """A reply in strict mode says null for each value left out; without the nulls it fits the model again."""
    schema = Plan.model_json_schema()
    strict = to_strict_schema(schema)
    assert strict is not None
    sparse = plan.model_dump(exclude_defaults=True) | {
        "steps": [s.model_dump(exclude_defaults=True) for s in plan.steps]
    }
    filled = fill(sparse, strict, strict["$defs"])
    Draft202012Validator(strict).validate(filled)
    back = remove_optional_nulls(filled, schema=schema)
    Draft202012Validator(schema).validate(back)
    assert Plan.model_validate(back) == plan


def fill(value, part, definitions):
    """Return `value` as strict mode would have it: every property there, null where it was absent."""
    if "$ref" in part:
        return fill(value, definitions[part["$ref"].rsplit("/", 1)[1]], definitions)
    for choice in part.get("anyOf", ()):
        candidate = fill(value, choice, definitions)
        if Draft202012Validator(choice | {"$defs": definitions}).is_valid(candidate):
            return candidate
    if isinstance(value, list):
        return [fill(each, part["items"], definitions) for each in value]
    if isinstance(value, dict) and "properties" in part:
        return {name: fill(value.get(name), each, definitions) for name, each in part["properties"].items()}
    return value


def test_a_null_that_means_something_stays():
    schema = closed({"a": {"type": ["string", "null"]}, "b": TEXT, "c": {"type": "null"}}, required=["b"])
    assert remove_optional_nulls({"a": None, "b": None, "c": None, "d": None}, schema=schema) == {
        "a": None,
        "b": None,
        "c": None,
        "d": None,
    }


def test_every_string_and_list_has_an_end():
    schema = closed({"s": TEXT, "e": {"type": "string", "enum": ["a"]}, "l": {"type": "array", "items": TEXT}}) | {
        "$defs": {"long": {"type": "string", "minLength": 5000}, "own": {"type": ["string", "null"], "maxLength": 3}}
    }
    found = add_size_limits(schema, max_length=100, max_items=5)
    assert found["properties"]["s"]["maxLength"] == 100
    assert "maxLength" not in found["properties"]["e"]
    assert found["properties"]["l"] == {
        "type": "array",
        "items": {"type": "string", "maxLength": 100},
        "maxItems": 5,
    }
    assert found["$defs"]["long"]["maxLength"] == 5000
    assert found["$defs"]["own"]["maxLength"] == 3
    assert "maxLength" not in schema["properties"]["s"]
