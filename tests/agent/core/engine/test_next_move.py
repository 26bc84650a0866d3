"""The next move, situation by situation."""

from dataclasses import replace

import pytest

from agent.core.engine.budgets import ExhaustedBudget
from agent.core.engine.call_preparation import compute_failure_signature
from agent.core.engine.next_move import (
    Answer,
    AskHuman,
    GiveUp,
    Replan,
    Rollback,
    RunTasks,
    find_changed_tasks,
    next_move,
)
from agent.core.engine.outcomes import Cancelled, Done, Failed, Rejected, Skipped
from agent.core.engine.snapshot import Snapshot
from agent.core.plan.limits import Limits
from tests.support.plans import compiled_of

DONE = Done(revision=1)
FAILED = Failed(revision=1, kind="tool", error="It broke.", fingerprint="f")
REJECTED = Rejected(revision=1, message="Not this one.", digest="d")
SKIPPED = Skipped(revision=1, because="Its condition is false.")
LIMITS = Limits()

READ = {"id": "read", "tool": "free"}
OTHER = {"id": "other", "tool": "free"}
WRITE = {"id": "write", "tool": "write", "depends_on": ["read"]}
LAST = {"id": "last", "tool": "free", "depends_on": ["write"]}


def snapshot(*tasks, outcomes=None, **facts):
    return Snapshot(compiled=compiled_of(*tasks), outcomes=outcomes or {}, **facts)


def move(*tasks, limits=LIMITS, **facts):
    return next_move(snapshot(*tasks, **facts), limits)


def test_no_plan():
    assert next_move(Snapshot(compiled=None, problems=("One.", "Two.")), LIMITS) == GiveUp("failed", "One. Two.")
    assert next_move(Snapshot(compiled=None), LIMITS) == GiveUp("failed", "There is no plan.")


def test_eager_sends_everything_up_to_the_gate():
    tasks = READ, {**OTHER, "depends_on": ["read"]}, WRITE, LAST
    assert move(*tasks) == RunTasks(("read", "other"))
    assert move(*tasks, limits=Limits(dispatch="wave")) == RunTasks(("read",))
    assert move(*tasks, limits=Limits(approve="never")) == RunTasks(("read", "write", "other", "last"))


def test_lower_priority_goes_first_then_the_longer_path():
    tasks = READ, OTHER, {"id": "long", "tool": "free"}, {"id": "end", "tool": "free", "depends_on": ["long"]}
    assert move(*tasks) == RunTasks(("long", "read", "other", "end"))
    assert move({**READ, "priority": 1}, {**OTHER, "priority": -1}) == RunTasks(("other", "read"))


def test_a_gate_asks_when_nothing_else_can_run():
    assert move(READ, WRITE, LAST, outcomes={"read": DONE}) == AskHuman(("write",))
    assert move(READ, OTHER, WRITE, outcomes={"read": DONE}) == RunTasks(("other",))
    assert move(READ, WRITE, LAST, outcomes={"read": DONE}, approved=frozenset({"write"})) == RunTasks(
        ("write", "last")
    )


def test_a_read_asks_where_the_plan_says_so():
    assert move({**READ, "requires_approval": True}) == AskHuman(("read",))


def test_a_failure_waits_for_what_can_still_run():
    assert move(READ, OTHER, outcomes={"read": FAILED}) == RunTasks(("other",))
    outcomes = {"read": FAILED, "other": DONE}
    assert move(READ, OTHER, WRITE, outcomes=outcomes) == Replan(
        ("read",), compute_failure_signature(outcomes, ["read"])
    )


def test_mending_goes_before_asking():
    ask = {"id": "ask", "tool": "write"}
    assert isinstance(move(READ, ask, outcomes={"read": FAILED}), Replan)


@pytest.mark.parametrize(
    ("facts", "outcome"),
    [({"waived": frozenset({"read"})}, FAILED), ({}, SKIPPED), ({}, Cancelled(revision=1))],
)
def test_what_rests_on_nothing_is_not_run_and_not_asked_about(facts, outcome):
    assert move(READ, WRITE, LAST, outcomes={"read": outcome}, **facts) == Answer()


