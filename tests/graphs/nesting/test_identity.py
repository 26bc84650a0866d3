"""A run inside another graph makes its own calls, however it is called, and answers for no other run."""

import asyncio
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, Send
from typing_extensions import TypedDict

from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.worlds import APPROVE, World, thread

NEVER = Settings(approve="never")


def remind(who: Any) -> dict[str, Any]:
    """Return the input of a run that makes one write, by the same name in every run."""
    return {"goal": "Remind.", "plan": {"tasks": [{"id": "w", "tool": "write", "args": {"value": who}}]}}


def add(left: list[Any] | None, right: list[Any]) -> list[Any]:
    return [*(left or []), *right]


class Parent(TypedDict, total=False):
    goal: str
    plan: dict[str, Any]
    results: dict[str, Any]
    names: list[str]
    name: str
    outs: Annotated[list[Any], add]


def parent_of(*nodes: Any, saver: Any = None, **options: Any) -> Any:
    """Return a graph of these nodes in a row."""
    builder: Any = StateGraph(Parent)
    names = [f"n{at}" for at in range(len(nodes))]
    for name, node in zip(names, nodes, strict=True):
        builder.add_node(name, node, **options)
    for before, after in zip([START, *names], [*names, END], strict=True):
        builder.add_edge(before, after)
    return builder.compile(checkpointer=saver)


@pytest.fixture(params=["memory", "sqlite", "persistence", "none"])
async def place(request, tmp_path):
    """The parent's saver and what the child is built with."""
    if request.param == "memory":
        yield InMemorySaver(), {}
    elif request.param == "sqlite":
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "parent.db")) as saver:
            yield saver, {}
    elif request.param == "none":
        yield None, {}
    else:
        async with open_persistence(f"sqlite:///{tmp_path / 'p.db'}") as persistence:
            yield persistence.saver, {"persistence": persistence}


@pytest.fixture
def world():
    return World()


def writes(world: World) -> list[Any]:
    return [value for name, value in world.log if name == "write"]


async def test_as_a_node_over_two_turns(world, place):
    saver, options = place
    parent = parent_of(build_graph(tools=world.tools(), settings=NEVER, **options), saver=saver)
    for _ in range(2):
        out = await parent.ainvoke(remind("bob"), thread())
        assert out["results"]["w"]["status"] == "done"
    assert (await parent.ainvoke(remind("eve"), thread()))["results"]["w"]["status"] == "done"
    assert writes(world) == ["bob", "bob", "eve"]


async def test_as_two_nodes_in_a_row(world, place):
    saver, options = place
    child = build_graph(tools=world.tools(), settings=NEVER, **options)
    await parent_of(child, child, saver=saver).ainvoke(remind("bob"), thread())
    assert writes(world) == ["bob", "bob"]


async def test_in_a_loop_and_side_by_side_inside_a_node(world, place):
    saver, options = place
    child = build_graph(tools=world.tools(), settings=NEVER, **options)

    async def loop(state: Parent) -> Parent:
        return {"outs": [(await child.ainvoke(remind(1)))["status"] for _ in range(3)]}

    async def side_by_side(state: Parent) -> Parent:
        outs = await asyncio.gather(*(child.ainvoke(remind(who)) for who in (2, 2, 3)))
        return {"outs": [out["status"] for out in outs]}

    async def with_its_config(state: Parent, config: RunnableConfig) -> Parent:
        return {"outs": [(await child.ainvoke(remind(4), config))["status"]]}

    parent = parent_of(loop, side_by_side, with_its_config, saver=saver)
    out = await parent.ainvoke({}, thread())
    assert out["outs"] == ["completed"] * 7
    assert sorted(writes(world)) == [1, 1, 1, 2, 2, 3, 4]


async def test_in_two_sends(world, place):
    saver, options = place
    child = build_graph(tools=world.tools(), settings=NEVER, **options)

    async def call(state: Parent) -> Parent:
        return {"outs": [(await child.ainvoke(remind(state["name"])))["status"]]}

    builder: Any = StateGraph(Parent)
    builder.add_node("call", call)
    builder.add_conditional_edges(START, lambda state: [Send("call", {"name": name}) for name in state["names"]])
    parent = builder.compile(checkpointer=saver)
    assert (await parent.ainvoke({"names": ["bob", "bob", "eve"]}, thread()))["outs"] == ["completed"] * 3
    assert sorted(writes(world)) == ["bob", "bob", "eve"]


