"""The toolbox: policies out of metadata, schemas as they come, preflight in every form."""

import pytest
from langchain_core.tools import BaseTool, StructuredTool, tool
from pydantic import BaseModel, Field
from pydantic.v1 import BaseModel as BaseModelV1

from agent.core.plan.tool_spec import Policy, Preflight
from agent.errors import ToolError
from agent.tools.toolbox import Toolbox


class Query(BaseModel):
    sql: str = Field(description="One statement.")
    limit: int = 10


def made(name="query", *, args=Query, metadata=None):
    return StructuredTool(name=name, description="Ask.", args_schema=args, func=lambda **_: None, metadata=metadata)


def policy(**metadata):
    return Toolbox([made(metadata=metadata)]).specs["query"].policy


def test_a_toolbox_is_a_mapping_in_the_order_given():
    one, two = made("one"), made("two")
    box = Toolbox([two, one])
    assert list(box) == list(box.specs) == ["two", "one"]
    assert (box["one"], len(box), "three" in box) == (one, 2, False)
    assert len(Toolbox()) == 0


def test_what_the_planner_sees():
    spec = Toolbox([made(metadata={"output_schema": {"type": "string"}})]).specs["query"]
    assert (spec.name, spec.description, spec.output_schema) == ("query", "Ask.", {"type": "string"})
    assert spec.args_schema["properties"]["sql"] == {"description": "One statement.", "title": "Sql", "type": "string"}
    assert spec.args_schema["required"] == ["sql"]
    assert Toolbox([made()]).specs["query"].output_schema is None


def test_a_tool_that_says_nothing_is_a_destructive_write():
    found = policy()
    assert found == Policy()
    assert (found.read_only, found.destructive, found.idempotent, found.open_world) == (False, True, False, True)
    assert policy(readOnlyHint=None) == Policy()


def test_reading_neither_destroys_nor_minds_repetition():
    assert policy(readOnlyHint=True) == Policy(read_only=True, destructive=False, idempotent=True)
    assert policy(readOnlyHint=True, idempotentHint=False).idempotent is False
    assert policy(readOnlyHint=False) == Policy()


def test_a_context_provider_reads_and_needs_nothing():
    def overview(depth: int = 1) -> str:
        """Tell what there is."""
        return "all"

    tool = StructuredTool.from_function(overview, metadata={"readOnlyHint": True, "context_provider": True})
    assert Toolbox([tool]).specs["overview"].policy.context_provider


def test_hints_and_limits():
    metadata = {
        "readOnlyHint": False,
        "destructiveHint": False,
        "idempotentHint": True,
        "openWorldHint": False,
        "timeout_s": 5,
        "max_retries": 1,
        "max_concurrency": 2,
        "rate_per_s": 0.5,
        "verify": "look",
        "compensate": "query",
        "something_else": "ignored",
    }
    box = Toolbox([made(metadata=metadata), made("look", metadata={"readOnlyHint": True})])
    assert box.specs["query"].policy == Policy(
        destructive=False,
        idempotent=True,
        open_world=False,
        timeout_s=5.0,
        max_retries=1,
        max_concurrency=2,
        rate_per_s=0.5,
        verify="look",
        compensate="query",
    )


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"timeout_s": 0}, "Tool 'query': metadata 'timeout_s' is wrong: Input should be greater than 0."),
        ({"max_retries": -1}, "metadata 'max_retries' is wrong"),
        ({"readOnlyHint": "perhaps"}, "metadata 'read_only' is wrong"),
        ({"verify": "look"}, "Tool 'query' names 'look' to verify it, but there is no such tool."),
        ({"verify": "query"}, "names 'query' to verify it, which is called without approval and writes."),
        ({"compensate": "undo"}, "Tool 'query' names 'undo' to compensate it, but there is no such tool."),
        ({"cache_ttl_s": 60}, "Tool 'query' writes and has a 'cache_ttl_s'; only results of reading tools are cached."),
        ({"cache_ttl_s": 0, "readOnlyHint": True}, "metadata 'cache_ttl_s' is wrong"),
        (
            {"context_provider": True},
            "which is called automatically before planning, and writes. Set 'readOnlyHint': True",
        ),
        ({"context_provider": True, "readOnlyHint": True}, "and needs 'sql'. Give it a default, or remove"),
        ({"output_schema": "string"}, "Tool 'query': output_schema is str; give a JSON Schema object."),
        (
            {"output_schema": {"properties": []}},
            "Tool 'query': output_schema is not a JSON Schema: [] is not of type 'object'.",
        ),
        ({"output_schema": {"pattern": "("}}, "output_schema is not a JSON Schema"),
    ],
)
def test_what_is_wrong_with_a_tool(metadata, sentence):
    with pytest.raises(ToolError) as caught:
        Toolbox([made(metadata=metadata)])
    assert sentence in str(caught.value)


@pytest.mark.parametrize("args", [{"type": "object", "properties": []}, {"type": "object", "required": "sql"}])
def test_a_bad_schema_of_arguments(args):
    with pytest.raises(ToolError, match="args_schema is not a JSON Schema"):
        Toolbox([made(args=args)])


