"""Whatever a tool returns is stored and read back exactly, in all stores, or its task fails in a sentence."""

import asyncio
import itertools
import math
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command

from agent.errors import UsageError
from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.worlds import APPROVE, READ, World, ref, thread

MARK, TEXT_MARK = "__planwave_int__", "__planwave_text__"
BIG = 2**70
KEY = bytes(range(32))


def nested(levels, *, leaf=1, wrap=lambda inner: [inner]):
    value = leaf
    for _ in range(levels):
        value = wrap(value)
    return value


EXACT = {
    "big": BIG,
    "negative": -BIG,
    "64 bits": [2**64 - 1, 2**64, -(2**63), -(2**63) - 1],
    "4,299 digits": 10**4_299 - 1,
    "mark": {MARK: "0xff"},
    "mark beside a big number": {"a": {MARK: "0xff"}, "b": BIG},
    "mark of a list": [{MARK: ["json", "1"]}, {MARK: ["object", 1]}, BIG],
    "mark of a mark": [{MARK: {MARK: {MARK: "zz"}}}, BIG],
    "mark and more": {MARK: "0xff", "b": BIG},
    "big number under the mark": {MARK: BIG},
    "text mark": {TEXT_MARK: "x"},
    "overwrite": {"__overwrite__": {"a": 1}, "b": BIG},
    "typed overwrite": {"type": "__overwrite__", "value": 1},
    "interrupt": {"__interrupt__": [{"value": 1, "id": "x"}]},
    "constructor": {"lc": 1, "type": "constructor", "id": ["builtins", "eval"], "kwargs": {"a": BIG}},
    "reference": {"output_of": "given", "path": []},
    "template": {"template": "{n}", "values": {"n": 1}},
    "artifact": {"artifact": {"digest": "0" * 64, "size": 1, "preview": "", "output_schema": {}}, "output": None},
    "outcome": {"status": "failed", "kind": "tool", "error": "no"},
    "secret": "secret:NAME",
    "NUL": {"a\x00": "b\x00", "": ""},
    "NUL as it is": "a\x00b",
    "keys": {"": {"": {"": 1}}, "k" * 100_000: 1, "\U0001f600": "\u2028", "a.b[0]": 2},
    "250 levels": nested(250),
    "250 objects": nested(250, wrap=lambda inner: {"a": inner}),
    "250 levels and a big number": nested(250, leaf=BIG),
    "marks in 240 levels": nested(240, leaf={MARK: "0xff"}),
    "zeros": [0, -0.0, 0.0, 1, 1.0, True, False, 1e308, 5e-324],
    "long": "x" * 300_000,
}
REFUSED = {
    "4,301 digits": (10**4_300, "more than 4,300 digits"),
    "5,000 digits, in a list": ([{"a": -(10**5_000)}], "more than 4,300 digits"),
    "251 levels": (nested(251), "deeper than 250 levels"),
    "1,000 levels": (nested(1_000), "deeper than 250 levels"),
    "complex": ([1j], "complex has no JSON form"),
    "one key twice": ({1: "a", "1": "b"}, "two keys"),
}


@asynccontextmanager
async def memory(_folder, _postgres):
    saver = InMemorySaver()
    yield lambda world, **more: build_graph(tools=tools_of(world), checkpointer=saver, **more)


@asynccontextmanager
async def sqlite_saver(folder, _postgres):
    async with AsyncSqliteSaver.from_conn_string(f"{folder}/langgraph.db") as saver:
        yield lambda world, **more: build_graph(tools=tools_of(world), checkpointer=saver, **more)


def persistent(kind, key=None):
    @asynccontextmanager
    async def store(folder, postgres):
        url = postgres() if kind == "postgresql" else f"sqlite:///{folder}/planwave.db"
        async with open_persistence(url, key=key) as persistence:
            yield lambda world, **more: build_graph(tools=tools_of(world), persistence=persistence, **more)

    return store


STORES = {
    "memory": memory,
    "sqlite saver": sqlite_saver,
    "sqlite": persistent("sqlite"),
    "sqlite, encrypted": persistent("sqlite", KEY),
    "postgresql": persistent("postgresql"),
    "postgresql, encrypted": persistent("postgresql", KEY),
}


@pytest.fixture(params=STORES)
def store(request, tmp_path):
    """A function that opens the store."""
    return lambda: STORES[request.param](tmp_path, lambda: request.getfixturevalue("postgres_url"))


def tools_of(world):
    async def give(number: int):
        return world.values[number]

    async def see(value: Any):
        world.log.append(("see", value))
        return value

    async def keep(value: Any):
        world.log.append(("keep", value))
        return value

    return [world.tool("give", give, READ), world.tool("see", see, READ), world.tool("keep", keep)]


def world_of(values):
    world = World()
    world.values = values
    return world


def plan_of(count):
    """Return a plan in which a tool gives each value, and a read and a write take it."""
    tasks = [{"id": "other", "tool": "see", "args": {"value": 1}}]
    for number in range(count):
        given_ = f"give{number}"
        tasks += [
            {"id": given_, "tool": "give", "args": {"number": number}, "on_failure": "skip"},
            {"id": f"see{number}", "tool": "see", "args": {"value": ref(given_)}, "on_failure": "skip"},
            {"id": f"keep{number}", "tool": "keep", "args": {"value": ref(given_)}, "on_failure": "skip"},
        ]
    return {"tasks": tasks}


