"""Statuses: only steps of the table are taken, in simulated runs of every kind; and how a task stands."""

import random
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from agent import core
from agent.core.compiler.compiler import CompiledPlan, link_plan
from agent.core.engine.outcomes import Cancelled, Done, Doubt, Failed, InDoubt, Rejected, Skipped
from agent.core.engine.progress import build_final_outcomes
from agent.core.engine.rollback import UNDO_PREFIX
from agent.core.engine.snapshot import Snapshot
from agent.core.engine.task_states import derive_task_states, list_ready_tasks
from agent.core.engine.task_status import TERMINAL_STATUSES, TRANSITIONS, IllegalTransition, append_status, is_terminal
from agent.core.plan.document import Plan, Task, make_free_id
from tests.support.plans import compiled_of

DONE = Done(revision=1, output=1, attempts=1)
FAILED = Failed(revision=1, kind="tool", error="It broke.")
DOUBT = InDoubt(revision=1, doubts=(Doubt(epoch=1, since="2026-01-01T00:00:00+00:00", owner="o"),))


def test_every_status_is_in_the_table_and_can_be_left_and_reached():
    assert set(TRANSITIONS) >= TERMINAL_STATUSES
    assert all(after in TRANSITIONS and after != before for before in TRANSITIONS for after in TRANSITIONS[before])
    reached = {after for steps in TRANSITIONS.values() for after in steps}
    assert reached | {"waiting", "ready"} == set(TRANSITIONS)
    assert all(TRANSITIONS[status] for status in TRANSITIONS if not is_terminal(status))


def test_out_of_a_terminal_status_leads_only_an_undoing_or_a_persons_edit():
    steps = {status: TRANSITIONS[status] for status in TERMINAL_STATUSES if TRANSITIONS[status]}
    opened = {"waiting", "ready", "blocked"}
    assert steps == {"done": {"rolled_back"}, "failed": opened, "skipped": opened, "rejected": opened}


def test_the_page_of_the_room_has_the_same_table():
    page = Path(core.__file__).with_name("README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (?:derived|outcome) \|.*\| (.*) \|$", page, flags=re.MULTILINE)
    assert {status: set(re.findall(r"`(\w+)`", steps)) for status, steps in rows} == TRANSITIONS


def test_an_illegal_step_is_told_with_its_story():
    with pytest.raises(IllegalTransition, match="'a' went from 'done' to 'running' after ready -> running -> done"):
        append_status(("ready", "running", "done"), "running", task="a")


