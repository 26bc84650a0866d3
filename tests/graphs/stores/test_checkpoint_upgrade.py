"""Threads stored under the former names of the state's fields: read, shown, resumed and forked.

`FormerNames` stores as an earlier release did. Threads that such a release made itself are in `tests/fixtures`.
"""

from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command
from typing_extensions import TypedDict

from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from graphs.state import State
from graphs.stores.checkpoint_upgrade import FIELD_NAMES
from tests.support.worlds import APPROVE, CHAIN, World, thread

FORMER = {name: former for former, name in FIELD_NAMES.items()}


def former(values: dict[str, Any]) -> dict[str, Any]:
    return {FORMER.get(name, name): value for name, value in values.items()}


class FormerNames(InMemorySaver):
    """A saver that stores, and gives back, the former names."""

    async def aput(self, config, checkpoint, metadata, new_versions):
        checkpoint = {
            **checkpoint,
            "channel_values": former(checkpoint["channel_values"]),
            "channel_versions": former(checkpoint["channel_versions"]),
            "versions_seen": {node: former(seen) for node, seen in checkpoint["versions_seen"].items()},
            "updated_channels": [FORMER.get(name, name) for name in checkpoint.get("updated_channels") or ()],
        }
        return await super().aput(config, checkpoint, metadata, former(new_versions))

    async def aput_writes(self, config, writes, task_id, task_path=""):
        writes = [(FORMER.get(channel, channel), value) for channel, value in writes]
        await super().aput_writes(config, writes, task_id, task_path)


def released(saver: FormerNames) -> InMemorySaver:
    """Return a saver over the same storage as the present release opens it."""
    plain = InMemorySaver()
    plain.storage, plain.writes, plain.blobs = saver.storage, saver.writes, saver.blobs
    return plain


def names(saver: InMemorySaver) -> set[str]:
    return {channel for _, _, channel, _ in saver.blobs}


def make(world: World, saver: BaseCheckpointSaver, **settings: Any):
    return build_graph(tools=world.tools(), checkpointer=saver, settings=Settings(**settings))


@pytest.fixture
def world():
    return World()


def test_each_former_name_stands_for_one_field_and_is_none():
    assert len(set(FIELD_NAMES.values())) == len(FIELD_NAMES)
    assert set(FIELD_NAMES.values()) <= State.__annotations__.keys()
    assert not FIELD_NAMES.keys() & State.__annotations__.keys()


async def test_a_waiting_thread_is_shown_and_answered(world):
    saver = FormerNames()
    await make(world, saver).ainvoke({"goal": "go", "plan": CHAIN}, thread())
    assert "pending" in names(saver)
    assert "pending_approvals" not in names(saver)
    graph = make(world, released(saver))
    state = await graph.aget_state(thread())
    assert [request["task"] for request in state.values["pending_approvals"]] == ["w"]
    assert not FIELD_NAMES.keys() & state.values.keys()
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert out["status"] == "completed"
    # Stored again under the new name by a saver that stores each value once, and still there for the next reader.
    after = (await make(world, released(saver)).aget_state(thread())).values
    assert after["plan_history"] == state.values["plan_history"]
    assert after["plan_was_given"] is True
    assert world.log == [("look", 1), ("look", 1), ("write", 1), ("look", 1)]


async def test_writes_that_wait_beside_a_checkpoint_are_taken_up(world):
    saver = FormerNames()
    graph = make(world, saver)
    await graph.ainvoke({"goal": "go", "plan": CHAIN}, thread())
    # As it was when `planner` had written and the process was killed: the later checkpoints are not there.
    history = [state.config["configurable"]["checkpoint_id"] async for state in graph.aget_state_history(thread())]
    [planning] = [state.config async for state in graph.aget_state_history(thread()) if state.next == ("planner",)]
    for later in history[: history.index(planning["configurable"]["checkpoint_id"])]:
        del saver.storage["t"][""][later]
    out = await make(world, released(saver)).ainvoke(None, thread())
    # The plan's digest is among the writes; without it the plan would be checked again, as one that was edited.
    assert (out["status"], out["revision"]) == ("awaiting_approval", 1)


async def test_a_fork_of_an_old_checkpoint_keeps_what_it_does_not_change(world):
    saver = FormerNames()
    await make(world, saver).ainvoke({"goal": "go", "plan": CHAIN}, thread())
    graph = make(world, released(saver))
    before = await graph.aget_state(thread())
    fork = await graph.aupdate_state(before.config, {"goal": "other"}, as_node="planner")
    values = (await make(world, released(saver)).aget_state(fork)).values
    kept = before.values.keys() - {"goal"}
    assert {name: values[name] for name in kept} == {name: before.values[name] for name in kept}


async def test_the_saver_of_a_parent_graph_is_read_in_the_same_way(world):
    class Parent(TypedDict, total=False):
        goal: str
        plan: dict[str, Any]
        status: str

    def parent(saver):
        builder = StateGraph(Parent)
        builder.add_node("planwave", build_graph(tools=world.tools()))
        builder.add_edge(START, "planwave")
        builder.add_edge("planwave", END)
        return builder.compile(checkpointer=saver)

    saver = FormerNames()
    await parent(saver).ainvoke({"goal": "go", "plan": CHAIN}, thread(), durability="sync")
    out = await parent(released(saver)).ainvoke(Command(resume=APPROVE), thread(), durability="sync")
    assert (out["status"], world.log.count(("write", 1))) == ("completed", 1)


async def test_the_fields_of_another_graph_keep_their_names(tmp_path, world):
    """A tool may run a graph of its own, whose checkpoints are in the same saver."""

    class Other(TypedDict, total=False):
        history: list[str]
        question: str

    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "db")) as saver:
        ours = make(world, saver)
        builder = StateGraph(Other)
        builder.add_node("ask", lambda _: {"question": "which?"})
        builder.add_edge(START, "ask")
        graph = builder.compile(checkpointer=ours.checkpointer)
        await graph.ainvoke({"history": ["begun"]}, thread("other"))
        assert (await graph.aget_state(thread("other"))).values == {"history": ["begun"], "question": "which?"}


async def test_no_saver_stores_the_mark_of_an_upgrade(tmp_path, world):
    async with open_persistence(f"sqlite:///{tmp_path}/db") as stored:
        graph = build_graph(tools=world.tools(), persistence=stored, settings=Settings(approve="never"))
        await graph.ainvoke({"goal": "go", "plan": CHAIN}, thread())
        seen = [each.checkpoint["versions_seen"].keys() async for each in stored.saver.alist(thread())]
    saver = FormerNames()
    await make(world, saver).ainvoke({"goal": "go", "plan": CHAIN}, thread())
    plain = released(saver)
    await make(world, plain).ainvoke(Command(resume=APPROVE), thread())
    seen += [each.checkpoint["versions_seen"].keys() for each in plain.list(thread())]
    assert not [nodes for nodes in seen if any(node.startswith("__planwave") for node in nodes)]
