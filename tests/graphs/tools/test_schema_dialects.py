"""Tools of other dialects of JSON Schema, and of any name: the word that cannot be checked goes, not the tool."""

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.tools.schema_dialects import modernize_schema
from agent.tools.toolbox import Toolbox
from graphs.plan_execute import build_graph
from tests.graphs.tools.conftest import schema_tool, task


@pytest.mark.parametrize(
    "name", ["repo/search", "a~b", "a~1b", "50%", "a%20b", "a#b", "a.b c", "über", "x" * 300, 'q"t', "a\\b", "$defs"]
)
async def test_a_tool_of_any_name_is_planned(name, plan_and_run):
    assert await plan_and_run([schema_tool({"q": {"type": "string"}}, name=name)], name, {"q": "x"}) == {
        "a": {"q": "x"}
    }


async def test_a_part_of_any_name_is_planned(plan_and_run):
    parts = {"A/B": {"type": "object", "properties": {"n": {"type": "integer"}}}, "Page[int]": {"type": "integer"}}
    tool = schema_tool({"a": {"$ref": "#/$defs/A~1B"}, "b": {"$ref": "#/$defs/Page[int]"}}, **{"$defs": parts})
    assert await plan_and_run([tool], "take", {"a": {"json": '{"n": 1}'}, "b": 2}) == {"a": {"a": {"n": 1}, "b": 2}}


async def test_subschemas_may_be_true_or_false(plan_and_run):
    properties = {
        "v": True,
        "w": False,
        "x": {"anyOf": [True, {"type": "string"}]},
        "y": {"type": "array", "items": True},
        "z": {"type": "object", "properties": {"inner": True}, "additionalProperties": True},
    }
    assert await plan_and_run([schema_tool(properties)], "take", {"v": "any", "y": [1]}) == {
        "a": {"v": "any", "y": [1]}
    }


async def test_what_is_false_can_be_given_by_no_plan(run):
    told = await run([schema_tool({"w": False})], task("a", "take", w=1))
    assert "args.w" in told[0]


TRANSLATED = {
    "draft 4: an exclusive minimum": ({"type": "number", "minimum": 0, "exclusiveMinimum": True}, 1, 0),
    "draft 4: no exclusive maximum": ({"type": "number", "maximum": 5, "exclusiveMaximum": False}, 5, 6),
    "draft 4: dependencies": ({"type": "object", "dependencies": {"a": ["b"]}}, {"a": 1, "b": 1}, {"a": 1}),
    "draft 7: a schema in dependencies": (
        {"type": "object", "dependencies": {"a": {"required": ["b"]}}},
        {"b": 1},
        {"a": 1},
    ),
    "draft 7: items one by one": (
        {"type": "array", "items": [{"type": "string"}], "additionalItems": False},
        ["x"],
        [1],
    ),
    "draft 3: required within": (
        {"type": "object", "properties": {"a": {"type": "string", "required": True}}},
        {"a": "x"},
        {},
    ),
    "draft 3: divisible": ({"type": "number", "divisibleBy": 2}, 4, 3),
    "OpenAPI: nullable": ({"type": "string", "enum": ["a"], "nullable": True}, None, "b"),
    "a named group": ({"type": "string", "pattern": "^(?<year>[0-9]{4})-\\k<year>$"}, "2024-2024", "2024-2025"),
    "a letter by its code": ({"type": "string", "pattern": "^\\u{1F600}$"}, "\U0001f600", "x"),
    "definitions": ({"$ref": "#/definitions/positive%20number"}, 1, -1),
}


@pytest.mark.parametrize(("schema", "good", "bad"), TRANSLATED.values(), ids=TRANSLATED)
async def test_words_of_other_dialects_are_translated(schema, good, bad, run):
    tool = schema_tool({"q": schema}, definitions={"positive number": {"type": "number", "minimum": 0}})
    assert Toolbox([tool]).notes == []
    assert await run([tool], task("a", "take", q=good)) == {"a": {"q": good}}
    told = await run([tool], task("a", "take", q=bad))
    assert isinstance(told, list)
    assert "args.q" in told[0]