@dataclass
class Run:
    """A run that goes as a seed has it: one fact at a time, each followed by a look at every status."""

    seed: int
    snapshot: Snapshot
    running: set = field(default_factory=set)
    retrying: set = field(default_factory=set)
    asked: set = field(default_factory=set)
    begun: set = field(default_factory=set)
    stories: dict = field(default_factory=dict)
    ended: bool = False

    def __post_init__(self):
        self.random = random.Random(self.seed)  # noqa: S311 - a script, no secret
        self.look()

    @property
    def compiled(self) -> CompiledPlan:
        return self.snapshot.compiled

    def look(self):
        found = derive_task_states(
            self.snapshot, running=self.running, retrying=self.retrying, asked=self.asked, begun=self.begun
        )
        assert list(found) == [task.id for task in self.compiled.plan.tasks]
        for task, standing in found.items():
            self.stories[task] = append_status(self.stories.get(task, ()), standing.status, task=task)
            assert standing.is_terminal == (standing.status in TERMINAL_STATUSES)
            assert not (standing.can_retry and standing.status == "done")
        self.found = {task: standing.status for task, standing in found.items()}

    def settle(self, task, outcome):
        for group in (self.running, self.retrying, self.asked, self.begun):
            group.discard(task)
        doubts = self.snapshot.doubts - {task}
        self.snapshot = replace(self.snapshot, outcomes={**self.snapshot.outcomes, task: outcome}, doubts=doubts)

    def step(self):
        """Let one thing happen to one task, by the status it has."""
        task = self.random.choice(sorted(self.found))
        choose = self.random.choice
        match self.found[task]:
            case "ready":
                self.begin(task)
            case "running" | "retrying" as status:
                self.under_way(task, status)
            case "awaiting_approval":
                what = choose(["approve", "reject", "answer"])
                self.asked.discard(task)
                if what == "reject":
                    self.settle(task, Rejected(revision=1, message="No."))
                elif what == "answer":
                    self.settle(task, DONE)
            case "in_doubt":
                self.begun.discard(task)
                self.snapshot = replace(self.snapshot, doubts=self.snapshot.doubts - {task})
                if (what := choose(["clear", "answer", "leave"])) != "clear":
                    self.settle(task, DONE if what == "answer" else FAILED)
            case "failed":
                self.replan(task)
            case "skipped" | "rejected":
                self.edit(task)
        self.look()

    def begin(self, task):
        settled = {
            "skip": Skipped(revision=1, because="Its condition is false."),
            "reuse": DONE,
            "refuse": Rejected(revision=1),
            "misfit": FAILED,
        }
        match self.random.choice(["call", "call", "call", "ask", "doubt", *settled]):
            case "call":
                self.running.add(task)
                self.begun |= {task} if self.random.choice([True, False]) else set()
            case "ask":
                self.asked.add(task)
            case "doubt":
                self.snapshot = replace(self.snapshot, doubts=self.snapshot.doubts | {task})
            case what:
                self.settle(task, settled[what])

    def under_way(self, task, status):
        what = self.random.choice(["finish", "finish", "fail", "retry", "retry", "doubt", "crash"])
        if what == "finish" and status == "running":
            self.settle(task, DONE)
        elif what == "fail":
            self.settle(task, FAILED)
        elif what == "retry":
            (old, new) = (self.running, self.retrying) if status == "running" else (self.retrying, self.running)
            old.discard(task)
            new.add(task)
        elif what == "doubt":
            self.running.discard(task)
            self.retrying.discard(task)
            self.snapshot = replace(self.snapshot, doubts=self.snapshot.doubts | {task})
        elif what == "crash":
            # The process dies: nothing runs, and the ledger tells which writes had begun.
            self.running.clear()
            self.retrying.clear()

    def replan(self, task):
        """Put another try, under a new id, in the place of a failure; what waited for it waits for that."""
        taken = {*self.snapshot.outcomes, *self.stories}
        new = make_free_id(task, taken)
        tasks = [
            each.model_copy(
                update={
                    "id": new if each.id == task else each.id,
                    "depends_on": tuple(new if need == task else need for need in each.depends_on),
                }
            )
            for each in self.compiled.plan.tasks
        ]
        self.take(tasks)

    def edit(self, task):
        """A person edits the plan of a run that rests: what came to nothing is open again."""
        if self.running or self.retrying:
            return
        self.asked.clear()
        kept = {one: outcome for one, outcome in self.snapshot.outcomes.items() if isinstance(outcome, Done)}
        self.snapshot = replace(self.snapshot, outcomes=kept)

    def take(self, tasks):
        self.snapshot = replace(self.snapshot, compiled=link_plan(Plan(tasks=tuple(tasks)), self.compiled.catalogue))

    def end(self):
        """End the run; then undo what can be undone."""
        for task in sorted(self.running | self.retrying):
            self.settle(task, DONE if task in self.running else FAILED)
            self.look()
        self.asked.clear()
        self.begun.clear()
        self.look()
        doubts = dict.fromkeys(self.snapshot.doubts, DOUBT)
        never = build_final_outcomes(
            self.compiled, {**self.snapshot.outcomes, **doubts}, revision=1, because="The deadline passed."
        )
        self.snapshot = replace(self.snapshot, outcomes={**self.snapshot.outcomes, **doubts, **never})
        self.look()
        assert set(self.found.values()) <= TERMINAL_STATUSES | {"in_doubt"}
        undoing = [
            Task(id=f"{UNDO_PREFIX}{task}", tool="free") for task in self.compiled.order if self.found[task] == "done"
        ]
        if undoing:
            self.snapshot = replace(self.snapshot, undo=link_plan(Plan(tasks=tuple(undoing)), self.compiled.catalogue))
            for task in undoing:
                result = self.random.choice([DONE, FAILED])
                self.snapshot = replace(self.snapshot, outcomes={**self.snapshot.outcomes, task.id: result})
                self.look()
                undone = self.found[task.id.removeprefix(UNDO_PREFIX)]
                assert undone == ("rolled_back" if result is DONE else "done")


