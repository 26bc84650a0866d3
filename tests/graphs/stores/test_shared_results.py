"""Results of reading tools that other threads use, for as long as the tool says."""

import asyncio
import secrets

import pytest
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import SecretStr

from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.stored_bytes import execute, rows_of, table_bytes
from tests.support.worlds import READ, World, ref, thread

SHARED = {**READ, "cache_ttl_s": 60}
PLAN = {"tasks": [{"id": "found", "tool": "look", "args": {"value": "a canary"}}]}


class Lookups(World):
    """Tools that look things up, with a policy to try."""

    def __init__(self, policy):
        super().__init__()
        self.policy = policy

    def tools(self):
        return [
            self.tool("look", self.look, self.policy),
            self.tool("private", self.private, self.policy),
            self.tool("write", self.write),
        ]

    async def private(self, key: SecretStr) -> int:
        self.log.append(("private", len(key.get_secret_value())))
        return len(self.log)


async def run(world, plan, name, **how):
    graph = build_graph(tools=world.tools(), settings=Settings(approve="never", max_replans=0), **how)
    return (await graph.ainvoke({"goal": "g", "plan": plan}, thread(name)))["results"]


async def test_another_thread_and_process_use_a_result(database_url):
    world = Lookups(SHARED)
    async with open_persistence(database_url) as persistence:
        first = (await run(world, PLAN, "first", persistence=persistence))["found"]
        assert (first["attempts"], first["cached_at"]) == (1, None)
    async with open_persistence(database_url) as persistence:
        second = (await run(world, PLAN, "second", persistence=persistence))["found"]
    assert world.log == [("look", "a canary")]
    assert second["output"] == first["output"]
    assert (second["attempts"], second["started_at"]) == (0, None)
    assert second["cached_at"] == first["finished_at"]


async def test_a_tool_that_does_not_ask_for_it_is_called_by_every_thread(database_url):
    world = Lookups(READ)
    async with open_persistence(database_url) as persistence:
        for name in ("first", "second"):
            await run(world, PLAN, name, persistence=persistence)
    assert world.log == [("look", "a canary")] * 2
    assert rows_of(database_url, "planwave_cache") == 0


async def test_its_time_goes_by(database_url):
    world, other = Lookups({**READ, "cache_ttl_s": 1}), {"tasks": [{**PLAN["tasks"][0], "args": {"value": 2}}]}
    async with open_persistence(database_url) as persistence:
        await run(world, PLAN, "first", persistence=persistence)
        await asyncio.sleep(1.1)
        assert (await run(world, PLAN, "second", persistence=persistence))["found"]["attempts"] == 1
        await asyncio.sleep(1.1)
        await run(world, other, "third", persistence=persistence)
    assert rows_of(database_url, "planwave_cache") == 1, "what is over was not deleted"


async def test_work_after_another_write_is_other_work(database_url):
    def after(value):
        write = {"id": "written", "tool": "write", "args": {"value": value}}
        return {"tasks": [write, {**PLAN["tasks"][0], "depends_on": ["written"]}]}

    world = Lookups(SHARED)
    async with open_persistence(database_url) as persistence:
        for name, value in (("first", 1), ("second", 2), ("third", 2)):
            await run(world, after(value), name, persistence=persistence)
    assert world.log == [("write", 1), ("look", "a canary"), ("write", 2), ("look", "a canary"), ("write", 2)]


async def test_a_failure_is_not_kept(database_url):
    world, plan = Lookups(SHARED), {"tasks": [{"id": "found", "tool": "look", "args": {"value": 7}}]}
    world.failing = {7}
    async with open_persistence(database_url) as persistence:
        assert (await run(world, plan, "first", persistence=persistence))["found"]["status"] == "failed"
        world.failing = set()
        assert (await run(world, plan, "second", persistence=persistence))["found"]["status"] == "done"


async def test_what_a_secret_gave_is_for_nobody_else(database_url, monkeypatch):
    monkeypatch.setenv("PLANWAVE_SECRET_KEY", "twelve chars")
    world, plan = Lookups(SHARED), {"tasks": [{"id": "found", "tool": "private", "args": {"key": "secret:KEY"}}]}
    async with open_persistence(database_url) as persistence:
        assert [(await run(world, plan, name, persistence=persistence))["found"]["output"] for name in "ab"] == [1, 2]


async def test_items_and_what_rests_on_them(database_url):
    world = Lookups(SHARED)
    plan = {
        "tasks": [
            {"id": "list", "tool": "look", "args": {"value": [3, 1, 2]}},
            {"id": "each", "tool": "look", "for_each": ref("list", "value"), "args": {"value": {"item": []}}},
        ]
    }
    async with open_persistence(database_url) as persistence:
        for name in ("first", "second"):
            results = await run(world, plan, name, persistence=persistence)
            assert [each["value"] for each in results["each"]["output"]] == [3, 1, 2]
    assert len(world.log) == 4


async def test_with_a_key_nothing_is_in_clear_and_another_key_sees_nothing(database_url):
    keys = [secrets.token_bytes(32) for _ in range(2)]
    world = Lookups(SHARED)
    for name, key in (("first", keys[0]), ("second", keys[0])):
        async with open_persistence(database_url, key=key) as persistence:
            await run(world, PLAN, name, persistence=persistence)
    assert len(world.log) == 1
    assert b"a canary" not in table_bytes(database_url, "planwave_cache")
    async with open_persistence(database_url, key=keys[1]) as persistence:
        assert (await run(world, PLAN, "third", persistence=persistence))["found"]["attempts"] == 1


async def test_a_row_in_the_place_of_another_is_not_used(database_url):
    world, other = Lookups(SHARED), {"tasks": [{**PLAN["tasks"][0], "args": {"value": "other"}}]}
    async with open_persistence(database_url) as persistence:
        await run(world, PLAN, "first", persistence=persistence)
        [(name,)] = execute(database_url, "SELECT name FROM planwave_cache")
        await run(world, other, "second", persistence=persistence)
        execute(database_url, "DELETE FROM planwave_cache WHERE name = ?", name)
        execute(database_url, "UPDATE planwave_cache SET name = ?", name)
        assert (await run(world, PLAN, "third", persistence=persistence))["found"]["output"] == {"value": "a canary"}
    assert [value for _, value in world.log] == ["a canary", "other", "a canary"]


async def test_any_cache_of_langgraph_beside_any_checkpointer():
    world, cache = Lookups(SHARED), InMemoryCache()
    for name in ("first", "second"):
        await run(world, PLAN, name, checkpointer=InMemorySaver(), cache=cache)
    await run(world, PLAN, "alone", checkpointer=InMemorySaver())
    assert len(world.log) == 2


@pytest.mark.parametrize("namespaces", [None, [("planwave", "results")]])
async def test_clearing(database_url, namespaces):
    world = Lookups(SHARED)
    async with open_persistence(database_url) as persistence:
        await run(world, PLAN, "first", persistence=persistence)
        await persistence.cache.aclear([("planwave", "else")])
        await run(world, PLAN, "second", persistence=persistence)
        assert len(world.log) == 1
        await persistence.cache.aclear(namespaces)
        await run(world, PLAN, "third", persistence=persistence)
    assert len(world.log) == 2
