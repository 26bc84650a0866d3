"""Statuses, phases and progress of real runs, from the stream of their events."""

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from agent.core.engine.progress import has_failures, is_complete
from agent.core.engine.task_states import derive_task_states, list_ready_tasks
from agent.core.engine.task_status import TERMINAL_STATUSES, append_status
from agent.core.plan.dependencies import execution_waves
from agent.events import PlanProgress, TaskFinished, TaskRetrying, TaskStarted, parse_event
from agent.settings import Settings
from graphs.plan_execute import build_graph
from graphs.state import parse_stored_plan
from graphs.thread_status import build_thread_snapshot, summarize_thread
from tests.support.worlds import APPROVE, READ, World, ref, thread

KEYS = {"completed", "running", "failed", "waiting", "skipped", "total", "percentage"}


class Watcher:
    """Follows a thread through its events and its state, and holds each task to the table of steps."""

    def __init__(self, graph):
        self.graph = graph
        self.running, self.retrying, self.asked, self.doubted = set(), set(), set(), set()
        self.values, self.finished = {}, {}
        self.stories, self.progress = {}, []

    async def drive(self, given):
        """Run from `given` until the run ends or waits; return the state."""
        stream = self.graph.astream(given, thread(), stream_mode=["custom", "updates", "values"], version="v2")
        async for part in stream:
            if part["type"] == "custom":
                self.hear(parse_event(part["data"]))
            elif part["type"] == "values":
                self.values = part["data"]
                self.doubted.clear()
                self.look()
            elif "human_approval" in part["data"]:
                self.asked.clear()
                self.look()
        state = await self.graph.aget_state(thread())
        for waiting in state.interrupts:
            self.asked |= {action["task_id"] for action in waiting.value["action_requests"]}
        self.values = state.values
        self.finished = {}
        self.look()
        return state

    def hear(self, event):
        match event:
            case TaskStarted(task=task):
                self.retrying.discard(task)
                self.running.add(task)
            case TaskRetrying(task=task):
                self.running.discard(task)
                self.retrying.add(task)
            case TaskFinished(task=task, status="in_doubt"):
                self.running.discard(task)
                self.doubted.add(task)
            case TaskFinished(task=task):
                self.running.discard(task)
                self.retrying.discard(task)
                self.finished = {**self.finished, task: record_of(event)}
            case PlanProgress(progress=counts):
                self.progress.append(counts)
                return
        self.look()

    def look(self):
        if not self.values.get("checked_plan_digest"):
            return
        results = {**self.finished, **(self.values.get("results") or {})}
        snapshot = build_thread_snapshot({**self.values, "results": results})
        under_way = {"running": self.running, "retrying": self.retrying, "asked": self.asked}
        self.found = derive_task_states(snapshot, **under_way, begun=self.doubted)
        for task, standing in self.found.items():
            self.stories[task] = append_status(self.stories.get(task, ()), standing.status, task=task)


def record_of(event):
    """Return the stored form of what an event tells; outputs come with the state."""
    fields = {"revision": 1, "status": event.status, "error": event.error, "attempts": event.attempts}
    extra = {"failed": {"kind": "tool"}, "skipped": {"because": event.because or ""}}
    return fields | extra.get(event.status, {})


class Flaky(World):
    """A world with a tool that fails once in a way that may pass."""

    def tools(self):
        async def flaky(value: int) -> int:
            self.log.append(("flaky", value))
            if len([entry for entry in self.log if entry[0] == "flaky"]) == 1:
                raise ConnectionError("cut off")
            return value

        return [*super().tools(), self.tool("flaky", flaky, READ)]


PLAN = {
    "phases": {"collect": "Read what is there", "act": "Write it down"},
    "tasks": [
        {"id": "a", "tool": "look", "args": {"value": 1}, "phase": "collect"},
        {"id": "shaky", "tool": "flaky", "args": {"value": 2}, "phase": "collect"},
        {"id": "never", "tool": "look", "args": {"value": 3}, "condition": "a.value > 1", "phase": "collect"},
        {"id": "behind", "tool": "look", "args": {"value": ref("never", "value")}, "phase": "collect"},
        {"id": "any", "tool": "look", "args": {"value": 4}, "depends_on": ["never", "a"], "run_if": "any"},
        {
            "id": "w",
            "tool": "write",
            "args": {"value": ref("shaky")},
            "phase": "act",
            "rollback": {"tool": "erase", "args": {"value": ref("w", "written")}},
        },
        {
            "id": "last",
            "tool": "look",
            "args": {"value": 9},
            "depends_on": ["w"],
            "phase": "act",
            "on_failure": "abort",
        },
    ],
}


