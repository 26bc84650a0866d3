"""The next move where a run cannot go on by itself: a person asked, or the end with the budget that brought it."""

from dataclasses import replace

import pytest

from agent.core.engine.budgets import ExhaustedBudget, Spending
from agent.core.engine.call_preparation import compute_failure_signature
from agent.core.engine.escalations import Escalation
from agent.core.engine.next_move import (
    Answer,
    AskHuman,
    Escalate,
    GiveUp,
    PlanAgain,
    Replan,
    Rollback,
    RunTasks,
    next_move,
)
from agent.core.engine.outcomes import Done, Failed
from agent.core.engine.snapshot import Snapshot
from agent.core.plan.limits import Limits
from tests.support.plans import compiled_of

DONE = Done(revision=1, attempts=1)
FAILED = Failed(revision=1, kind="tool", error="It broke.", fingerprint="f", attempts=1)
SIGNATURE = compute_failure_signature({"read": FAILED}, ["read"])
READ, OTHER = {"id": "read", "tool": "free"}, {"id": "other", "tool": "free"}
WRITE = {"id": "write", "tool": "write", "rollback": {"tool": "write"}}
#: The facts of a run that has come to its bound, and what it is put to a person as.
HALTED = {
    "replans used up": ({"replans": 3}, "budget"),
    "the same failure": ({"replanned_signatures": frozenset({SIGNATURE}), "replans": 1}, "same_failure"),
    "no way on": ({"dead_end_reason": "No plan came of it.", "replans": 1}, "no_way_on"),
}


def found(*tasks, limits, **facts):
    return next_move(Snapshot(compiled=compiled_of(*tasks), **facts), limits)


@pytest.mark.parametrize(("facts", "kind"), HALTED.values(), ids=HALTED)
def test_at_the_bound_a_person_is_asked_and_unattended_the_run_fails(facts, kind):
    attended = found(READ, limits=Limits(can_escalate=True), outcomes={"read": FAILED}, **facts)
    assert isinstance(attended, Escalate)
    assert (attended.escalation.kind, attended.escalation.tasks) == (kind, ("read",))
    assert attended.escalation.signature == SIGNATURE
    assert attended.escalation.choices == ("guide", "raise", "accept", "abort")
    alone = found(READ, limits=Limits(), outcomes={"read": FAILED}, **facts)
    assert (type(alone), alone.status, alone.reason) == (GiveUp, "failed", attended.escalation.reason)


@pytest.mark.parametrize(
    "limits", [Limits(can_replan=False, can_escalate=True), Limits(max_replans=0, can_escalate=True)]
)
@pytest.mark.parametrize(("facts", "kind"), HALTED.values(), ids=HALTED)
def test_where_nothing_can_replan_nobody_is_asked(limits, facts, kind):
    assert found(READ, limits=limits, outcomes={"read": FAILED}, **facts) == GiveUp("failed", "'read': It broke.")


def test_unattended_a_replanner_without_a_way_on_undoes_what_was_written():
    outcomes = {"read": FAILED, "write": DONE}
    assert found(READ, WRITE, limits=Limits(), outcomes=outcomes, dead_end_reason="No plan.") == Rollback(
        ("write",), "failed", "No plan."
    )


def test_a_question_is_asked_and_forgotten_where_nobody_answers():
    facts = {"outcomes": {"read": FAILED}, "question": "Which year?"}
    asked = found(READ, limits=Limits(can_escalate=True), **facts)
    assert asked == Escalate(Escalation(kind="question", reason="Which year?", tasks=("read",), signature=SIGNATURE))
    assert found(READ, limits=Limits(), **facts) == Replan(("read",), SIGNATURE)


def test_what_a_person_accepted_is_not_undone():
    facts = {"outcomes": {"read": FAILED, "write": DONE}, "stop": ("failed", "Enough.")}
    assert found(READ, WRITE, limits=Limits(), **facts) == Rollback(("write",), "failed", "Enough.")
    assert found(READ, WRITE, limits=Limits(), accepted=True, **facts) == GiveUp("failed", "Enough.")


ASKS = Limits(can_escalate=True, asks_if_unsure=True)


def test_a_plan_that_the_planner_is_not_sure_of_is_put_to_a_person_before_anything_runs():
    doubt = "Each finds something else."
    assert found(READ, limits=ASKS, unsure=doubt) == Escalate(Escalation(kind="unsure", reason=doubt))
    assert found(READ, WRITE, limits=ASKS, unsure=doubt, outcomes={"read": DONE}) == AskHuman(("write",))
    assert found(READ, limits=ASKS, unsure=doubt, stop=("cancelled", "Enough.")) == GiveUp("cancelled", "Enough.")
    for limits in (Limits(can_escalate=True), Limits(asks_if_unsure=True)):
        assert found(READ, limits=limits, unsure=doubt) == RunTasks(("read",))


def test_a_value_that_nothing_gives_is_asked_for_and_never_run_with():
    asks = "What is 'to' of 'send'? Neither the goal nor a result says it."
    for limits in (ASKS, Limits(can_escalate=True)):
        assert found(READ, limits=limits, missing_value=asks) == Escalate(Escalation(kind="unsure", reason=asks))
    assert found(READ, limits=Limits(), missing_value=asks) == GiveUp("failed", asks)
    assert found(READ, WRITE, limits=ASKS, missing_value=asks, outcomes={"read": DONE}) == AskHuman(("write",))


