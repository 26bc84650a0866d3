"""Plans that begin while a model still writes them, behind a server that streams well, badly or not at all."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from agent.settings import Settings
from graphs.plan_execute import build_graph
from tests.support.openai_endpoint import Endpoint, Text
from tests.support.worlds import READ, World, ref, thread

#: Seconds before each chunk of eight characters: a plan of four tasks takes about half a second.
CHUNK_S = 0.004
DISPATCHES = pytest.mark.parametrize("dispatch", ["eager", "wave"])


class Clocked(World):
    """A world that notes when each call began, was cancelled and ended, on the clock of the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[tuple[str, Any, float]] = []
        self.checked: list[Any] = []

    def note(self, what: str, value: Any) -> None:
        self.times.append((what, value, asyncio.get_running_loop().time()))

    def when(self, what: str, value: Any) -> float:
        [found] = [at for each, of, at in self.times if (each, of) == (what, value)]
        return found

    def tools(self):
        def checked(args: dict[str, Any]) -> list[str]:
            self.checked.append(args.get("name"))
            return ["The name is 'bad'; take another."] if args.get("name") == "bad" else []

        one = self.tool("one", self.wait, {**READ, "max_concurrency": 1})
        return [*super().tools(), one, self.tool("careful", self.wait, {**READ, "preflight": checked})]

    async def look(self, value: Any) -> dict[str, Any]:
        self.note("look", value)
        return await super().look(value)

    async def write(self, value: Any) -> dict[str, Any]:
        self.note("write", value)
        return await super().write(value)

    async def wait(self, seconds: float, name: str = "") -> str:
        self.note("begun", name)
        try:
            return await super().wait(seconds, name)
        except asyncio.CancelledError:
            self.note("cancelled", name)
            raise
        finally:
            self.note("ended", name)


def task(task_id: str, tool: str, /, **args: Any) -> dict[str, Any]:
    return {
        "id": task_id,
        "description": f"What {task_id} is for, at the length that models like.",
        "reasoning": "Because the goal asks for it.",
        "tool": tool,
        "args": args,
    }


def plan_of(*tasks: dict[str, Any], mode: str = "parallel") -> dict[str, Any]:
    return {"execution_mode": mode, "tasks": list(tasks)}


@pytest.fixture
def world():
    return Clocked()


class Planned:
    """A graph whose model answers by a script, the plans slowly and the answer at once."""

    def __init__(self, world, *replies, streams="well", **settings):
        self.world = world
        self.written: float | None = None
        script = [reply if isinstance(reply, Text) else Text(json.dumps(reply)) for reply in replies]
        self.endpoint = Endpoint(script, streams=streams, chunk_s=CHUNK_S).open()
        self.graph = build_graph(
            tools=world.tools(), model="openai:scripted", settings=Settings(**settings), checkpointer=InMemorySaver()
        )
        self.events: list[dict[str, Any]] = []

    async def run(self, given: Any) -> dict[str, Any]:
        """Run to the end, noting events, and when the plan was whole."""
        async for mode, part in self.graph.astream(given, thread(), stream_mode=["custom", "values"]):
            if mode == "custom":
                self.events.append(part)
                if part["event"] == "plan":
                    self.written = asyncio.get_running_loop().time()
        state = await self.graph.aget_state(thread())
        return state.values

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]


@pytest.fixture
def planned(world, monkeypatch):
    opened: list[Endpoint] = []

    def make(*replies, **options) -> Planned:
        made = Planned(world, *replies, **options)
        opened.append(made.endpoint)
        for name, value in made.endpoint.env.items():
            monkeypatch.setenv(name, value)
        return made

    yield make
    for endpoint in opened:
        endpoint.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


def ours() -> list[asyncio.Task[Any]]:
    """Return the tasks of the loop besides this one that still run something of a head start or a tool."""
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task() and not task.done()]


CHAIN = plan_of(
    task("a", "look", value=1),
    task("b", "look", value=ref("a", "value")),
    task("w", "write", value=ref("b", "value")),
    task("c", "look", value=3),
    task("d", "look", value=ref("w", "written")),
)
ANSWER = Text("All of it is 1 [a].")


@DISPATCHES
async def test_reads_begin_before_the_plan_is_written_and_writes_wait(world, planned, dispatch):
    run = planned(CHAIN, ANSWER, dispatch=dispatch, approve="never")
    out = await run.run({"goal": "look"})
    assert out["status"] == "completed"
    assert world.when("look", 3) < run.written
    assert [at for what, of, at in world.times if (what, of) == ("look", 1)][1] < run.written
    assert world.when("write", 1) > run.written
    assert sorted(world.log, key=str) == [("look", 1)] * 3 + [("look", 3), ("write", 1)]