@pytest.mark.parametrize("dispatch", ["eager", "wave"])
async def test_a_run_with_a_retry_a_skip_an_approval_and_a_rollback_takes_only_legal_steps(dispatch):
    world = Flaky()
    world.failing = {9}
    settings = Settings(dispatch=dispatch, max_replans=0)
    graph = build_graph(tools=world.tools(), settings=settings, checkpointer=InMemorySaver())
    watcher = Watcher(graph)
    state = await watcher.drive({"goal": "g", "plan": PLAN})
    assert watcher.found["w"].status == "awaiting_approval"
    plan = parse_stored_plan(state.values["plan"])
    assert execution_waves(plan) == [["a", "shaky"], ["never", "w"], ["behind", "any", "last"]]
    assert list_ready_tasks(build_thread_snapshot(state.values)) == ("w",)
    shown = summarize_thread(state)
    assert (shown["tasks"]["w"]["status"], shown["current_phase"]) == ("awaiting_approval", "act")
    assert [(phase["name"], phase["percentage"]) for phase in shown["phases"]] == [("collect", 100.0), ("act", 0.0)]
    assert watcher.found["behind"].status == "blocked"
    await watcher.drive(Command(resume=APPROVE))
    assert watcher.found["w"].status == "done"
    state = await watcher.drive(Command(resume=APPROVE))
    assert state.values["status"] == "failed"
    assert watcher.stories["shaky"] == ("ready", "running", "retrying", "running", "done")
    assert watcher.stories["w"][-6:] == ("ready", "awaiting_approval", "ready", "running", "done", "rolled_back")
    assert watcher.stories["behind"][-2:] == ("blocked", "skipped")
    assert watcher.stories["any"][-2:] == ("running", "done")
    assert {standing.status for standing in watcher.found.values()} <= TERMINAL_STATUSES
    assert watcher.found["shaky"].attempts == 2
    assert watcher.found["shaky"].duration_s > 0
    shown = summarize_thread(state)
    assert [(phase["name"], phase["is_complete"]) for phase in shown["phases"]] == [("collect", True), ("act", False)]
    assert shown["current_phase"] == "act"
    assert (shown["is_complete"], shown["has_failures"], shown["progress"]["failed"]) == (True, True, 1)
    assert shown["tasks"]["shaky"]["can_retry"] is False


class Late(World):
    """A world with a write whose answer never comes."""

    def tools(self):
        async def late(value: int) -> int:
            self.log.append(("late", value))
            raise TimeoutError

        return [*super().tools(), self.tool("late", late)]


@pytest.mark.parametrize("dispatch", ["eager", "wave"])
async def test_a_write_without_an_answer_is_in_doubt_until_a_person_has_said(dispatch):
    world = Late()
    graph = build_graph(tools=world.tools(), settings=Settings(dispatch=dispatch), checkpointer=InMemorySaver())
    watcher = Watcher(graph)
    plan = {
        "tasks": [
            {"id": "w", "tool": "late", "args": {"value": 1}, "phase": "send"},
            {"id": "b", "tool": "look", "args": {"value": ref("w")}},
        ]
    }
    await watcher.drive({"goal": "g", "plan": plan})
    state = await watcher.drive(Command(resume=APPROVE))
    shown = summarize_thread(state)
    assert (shown["tasks"]["w"]["status"], shown["tasks"]["b"]["status"]) == ("in_doubt", "waiting")
    assert (shown["tasks"]["w"]["is_terminal"], shown["tasks"]["w"]["can_retry"]) == (False, False)
    assert (shown["is_complete"], shown["current_phase"], shown["progress"]["waiting"]) == (False, "send", 2)
    state = await watcher.drive(Command(resume={"decisions": [{"type": "respond", "message": "it did"}]}))
    assert watcher.stories["w"][-3:] == ("running", "in_doubt", "done")
    assert (state.values["status"], summarize_thread(state)["is_complete"]) == ("completed", True)


