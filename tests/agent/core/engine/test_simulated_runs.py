"""Whole runs, steered by `next_move`, over random plans, outcomes, answers and replans."""

import random
from dataclasses import dataclass, field, replace

from hypothesis import event, given
from hypothesis import strategies as st

from agent.core.compiler.compiler import compile_plan, link_plan
from agent.core.engine.next_move import (
    Answer,
    AskHuman,
    Escalate,
    GiveUp,
    Replan,
    Rollback,
    RunTasks,
    find_unresolved_failures,
    next_move,
)
from agent.core.engine.outcomes import Done, Failed, Rejected, Skipped
from agent.core.engine.snapshot import Snapshot
from agent.core.plan.document import Call, Plan, Task, make_free_id
from agent.core.plan.limits import Limits
from agent.core.plan.tool_spec import Policy
from tests.support.plans import READ, tool

OPEN = {"type": "object", "properties": {}, "additionalProperties": True}
CATALOGUE = {spec.name: spec for spec in (tool("read", OPEN, policy=READ), tool("write", OPEN, policy=Policy()))}


@dataclass
class World:
    """What happens outside: outcomes, answers and replans by a seed; and what the steering is held to."""

    seed: int
    limits: Limits
    snapshot: Snapshot
    plan: Plan
    ran: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    escalations: int = 0

    def choose(self, what, *options):
        return random.Random(f"{self.seed} {what}").choice(options)  # noqa: S311 - a script, no secret

    def active(self):
        return self.snapshot.undo or self.snapshot.compiled

    def standing(self, task):
        """`done`, `bad`, `ready` or `open`: by definition, not by the code under test."""
        outcome = self.snapshot.outcomes.get(task)
        if outcome is not None:
            return "done" if isinstance(outcome, Done) else "bad"
        compiled = self.active()
        needs = [self.standing(need) for need in compiled.needs[task]]
        enough = compiled.tasks[task].run_if == "any" and any(need != "bad" for need in needs)
        if "bad" in needs and not enough:
            return "bad"
        return "ready" if all(need in {"done", "bad"} for need in needs) else "open"

    def gated(self, task):
        compiled = self.active()
        asks = compiled.tasks[task].tool == "write" or compiled.tasks[task].requires_approval
        return asks and self.limits.approve == "ask" and task not in self.snapshot.approved

    def startable(self):
        return [task for task in self.active().tasks if self.standing(task) == "ready" and not self.gated(task)]

    def settle(self, task, outcome):
        assert task not in self.snapshot.outcomes
        self.snapshot = replace(self.snapshot, outcomes={**self.snapshot.outcomes, task: outcome})

    def run(self, tasks):
        """Run as the executors do: each behind its needs, and not at all where one of them came to nothing."""
        compiled = self.active()
        assert tasks
        assert all(not self.gated(task) for task in tasks)
        for task in [task for task in compiled.order if task in tasks]:
            standing = self.standing(task)
            assert standing in ({"ready", "bad"} if self.limits.dispatch == "eager" else {"ready"})
            if standing == "bad":
                continue
            assert task not in self.ran
            self.ran.append(task)
            mark = f"{compiled.tasks[task].tool} {dict(compiled.tasks[task].args)}"
            self.settle(task, self.outcome(task, mark))

    def outcome(self, task, mark):
        match self.choose(f"outcome {task}", "done", "done", "done", "failed", "skipped"):
            case "failed":
                return Failed(revision=1, kind="tool", error=f"{task} broke.", fingerprint=mark)
            case "skipped":
                return Skipped(revision=1, because="Its condition is false.")
        return Done(revision=1, output=task, fingerprint=mark)

    def ask(self, tasks):
        assert self.startable() == []
        shown = {"ready"} if self.snapshot.undo is None else {"ready", "open"}
        waiting = [task for task in self.active().order if self.standing(task) in shown and self.gated(task)]
        assert list(tasks) == waiting
        if self.snapshot.undo is None:
            assert find_unresolved_failures(self.snapshot) == ()
        for task in tasks:
            match self.choose(f"answer {task}", "approve", "approve", "edit", "reject", "respond"):
                case "reject":
                    self.settle(task, Rejected(revision=1, message="No.", digest=task))
                case "respond":
                    self.settle(task, Done(revision=1, output="said", answered_by_person=True))
                case _:
                    self.snapshot = replace(self.snapshot, approved=self.snapshot.approved | {task})

    def replan(self, move):
        assert move.tasks == find_unresolved_failures(self.snapshot)
        assert move.tasks
        assert self.startable() == []
        assert self.snapshot.replans < self.limits.max_replans
        number = self.snapshot.replans + 1
        replanned = self.snapshot.replanned_signatures | {move.signature}
        asked = self.snapshot.question is not None
        self.snapshot = replace(self.snapshot, replans=number, replanned_signatures=replanned, question=None)
        ways = ["change", "change", "again", "waive", "give up", "nothing"]
        ways += ["stuck"] + ["ask"] * (self.limits.can_escalate and not asked)
        match self.choose(f"replan {number} {self.escalations}", *ways):
            case "stuck":
                self.snapshot = replace(self.snapshot, dead_end_reason="No plan came of it.")
            case "ask":
                before = replanned - {move.signature}
                self.snapshot = replace(
                    self.snapshot, replans=number - 1, replanned_signatures=before, question="Which?"
                )
            case "give up":
                self.snapshot = replace(self.snapshot, stop=("failed", "There is no way on."))
            case "waive":
                self.snapshot = replace(self.snapshot, waived=self.snapshot.waived | set(move.tasks))
            case "change":
                self.rename(move.tasks, {"try": number})
            case "again":
                self.rename(move.tasks, {})

    def escalate(self, impasse):
        assert self.limits.can_escalate
        assert self.startable() == []
        assert impasse.reason
        assert impasse.tasks == find_unresolved_failures(self.snapshot) != ()
        self.escalations += 1
        choices = impasse.choices if self.escalations < 4 or impasse.kind == "question" else ("accept", "abort")
        choice = self.choose(f"escalation {self.escalations}", *choices)
        again = {
            "dead_end_reason": None,
            "question": None,
            "replanned_signatures": self.snapshot.replanned_signatures - {impasse.signature},
        }
        match choice:
            case "guide" | "raise":
                self.snapshot = replace(self.snapshot, **again)
                if impasse.kind != "question":
                    most = max(self.limits.max_replans, self.snapshot.replans + 1)
                    self.limits = self.limits.model_copy(update={"max_replans": most})
            case "accept":
                self.snapshot = replace(self.snapshot, stop=("failed", "Enough."), accepted=True)
            case "abort":
                self.snapshot = replace(self.snapshot, stop=("cancelled", "Enough."))

    def rename(self, tasks, args):
        self.used |= set(self.snapshot.outcomes) | {task.id for task in self.plan.tasks}
        names = {}
        for task in tasks:
            names[task] = make_free_id(task, self.used)
            self.used.add(names[task])
        changed = [
            task.model_copy(
                update={
                    "id": names.get(task.id, task.id),
                    "depends_on": tuple(names.get(need, need) for need in task.depends_on),
                    **({"args": {**task.args, **args}} if task.id in names else {}),
                }
            )
            for task in self.plan.tasks
        ]
        self.plan = Plan(tasks=tuple(changed))
        self.snapshot = replace(self.snapshot, compiled=link_plan(self.plan, CATALOGUE))

    def roll_back(self, move):
        assert self.snapshot.undo is None
        for task in move.tasks:
            assert self.snapshot.compiled.tasks[task].rollback or self.snapshot.compiled.tasks[task].tool == "write"
            assert isinstance(self.snapshot.outcomes[task], Done)
        positions = [self.snapshot.compiled.order.index(task) for task in move.tasks]
        assert positions == sorted(positions, reverse=True)
        calls = [
            (task, call) for task in move.tasks if (call := self.snapshot.compiled.tasks[task].rollback) is not None
        ]
        tasks = tuple(Task(id=f"undo-{task}", tool=call.tool, args=call.args) for task, call in calls)
        undo = link_plan(Plan(tasks=tasks, execution_mode="sequential"), CATALOGUE) if tasks else None
        self.snapshot = replace(self.snapshot, undo=undo, stop=(move.status, move.reason), rollback_begun=True)

    def to_the_end(self):
        """Do what `next_move` says until it ends; the number of moves is bounded by the plan."""
        count = len(self.plan.tasks)
        # A person answers at most four times here, and the replanner asks at most once for each replan.
        bound = (self.limits.max_replans + 2 + 4 * self.limits.can_escalate) * (2 * count + 4)
        for _ in range(bound):
            move = next_move(self.snapshot, self.limits)
            assert move == next_move(self.snapshot, self.limits)
            match move:
                case RunTasks(tasks):
                    self.run(tasks)
                case AskHuman(tasks):
                    self.ask(tasks)
                case Replan():
                    self.replan(move)
                case Escalate(impasse):
                    self.escalate(impasse)
                case Rollback():
                    self.roll_back(move)
                case Answer():
                    assert all(self.standing(task) in {"done", "bad"} for task in self.snapshot.compiled.tasks)
                    assert find_unresolved_failures(self.snapshot) == ()
                    return move
                case GiveUp():
                    assert self.snapshot.stop is not None or find_unresolved_failures(self.snapshot)
                    assert move.reason
                    return move
        raise AssertionError(f"no end after {bound} moves")