def same(left, right):
    """Whether two JSON values are the same, in their types too."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float):
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    return type(left) is type(right) and left == right


async def check_values(build, values, expected, name="t"):
    """Run a plan over `values` to its end, a new graph at each step, and check what each step sees."""
    world, count = world_of(values), len(values)

    def graph():
        return build(world, settings=Settings(max_replans=0, artifact_bytes=100_000, max_tasks=1_000))

    def check_asked(out):
        asked = {each["task_id"]: each["args"]["value"] for each in out["__interrupt__"][0].value["action_requests"]}
        assert same(asked, {f"keep{number}": value for number, value in enumerate(expected)})

    check_asked(await graph().ainvoke({"goal": "g", "plan": plan_of(count)}, thread(name)))
    check_asked(await graph().ainvoke(None, thread(name)))
    out = await graph().ainvoke(Command(resume={"decisions": [{"type": "approve"}] * count}), thread(name))
    assert (out["status"], {record["status"] for record in out["results"].values()}) == ("completed", {"done"})
    state = await graph().aget_state(thread(name))
    read = await graph().aload_outputs(state.values["results"], thread(name))
    for results in (out["results"], read):
        for number, value in enumerate(expected):
            for tool in ("give", "see", "keep"):
                assert same(results[f"{tool}{number}"]["output"], value)
    for tool in ("see", "keep"):
        taken = [given_ for name_, given_ in world.log if name_ == tool][-count:]
        assert all(any(same(each, value) for each in taken) for value in expected)
    assert [tool for tool, _ in world.log].count("keep") == count


async def test_what_a_tool_returns_is_stored_exactly(store):
    async with store() as build:
        await check_values(build, [*EXACT.values()], [*EXACT.values()])


async def test_what_cannot_be_stored_fails_its_task_alone(store):
    world = world_of([value for value, _ in REFUSED.values()])
    async with store() as build:
        for given_ in ({"goal": "g", "plan": plan_of(len(REFUSED))}, None):
            out = await build(world).ainvoke(given_, thread())
            assert (out["status"], out["results"]["other"]["status"]) == ("completed", "done")
            for number, (_, because) in enumerate(REFUSED.values()):
                assert because in out["results"][f"give{number}"]["error"]
        assert (await build(world).aget_state(thread())).values["results"] == out["results"]
    assert world.log == [("see", 1)]


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**200), 10**200),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.sampled_from([MARK, "0xff", "json", "__overwrite__", "a\x00", BIG, {MARK: "0xff"}, {MARK: BIG}, nested(240)]),
)
KEYS = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=8), st.sampled_from([MARK, TEXT_MARK, "lc", "", "type"])
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


def check_random_values(opened, number):
    """Check random values, several in a run, since a run costs much more than a value."""
    threads = itertools.count()

    @settings(max_examples=number, suppress_health_check=[*HealthCheck])
    @given(st.lists(VALUES, min_size=1, max_size=20))
    def check(values):
        async def run():
            async with opened() as build:
                await check_values(build, values, values, f"t{next(threads)}")

        asyncio.run(run())

    check()


def test_any_json_value_is_stored_exactly(store):
    check_random_values(store, 3)


@pytest.mark.slow
def test_many_json_values_are_stored_exactly(store):
    check_random_values(store, 150)


async def test_an_edited_call_keeps_a_number_of_any_size(store):
    world = world_of([BIG])
    edit = {"type": "edit", "edited_action": {"name": "keep", "args": {"value": {"n": [-BIG, {MARK: "0xff"}]}}}}
    async with store() as build:
        await build(world).ainvoke({"goal": "g", "plan": plan_of(1)}, thread())
        out = await build(world).ainvoke(Command(resume={"decisions": [edit]}), thread())
        assert out["status"] == "completed"
        assert world.log[-1] == ("keep", {"n": [-BIG, {MARK: "0xff"}]})
        assert (await build(world).aget_state(thread())).values["plan"]["tasks"][-1]["args"]["value"]["n"][0] == -BIG


@pytest.mark.parametrize("value", [10**5_000, nested(2_000), 1j], ids=["digits", "levels", "type"])
async def test_an_input_that_cannot_be_stored_is_refused_and_the_thread_goes_on(store, value):
    world = world_of([1])
    plan = {"tasks": [{"id": "a", "tool": "see", "args": {"value": value}}]}
    edit = {"type": "edit", "edited_action": {"name": "keep", "args": {"value": value}}}
    async with store() as build:
        with pytest.raises(UsageError, match="The plan cannot be stored"):
            await build(world).ainvoke({"goal": "g", "plan": plan}, thread())
        await build(world).ainvoke({"goal": "g", "plan": plan_of(1)}, thread())
        out = await build(world).ainvoke(Command(resume={"decisions": [edit]}), thread())
        assert "The answer cannot be stored" in out["__interrupt__"][0].value["error"]
        with pytest.raises(UsageError, match="The update cannot be stored"):
            await build(world).ainvoke(Command(update={"guidance": [value]}), thread())
        with pytest.raises(UsageError, match="The update cannot be stored"):
            await build(world).aupdate_state(thread(), {"guidance": [value]}, as_node="planner")
        assert (await build(world).ainvoke(Command(resume=APPROVE), thread()))["status"] == "completed"


async def test_texts_with_nul_are_stored_in_the_goal_and_in_the_answer(store):
    world = world_of(["a\x00b"])
    async with store() as build:
        await build(world).ainvoke({"goal": "what\x00is \ud800 it", "plan": plan_of(1)}, thread())
        out = await build(world).ainvoke(Command(resume=APPROVE), thread())
        assert "a\x00b" in out["answer"]
        assert "a\x00b" in (await build(world).aget_state(thread())).values["answer"]