async def test_what_a_deadline_cancels_does_not_block_its_phase():
    world = World()
    plan = {
        "phases": {"first": "Wait", "second": "Wait on"},
        "tasks": [
            {"id": "a", "tool": "wait", "args": {"seconds": 0.5}, "phase": "first"},
            {"id": "b", "tool": "wait", "args": {"seconds": 0.5}, "depends_on": ["a"], "phase": "first"},
            {"id": "c", "tool": "look", "args": {"value": 1}, "depends_on": ["b"], "phase": "second"},
        ],
    }
    settings = Settings(dispatch="wave", deadline_s=0.3)
    graph = build_graph(tools=world.tools(), settings=settings, checkpointer=InMemorySaver())
    watcher = Watcher(graph)
    state = await watcher.drive({"goal": "g", "plan": plan})
    shown = summarize_thread(state)
    assert [standing.status for standing in watcher.found.values()] == ["done", "cancelled", "cancelled"]
    assert watcher.found["b"].is_terminal
    assert [(phase["percentage"], phase["is_complete"]) for phase in shown["phases"]] == [(100.0, True)] * 2
    assert (shown["current_phase"], shown["progress"]["skipped"], shown["is_complete"]) == (None, 2, True)


async def test_progress_is_streamed_while_tasks_run():
    world = World()
    waits = [{"id": f"t{number}", "tool": "wait", "args": {"seconds": 0.02 * number}} for number in range(1, 4)]
    never = {"id": "x", "tool": "look", "args": {"value": 1}, "condition": "t1 == 'z'"}
    graph = build_graph(tools=world.tools(), checkpointer=InMemorySaver())
    watcher = Watcher(graph)
    await watcher.drive({"goal": "g", "plan": {"tasks": [*waits, never]}})
    assert all(set(counts) == KEYS for counts in watcher.progress)
    assert all(
        counts["completed"] + counts["running"] + counts["failed"] + counts["waiting"] + counts["skipped"] == 4
        for counts in watcher.progress
    )
    percentages = [counts["percentage"] for counts in watcher.progress]
    assert percentages == sorted(percentages)
    assert {25.0, 50.0, 75.0} <= set(percentages)
    assert max(counts["running"] for counts in watcher.progress) == 3
    first, last = watcher.progress[0], watcher.progress[-1]
    assert (is_complete(first), is_complete(last), has_failures(last)) == (False, True, False)
    assert last == {
        "completed": 3,
        "running": 0,
        "failed": 0,
        "waiting": 0,
        "skipped": 1,
        "total": 4,
        "percentage": 75.0,
    }


async def test_a_failed_run_says_so_in_its_last_progress():
    world = World()
    world.failing = {1}
    plan = {"tasks": [{"id": "a", "tool": "look", "args": {"value": 1}}, {"id": "b", "tool": "look"}]}
    plan["tasks"][1]["args"] = {"value": ref("a", "value")}
    graph = build_graph(tools=world.tools(), settings=Settings(max_replans=0), checkpointer=InMemorySaver())
    watcher = Watcher(graph)
    await watcher.drive({"goal": "g", "plan": plan})
    last = watcher.progress[-1]
    assert (last["failed"], last["skipped"], is_complete(last), has_failures(last)) == (1, 1, True, True)


async def test_of_a_large_plan_not_every_step_is_told():
    world = World()
    tasks = [{"id": f"t{number}", "tool": "look", "args": {"value": number}} for number in range(1000)]
    graph = build_graph(tools=world.tools(), checkpointer=InMemorySaver())
    watcher = Watcher(graph)
    watcher.look = lambda: None
    await watcher.drive({"goal": "g", "plan": {"tasks": tasks}})
    assert 100 <= len(watcher.progress) <= 410
    assert watcher.progress[-1]["completed"] == 1000


async def test_waves_show_the_order_in_which_tasks_start():
    world = World()
    tasks = [
        {"id": "late", "tool": "look", "args": {"value": 1}, "priority": 5},
        {"id": "long", "tool": "look", "args": {"value": 3}},
        {"id": "plain", "tool": "look", "args": {"value": 2}},
        {"id": "first", "tool": "look", "args": {"value": 4}, "priority": -3},
        {"id": "end", "tool": "look", "args": {"value": 5}, "depends_on": ["long"]},
    ]
    settings = Settings(dispatch="wave", max_concurrency=1)
    graph = build_graph(tools=world.tools(), settings=settings, checkpointer=InMemorySaver())
    started = [
        event.task
        async for part in graph.astream({"goal": "g", "plan": {"tasks": tasks}}, thread(), stream_mode="custom")
        if isinstance(event := parse_event(part), TaskStarted)
    ]
    plan = parse_stored_plan((await graph.aget_state(thread())).values["plan"])
    assert execution_waves(plan) == [["first", "long", "plain", "late"], ["end"]]
    assert started == [task for wave in execution_waves(plan) for task in wave]