calls = st.sampled_from(["read", "write"])


@st.composite
def plans(draw, on_failure=("replan", "skip", "abort")):
    names = [f"t{number}" for number in range(draw(st.integers(1, 7)))]
    tasks = []
    for at, name in enumerate(names):
        tasks.append(
            Task(
                id=name,
                tool=draw(calls),
                args={"n": draw(st.integers(0, 1))},
                depends_on=tuple(sorted(draw(st.sets(st.sampled_from(names[:at]), max_size=3)))) if at else (),
                on_failure=draw(st.sampled_from(on_failure)),
                run_if=draw(st.sampled_from(["all", "any"])),
                requires_approval=draw(st.booleans()),
                priority=draw(st.integers(-1, 1)),
                rollback=draw(st.none() | st.builds(Call, tool=calls)),
            )
        )
    return Plan(tasks=tuple(tasks))


def world(plan, seed, **limits):
    limits = Limits(**limits)
    compiled = compile_plan(plan, CATALOGUE, limits=limits)
    return World(seed=seed, limits=limits, snapshot=Snapshot(compiled=compiled), plan=plan)


seeds = st.integers(0, 10_000)
approvals = st.sampled_from(["ask", "never"])


@given(plans(), seeds, st.sampled_from(["eager", "wave"]), approvals, st.integers(0, 3), st.booleans())
def test_every_run_ends_and_keeps_the_promises(plan, seed, dispatch, approve, max_replans, can_replan):
    found = world(plan, seed, dispatch=dispatch, approve=approve, max_replans=max_replans, can_replan=can_replan)
    end = found.to_the_end()
    event(f"{type(end).__name__} {getattr(end, 'status', '')}, replans: {found.snapshot.replans}")
    assert found.snapshot.replans <= (max_replans if can_replan else 0)
    assert len(found.ran) == len(set(found.ran))