def test_two_tools_of_one_name():
    with pytest.raises(ToolError, match=r"Two tools are named 'query'; rename one of them\."):
        Toolbox([made(), made()])


def test_siblings_may_come_later():
    box = Toolbox(
        [
            made("write", metadata={"verify": "look", "compensate": "undo"}),
            made("look", metadata={"readOnlyHint": True}),
            made("undo"),
        ]
    )
    assert box.specs["write"].policy.verify == "look"


@pytest.mark.parametrize(
    "word", ["int or float", "float", ["string", "text"], [{"type": "string"}]], ids=["or", "unknown", "one", "object"]
)
def test_unknown_words_of_type_say_nothing(word):
    args = {"type": "object", "properties": {"x": {"type": word}}}
    box = Toolbox([made(args=args, metadata={"output_schema": {"type": word}})])
    assert box.specs["query"].args_schema["properties"] == {"x": {"type": word}}


def test_a_schema_without_type_or_properties():
    spec = Toolbox([made(args={"title": "Nothing"})]).specs["query"]
    assert (spec.args_schema["type"], spec.args_schema["properties"]) == ("object", {})


def test_the_idempotency_key_is_not_shown():
    @tool
    def send(text: str, idempotency_key: str) -> str:
        """Send it."""
        return text

    spec = Toolbox([send]).specs["send"]
    assert spec.policy.takes_idempotency_key
    assert list(spec.args_schema["properties"]) == spec.args_schema["required"] == ["text"]
    assert "idempotency_key" in send.tool_call_schema.model_json_schema()["properties"]
    assert Toolbox([send]).specs["send"] == spec
    args = {"type": "object", "properties": {"idempotency_key": {"type": "string"}}}
    hidden = Toolbox([made(args=args)]).specs["query"]
    assert hidden.args_schema["properties"] == {}
    assert "idempotency_key" in args["properties"]


def test_an_older_pydantic_model():
    class Old(BaseModelV1):
        sql: str

    schema = Toolbox([made(args=Old)]).specs["query"].args_schema
    assert schema["properties"]["sql"]["type"] == "string"


class Checked(BaseTool):
    name: str = "checked"
    description: str = "Checks."
    args_schema: type[BaseModel] = Query

    def _run(self, **_):
        return None

    def preflight(self, args, open):  # noqa: A002 - the name that the contract gives it
        found = f"{sorted(args)} {sorted(open)}."
        return Preflight(problems=(found,), args={**args, "limit": 5}, output_schema={"type": "string"})


def test_preflight_by_method_with_open():
    box = Toolbox([Checked()])
    assert box.has_preflight("checked")
    found = box.preflight("checked", {"sql": "x"}, left_open={"limit": {"type": "integer"}})
    assert found.problems == ("['sql'] ['limit'].",)
    assert found.args == {"sql": "x", "limit": 5}
    assert found.output_schema == {"type": "string"}


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (lambda args: ["one.", "two."], Preflight(problems=("one.", "two."))),
        (lambda args: "one sentence.", Preflight(problems=("one sentence.",))),
        (lambda args: [], Preflight()),
        (lambda args: None, Preflight()),
        (lambda args: Preflight(args={"x": 1}), Preflight(args={"x": 1})),
        (
            lambda args, open: [repr(open)],  # noqa: A006 - the name that the contract gives it
            Preflight(problems=("{'x': {'type': 'string'}}",)),
        ),
        (
            lambda args: 1 / 0,
            Preflight(problems=("The preflight of 'query' failed: ZeroDivisionError: division by zero.",)),
        ),
    ],
)
def test_preflight_by_metadata(check, expected):
    box = Toolbox([made(metadata={"preflight": check})])
    assert box.has_preflight("query")
    assert box.preflight("query", {"sql": "x"}, left_open={"x": {"type": "string"}}) == expected


def test_a_preflight_cannot_change_what_it_is_shown():
    args = {"sql": "x"}
    box = Toolbox([made(metadata={"preflight": lambda shown: shown.clear() or []})])
    box.preflight("query", args, left_open={})
    assert args == {"sql": "x"}


def test_no_preflight():
    box = Toolbox([made(metadata={"preflight": "no function"})])
    assert not box.has_preflight("query")
    assert box.preflight("query", {"sql": "x"}, left_open={}) == Preflight()


def test_a_compensating_tool_must_find_what_it_needs():
    returns = {"type": "object", "properties": {"number": {}}, "additionalProperties": False}
    needs = {"type": "object", "properties": {"number": {}, "sql": {}, "name": {}}, "required": ["number", "sql"]}
    undone = {"compensate": "undo", "output_schema": returns}
    assert Toolbox([made("write", metadata=undone), made("undo", args=needs)])
    more = {**needs, "required": ["number", "name"]}
    with pytest.raises(ToolError, match="'undo' to compensate it, which needs 'name'"):
        Toolbox([made("write", metadata=undone), made("undo", args=more)])
    assert Toolbox([made("write", metadata={"compensate": "undo"}), made("undo", args=more)])