def test_a_failure_that_may_be_skipped():
    assert move({**READ, "on_failure": "skip"}, WRITE, outcomes={"read": FAILED}) == Answer()


def test_any_goes_on_with_what_is_there():
    end = {"id": "end", "tool": "free", "depends_on": ["read", "other"], "run_if": "any"}
    assert move(READ, OTHER, end, outcomes={"read": SKIPPED, "other": DONE}) == RunTasks(("end",))
    assert move(READ, OTHER, end, outcomes={"read": SKIPPED, "other": SKIPPED}) == Answer()


def test_the_same_failure_again_ends_the_run():
    signature = compute_failure_signature({"read": FAILED}, ["read"])
    found = move(READ, outcomes={"read": FAILED}, replanned_signatures=frozenset({signature}), replans=1)
    assert found == GiveUp("failed", "The replan ran into the same failure again: 'read': It broke.")


def test_replans_are_bounded():
    found = move(READ, outcomes={"read": FAILED}, replans=3)
    spent = ExhaustedBudget(name="replans", limit=3, used=3)
    assert found == GiveUp("failed", "3 replans were not enough: 'read': It broke.", spent)


@pytest.mark.parametrize("limits", [Limits(can_replan=False), Limits(max_replans=0)])
def test_without_a_replanner(limits):
    assert move(READ, outcomes={"read": FAILED}, limits=limits) == GiveUp("failed", "'read': It broke.")
    rejected = move(READ, outcomes={"read": REJECTED}, limits=limits)
    assert rejected == GiveUp("cancelled", "A human rejected 'read': Not this one.")


def test_a_rejection_is_replanned_for():
    assert isinstance(move(READ, WRITE, outcomes={"read": DONE, "write": REJECTED}), Replan)


def test_abort_undoes_what_was_written_the_last_first():
    undo = {"rollback": {"tool": "write"}}
    tasks = {**READ, **undo}, {**OTHER, **undo}, {"id": "end", "tool": "free", "on_failure": "abort"}
    found = move(*tasks, outcomes={"read": DONE, "other": DONE, "end": FAILED})
    assert found == Rollback(
        ("other", "read"), "failed", "Task 'end' failed, and the plan says to abort then: It broke."
    )
    nothing = move(*tasks, outcomes={"end": FAILED})
    assert nothing == GiveUp("failed", "Task 'end' failed, and the plan says to abort then: It broke.")


def test_what_a_person_answered_is_not_undone():
    found = snapshot(
        {**READ, "rollback": {"tool": "write"}}, outcomes={"read": Done(revision=1, answered_by_person=True)}
    )
    assert find_changed_tasks(found) == ()
    assert find_changed_tasks(Snapshot(compiled=None)) == ()


def test_a_rollback_runs_asks_and_ends_with_what_began_it():
    undo = compiled_of({"id": "u1", "tool": "free"}, {"id": "u2", "tool": "write", "depends_on": ["u1"]})
    begun = snapshot(READ, outcomes={"read": DONE}, stop=("cancelled", "Stopped."), undo=undo)
    assert next_move(begun, LIMITS) == RunTasks(("u1",))
    asked = replace(begun, outcomes={**begun.outcomes, "u1": DONE})
    assert next_move(asked, LIMITS) == AskHuman(("u2",))
    ended = replace(asked, outcomes={**asked.outcomes, "u2": REJECTED})
    assert next_move(ended, LIMITS) == GiveUp("cancelled", "Stopped.")


def test_a_stop_and_a_deadline():
    assert move(READ, stop=("cancelled", "Stopped.")) == GiveUp("cancelled", "Stopped.")
    limits = Limits(deadline_s=10)
    assert move(READ, elapsed_s=9.9, limits=limits) == RunTasks(("read",))
    found = move(READ, elapsed_s=10.04, limits=limits)
    spent = ExhaustedBudget(name="wall_time_s", limit=10, used=10.04)
    assert found == GiveUp("failed", "The deadline of 10 s has passed after 10.0 s.", spent)