@given(plans(on_failure=("replan", "skip")), seeds, st.sampled_from(["eager", "wave"]), st.integers(1, 3))
def test_every_attended_run_ends_and_is_asked_about_before_it_gives_up(plan, seed, dispatch, max_replans):
    found = world(plan, seed, dispatch=dispatch, max_replans=max_replans, can_escalate=True)
    end = found.to_the_end()
    event(f"{type(end).__name__} {getattr(end, 'status', '')}, escalations: {found.escalations}")
    assert isinstance(end, Answer) or found.snapshot.stop is not None
    assert len(found.ran) == len(set(found.ran))


@given(plans(on_failure=("replan", "skip")), seeds, approvals, st.integers(0, 3))
def test_both_dispatch_modes_come_to_the_same(plan, seed, approve, max_replans):
    eager = world(plan, seed, dispatch="eager", approve=approve, max_replans=max_replans)
    wave = world(plan, seed, dispatch="wave", approve=approve, max_replans=max_replans)
    assert eager.to_the_end() == wave.to_the_end()
    assert eager.snapshot.outcomes == wave.snapshot.outcomes
    assert sorted(eager.ran) == sorted(wave.ran)
    assert eager.plan == wave.plan


@given(plans(on_failure=("skip",)), seeds)
def test_without_gates_and_failures_to_mend_one_dispatch_does_it_all(plan, seed):
    found = world(plan, seed, approve="never")
    assert isinstance(next_move(found.snapshot, found.limits), RunTasks)
    found.run(next_move(found.snapshot, found.limits).tasks)
    assert next_move(found.snapshot, found.limits) == Answer()