@st.composite
def runs(draw):
    count = draw(st.integers(1, 6))
    tasks = [
        {
            "id": f"t{index}",
            "tool": "free",
            "depends_on": draw(st.lists(st.sampled_from([f"t{i}" for i in range(index)]), unique=True))
            if index
            else [],
            "run_if": draw(st.sampled_from(["all", "any"])),
        }
        for index in range(count)
    ]
    return Run(draw(st.integers(0, 2**32)), Snapshot(compiled=compiled_of(*tasks)))


@given(runs(), st.integers(0, 60))
def test_simulated_runs_take_only_legal_steps(run, steps):
    for _ in range(steps):
        run.step()
    run.end()
    for story in run.stories.values():
        event(story[-1])


PLAN = compiled_of(
    {"id": "a", "tool": "free"},
    {"id": "b", "tool": "free", "depends_on": ["a"], "priority": 1},
    {"id": "c", "tool": "free", "priority": -1},
)


def test_a_task_as_it_stands():
    failed = Failed(
        revision=1,
        kind="timeout",
        error="No answer.",
        attempts=3,
        started_at="2026-01-01T00:00:00+00:00",
        finished_at="2026-01-01T00:00:02.5+00:00",
    )
    found = derive_task_states(Snapshot(compiled=PLAN, outcomes={"a": failed}), retrying=["c"])
    assert found["a"].model_dump() == {
        "task": "a",
        "status": "failed",
        "attempts": 3,
        "duration_s": 2.5,
        "is_terminal": True,
        "can_retry": True,
        "because": "No answer.",
    }
    assert (found["b"].status, found["b"].is_terminal, found["b"].because) == ("blocked", False, "It depends on 'a'.")
    assert (found["c"].status, found["c"].can_retry) == ("retrying", True)


@pytest.mark.parametrize(
    ("outcome", "can_retry"),
    [
        (FAILED, False),
        (FAILED.model_copy(update={"kind": "transient"}), True),
        (FAILED.model_copy(update={"kind": "argument"}), False),
        (DONE, False),
        (Skipped(revision=1, because="No."), False),
        (Cancelled(revision=1, because="No."), False),
    ],
)
def test_what_can_be_tried_again_as_it_is(outcome, can_retry):
    assert derive_task_states(Snapshot(compiled=PLAN, outcomes={"a": outcome}))["a"].can_retry is can_retry


def test_a_write_that_the_ledger_saw_begin_and_not_end_is_in_doubt_unless_it_is_running():
    assert derive_task_states(Snapshot(compiled=PLAN), begun=["a"])["a"].status == "in_doubt"
    assert derive_task_states(Snapshot(compiled=PLAN), begun=["a"], running=["a"])["a"].status == "running"
    assert derive_task_states(Snapshot(compiled=PLAN, doubts=frozenset({"a"})), asked=["a"])["a"].status == "in_doubt"


def test_ready_tasks_come_most_urgent_first_and_only_what_nothing_holds():
    assert list_ready_tasks(Snapshot(compiled=PLAN)) == ("c", "a")
    assert list_ready_tasks(Snapshot(compiled=PLAN, outcomes={"a": DONE})) == ("c", "b")
    assert list_ready_tasks(Snapshot(compiled=PLAN, outcomes={"a": FAILED, "c": DONE})) == ()
    assert list_ready_tasks(Snapshot(compiled=PLAN, doubts=frozenset({"a", "c"}))) == ()
    assert list_ready_tasks(Snapshot(compiled=None)) == ()


def test_no_plan_has_no_statuses():
    assert derive_task_states(Snapshot(compiled=None)) == {}


def test_an_undoing_that_failed_leaves_the_task_done():
    undo = link_plan(Plan(tasks=(Task(id="undo:a", tool="free"),)), PLAN.catalogue)
    outcomes = {"a": DONE, "undo:a": FAILED}
    assert derive_task_states(Snapshot(compiled=PLAN, outcomes=outcomes, undo=undo))["a"].status == "done"
    outcomes = {"a": DONE, "undo:a": DONE}
    assert derive_task_states(Snapshot(compiled=PLAN, outcomes=outcomes, undo=undo))["a"].status == "rolled_back"


def test_a_task_of_the_plan_that_is_named_as_an_undoing_undoes_nothing():
    plan = compiled_of({"id": "a", "tool": "free"}, {"id": "undo:a", "tool": "free"})
    found = derive_task_states(Snapshot(compiled=plan, outcomes={"a": DONE, "undo:a": DONE}))
    assert {task: standing.status for task, standing in found.items()} == {"a": "done", "undo:a": "done"}
