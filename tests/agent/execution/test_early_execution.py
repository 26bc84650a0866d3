"""Tasks of a plan that begin before its text is whole."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from langchain_core.tools import StructuredTool

from agent.core.engine.outcomes import Done, Failed
from agent.core.plan.document import Task
from agent.errors import ToolFailure
from agent.events import TaskStarted, Thinking
from agent.execution.call_log import MemoryCallLog
from agent.execution.concurrency import Slots
from agent.execution.early_execution import EarlyExecution
from agent.execution.executor import Executor, Job, utc_now
from agent.execution.ledger import MemoryLedger
from agent.settings import Settings
from agent.tools.plan_check import PreflightChecker, check_plan
from agent.tools.toolbox import Toolbox

READ = {"readOnlyHint": True}
SETTINGS = Settings(default_retries=0)


class Stop(BaseException):
    """What a tool raises to speak to the graph."""


class Tools:
    """Tools that note their calls; `read` waits while the gate is shut."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failing: list[Any] = []
        self.toolbox = Toolbox(
            [
                StructuredTool.from_function(coroutine=self.read, name="read", description="Read.", metadata=READ),
                StructuredTool.from_function(coroutine=self.write, name="write", description="Write."),
                StructuredTool.from_function(coroutine=self.ask, name="ask", description="Ask.", metadata=READ),
            ]
        )

    async def read(self, value: Any) -> dict[str, Any]:
        self.log.append(value)
        await self.gate.wait()
        if value in self.failing:
            raise ToolFailure(f"There is nothing at {value}.")
        return {"value": value, "list": [value, value]}

    async def write(self, value: Any) -> str:
        self.log.append(("write", value))
        return "written"

    async def ask(self) -> str:
        self.log.append("ask")
        raise Stop


@pytest.fixture
def tools():
    return Tools()


class Begun:
    """A head start with what it told."""

    def __init__(self, tools: Tools, *, places: int = 8, until: datetime | None = None, **settings: Any) -> None:
        settings_ = SETTINGS.model_copy(update=settings)
        self.tools = tools
        self.told: list[Any] = []
        self.handed: list[Any] = []
        self.slots = Slots(places)
        self.limits = settings_.build_limits(can_replan=True)
        self.ledger = MemoryLedger()
        self.settings = settings_
        self.ahead = EarlyExecution(
            Executor(tools.toolbox, settings_, self.ledger, MemoryCallLog(), propagate=(Stop,)),
            PreflightChecker(tools.toolbox),
            limits=self.limits,
            slots=self.slots,
            thread="t",
            revision=1,
            emit=self.told.append,
            until=until,
        )
        self.ahead.begin_text()

    async def take(self, *tasks: dict[str, Any]) -> None:
        for each in tasks:
            self.ahead.add_task(each)
        await settled()

    async def run(self, task: dict[str, Any], **outcomes: Any) -> Any:
        """Run a task of the whole plan as a dispatch does."""
        executor = Executor(
            self.tools.toolbox,
            self.settings,
            self.ledger,
            MemoryCallLog(),
            propagate=(Stop,),
            early_outcomes=self.ahead,
        )
        whole = Task.model_validate(task)
        job = Job(
            task=whole,
            spec=self.tools.toolbox.specs[whole.tool],
            needs=tuple(outcomes),
            outcomes=outcomes,
            thread="t",
            revision=4,
            gated=False,
        )
        return await executor.run(job, slots=self.slots, emit=self.handed.append)


async def settled() -> None:
    """Let everything that needs no clock happen."""
    for _ in range(60):
        await asyncio.sleep(0)


def read(task_id: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"id": task_id, "tool": "read", "args": {"value": value}, **more}


def of(task_id: str) -> dict[str, Any]:
    return {"output_of": task_id, "path": ["value"]}