@DISPATCHES
async def test_results_are_those_of_a_run_without_streaming(world, planned, dispatch):
    def essence(out):
        kept = ("status", "output", "error", "attempts", "fingerprint", "revision")
        results = {name: {key: result.get(key) for key in kept} for name, result in out["results"].items()}
        return out["status"], out["answer"], results, out["plan"], out["usage"], list(out["results"])

    outs = []
    for stream_plan in (True, False):
        world.failing = {7}
        plan = plan_of(*CHAIN["tasks"], task("f", "look", value=7), task("g", "look", value=ref("f", "value")))
        run = planned(plan, ANSWER, dispatch=dispatch, approve="never", max_replans=0, stream_plan=stream_plan)
        outs.append(essence(await run.run({"goal": "look"})))
        begun = [event["text"] for event in run.told("thinking") if "being written" in event["text"]]
        assert bool(begun) is stream_plan
        order = [event["event"] for event in run.events]
        assert order.index("plan") < order.index("task_started") < order.index("task_finished")
        assert sorted(event["task"] for event in run.told("task_started")) == ["a", "b", "c", "d", "f", "w"]
    assert outs[0] == outs[1]
    assert world.log.count(("look", 7)) == 2


async def test_a_write_is_asked_about_and_early_reads_are_kept(world, planned):
    run = planned(CHAIN, ANSWER)
    out = await run.run({"goal": "look"})
    assert out["status"] == "awaiting_approval"
    assert {name: result["status"] for name, result in out["results"].items()} == dict.fromkeys("abc", "done")
    assert "write" not in dict(world.log)
    out = await run.run(Command(resume={"decisions": [{"type": "approve"}]}))
    assert out["status"] == "completed"
    assert sorted(world.log, key=str) == [("look", 1)] * 3 + [("look", 3), ("write", 1)]


async def test_a_read_that_asks_first_is_not_begun(world, planned):
    asks = {**task("a", "look", value=1), "requires_approval": True}
    run = planned(Text(f"```json\n{json.dumps(plan_of(asks, task('b', 'look', value=2)))}\n```"), ANSWER)
    out = await run.run({"goal": "look"})
    assert out["status"] == "awaiting_approval"
    assert world.log == [("look", 2)]


async def test_a_repaired_plan_keeps_its_reads_whatever_their_ids(world, planned):
    first = plan_of(
        task("a", "wait", seconds=0.0, name="quick"),
        task("b", "wait", seconds=0.3, name="slow"),
        task("c", "look", value=ref("a")),
        task("bad", "lok", value=1),
    )
    second = plan_of(
        task("x", "wait", seconds=0.3, name="slow"),
        task("y", "wait", seconds=0.0, name="quick"),
        task("z", "look", value=ref("y")),
    )
    run = planned(first, second, Text("Done [x]."))
    out = await run.run({"goal": "wait"})
    assert out["status"] == "completed"
    assert sorted(world.log) == [("look", "quick"), ("wait", "quick"), ("wait", "slow")]
    assert sorted(event["task"] for event in run.told("task_started")) == ["x", "y", "z"]


async def test_what_a_repaired_plan_does_without_is_stopped(world, planned):
    first = plan_of(task("a", "wait", seconds=30.0, name="unwanted"), task("bad", "lok", value=1))
    run = planned(first, plan_of(task("b", "look", value=1)), Text("1 [b]."))
    out = await run.run({"goal": "look"})
    assert out["status"] == "completed"
    assert world.when("cancelled", "unwanted") < run.written + 1
    assert ours() == []


@pytest.mark.parametrize("streams", ["refused", "ignored", "uncounted", "cut"])
async def test_a_server_that_streams_badly_or_not_at_all_does_no_harm(world, planned, streams):
    # A stream that is ignored or cut has used up an answer of the script.
    spent = [CHAIN] if streams in {"ignored", "cut"} else []
    run = planned(*spent, CHAIN, ANSWER, streams=streams, approve="never")
    out = await run.run({"goal": "look"})
    assert out["status"] == "completed"
    assert sorted(world.log, key=str) == [("look", 1)] * 3 + [("look", 3), ("write", 1)]


@DISPATCHES
async def test_the_failure_of_an_early_read_is_the_failure_of_its_task(world, planned, dispatch):
    world.failing = {1}
    again = plan_of(task("a2", "look", value=2), task("b", "look", value=ref("a2", "value")))
    run = planned(plan_of(*CHAIN["tasks"][:2], task("c", "look", value=3)), again, Text("2 [b]."), dispatch=dispatch)
    out = await run.run({"goal": "look"})
    assert out["status"] == "completed"
    assert out["replans"] == 1
    assert out["results"]["a"]["status"] == "failed"
    assert out["results"]["a"]["attempts"] == 1
    assert world.log.count(("look", 1)) == 1


