"""What is learned of tools' durations, and what comes of it."""

import asyncio

from agent.core.engine.outcomes import Done, Failed
from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from graphs.run.services import DurationEstimates
from tests.support.worlds import READ, World, thread

#: Two chains of one length in tasks; only durations tell which is the critical path.
PLAN = {
    "tasks": [
        {"id": "light", "tool": "light", "args": {"name": "light"}},
        {"id": "heavy", "tool": "heavy", "args": {"name": "heavy"}},
        {"id": "after", "tool": "light", "args": {"name": "after"}, "depends_on": ["light"]},
        {"id": "last", "tool": "heavy", "args": {"name": "last"}, "depends_on": ["heavy"]},
    ]
}


def tools(world):
    async def light(name: str) -> str:
        world.log.append(("call", name))
        return name

    async def heavy(name: str) -> str:
        world.log.append(("call", name))
        await asyncio.sleep(0.05)
        return name

    return [world.tool("light", light, READ), world.tool("heavy", heavy, READ)]


async def order_of_calls(persistence, name):
    world = World()
    graph = build_graph(tools=tools(world), settings=Settings(max_concurrency=1), persistence=persistence)
    await graph.ainvoke({"goal": "g", "plan": PLAN}, thread(name))
    return [name for _, name in world.log]


async def test_a_later_process_starts_the_critical_path_first(database_url):
    async with open_persistence(database_url) as persistence:
        assert (await order_of_calls(persistence, "first"))[:2] == ["light", "heavy"]
    async with open_persistence(database_url) as persistence:
        assert (await order_of_calls(persistence, "second"))[0] == "heavy"


def lasting(seconds, **more):
    return Done(revision=1, started_at="2026-01-01T00:00:00Z", finished_at=f"2026-01-01T00:00:{seconds:06.3f}Z", **more)


async def test_an_estimate_is_the_mean_and_then_follows_what_is_new():
    durations = DurationEstimates(None)
    for seconds in (1, 2, 3):
        durations.record_call("t", lasting(seconds))
    assert await durations.get_estimates(frozenset({"t", "other"})) == {"t": 2.0}
    for _ in range(40):
        durations.record_call("t", lasting(10))
    assert 9.9 < (await durations.get_estimates(frozenset({"t"})))["t"] <= 10


async def test_nothing_is_learned_from_what_was_not_done():
    durations = DurationEstimates(None)
    durations.record_call("t", lasting(5, reused_from="other"))
    durations.record_call("t", Done(revision=1))
    durations.record_call("t", Failed(revision=1, kind="tool", error="no"))
    assert await durations.get_estimates(frozenset({"t"})) == {}
