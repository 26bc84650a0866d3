"""Reads that a dispatch begins itself, before LangGraph has made a task of every order."""

import asyncio
import threading

import pytest
from langchain_core.callbacks import AsyncCallbackHandler
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.types import Command, interrupt

from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.worlds import APPROVE, READ, World, ref, thread


def look(name, *, priority=0, **more):
    return {"id": name, "tool": "look", "args": {"value": name}, "priority": priority, **more}


def wait(name, **more):
    return {"id": name, "tool": "wait", "args": {"seconds": 0, "name": name}, **more}


def write(name, **more):
    return {"id": name, "tool": "write", "args": {"value": name}, **more}


def graph_of(world, *more, approve="never", **settings):
    chosen = Settings(approve=approve, **settings)
    return build_graph(tools=[*world.tools(), *more], settings=chosen, checkpointer=InMemorySaver())


async def heard(graph, *tasks, config=None, **options):
    """Run a plan of `tasks` and return what `order_of` does."""
    return await order_of(graph, {"goal": "g", "plan": {"tasks": list(tasks)}}, config or thread(), **options)


async def order_of(graph, given, config, **options):
    """Return in which order nodes and calls begin: the names of nodes, and of tasks with `+` before them."""
    order = []
    async for mode, part in graph.astream(given, config, stream_mode=["custom", "tasks"], **options):
        if mode == "custom" and part["event"] == "task_started":
            order.append(f"+{part['task']}")
        elif mode == "tasks" and "input" in part:
            order.append(part["name"])
    return order


def begun_early(order):
    """Return the tasks whose calls began before the first order arrived."""
    found = order[: order.index("tool_executor")]
    return [each[1:] for each in found if each.startswith("+")]


async def test_reads_begin_with_the_dispatch_and_each_is_made_once():
    world = World()
    order = await heard(graph_of(world), look("a"), wait("b"), wait("c", depends_on=["a"]))
    assert begun_early(order) == ["a", "b"]
    assert sorted(world.log) == [("look", "a"), ("wait", "b"), ("wait", "c")]


async def test_writes_wait_for_their_orders():
    world = World()
    order = await heard(graph_of(world), write("w"), look("a"))
    assert begun_early(order) == ["a"]
    assert sorted(world.log) == [("look", "a"), ("write", "w")]


async def test_what_needed_an_approval_waits_for_its_order_when_it_has_it():
    world = World()
    graph = graph_of(world, approve="ask")
    tasks = [look("asked", requires_approval=True), write("w")]
    assert "tool_executor" not in await heard(graph, *tasks)
    assert world.log == []
    answer = Command(resume={"decisions": 2 * APPROVE["decisions"]})
    assert begun_early(await order_of(graph, answer, thread())) == []
    assert sorted(world.log) == [("look", "asked"), ("write", "w")]


async def test_an_urgent_write_keeps_the_only_place():
    world = World()
    order = await heard(graph_of(world, max_concurrency=1), look("later", priority=5), write("first", priority=-5))
    assert begun_early(order) == []
    assert world.log == [("write", "first"), ("look", "later")]


async def test_no_more_begin_than_have_a_place_and_the_most_urgent_do():
    world = World()
    tasks = [wait(f"w{n}", priority=n) for n in (3, 1, 2)]
    order = await heard(graph_of(world, max_concurrency=2), *tasks)
    assert begun_early(order) == ["w1", "w2"]
    assert world.most_running <= 2


async def test_a_tool_keeps_its_own_bounds():
    world = World()
    one = world.tool("one", world.wait, {**READ, "max_concurrency": 1})
    rare = world.tool("rare", world.wait, {**READ, "rate_per_s": 1000.0})
    tasks = [wait("a", tool="one"), wait("b", tool="one"), wait("c", tool="rare")]
    order = await heard(graph_of(world, one, rare), *tasks)
    assert begun_early(order) == ["a"]
    assert world.most_running <= 2
    assert len(world.log) == 3


class Watcher(AsyncCallbackHandler):
    """Notes under which run each tool is called."""

    def __init__(self):
        self.nodes = {}
        self.parents = []

    async def on_chain_start(self, serialized, inputs, *, run_id, **more):
        self.nodes[run_id] = more.get("name")

    async def on_tool_start(self, serialized, input_str, *, parent_run_id, **more):
        self.parents.append(self.nodes[parent_run_id])


async def test_a_tracer_finds_each_call_under_the_node_that_executes_it():
    world, watcher = World(), Watcher()
    order = await heard(graph_of(world), look("a"), config={**thread(), "callbacks": [watcher]})
    assert begun_early(order) == []
    assert watcher.parents == ["tool_executor"]


@pytest.mark.parametrize("where", [{"interrupt_before": ["tool_executor"]}, {"interrupt_after": ["wave_dispatch"]}])
async def test_nothing_is_under_way_at_a_breakpoint(where):
    world = World()
    graph = graph_of(world)
    await heard(graph, look("a"), **where)
    assert (await graph.aget_state(thread())).next == ("tool_executor",)
    assert world.log == []
    assert (await graph.ainvoke(None, thread()))["status"] == "completed"
    assert world.log == [("look", "a")]


@pytest.mark.parametrize(
    ("settings", "config"), [({"dispatch": "wave"}, {}), ({}, {"max_concurrency": 4})], ids=["wave", "bounded"]
)
async def test_runs_that_are_stepped_or_bounded_begin_nothing_early(settings, config):
    world = World()
    order = await heard(graph_of(world, **settings), look("a"), config={**thread(), **config})
    assert begun_early(order) == []
    assert world.log == [("look", "a")]