@pytest.mark.parametrize("early", [True, False])
async def test_tasks_in_listed_order_wait_for_the_plan(world, planned, early):
    plan = plan_of(task("a", "look", value=1), task("b", "look", value=2), mode="sequential")
    if not early:
        plan = {"tasks": plan["tasks"], "execution_mode": "sequential"}
    run = planned(plan, Text("1 [a]."))
    out = await run.run({"goal": "look"})
    assert out["status"] == "completed"
    # The first task rests on nothing either way; what was begun of the second was other work.
    assert world.log == [("look", 1), *([] if early else [("look", 2)]), ("look", 2)]


async def test_the_same_read_twice_is_made_twice(world, planned):
    run = planned(plan_of(task("a", "look", value=1), task("b", "look", value=1)), Text("1 [a]."))
    out = await run.run({"goal": "look"})
    assert {result["status"] for result in out["results"].values()} == {"done"}
    assert world.log == [("look", 1)] * 2


@DISPATCHES
async def test_a_tool_is_never_called_more_often_at_once_than_it_bears(world, planned, dispatch):
    tasks = [task(f"t{n}", "one", seconds=0.15, name=f"n{n}") for n in range(6)]
    tasks.append(task("last", "one", seconds=0.1, name=ref("t0")))
    run = planned(plan_of(*tasks), Text("Done [t0]."), dispatch=dispatch)
    out = await run.run({"goal": "wait"})
    assert out["status"] == "completed"
    assert world.most_running == 1
    assert len(world.log) == 7


async def test_a_preflight_is_asked_once_for_a_call_that_it_passes(world, planned):
    first = plan_of(task("a", "careful", seconds=0.0, name="good"), task("b", "careful", seconds=0.0, name="bad"))
    second = plan_of(task("a", "careful", seconds=0.0, name="good"), task("b", "careful", seconds=0.0, name="fine"))
    run = planned(first, second, Text("Done [a]."))
    out = await run.run({"goal": "wait"})
    assert out["status"] == "completed"
    assert (world.checked.count("good"), world.checked.count("fine")) == (1, 1)
    assert sorted(world.log) == [("wait", "fine"), ("wait", "good")]


async def test_a_run_that_is_cancelled_while_it_plans_leaves_nothing_behind(world, planned):
    # Behind the long one, since on a busy machine more of the plan is heard before the cancellation is.
    behind = [{**each, "depends_on": ["long"]} for each in CHAIN["tasks"]]
    slow = plan_of(task("quick", "look", value=9), task("long", "wait", seconds=30.0, name="long"), *behind)
    again = plan_of(task("quick", "look", value=9), *CHAIN["tasks"])
    run = planned(slow, again, ANSWER, grace_s=0.1, approve="never")
    running = asyncio.create_task(run.run({"goal": "wait"}))
    await until(lambda: len(world.times) > 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert world.when("cancelled", "long")
    assert ours() == []
    assert world.log == [("look", 9)]
    out = await run.run(None)
    assert out["status"] == "completed"
    # Nothing of a plan that never was is kept: its reads are made again.
    assert world.log.count(("look", 9)) == 2
    assert world.log.count(("write", 1)) == 1


async def test_a_run_that_is_cancelled_while_it_waits_for_an_early_read_leaves_nothing_behind(world, planned):
    run = planned(plan_of(task("long", "wait", seconds=30.0, name="long"), *CHAIN["tasks"]), ANSWER, grace_s=0.1)
    running = asyncio.create_task(run.run({"goal": "wait"}))
    await until(lambda: run.told("task_started"))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [what for what, name, _ in world.times if name == "long"] == ["begun", "cancelled", "ended"]
    assert ours() == []


async def test_a_planner_that_fails_leaves_nothing_behind(world, planned):
    plan = plan_of(task("a", "wait", seconds=30.0, name="long"), task("bad", "lok", value=1))
    run = planned(plan, plan, max_repairs=1)
    out = await run.run({"goal": "wait"})
    assert out["status"] == "failed"
    assert world.when("cancelled", "long")
    assert ours() == []


def test_a_caller_without_a_loop_has_the_same_head_start(world, planned):
    run = planned(CHAIN, ANSWER, approve="never")
    out = run.graph.invoke({"goal": "look"}, thread())
    assert out["status"] == "completed"
    assert world.log.index(("look", 3)) < world.log.index(("write", 1))


async def test_nothing_is_begun_behind_the_deadline(world, planned):
    run = planned(CHAIN, ANSWER, deadline_s=0.001, escalate=False)
    out = await run.run({"goal": "look"})
    assert out["status"] == "failed"
    assert world.log == []
