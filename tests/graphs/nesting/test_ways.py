"""More ways to have Planwave run inside something else."""

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command

from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.graphs.nesting.test_identity import NEVER, Parent, parent_of, remind, writes
from tests.support.worlds import APPROVE, READ, World, thread


@pytest.fixture
def world():
    return World()


@pytest.mark.parametrize("kept", [True, False])
async def test_as_a_tool_of_planwave_itself(world, tmp_path, kept):
    async with open_persistence(f"sqlite:///{tmp_path / 'p.db'}") as persistence:
        options = {"persistence": persistence} if kept else {"checkpointer": InMemorySaver()}
        inner = build_graph(tools=world.tools(), settings=NEVER, **(options if kept else {}))

        async def twice(value: Any) -> list[str]:
            return [(await inner.ainvoke(remind(value)))["status"] for _ in range(2)]

        outer = build_graph(tools=[world.tool("twice", twice, READ)], settings=NEVER, **options)
        plan = {"tasks": [{"id": name, "tool": "twice", "args": {"value": name}} for name in ("w", "x")]}
        for _ in range(2):
            out = await outer.ainvoke({"goal": "Twice.", "plan": plan}, thread())
            assert out["results"]["w"]["output"] == out["results"]["x"]["output"] == ["completed"] * 2
        assert sorted(writes(world)) == ["w"] * 4 + ["x"] * 4
        state = await outer.aget_state(thread())
        if kept:
            assert len(await persistence.ledger.list_rows("t")) == 8
        assert state.values["status"] == "completed"


async def test_two_graphs_deep_and_answered_from_the_top(world, tmp_path):
    async with open_persistence(f"sqlite:///{tmp_path / 'p.db'}") as persistence:
        child = build_graph(tools=world.tools(), persistence=persistence)
        top = parent_of(parent_of(child), saver=persistence.saver)
        for made in (1, 2):
            assert (await top.ainvoke(remind("bob"), thread()))["__interrupt__"]
            out = await top.ainvoke(Command(resume=APPROVE), thread())
            assert (out["results"]["w"]["status"], len(writes(world))) == ("done", made)


async def test_in_tasks_of_the_functional_interface(world):
    child = build_graph(tools=world.tools(), settings=NEVER)

    @task
    async def call(who: str) -> str:
        return (await child.ainvoke(remind(who)))["status"]

    @entrypoint(checkpointer=InMemorySaver())
    async def flow(names: list[str]) -> list[str]:
        begun = [call(name) for name in names]
        return [await each for each in begun]

    for _ in range(2):
        assert await flow.ainvoke(["bob", "bob"], thread()) == ["completed"] * 2
    assert writes(world) == ["bob"] * 4


@pytest.mark.parametrize("kept", [True, False])
async def test_by_a_blocking_call_and_a_stream_inside_a_node(world, tmp_path, kept):
    async with open_persistence(f"sqlite:///{tmp_path / 'p.db'}") as persistence:
        child = build_graph(tools=world.tools(), settings=NEVER, **({"persistence": persistence} if kept else {}))

        def blocking(state: Parent) -> Parent:
            return {"outs": [child.invoke(remind(1))["status"] for _ in range(2)]}

        async def streamed(state: Parent) -> Parent:
            parts = [part async for part in child.astream(remind(2), {"configurable": {"mine": 1}})]
            return {"outs": [bool(parts)]}

        parent = parent_of(blocking, streamed, saver=persistence.saver if kept else InMemorySaver())
        for _ in range(2):
            out = [part async for part in parent.astream({}, thread(), subgraphs=True)]
            assert out
        assert writes(world) == [1, 1, 2] * 2


async def test_items_that_failed_in_one_turn_are_called_in_the_next(world):
    plan = {
        "tasks": [
            {"id": "a", "tool": "look", "args": {"value": [1, 2]}},
            {
                "id": "b",
                "tool": "look",
                "for_each": {"output_of": "a", "path": ["value"]},
                "args": {"value": {"item": []}},
            },
        ]
    }
    parent = parent_of(build_graph(tools=world.tools(), settings=NEVER), saver=InMemorySaver())
    world.failing = {2}
    assert (await parent.ainvoke({"goal": "Look.", "plan": plan}, thread()))["results"]["b"]["status"] == "failed"
    world.failing = set()
    assert (await parent.ainvoke({"goal": "Look.", "plan": plan}, thread()))["results"]["b"]["status"] == "done"


async def test_large_outputs_of_a_nested_run_are_returned_in_full(world, tmp_path):
    look = {"goal": "Look.", "plan": {"tasks": [{"id": "a", "tool": "look", "args": {"value": "x" * 5000}}]}}
    async with open_persistence(f"sqlite:///{tmp_path / 'p.db'}") as persistence:
        child = build_graph(tools=world.tools(), persistence=persistence, settings=Settings(artifact_bytes=100))

        async def call(state: Parent) -> Parent:
            return {"outs": [(await child.ainvoke(look))["results"]["a"]["output"]["value"]]}

        for saver in (persistence.saver, InMemorySaver(), None):
            for config in (thread(), {}) if saver is None else (thread(),):
                assert (await parent_of(call, saver=saver).ainvoke({}, config))["outs"][-1] == "x" * 5000
