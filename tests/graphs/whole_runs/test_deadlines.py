"""The deadline of a run: nothing begins after it, in any mode, and what ended by itself is no failure."""

import asyncio

import httpx
import pytest
from langgraph.checkpoint.memory import InMemorySaver

from agent.settings import Settings
from graphs.plan_execute import build_graph
from tests.support.worlds import READ, World, ref, thread

MODES = pytest.mark.parametrize("dispatch", ["eager", "wave"])


@pytest.fixture
def world():
    return World()


def graph_of(world, saver=None, **settings):
    return build_graph(tools=world.tools(), settings=Settings(**settings), checkpointer=saver or InMemorySaver())


@MODES
async def test_nothing_begins_after_the_deadline(world, dispatch):
    tasks = [
        {"id": "a", "tool": "wait", "args": {"seconds": 0.6, "name": "a"}},
        {"id": "b", "tool": "wait", "args": {"seconds": 0, "name": "b"}, "depends_on": ["a"]},
        {"id": "w", "tool": "write", "args": {"value": 1}, "depends_on": ["a"]},
        {"id": "c", "tool": "wait", "args": {"seconds": 0, "name": "c"}, "depends_on": ["b", "w"]},
    ]
    saver = InMemorySaver()
    late = graph_of(world, saver, dispatch=dispatch, deadline_s=0.3, approve="never")
    out = await late.ainvoke({"goal": "g", "plan": {"tasks": tasks}}, thread())
    assert (out["status"], out["budget"]["name"]) == ("failed", "wall_time_s")
    assert {task: found["status"] for task, found in out["results"].items()} == {
        "a": "done",
        **dict.fromkeys("bwc", "cancelled"),
    }
    assert world.log == [("wait", "a")]
    out = await graph_of(world, saver, dispatch=dispatch, deadline_s=60, approve="never").ainvoke(None, thread())
    assert (out["status"], sorted(name for _, name in world.log if name != 1)) == ("completed", ["a", "b", "c"])


@MODES
async def test_no_item_begins_after_the_deadline_and_those_that_ended_are_kept(world, dispatch):
    names = [f"i{n}" for n in range(6)]
    each = {"seconds": 0.5, "name": {"item": []}}
    tasks = [
        {"id": "a", "tool": "look", "args": {"value": names}},
        {"id": "b", "tool": "wait", "for_each": ref("a", "value"), "args": each, "max_concurrency": 2},
    ]
    saver = InMemorySaver()
    late = graph_of(world, saver, dispatch=dispatch, deadline_s=0.3)
    out = await late.ainvoke({"goal": "g", "plan": {"tasks": tasks}}, thread())
    assert (out["status"], out["budget"]["name"]) == ("failed", "wall_time_s")
    assert len(world.log) <= 3
    out = await graph_of(world, saver, dispatch=dispatch, deadline_s=60).ainvoke(None, thread())
    assert (out["status"], out["results"]["b"]["output"]) == ("completed", names)


@MODES
async def test_no_call_that_waits_for_a_slot_begins_after_the_deadline(world, dispatch):
    tasks = [{"id": f"t{n}", "tool": "wait", "args": {"seconds": 0.4, "name": f"t{n}"}} for n in range(3)]
    graph = graph_of(world, dispatch=dispatch, deadline_s=0.2, max_concurrency=1)
    out = await graph.ainvoke({"goal": "g", "plan": {"tasks": tasks}}, thread())
    assert (out["status"], len(world.log)) == ("failed", 1)


@MODES
async def test_a_run_whose_last_task_ends_after_the_deadline_is_completed(world, dispatch):
    tasks = [{"id": "a", "tool": "wait", "args": {"seconds": 0.4, "name": "a"}}]
    out = await graph_of(world, dispatch=dispatch, deadline_s=0.2).ainvoke(
        {"goal": "g", "plan": {"tasks": tasks}}, thread()
    )
    assert (out["status"], out.get("budget"), out["results"]["a"]["status"]) == ("completed", None, "done")


@pytest.mark.parametrize("reads", [True, False])
async def test_a_retry_waits_no_longer_than_the_deadline(world, reads):
    async def ask() -> str:
        world.log.append(("ask", None))
        response = httpx.Response(429, headers={"Retry-After": "30"}, request=httpx.Request("GET", "http://x"))
        raise httpx.HTTPStatusError("later", request=response.request, response=response)

    graph = build_graph(
        tools=[world.tool("ask", ask, READ if reads else None)],
        settings=Settings(deadline_s=0.5, approve="never"),
        checkpointer=InMemorySaver(),
    )
    plan = {"tasks": [{"id": "a", "tool": "ask"}]}
    async with asyncio.timeout(20):
        out = await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    assert (out["status"], out["budget"]["name"], len(world.log)) == ("failed", "wall_time_s", 1)
    assert out["results"]["a"]["status"] == ("cancelled" if reads else "failed")