async def test_a_read_begins_at_once_and_what_rests_on_it_follows(tools):
    begun = Begun(tools)
    tools.gate.clear()
    await begun.take(read("a", 1), read("b", of("a")), read("c", 3))
    assert tools.log == [1, 3]
    tools.gate.set()
    await settled()
    assert tools.log == [1, 3, 1]
    assert [event.text for event in begun.told if isinstance(event, Thinking)] == [
        f"Began {name!r} while the plan is being written." for name in "acb"
    ]


NOT_BEGUN = {
    "a write": {"id": "t", "tool": "write", "args": {"value": 1}},
    "one that asks": read("t", 1, requires_approval=True),
    "an unknown tool": {"id": "t", "tool": "raed", "args": {"value": 1}},
    "a bad argument": {"id": "t", "tool": "read", "args": {"vale": 1}},
    "no task": {"id": "t", "tool": "read", "args": 3},
    "a need that is not there": read("t", of("nowhere")),
    "itself": read("t", of("t")),
    "a path that is not there": read("t", {"output_of": "a", "path": ["x", 0, "y"]}),
    "a false condition": read("t", 1, condition="a.value > 5"),
    "a broken condition": read("t", 1, condition="a.value >"),
}


@pytest.mark.parametrize("task", NOT_BEGUN.values(), ids=NOT_BEGUN)
async def test_what_may_not_or_cannot_begin_is_left_with_all_that_rests_on_it(tools, task):
    begun = Begun(tools)
    await begun.take(read("a", 0), task, read("after", of("t")), read("z", 9))
    assert tools.log == [0, 9]
    await begun.ahead.finish()


async def test_a_true_condition_and_each_item_of_a_list_are_decided_on_outputs(tools):
    begun = Begun(tools)
    each = read("e", {"item": []}, for_each={"output_of": "a", "path": ["list"]}, condition="a.value == 7")
    await begun.take(read("a", 7), each)
    assert tools.log == [7, 7, 7]


async def test_an_id_that_comes_twice_counts_once(tools):
    begun = Begun(tools)
    await begun.take(read("a", 1), read("a", 2))
    assert tools.log == [1]


async def test_a_task_of_the_whole_plan_takes_a_call_over_with_its_own_name_and_revision(tools):
    begun = Begun(tools)
    tools.gate.clear()
    await begun.take(read("a", 1))
    await begun.ahead.finish()
    running = asyncio.create_task(begun.run(read("renamed", 1)))
    await settled()
    tools.gate.set()
    outcome = await running
    assert isinstance(outcome, Done)
    assert (outcome.revision, outcome.output["value"], outcome.attempts) == (4, 1, 1)
    assert [(event.task, event.attempt) for event in begun.handed if isinstance(event, TaskStarted)] == [("renamed", 1)]
    assert tools.log == [1]
    assert isinstance(await begun.run(read("again", 1)), Done)
    assert tools.log == [1, 1]


async def test_another_text_keeps_calls_by_what_they_are(tools):
    begun = Begun(tools)
    await begun.take(read("a", 1), read("b", of("a")), read("no_more", 5))
    tools.gate.clear()
    await begun.take(read("c", 3), read("unwanted", 4))
    begun.ahead.begin_text()
    await begun.take(read("x", 1), read("y", of("x")), read("z", 3))
    await begun.ahead.finish()
    tools.gate.set()
    first = await begun.run(read("x", 1))
    second = await begun.run(read("y", of("x")), x=first)
    assert isinstance(await begun.run(read("z", 3)), Done)
    assert isinstance(second, Done)
    assert sorted(tools.log) == [1, 1, 3, 4, 5]
    for value in (4, 5):
        assert isinstance(await begun.run(read("wanted_again", value)), Done)
    assert tools.log[5:] == [4, 5]


async def test_a_failure_is_its_tasks_failure_but_not_one_of_an_earlier_text(tools):
    begun = Begun(tools)
    tools.failing = [1]
    await begun.take(read("a", 1), read("b", of("a")))
    assert tools.log == [1]
    outcome = await begun.run(read("a", 1))
    assert isinstance(outcome, Failed)
    assert (outcome.revision, outcome.error) == (4, "There is nothing at 1.")
    assert tools.log == [1]
    await begun.take(read("c", 1))
    begun.ahead.begin_text()
    tools.failing = []
    assert isinstance(await begun.run(read("c", 1)), Done)
    assert tools.log == [1, 1, 1]