def test_a_plan_that_a_person_did_not_want_is_made_anew_within_the_time():
    nothing = Snapshot(compiled=None, needs_new_plan=True)
    assert next_move(nothing, ASKS) == PlanAgain()
    late = next_move(replace(nothing, elapsed_s=11.0), Limits(deadline_s=10))
    assert (late.status, late.budget) == ("failed", ExhaustedBudget(name="wall_time_s", limit=10, used=11.0))
    assert next_move(replace(nothing, problems=("No plan.",)), ASKS) == GiveUp("failed", "No plan.")


SPENT = Spending(calls=4, input_tokens=700, output_tokens=300, cost=0.5)


@pytest.mark.parametrize(
    ("bound", "name", "used"),
    [
        ({"max_model_calls": 4}, "model_calls", 4),
        ({"max_tokens": 900}, "tokens", 1000),
        ({"max_cost": 0.5}, "cost", 0.5),
    ],
)
def test_no_replan_beyond_a_budget_of_the_model(bound, name, used):
    facts = {"outcomes": {"read": FAILED}, "spending": SPENT}
    end = found(READ, limits=Limits(**bound), **facts)
    [limit] = bound.values()
    assert end.budget == ExhaustedBudget(name=name, limit=limit, used=used)
    assert end.reason.startswith(str(end.budget))
    assert found(READ, limits=Limits(can_escalate=True, **bound), **facts) == end
    asked = found(READ, limits=Limits(can_escalate=True, can_escalate_budgets=True, **bound), **facts)
    assert (asked.escalation.budget, asked.escalation.choices) == (end.budget, ("raise", "accept", "abort"))
    [(setting, _)] = bound.items()
    assert found(READ, limits=Limits(**{setting: limit * 2}), **facts) == Replan(("read",), SIGNATURE)


def test_a_budget_of_the_model_does_not_end_a_run_that_needs_no_model():
    limits = Limits(max_model_calls=4)
    assert found(READ, limits=limits, spending=SPENT) == RunTasks(("read",))
    assert found(READ, limits=limits, spending=SPENT, outcomes={"read": DONE}) == Answer()


def test_a_task_that_the_budget_stopped_waits_for_what_can_run_and_runs_when_it_is_raised():
    facts = {"out_of_budget": frozenset({"read"}), "spending": SPENT}
    tasks = READ, OTHER, {"id": "after", "tool": "free", "depends_on": ["read"]}
    assert found(*tasks, limits=Limits(max_model_calls=4), **facts) == RunTasks(("other",))
    end = found(*tasks, limits=Limits(max_model_calls=4), outcomes={"other": DONE}, **facts)
    assert end == GiveUp("failed", str(end.budget), ExhaustedBudget(name="model_calls", limit=4, used=4))
    assert found(*tasks, limits=Limits(max_model_calls=5), outcomes={"other": DONE}, **facts) == RunTasks(
        ("read", "after")
    )


def test_the_budget_of_tasks_is_the_runs_not_the_plans():
    tasks = READ, {**OTHER, "depends_on": ["read"]}, {"id": "last", "tool": "write"}
    limits = Limits(max_tasks=3)
    before = {"gone": FAILED, "kept": DONE, "again": Done(revision=2, attempts=1, reused_from="kept")}
    assert found(*tasks, limits=limits, outcomes=before) == RunTasks(("read",))
    end = found(*tasks, limits=limits, outcomes={**before, "read": DONE})
    assert end.budget == ExhaustedBudget(name="tasks", limit=3, used=3)
    assert found(*tasks, limits=limits, outcomes={**before, "read": DONE, "other": DONE}) == AskHuman(("last",))


def test_wall_time_is_a_budget_and_raising_it_goes_on():
    late = {"elapsed_s": 11.0}
    asked = found(READ, limits=Limits(deadline_s=10, can_escalate=True, can_escalate_budgets=True), **late)
    assert asked.escalation.budget == ExhaustedBudget(name="wall_time_s", limit=10, used=11.0)
    assert found(READ, limits=Limits(deadline_s=12), **late) == RunTasks(("read",))


@pytest.mark.parametrize(
    ("cut", "bound", "raised"),
    [
        (ExhaustedBudget(name="model_calls", limit=4, used=4), {"max_model_calls": 4}, {"max_model_calls": 5}),
        (ExhaustedBudget(name="tasks", limit=2, used=3), {"max_tasks": 2}, {"max_tasks": 3}),
    ],
)
def test_a_plan_that_a_budget_kept_from_being_made_is_made_when_it_is_raised(cut, bound, raised):
    halted = Snapshot(compiled=None, problems=("No.",), planning_budget=cut, spending=SPENT)
    assert next_move(halted, Limits(**bound)) == GiveUp("failed", str(cut), cut)
    asked = next_move(halted, Limits(can_escalate=True, can_escalate_budgets=True, **bound))
    assert asked.escalation.choices == ("raise", "abort")
    assert next_move(halted, Limits(**raised)) == PlanAgain()
    assert next_move(replace(halted, stop=("cancelled", "Enough.")), Limits(**bound)) == GiveUp("cancelled", "Enough.")
