"""Arguments that LangGraph's `ToolNode` fills in: filled in here, too, or refused by name when the graph is built."""

from typing import Annotated, Any

import pytest
from langchain_core.tools import InjectedToolArg, InjectedToolCallId, tool
from langgraph.prebuilt import InjectedState, InjectedStore, ToolRuntime
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from pydantic import BaseModel

from agent.errors import ToolError
from agent.tools.toolbox import Toolbox
from graphs.plan_execute import build_graph
from tests.graphs.tools.conftest import task


@tool
def first() -> str:
    """Come first."""
    return "one"


@tool
async def call_id(q: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> str:
    """Return the id of the call."""
    return tool_call_id


@tool
def state(q: str, whole: Annotated[dict[str, Any], InjectedState], goal: Annotated[str, InjectedState("goal")]) -> Any:
    """Return what the state says."""
    whole["results"].clear()
    return [goal, whole["goal"], len(whole["plan"]["tasks"])]


@tool
def results(whole: Annotated[dict[str, Any], InjectedState]) -> Any:
    """Return the results so far."""
    return {name: each["output"] for name, each in whole["results"].items()}


@tool
async def store(key: str, kept: Annotated[BaseStore, InjectedStore()]) -> Any:
    """Count in the store."""
    found = await kept.aget(("counts",), key)
    count = (found.value["n"] if found else 0) + 1
    await kept.aput(("counts",), key, {"n": count})
    return count


@tool
def runtime(q: str, runtime: ToolRuntime) -> Any:
    """Return what the runtime has."""
    runtime.stream_writer({"said": q})
    return [
        runtime.state["goal"],
        runtime.tool_call_id,
        runtime.config["configurable"]["thread_id"],
        runtime.store is None,
    ]


class OfASchema(BaseModel):
    q: str
    tool_call_id: Annotated[str, InjectedToolCallId]


@tool(args_schema=OfASchema)
def of_a_schema(q: str, tool_call_id: str) -> str:
    """Return the id of the call."""
    return tool_call_id


@pytest.mark.parametrize("called", [call_id, of_a_schema], ids=lambda each: each.name)
async def test_the_id_of_a_call_is_filled_in(called, run):
    assert await run([called], task("a", called.name, q="x")) == {"a": "1.a"}
    each = task("a", called.name, q={"item": []}) | {"for_each": ["x", "y"]}
    assert await run([called], each) == {"a": ["1.a.0", "1.a.1"]}


async def test_the_state_of_the_run_is_filled_in(run):
    after = {"depends_on": ["f", "s"]}
    tasks = [task("f", "first"), task("s", "state", q="x"), task("r", "results") | after]
    # What `state` has cleared was a copy.
    assert await run([first, state, results], *tasks) == {
        "f": "one",
        "s": ["See.", "See.", 3],
        "r": {"f": "one", "s": ["See.", "See.", 3]},
    }


async def test_the_store_is_filled_in(run):
    kept = InMemoryStore()
    assert await run([store], task("a", "store", key="k"), store=kept) == {"a": 1}
    assert await run([store], task("a", "store", key="k"), store=kept) == {"a": 2}


async def test_the_runtime_is_filled_in(run):
    assert await run([runtime], task("a", "runtime", q="x")) == {"a": ["See.", "1.a", "t", True]}


def _with(mark: Any, **defaults: Any) -> Any:
    def take(q: str, x: Any = ...) -> str:
        """Take."""
        return repr(x)

    take.__annotations__["x"] = mark
    take.__defaults__ = (defaults["x"],) if defaults else None
    return tool(take)


@pytest.mark.parametrize(
    ("mark", "sentence"),
    [
        (Annotated[str, InjectedToolArg], "'take' has the required argument 'x'"),
        (Annotated[list[Any], InjectedState("no_such_field")], "'take' wants 'no_such_field' of the state as 'x'"),
        (Annotated[Any, InjectedStore()], r"'take' wants a store as 'x'.*build_graph\(store=...\)"),
    ],
    ids=["an argument", "a field of the state", "the store"],
)
async def test_what_nothing_fills_in_is_refused_by_name(mark, sentence, run):
    with pytest.raises(ToolError, match=sentence):
        build_graph(tools=[_with(mark)])
    assert await run([_with(mark, x="7")], task("a", "take", q="x")) == {"a": "'7'"}


async def test_no_plan_gives_what_is_injected(run):
    for called in (_with(Annotated[str, InjectedToolArg], x="own"), _with(Annotated[dict[str, Any], InjectedState])):
        assert list(Toolbox([called]).specs["take"].args_schema["properties"]) == ["q"]
        assert "takes no argument 'x'" in (await run([called], task("a", "take", q="x", x="forged")))[0]


def test_what_only_a_run_has_is_not_there_before_planning():
    state.metadata = {"readOnlyHint": True, "context_provider": True}
    try:
        with pytest.raises(ToolError, match="takes what only a run has"):
            build_graph(tools=[state])
    finally:
        state.metadata = None
