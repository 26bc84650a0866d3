"""What tells one run from another: its thread's name alone does not."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command

from agent.errors import UsageError
from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.worlds import APPROVE, World, thread

PAY = {"goal": "Pay.", "plan": {"tasks": [{"id": "w", "tool": "pay", "args": {"pieces": 1}}]}}


class Till:
    """Notes the key of each payment."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def tool(self, **metadata: Any) -> StructuredTool:
        async def pay(pieces: int, idempotency_key: str) -> str:
            self.keys.append(idempotency_key)
            if len(self.keys) == self.failing_call:
                raise ConnectionError("the line broke")
            return f"paid {pieces}"

        return StructuredTool.from_function(coroutine=pay, name="pay", description="Pay.", metadata=metadata)

    failing_call = 0


async def test_the_key_of_a_write_is_its_runs_own(tmp_path):
    till, never = Till(), Settings(approve="never")
    for _ in range(2):
        # As in a new process without persistence.
        graph = build_graph(tools=[till.tool()], settings=never, checkpointer=InMemorySaver())
        for _ in range(2):
            await graph.ainvoke(PAY, thread())
        await build_graph(tools=[till.tool()], settings=never).ainvoke(PAY)
    for name in ("a.db", "b.db"):
        async with open_persistence(f"sqlite:///{tmp_path / name}") as persistence:
            graph = build_graph(tools=[till.tool()], settings=never, persistence=persistence)
            for _ in range(2):
                await graph.ainvoke(PAY, thread())
                await persistence.delete("t")
    assert len(till.keys) == len(set(till.keys)) == 10


async def test_the_key_of_a_write_is_the_same_at_every_attempt():
    till = Till()
    till.failing_call = 1
    graph = build_graph(tools=[till.tool(idempotentHint=True, max_retries=2)], settings=Settings(approve="never"))
    assert (await graph.ainvoke(PAY))["results"]["w"]["status"] == "done"
    assert len(till.keys) == 2
    assert len(set(till.keys)) == 1


@pytest.fixture(params=["memory", "sqlite saver", "sqlite", "postgresql"])
async def options(request, tmp_path):
    if request.param == "memory":
        yield {"checkpointer": InMemorySaver()}
    elif request.param == "sqlite saver":
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "s.db")) as saver:
            yield {"checkpointer": saver}
    else:
        url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else f"sqlite:///{tmp_path}/p.db"
        async with open_persistence(url) as persistence:
            yield {"persistence": persistence}


@pytest.mark.parametrize("name", [UUID("3f0e0f0c-6f0d-4f43-9a3c-2b8c9f1d7a11"), 7, "a b/ü"], ids=str)
async def test_a_thread_is_named_by_a_uuid_a_number_or_a_text(options, name):
    world = World()
    graph = build_graph(tools=world.tools(), **options)
    config = {"configurable": {"thread_id": name}}
    write = {"goal": "Write.", "plan": {"tasks": [{"id": "w", "tool": "write", "args": {"value": 1}}]}}
    for made in (1, 2):
        out = await graph.ainvoke(write, config)
        assert out["status"] == "awaiting_approval"
        assert (await graph.aget_state(config)).interrupts
        out = await graph.ainvoke(Command(resume=APPROVE), config)
        assert (out["status"], len(world.log)) == ("completed", made)
    assert [state async for state in graph.aget_state_history(config)]
    if "persistence" in options:
        assert await options["persistence"].threads() == [str(name)]
        assert await options["persistence"].delete(str(name))


async def test_the_mark_between_thread_and_run_is_refused_in_a_name():
    graph = build_graph(tools=World().tools(), checkpointer=InMemorySaver())
    with pytest.raises(UsageError, match="U\\+001E"):
        await graph.ainvoke(PAY, thread("a\x1eb"))


async def copy_state(graph, source, target, node):
    values = (await graph.aget_state(thread(source))).values
    await graph.aupdate_state(thread(target), values, as_node=node)


async def test_a_copied_state_does_not_answer_for_the_copy(tmp_path):
    world = World()
    write = {"goal": "Write.", "plan": {"tasks": [{"id": "w", "tool": "write", "args": {"value": 1}}]}}
    async with open_persistence(f"sqlite:///{tmp_path / 'p.db'}") as persistence:
        graph = build_graph(tools=world.tools(), persistence=persistence)
        await graph.ainvoke(write, thread("a"))
        await copy_state(graph, "a", "b", "planner")
        await graph.ainvoke(Command(resume=APPROVE), thread("a"))
        # It is asked about for itself, and made.
        out = await graph.ainvoke(None, thread("b"))
        assert (out["status"], world.log) == ("awaiting_approval", [("write", 1)])
        out = await graph.ainvoke(Command(resume=APPROVE), thread("b"))
        assert (out["status"], world.log) == ("completed", [("write", 1), ("write", 1)])


async def test_a_run_cannot_be_given_the_id_of_another_one(tmp_path):
    world = World()
    write = {"goal": "Write.", "plan": {"tasks": [{"id": "w", "tool": "write", "args": {"value": 1}}]}}
    async with open_persistence(f"sqlite:///{tmp_path / 'p.db'}") as persistence:
        graph = build_graph(tools=world.tools(), persistence=persistence)
        await graph.ainvoke(write, thread())
        other = {"run_id": f"run-{uuid4().hex}"}
        for change in (
            graph.ainvoke(Command(update=other, goto="wave_dispatch"), thread()),
            graph.aupdate_state(thread(), other, as_node="planner"),
        ):
            with pytest.raises(UsageError, match="run_id"):
                await change
        with pytest.raises(UsageError, match="run_id"):
            await asyncio.to_thread(graph.update_state, thread(), other, as_node="planner")


async def test_a_run_that_a_caller_puts_together_has_a_key_of_its_own_too(tmp_path):
    till = Till()
    for name in ("a.db", "b.db"):
        async with open_persistence(f"sqlite:///{tmp_path / name}") as persistence:
            graph = build_graph(tools=[till.tool()], settings=Settings(approve="never"), persistence=persistence)
            for node in ("gather_context", "planner"):
                await graph.aupdate_state(thread(node), {**PAY, "revision": 1}, as_node=node)
                assert (await graph.ainvoke(None, thread(node)))["results"]["w"]["status"] == "done"
    assert len(till.keys) == len(set(till.keys)) == 4
