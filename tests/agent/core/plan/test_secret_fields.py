"""Where a schema says that private values stand in arguments."""

import time

import pytest
from pydantic import BaseModel, SecretStr

from agent.core.plan.secret_fields import find_secret_values, map_secret_schemas

PRIVATE = {"type": "string", "format": "password", "writeOnly": True}


class Node(BaseModel):
    """Refers to itself."""

    name: str
    key: SecretStr
    below: list["Node"] = []


class Login(BaseModel):
    user: str
    password: SecretStr | None = None


@pytest.mark.parametrize(
    ("schema", "value", "places"),
    [
        ({"properties": {"a": PRIVATE}}, {"a": "x", "b": "y"}, ["a"]),
        ({"properties": {"a": {"$ref": "#/$defs/p"}}, "$defs": {"p": PRIVATE}}, {"a": "x"}, ["a"]),
        ({"properties": {"a": {"anyOf": [{"type": "null"}, PRIVATE]}}}, {"a": None}, ["a"]),
        ({"properties": {"a": {"allOf": [{"properties": {"b": PRIVATE}}]}}}, {"a": {"b": 1}}, ["a.b"]),
        ({"additionalProperties": {"items": PRIVATE}}, {"a": ["x", "x"], "b": []}, ["a.0", "a.1"]),
        ({"properties": {"a": {"prefixItems": [{}, PRIVATE]}}}, {"a": ["x", "y", "z"]}, ["a.1"]),
        ({"patternProperties": {"^p": PRIVATE}}, {"p1": "x"}, ["p1"]),
        ({"properties": {"a": {"items": PRIVATE}, "b": {}}}, {"a": {"item": []}, "b": {"item": []}}, ["a"]),
        ({"properties": {"a": {"default": PRIVATE, "enum": [PRIVATE]}}}, {"a": "x"}, []),
        ({"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}}, {"a": "x"}, []),
        (Login.model_json_schema(), {"user": "secret", "password": "x"}, ["password"]),
        (Login.model_json_schema(), ["no", "arguments"], []),
    ],
)
def test_places(schema, value, places):
    found = [".".join(map(str, place)) for place, _ in find_secret_values(schema, value)]
    assert sorted(found) == places


def test_a_schema_that_refers_to_itself_is_followed_as_deep_as_the_value_goes():
    value = {"name": "n", "key": "k", "below": []}
    for _ in range(2_000):
        value = {"name": "n", "key": "k", "below": [value]}
    assert len(list(find_secret_values(Node.model_json_schema(), value))) == 2_001


def test_nothing_is_looked_through_where_nothing_is_private():
    schema = {"properties": {"rows": {"items": {"properties": {"n": {}}}}, "key": PRIVATE}}
    value = {"rows": [{"n": number} for number in range(200_000)], "key": "x"}
    began = time.process_time()
    assert [place for place, _ in find_secret_values(schema, value)] == [("key",)]
    assert time.process_time() - began < 0.1


def test_only_the_schemas_of_private_values_are_changed():
    schema = {"properties": {"a": PRIVATE, "b": {"items": {"anyOf": [PRIVATE, {}]}, "default": PRIVATE}}}
    changed = map_secret_schemas(schema, lambda _: {"type": "null"})
    none = {"type": "null"}
    assert changed == {"properties": {"a": none, "b": {"items": {"anyOf": [none, {}]}, "default": PRIVATE}}}
