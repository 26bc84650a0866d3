"""Runs that are cancelled, left by their consumer, or told to drain."""

import asyncio
from collections import Counter

import httpx
import pytest
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl
from langgraph.types import Command, interrupt

from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.worlds import READ, World, thread

#: Two can run at once; `last` waits for `a`.
PLAN = {
    "tasks": [
        {"id": "a", "tool": "wait", "args": {"seconds": 0.4, "name": "a"}, "priority": -1},
        {"id": "b", "tool": "wait", "args": {"seconds": 0.4, "name": "b"}, "priority": -1},
        {"id": "queued", "tool": "wait", "args": {"seconds": 0, "name": "queued"}},
        {"id": "last", "tool": "wait", "args": {"seconds": 0, "name": "last"}, "depends_on": ["a"]},
    ]
}
GOAL = {"goal": "g", "plan": PLAN}


@pytest.fixture(params=["eager", "wave"])
def dispatch(request):
    return request.param


async def at_work(world, running=2):
    async with asyncio.timeout(30):
        while world.now_running < running:  # noqa: ASYNC110 - the world counts, it does not tell
            await asyncio.sleep(0.01)


async def resumed_to_the_end(graph, world):
    out = await graph.ainvoke(None, thread())
    assert out["status"] == "completed"
    assert Counter(world.log) == Counter({("wait", name): 1 for name in ("a", "b", "queued", "last")})


async def test_a_cancelled_run_keeps_what_was_under_way_and_begins_nothing_new(database_url, dispatch):
    world = World()
    async with open_persistence(database_url) as persistence:
        settings = Settings(dispatch=dispatch, max_concurrency=2)
        graph = build_graph(tools=world.tools(), settings=settings, persistence=persistence)
        run = asyncio.create_task(graph.ainvoke(GOAL, thread()))
        await at_work(world)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert sorted(world.log) == [("wait", "a"), ("wait", "b")]
        await resumed_to_the_end(graph, world)


async def test_what_outlasts_the_grace_is_cancelled_and_runs_again(database_url, dispatch):
    world = World()
    async with open_persistence(database_url) as persistence:
        settings = Settings(dispatch=dispatch, max_concurrency=2, grace_s=0.05)
        graph = build_graph(tools=world.tools(), settings=settings, persistence=persistence)
        run = asyncio.create_task(graph.ainvoke(GOAL, thread()))
        await at_work(world)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert world.now_running == 0
        # What had been waited for would have come to its end and be noted.
        assert world.log == []
        await resumed_to_the_end(graph, world)


async def test_an_answer_to_one_tool_is_not_given_to_the_next_that_asks_after_a_stop(database_url, dispatch):
    world = World()

    async def choose(value: str) -> str:
        return f"{value}: {interrupt({'which': value})}"

    def choice(name, *needs):
        return {"id": name, "tool": "choose", "args": {"value": name}, "depends_on": list(needs)}

    wait = {"id": "b", "tool": "wait", "args": {"seconds": 0.4, "name": "b"}, "depends_on": ["a"]}
    plan = {"tasks": [choice("a"), wait, choice("c", "b")]}
    async with open_persistence(database_url) as persistence:
        tools = [*world.tools(), world.tool("choose", choose, READ)]
        graph = build_graph(tools=tools, settings=Settings(dispatch=dispatch, grace_s=0.01), persistence=persistence)
        out = await graph.ainvoke({"goal": "g", "plan": plan}, thread())
        assert [each.value for each in out["__interrupt__"]] == [{"which": "a"}]
        run = asyncio.create_task(graph.ainvoke(Command(resume="first"), thread()))
        await at_work(world, running=1)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        out = await graph.ainvoke(None, thread())
        assert [each.value for each in out["__interrupt__"]] == [{"which": "c"}]
        out = await graph.ainvoke(Command(resume="second"), thread())
    assert {task: found["output"] for task, found in out["results"].items() if task != "b"} == {
        "a": "a: first",
        "c": "c: second",
    }


async def test_a_consumer_that_stops_early_leaves_a_thread_that_goes_on(database_url):
    world = World()
    async with open_persistence(database_url) as persistence:
        graph = build_graph(tools=world.tools(), settings=Settings(max_concurrency=2), persistence=persistence)
        stream = graph.astream(GOAL, thread(), stream_mode="custom")
        async for event in stream:
            if event["event"] == "task_started":
                break
        await stream.aclose()
        assert world.now_running == 0
        assert 1 <= len(world.log) <= 2
        await resumed_to_the_end(graph, world)


def test_a_blocking_consumer_that_stops_early_leaves_a_thread_that_goes_on(tmp_path):
    world = World()

    async def rest():
        async with open_persistence(f"sqlite:///{tmp_path}/s.db") as persistence:
            graph = build_graph(tools=world.tools(), settings=Settings(max_concurrency=2), persistence=persistence)

            def leave():
                for event in graph.stream(GOAL, thread(), stream_mode="custom"):
                    if event["event"] == "task_started":
                        break

            await asyncio.to_thread(leave)
            await resumed_to_the_end(graph, world)

    asyncio.run(rest())


async def test_a_control_of_the_caller_drains_the_run(database_url):
    world, control = World(), RunControl()
    async with open_persistence(database_url) as persistence:
        graph = build_graph(tools=world.tools(), settings=Settings(max_concurrency=2), persistence=persistence)
        run = asyncio.create_task(graph.ainvoke(GOAL, thread(), control=control))
        await at_work(world)
        control.request_drain("SIGTERM")
        with pytest.raises(GraphDrained, match="SIGTERM"):
            await run
        assert sorted(world.log) == [("wait", "a"), ("wait", "b")]
        await resumed_to_the_end(graph, world)


class Flaky:
    """A receiver that turns the first call away unread and asks for patience, then works."""

    def __init__(self) -> None:
        self.calls = 0

    async def call(self, value: int) -> int:
        self.calls += 1
        if self.calls == 1:
            turned_away = httpx.Response(429, headers={"Retry-After": "2"}, request=httpx.Request("POST", "http://x"))
            turned_away.raise_for_status()
        return value


@pytest.mark.parametrize(("metadata", "calls"), [(READ, 1), ({}, 2)], ids=["a read waits no longer", "a write goes on"])
async def test_a_stop_between_two_attempts(tmp_path, metadata, calls):
    world, flaky = World(), Flaky()
    tools = [*world.tools(), world.tool("flaky", flaky.call, metadata)]
    plan = {"tasks": [{"id": "f", "tool": "flaky", "args": {"value": 1}}]}
    async with open_persistence(f"sqlite:///{tmp_path}/f.db") as persistence:
        settings = Settings(approve="never", grace_s=30)
        graph = build_graph(tools=tools, settings=settings, persistence=persistence)
        run = asyncio.create_task(graph.ainvoke({"goal": "g", "plan": plan}, thread()))
        async with asyncio.timeout(30):
            while flaky.calls == 0:  # noqa: ASYNC110 - the receiver counts, it does not tell
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert flaky.calls == calls
        out = await graph.ainvoke(None, thread())
        assert out["status"] == "completed"
        assert out["results"]["f"]["output"] == 1
        assert flaky.calls == 2
