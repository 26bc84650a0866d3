"""Arguments with names that LangChain or LangGraph use: the tool gets what was approved, or is refused by name."""

from typing import Annotated, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.callbacks import CallbackManagerForToolRun
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolArg, StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import create_model

from agent.errors import ToolError
from graphs.plan_execute import build_graph
from tests.support.worlds import APPROVE, thread

NAMES = (
    *("config", "run_manager", "callbacks", "runtime", "self", "cls", "store", "state", "tool_call_id", "tool_input"),
    *("input", "kwargs", "args", "tags", "metadata", "run_name", "run_id", "name", "verbose", "color", "context"),
    *("func", "coroutine", "tool", "type", "id", "messages", "writer", "previous", "planwave_arguments", "plain"),
)


def of_a_schema(names, calls, *, blocking):
    properties = {name: {} for name in names}
    schema = {"type": "object", "properties": properties, "required": list(names), "title": "t", "description": "t"}

    async def take(**given: Any) -> str:
        calls.append(given)
        return "taken"

    def take_blocking(**given: Any) -> str:
        calls.append(given)
        return "taken"

    how = {"func": take_blocking} if blocking else {"coroutine": take}
    return StructuredTool(name="take", description="t", args_schema=schema, **how)


def of_a_function(names, calls, *, blocking):
    names = [name for name in names if name.isidentifier()]
    lines = f"{'def' if blocking else 'async def'} take({', '.join(f'{name}: dict' for name in names)}) -> str:\n"
    given = ", ".join(f"{name!r}: {name}" for name in names)
    space: dict[str, Any] = {"calls": calls}
    exec(f"{lines}    calls.append({{{given}}})\n    return 'taken'", space)  # noqa: S102 - a function with these names
    how = {"func": space["take"]} if blocking else {"coroutine": space["take"]}
    return StructuredTool.from_function(name="take", description="t", **how)


class Taking(BaseTool):
    name: str = "take"
    description: str = "t"
    calls: Any

    def _run(self, **given: Any) -> str:
        self.calls.append(given)
        return "taken"


class TakingInTheLoop(Taking):
    async def _arun(self, **given: Any) -> str:
        self.calls.append(given)
        return "taken"


def of_a_class(names, calls, *, blocking):
    try:
        schema = create_model("Args", **dict.fromkeys(names, (dict, ...)))
    except Exception:  # noqa: BLE001 - a name that no model can have
        return None
    return (Taking if blocking else TakingInTheLoop)(calls=calls, args_schema=schema)


@pytest.mark.parametrize("make", [of_a_schema, of_a_function, of_a_class])
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(names=st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=2), blocking=st.booleans())
async def test_the_tool_gets_what_was_approved_or_is_refused_by_name(make, names, blocking):
    calls: list[dict[str, Any]] = []
    try:
        tool = make(names, calls, blocking=blocking)
        if tool is None:
            return
        graph = build_graph(tools=[tool], checkpointer=InMemorySaver())
    except ToolError as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        assert any(repr(name) in refusal for name in names)
        return
    args = {name: {"of": name} for name in names}
    plan = {"tasks": [{"id": "w", "tool": "take", "args": args}]}
    out = await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    if out["status"] == "failed":
        # The plan was refused, and nothing was made or approved.
        assert calls == []
        return
    asked = out["__interrupt__"][0].value["action_requests"][0]["args"]
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert (out["results"]["w"]["status"], calls) == ("done", [asked]), out["results"]


@pytest.mark.parametrize("name", ["config", "run_manager", "callbacks", "self"])
async def test_a_tool_of_a_json_schema_gets_what_langchain_would_take(name):
    calls: list[dict[str, Any]] = []
    graph = build_graph(tools=[of_a_schema([name], calls, blocking=False)], checkpointer=InMemorySaver())
    plan = {"tasks": [{"id": "w", "tool": "take", "args": {name: {"env": "staging"}}}]}
    await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert (out["status"], calls) == ("completed", [{name: {"env": "staging"}}])


def test_an_argument_that_the_adapters_would_swallow_is_refused_by_name():
    async def call_tool(runtime: Annotated[object | None, InjectedToolArg()] = None, **arguments: Any) -> str:
        return "taken"

    schema = {"type": "object", "properties": {"runtime": {"type": "string"}}}
    tool = StructuredTool(name="start", description="s", args_schema=schema, coroutine=call_tool)
    with pytest.raises(ToolError, match="'start' has an argument 'runtime'"):
        build_graph(tools=[tool])


def test_a_parameter_that_no_call_can_give_is_refused_by_name():
    def take(callbacks: list[str]) -> str:
        """Take."""
        return "taken"

    with pytest.raises(ToolError, match="'take' has an argument 'callbacks'"):
        build_graph(tools=[StructuredTool.from_function(take)])


async def test_what_langchain_gives_of_its_own_still_comes():
    seen: list[Any] = []

    async def take(value: int, settings: RunnableConfig, callbacks: CallbackManagerForToolRun | None = None) -> str:
        """Take."""
        seen.append((value, "metadata" in settings, callbacks is not None))
        return "taken"

    schema = {"type": "object", "properties": {"value": {"type": "integer"}}}
    tools = [StructuredTool(name="take", description="t", args_schema=schema, coroutine=take)]
    graph = build_graph(tools=tools, checkpointer=InMemorySaver())
    await graph.ainvoke({"goal": "g", "plan": {"tasks": [{"id": "w", "tool": "take", "args": {"value": 1}}]}}, thread())
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert (out["status"], seen) == ("completed", [(1, True, True)])