async def test_what_a_tool_says_to_the_graph_is_said_again_by_its_task(tools):
    begun = Begun(tools)
    await begun.take({"id": "a", "tool": "ask"})
    assert tools.log == ["ask"]
    with pytest.raises(Stop):
        await begun.run({"id": "a", "tool": "ask"})
    assert tools.log == ["ask", "ask"]


async def test_nothing_is_begun_once_the_plan_is_whole(tools):
    begun = Begun(tools, places=1)
    tools.gate.clear()
    await begun.take(read("a", 1), read("queued", 2), read("behind", of("a")))
    await begun.ahead.finish()
    await begun.take(read("late", 5))
    tools.gate.set()
    await settled()
    assert tools.log == [1]
    assert isinstance(await begun.run(read("queued", 2)), Done)


async def test_nothing_is_begun_once_the_run_is_to_stop(tools):
    begun = Begun(tools, places=1)
    tools.gate.clear()
    await begun.take(read("a", 1), read("b", 2))
    begun.ahead.close()
    tools.gate.set()
    await begun.take(read("c", 3))
    assert tools.log == [1]
    await begun.ahead.finish()


async def test_nothing_is_begun_behind_the_deadline(tools):
    begun = Begun(tools, until=utc_now() - timedelta(seconds=1))
    await begun.take(read("a", 1))
    assert tools.log == []
    in_time = Begun(tools, until=datetime.max.replace(tzinfo=UTC))
    await in_time.take(read("a", 1))
    assert tools.log == [1]


async def test_cancelling_ends_every_call(tools):
    before = asyncio.all_tasks()
    begun = Begun(tools)
    tools.gate.clear()
    await begun.take(*(read(f"t{n}", n) for n in range(5)))
    assert len(tools.log) == 5
    await begun.ahead.cancel()
    assert asyncio.all_tasks() == before
    tools.gate.set()
    assert isinstance(await begun.run(read("t0", 0)), Done)
    assert len(tools.log) == 6


async def test_a_plan_with_more_tasks_than_may_be_begins_no_more_of_them(tools):
    begun = Begun(tools, max_tasks=2)
    await begun.take(*(read(f"t{n}", n) for n in range(5)))
    assert tools.log == [0, 1]


async def test_what_begins_early_is_the_work_of_the_whole_plan(tools):
    tasks = [read("a", 1), read("b", of("a")), read("c", [of("a"), of("b")], depends_on=["a"])]
    begun = Begun(tools)
    await begun.take(*tasks)
    assert len(tools.log) == 3
    checked = await check_plan({"tasks": tasks}, tools.toolbox, limits=begun.limits)
    outcomes: dict[str, Any] = {}
    for task in tasks:
        needs = checked.compiled.needs[task["id"]]
        outcomes[task["id"]] = await begun.run(task, **{need: outcomes[need] for need in needs})
    assert all(isinstance(outcome, Done) for outcome in outcomes.values())
    assert len(tools.log) == 3


async def test_time_grows_with_the_tasks_and_not_with_their_square(tools):
    async def seconds(count: int) -> float:
        begun = Begun(tools, places=count)
        tools.log.clear()
        started = time.process_time()
        for n in range(count):
            begun.ahead.add_task(read(f"t{n}", n) if n == 0 else read(f"t{n}", of(f"t{n - 1}")))
        while len(tools.log) < count:  # noqa: ASYNC110 - the tools tell nobody
            await asyncio.sleep(0.01)
        spent = time.process_time() - started
        await begun.ahead.cancel()
        return spent

    await seconds(20)
    small = min([await seconds(60) for _ in range(3)])
    assert await seconds(480) < 24 * small