async def test_a_read_that_asks_a_person_is_asked_for_by_its_own_task():
    world, asked = World(), []

    async def choose(value: str) -> str:
        asked.append(value)
        return f"{value}: {interrupt({'which': value})}"

    graph = graph_of(world, world.tool("choose", choose, READ))
    plan = {"tasks": [{"id": "c", "tool": "choose", "args": {"value": "v"}}, wait("d", depends_on=["c"])]}
    out = await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    assert [each.value for each in out["__interrupt__"]] == [{"which": "v"}]
    [waiting] = [task for task in (await graph.aget_state(thread())).tasks if task.interrupts]
    assert waiting.name == "tool_executor"
    out = await graph.ainvoke(Command(resume="this one"), thread())
    assert (out["status"], out["results"]["c"]["output"]) == ("completed", "v: this one")
    assert world.log == [("wait", "d")]


@pytest.mark.parametrize("policy", [READ, None], ids=["read", "write"])
@pytest.mark.parametrize(
    "question", [object(), {"rows": [lambda: 1]}, threading.Lock()], ids=["object", "nested", "lock"]
)
async def test_a_question_that_cannot_be_stored_is_the_failure_of_its_task(tmp_path, question, policy):
    world = World()

    async def choose(value: str) -> str:
        return f"{value}: {interrupt(question)}"

    tool = world.tool("choose", choose, READ) if policy else world.tool("choose", choose)
    async with open_persistence(f"sqlite:///{tmp_path / 't.db'}") as persistence:
        settings = Settings(approve="never", max_replans=0)
        graph = build_graph(tools=[*world.tools(), tool], settings=settings, persistence=persistence)
        plan = {"tasks": [{"id": "c", "tool": "choose", "args": {"value": "v"}}, look("d")]}
        out = await graph.ainvoke({"goal": "g", "plan": plan}, thread())
        assert (out["status"], out["results"]["d"]["status"]) == ("failed", "done")
        assert "asks a human with a value that cannot be stored" in out["results"]["c"]["error"]
        # Settled, not in doubt: it had only asked.
        assert [row.state for row in await persistence.ledger.list_rows("t")] == ([] if policy else ["done"])


async def test_a_read_that_fails_has_failed_once():
    world = World()
    world.failing.add(7)
    tasks = [{"id": "a", "tool": "look", "args": {"value": 7}, "on_failure": "skip"}, look("b")]
    out = await graph_of(world).ainvoke({"goal": "g", "plan": {"tasks": tasks}}, thread())
    assert out["results"]["a"]["status"] == "failed"
    assert sorted(map(str, world.log)) == ["('look', 'b')", "('look', 7)"]


async def test_what_follows_is_begun_before_its_need_is_on_record():
    """Only its order of events shows it: a task that waits begins, then LangGraph reports the end of what it needs."""
    world, order = World(), []
    tasks = [wait("a"), {"id": "b", "tool": "wait", "args": {"seconds": 0.05, "name": ref("a")}}]
    given = {"goal": "g", "plan": {"tasks": tasks}}
    async for mode, part in graph_of(world).astream(given, thread(), stream_mode=["custom", "updates"]):
        if mode == "custom" and part["event"] in {"task_started", "task_finished"}:
            order.append((part["event"], part["task"]))
        elif mode == "updates" and (done := (part.get("tool_executor") or {}).get("results")):
            order.append(("recorded", *done))
    assert order == [
        ("task_started", "a"),
        ("task_finished", "a"),
        ("task_started", "b"),
        ("recorded", "a"),
        ("task_finished", "b"),
        ("recorded", "b"),
    ]


async def test_nothing_outlives_a_run_that_ends_before_its_orders_arrive():
    world = World()
    graph = graph_of(world)
    slow = {"id": "slow", "tool": "wait", "args": {"seconds": 60, "name": "slow"}}
    config = {**thread(), "recursion_limit": 3}
    with pytest.raises(GraphRecursionError):
        await asyncio.wait_for(graph.ainvoke({"goal": "g", "plan": {"tasks": [slow]}}, config), 30)
    assert world.now_running == 0
    assert world.log == []


class StuckSaver(InMemorySaver):
    """A saver that stores and then does not answer, where something is at work."""

    def __init__(self, world):
        super().__init__()
        self._world = world

    async def aput(self, *args):
        stored = await super().aput(*args)
        if self._world.now_running:
            await asyncio.Event().wait()
        return stored


async def test_a_run_that_is_stopped_before_its_orders_arrive_is_taken_up_in_the_same_process():
    world = World()
    settings = Settings(grace_s=0.05, max_concurrency=1)
    graph = build_graph(tools=world.tools(), settings=settings, checkpointer=StuckSaver(world))
    slow = {"id": "slow", "tool": "wait", "args": {"seconds": 0.5, "name": "slow"}, "priority": -1}
    run = asyncio.create_task(graph.ainvoke({"goal": "g", "plan": {"tasks": [slow, wait("queued")]}}, thread()))
    while not world.now_running:  # noqa: ASYNC110 - the world counts, it does not tell
        await asyncio.sleep(0.01)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert (world.now_running, world.log) == (0, [])
    assert (await graph.aget_state(thread())).next == ("tool_executor", "tool_executor")
    assert (await graph.ainvoke(None, thread()))["status"] == "completed"
    assert sorted(world.log) == [("wait", "queued"), ("wait", "slow")]