LEFT_OUT = {
    "letters": ({"type": "string", "pattern": "^\\p{L}+$"}, "é", "'pattern' of 'q' is '^\\\\p{L}+$'"),
    "a pattern of names": (
        {"type": "object", "patternProperties": {"^\\p{L}": {}}, "additionalProperties": False},
        {"x": 1},
        "'patternProperties' of 'q'",
    ),
    "elsewhere": ({"$ref": "https://example.org/x.json"}, 1, "'$ref' of 'q' is 'https://example.org/x.json'"),
    "an anchor": ({"$ref": "#here"}, 1, "'$ref' of 'q'"),
    "negated": ({"not": {"type": "string", "pattern": "^\\p{Lu}"}}, "x", "'pattern' of 'q.not'"),
    "one of two": (
        {"oneOf": [{"type": "string", "pattern": "^\\p{L}$"}, {"type": "string", "maxLength": 3}]},
        "x",
        "'pattern' of 'q.oneOf.0'",
    ),
    "a condition": (
        {"if": {"pattern": "^\\p{L}"}, "then": {"const": "never"}, "type": "string"},
        "x",
        "'pattern' of 'q.if'",
    ),
    "a wrong word": ({"type": "string", "minLength": "3"}, "x", "'minLength' of 'q' is wrong"),
    "no schema": (None, "x", "'q' is wrong"),
}


@pytest.mark.parametrize(("schema", "value", "note"), LEFT_OUT.values(), ids=LEFT_OUT)
async def test_a_word_that_cannot_be_checked_is_left_out_and_said(schema, value, note, run, caplog):
    tools = [schema_tool({"q": schema, "n": {"type": "integer"}}), schema_tool({}, name="other")]
    with caplog.at_level(logging.WARNING):
        assert await run(tools, task("a", "take", q=value)) == {"a": {"q": value}}
    [record] = [each for each in caplog.records if "is not checked" in each.getMessage()]
    assert note in record.getMessage()
    assert "'take'" in record.getMessage()
    # What stands beside it is checked still.
    assert "args.n" in (await run(tools, task("a", "take", q=value, n="x")))[0]


async def test_what_is_required_and_not_listed_can_be_given(run):
    tool = schema_tool({"q": {"type": "string"}}, required=["q", "z"])
    assert await run([tool], task("a", "take", q="x", z=1)) == {"a": {"q": "x", "z": 1}}
    assert "needs 'z'" in (await run([tool], task("a", "take", q="x")))[0]


async def test_what_is_required_and_forbidden_is_asked_of_no_plan(run):
    tool = schema_tool({"q": {"type": "string"}}, required=["q", "z"], additionalProperties=False)
    assert await run([tool], task("a", "take", q="x")) == {"a": {"q": "x"}}


SCHEMAS = st.recursive(
    st.booleans()
    | st.sampled_from(
        [
            {"type": "string"},
            {"pattern": "\\p{L}"},
            {"minimum": 0, "exclusiveMinimum": True},
            {"$ref": "#/definitions/x"},
            {"$ref": "http://x/y"},
            {"type": "any"},
            {"enum": "abc"},
        ]
    ),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"type": st.just("array"), "items": inner | st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"type": st.just("object"), "properties": st.dictionaries(st.sampled_from("ab"), inner)}),
        st.fixed_dictionaries({"not": inner}),
    ),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(SCHEMAS)
def test_every_mixture_of_dialects_makes_a_graph(schema):
    build_graph(tools=[schema_tool({"q": schema})])


def test_a_schema_of_the_present_draft_is_returned_as_it_is():
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": "^x$", "minLength": 1}, "b": {"$ref": "#/$defs/b"}},
        "required": ["a"],
        "$defs": {"b": {"oneOf": [{"type": "integer"}, {"type": "null"}]}},
    }
    assert modernize_schema(schema) == (schema, ())