class Scripted(GenericFakeChatModel):
    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self


@pytest.mark.parametrize("saver", [None, InMemorySaver])
def test_as_a_tool_of_an_agent_over_two_turns(world, saver):
    child = build_graph(tools=world.tools(), settings=NEVER)

    def call(who: str) -> str:
        return child.invoke(remind(who))["status"]

    asks = [AIMessage("", tool_calls=[{"name": "remind", "args": {"who": "bob"}, "id": str(at)}]) for at in range(2)]
    said = iter([asks[0], AIMessage("One."), asks[1], AIMessage("Two.")])
    tool = StructuredTool.from_function(call, name="remind", description="Remind somebody.")
    agent = create_agent(Scripted(messages=said), [tool], checkpointer=saver() if saver else None)
    for _ in range(2):
        agent.invoke({"messages": [HumanMessage("Remind bob.")]}, thread())
    assert writes(world) == ["bob", "bob"]


async def test_each_of_two_turns_is_approved_through_the_parent(world, place):
    saver, options = place
    if saver is None:
        pytest.skip("nobody can be asked without a checkpointer")
    parent = parent_of(build_graph(tools=world.tools(), **options), saver=saver)
    for made in (["bob"], ["bob", "bob"]):
        out = await parent.ainvoke(remind("bob"), thread())
        assert out["__interrupt__"]
        assert len(writes(world)) == len(made) - 1
        out = await parent.ainvoke(Command(resume=APPROVE), thread())
        assert (out["results"]["w"]["status"], writes(world)) == ("done", made)


async def test_runs_in_one_node_are_approved_one_by_one_and_made_once(world, place):
    saver, options = place
    if saver is None:
        pytest.skip("nobody can be asked without a checkpointer")
    child = build_graph(tools=world.tools(), **options)

    async def loop(state: Parent) -> Parent:
        return {"outs": [(await child.ainvoke(remind("bob")))["status"] for _ in range(3)]}

    parent = parent_of(loop, saver=saver)
    out = await parent.ainvoke({}, thread())
    for at in range(3):
        assert (bool(out["__interrupt__"]), len(writes(world))) == (True, at)
        out = await parent.ainvoke(Command(resume=APPROVE), thread())
    assert (out["outs"], writes(world)) == (["completed"] * 3, ["bob"] * 3)


async def test_a_retried_node_does_not_repeat_the_runs_that_ended_in_it(world, place):
    saver, options = place
    if saver is None:
        pytest.skip("without a checkpointer nothing of the first attempt is known")
    child, tries = build_graph(tools=world.tools(), settings=NEVER, **options), []

    async def flaky(state: Parent) -> Parent:
        outs = [(await child.ainvoke(remind(who)))["results"]["w"]["output"] for who in ("bob", "eve")]
        tries.append(outs)
        if len(tries) < 3:
            raise ConnectionError("again")
        outs.append((await child.ainvoke(remind("zoe")))["results"]["w"]["output"])
        return {"outs": outs}

    policy = RetryPolicy(initial_interval=0.0, jitter=False)
    out = await parent_of(flaky, saver=saver, retry_policy=policy).ainvoke({}, thread())
    assert out["outs"] == [{"written": "bob"}, {"written": "eve"}, {"written": "zoe"}]
    assert writes(world) == ["bob", "eve", "zoe"]


async def test_a_parent_without_a_checkpointer_runs_and_refuses_what_must_be_approved(world):
    parent = parent_of(build_graph(tools=world.tools()))
    look = {"goal": "Look.", "plan": {"tasks": [{"id": "a", "tool": "look", "args": {"value": 1}}]}}
    assert (await parent.ainvoke(look))["results"]["a"]["status"] == "done"
    assert parent.invoke(look)["results"]["a"]["status"] == "done"
    [*parts] = parent.stream(look)
    assert parts
