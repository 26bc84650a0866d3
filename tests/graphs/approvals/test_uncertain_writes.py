"""Writes that were begun and not seen to end: verified, repeated under their key, or put to a person."""

import asyncio
from typing import Any

import pytest
from langchain_core.tools import StructuredTool
from langgraph.types import Command

from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.worlds import thread


class Mailbox:
    """Sends letters; the first `stuck` of them take effect and then do not return."""

    def __init__(self, *, stuck: int = 1, takes_effect: bool = True) -> None:
        self.sent: list[Any] = []
        self.calls: list[Any] = []
        self.stuck = stuck
        self.takes_effect = takes_effect
        self.begun = asyncio.Event()

    async def deliver(self, letter: str, key: str | None = None) -> str:
        self.calls.append(key)
        if self.takes_effect or len(self.calls) > self.stuck:
            self.sent.append(letter)
        self.begun.set()
        if len(self.calls) <= self.stuck:
            await asyncio.sleep(60)
        return f"sent {letter}"

    def tool(self, *, keyed: bool = False, **metadata: Any) -> StructuredTool:
        async def send(letter: str) -> str:
            return await self.deliver(letter)

        async def send_once(letter: str, idempotency_key: str) -> str:
            return await self.deliver(letter, idempotency_key)

        return StructuredTool.from_function(
            coroutine=send_once if keyed else send, name="send", description="send", metadata=metadata
        )

    def check(self) -> StructuredTool:
        async def was_sent(letter: str) -> dict[str, Any]:
            return {"happened": letter in self.sent, "output": "found"}

        return StructuredTool.from_function(
            coroutine=was_sent, name="was_sent", description="check", metadata={"readOnlyHint": True}
        )


PLAN = {
    "tasks": [
        {"id": "mail", "tool": "send", "args": {"letter": "hello"}},
        {"id": "after", "tool": "was_sent", "args": {"letter": "hello"}, "depends_on": ["mail"]},
    ]
}


@pytest.fixture
async def persistence(tmp_path):
    async with open_persistence(f"sqlite:///{tmp_path}/doubt.db") as opened:
        yield opened


def graph_of(box, persistence, **tool):
    tools = [box.tool(**tool), box.check()]
    return build_graph(tools=tools, settings=Settings(approve="never", grace_s=0), persistence=persistence)


async def stopped_in_the_middle(graph, box):
    running = asyncio.create_task(graph.ainvoke({"goal": "g", "plan": PLAN}, thread()))
    await box.begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_an_unkeyed_write_is_put_to_a_person_and_not_repeated(persistence):
    box = Mailbox()
    graph = graph_of(box, persistence)
    await stopped_in_the_middle(graph, box)
    out = await graph.ainvoke(None, thread())
    assert out["status"] == "awaiting_approval"
    action = out["__interrupt__"][0].value["action_requests"][0]
    assert action["task_id"] == "mail"
    assert "nobody knows whether it took effect" in action["doubt"]
    assert len(box.calls) == 1
    answer = {"decisions": [{"type": "respond", "message": "it arrived"}]}
    out = await graph.ainvoke(Command(resume=answer), thread())
    assert out["status"] == "completed"
    assert out["results"]["mail"]["output"] == "it arrived"
    assert box.sent == ["hello"]


async def test_a_person_may_say_that_it_did_not_happen(persistence):
    box = Mailbox(takes_effect=False)
    graph = graph_of(box, persistence)
    await stopped_in_the_middle(graph, box)
    await graph.ainvoke(None, thread())
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), thread())
    assert out["status"] == "completed"
    assert (len(box.calls), box.sent) == (2, ["hello"])


async def test_a_person_may_leave_it(persistence):
    box = Mailbox()
    graph = graph_of(box, persistence)
    await stopped_in_the_middle(graph, box)
    await graph.ainvoke(None, thread())
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "reject"}]}), thread())
    assert out["status"] == "failed"
    assert out["results"]["mail"]["kind"] == "in_doubt"
    assert len(box.calls) == 1


async def test_in_doubt_twice_is_asked_twice(persistence):
    box = Mailbox(stuck=2)
    graph = graph_of(box, persistence)
    await stopped_in_the_middle(graph, box)
    await graph.ainvoke(None, thread())
    box.begun.clear()
    running = asyncio.create_task(graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), thread()))
    await box.begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    out = await graph.ainvoke(None, thread())
    assert out["status"] == "awaiting_approval"
    assert len(box.calls) == 2


async def test_a_keyed_write_is_made_again_with_the_same_key(persistence):
    box = Mailbox()
    graph = graph_of(box, persistence, keyed=True)
    await stopped_in_the_middle(graph, box)
    out = await graph.ainvoke(None, thread())
    assert out["status"] == "completed"
    assert len(box.calls) == 2
    assert box.calls[0] == box.calls[1]


@pytest.mark.parametrize(("takes_effect", "calls"), [(True, 1), (False, 2)])
async def test_a_verifying_tool_decides(persistence, takes_effect, calls):
    box = Mailbox(takes_effect=takes_effect)
    graph = graph_of(box, persistence, verify="was_sent")
    await stopped_in_the_middle(graph, box)
    out = await graph.ainvoke(None, thread())
    assert out["status"] == "completed"
    assert (len(box.calls), box.sent) == (calls, ["hello"])
    assert out["results"]["mail"]["output"] == ("found" if takes_effect else "sent hello")


async def test_a_write_that_times_out_is_in_doubt_and_never_retried(persistence):
    box = Mailbox()
    graph = graph_of(box, persistence, timeout_s=0.1, max_retries=3)
    out = await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
    assert out["status"] == "awaiting_approval"
    assert "this run" in out["__interrupt__"][0].value["action_requests"][0]["doubt"]
    assert len(box.calls) == 1


async def test_a_finished_write_is_not_made_again_when_its_checkpoint_is_replayed(persistence):
    box = Mailbox(stuck=0)
    graph = graph_of(box, persistence)
    out = await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
    assert out["status"] == "completed"
    states = [state async for state in graph.aget_state_history(thread()) if state.next]
    for state in states:
        if state.next != ("__start__",):
            again = await graph.ainvoke(None, state.config)
            assert again["results"]["mail"]["output"] == "sent hello"
    assert box.sent == ["hello"]
