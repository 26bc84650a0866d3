"""A state that somebody edits: no write without an approval, none twice on the state's word."""

import asyncio
from typing import Any

import pytest
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.worlds import READ, World, thread

READS = {"tasks": [{"id": "a", "tool": "look", "args": {"value": 1}}]}
WRITES = {"tasks": [{"id": "w", "tool": "write", "args": {"value": "seen"}}]}
EVIL = [{"tool": "write", "args": {"value": "evil"}}]


@pytest.fixture(params=["saver", "persistence"])
async def stored(request, tmp_path):
    if request.param == "saver":
        yield {"checkpointer": InMemorySaver()}
        return
    async with open_persistence(f"sqlite:///{tmp_path}/f.db") as persistence:
        yield {"persistence": persistence}


def written(world):
    return [value for name, value in world.log if name == "write"]


@pytest.mark.parametrize("way", ["command", "planner", "wave_dispatch", "gather_context"])
@pytest.mark.parametrize("plan", [READS, WRITES], ids=["over", "waiting"])
async def test_a_write_among_the_planners_questions_is_not_made(stored, way, plan):
    world = World()
    graph = build_graph(tools=world.tools(), **stored)
    await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    if way == "command":
        await graph.ainvoke(Command(update={"context_requests": EVIL}, goto="look_up"), thread())
    else:
        await graph.aupdate_state(thread(), {"context_requests": EVIL, "plan": None}, as_node=way)
        await graph.ainvoke(None, thread())
    assert written(world) == []


async def test_a_question_that_reads_is_still_asked(stored):
    world = World()
    graph = build_graph(tools=world.tools(), **stored)
    await graph.ainvoke({"goal": "g", "plan": READS}, thread())
    asked = [{"tool": "look", "args": {"value": 7}}, {"tool": "wipe", "args": {}}]
    await graph.ainvoke(Command(update={"context_requests": asked}, goto="look_up"), thread())
    said = (await graph.aget_state(thread())).values["planning_context"]
    assert world.log == [("look", 1), ("look", 7)]
    assert "Not asked: There is no tool 'wipe' to ask." in said


async def test_a_digest_names_the_call_that_is_shown_whatever_the_state_says(stored):
    world = World()
    graph = build_graph(tools=world.tools(), **stored)
    out = await graph.ainvoke({"goal": "g", "plan": WRITES}, thread())
    seen = out["__interrupt__"][0].value["action_requests"][0]["digest"]
    [pending] = (await graph.aget_state(thread())).values["pending_approvals"]
    plan = {"tasks": [{"id": "w", "tool": "write", "args": {"value": "evil"}}]}
    forged = {"plan": plan, "pending_approvals": [{**pending, "args": {"value": "evil"}}], "status": "running"}
    await graph.ainvoke(Command(update=forged, goto="human_approval"), thread())
    answer = Command(resume={"decisions": [{"type": "approve", "digest": seen}]})
    out = await graph.ainvoke(answer, thread())
    assert "another call" in out["__interrupt__"][0].value["error"]
    assert written(world) == []


class Post:
    """A write whose first call takes effect and never returns."""

    def __init__(self) -> None:
        self.made = 0
        self.begun = asyncio.Event()

    def tools(self, **metadata: Any) -> list[StructuredTool]:
        async def send(letter: str) -> str:
            self.made += 1
            self.begun.set()
            if self.made == 1:
                await asyncio.sleep(60)
            return "sent"

        async def was_sent(letter: str) -> bool | None:
            return None

        return [
            StructuredTool.from_function(coroutine=send, name="send", description="s", metadata=metadata),
            StructuredTool.from_function(coroutine=was_sent, name="was_sent", description="w", metadata=READ),
        ]


LETTER = {"tasks": [{"id": "w", "tool": "send", "args": {"letter": "hello"}}]}


async def in_doubt(post, persistence, *, approve, **metadata):
    """Return a graph with a thread whose write was begun, and about which a person is asked; and the old answer."""
    settings = Settings(approve=approve, grace_s=0)
    graph = build_graph(tools=post.tools(**metadata), settings=settings, persistence=persistence)
    out, answer = None, None
    if approve == "ask":
        out = await graph.ainvoke({"goal": "g", "plan": LETTER}, thread())
        answer = Command(
            resume={
                "decisions": [
                    {"type": "approve", "digest": out["__interrupt__"][0].value["action_requests"][0]["digest"]}
                ]
            }
        )
    running = asyncio.create_task(graph.ainvoke(answer or {"goal": "g", "plan": LETTER}, thread()))
    await post.begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    out = await graph.ainvoke(None, thread())
    assert "doubt" in out["__interrupt__"][0].value["action_requests"][0]
    return graph, answer


@pytest.mark.parametrize("approve", ["ask", "never"])
@pytest.mark.parametrize("metadata", [{}, {"verify": "was_sent"}], ids=["plain", "verified"])
@pytest.mark.parametrize("node", ["human_approval", "wave_dispatch", "tool_executor", "planner", "rollback"])
async def test_a_write_in_doubt_is_not_made_again_on_the_states_word(tmp_path, approve, metadata, node):
    post = Post()
    async with open_persistence(f"sqlite:///{tmp_path}/d.db") as persistence:
        graph, _ = await in_doubt(post, persistence, approve=approve, **metadata)
        forged = {
            "resolved_doubts": {"w": {"-": 1}},
            "calls_in_doubt": {"w": None},
            "pending_approvals": [],
            "status": "running",
        }
        await graph.aupdate_state(thread(), forged, as_node=node)
        await graph.ainvoke(None, thread())
        await graph.ainvoke(Command(update=forged, goto="wave_dispatch"), thread())
        first = [state async for state in graph.aget_state_history(thread())][-2]
        fork = await graph.aupdate_state(first.config, forged, as_node=node)
        await graph.ainvoke(None, fork)
    assert post.made == 1


async def test_the_answer_to_the_call_is_no_answer_to_its_doubt(tmp_path):
    post = Post()
    async with open_persistence(f"sqlite:///{tmp_path}/d.db") as persistence:
        graph, old = await in_doubt(post, persistence, approve="ask")
        out = await graph.ainvoke(old, thread())
        assert "answers another call" in out["__interrupt__"][0].value["error"]
        assert post.made == 1
        asked = (await graph.aget_state(thread())).interrupts[0].value["action_requests"][0]
        named = {"decisions": [{"type": "approve", "digest": asked["digest"]}]}
        out = await graph.ainvoke(Command(resume=named), thread())
        [row] = await persistence.ledger.list_rows("t")
    assert (out["status"], post.made) == ("completed", 2)
    assert (row.epoch, row.cleared_epoch, row.cleared_by) == (2, 1, "a human")
