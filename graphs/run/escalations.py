"""Escalations: what the interrupt shows when a run cannot go on by itself, and what an answer changes."""

from typing import assert_never

from pydantic import ValidationError

from agent.core.engine.budgets import get_budget_limit
from agent.core.engine.escalations import (
    AbortRun,
    AcceptResult,
    ConfirmPlan,
    DeclineQuestion,
    Escalation,
    GiveGuidance,
    RaiseBudget,
    build_escalation_payload,
    hash_escalation,
    parse_escalation_answer,
)
from agent.core.engine.snapshot import Snapshot, exhausted, needs_escalation
from agent.core.plan.limits import Limits
from agent.errors import AnswerError, PersistenceError
from graphs.run.node_context import NodeContext
from graphs.state import State, StateRecord


def build_escalation_update(escalation: Escalation, state: State) -> StateRecord:
    """Return the update that puts an escalation to a human."""
    return {
        "status": "awaiting_approval",
        "escalation": escalation.model_dump(mode="json"),
        "escalation_count": (state.get("escalation_count") or 0) + 1,
    }


def parse_stored_escalation(state: State) -> Escalation | None:
    """Read the escalation that waits for an answer; None if there is none. Raises `PersistenceError`."""
    stored = state.get("escalation")
    try:
        return None if stored is None else Escalation.model_validate(stored)
    except ValidationError as error:
        raise PersistenceError(f"The stored escalation cannot be read: {error}") from error


def is_moot(escalation: Escalation, snapshot: Snapshot, limits: Limits) -> bool:
    """Whether there is nothing left to ask: the run can no longer ask, or its limits allow more by now."""
    if not needs_escalation(escalation.budget, limits):
        return True
    return escalation.budget is not None and exhausted(escalation.budget, snapshot, limits) is None


def build_escalation_interrupt(escalation: Escalation, state: State, *, thread: str) -> StateRecord:
    """Return the payload of the interrupt."""
    plan = {"plan": state.get("plan")} if escalation.kind == "unsure" else {}
    payload = build_escalation_payload(escalation, mark=_compute_digest(escalation, state, thread=thread))
    return {
        **payload,
        # Under its former name, `impasse`, too: front ends read that.
        "escalation": payload["impasse"],
        **plan,
        "revision": state.get("revision"),
        "goal": state.get("goal"),
        "plan_changes": state.get("plan_changes"),
    }


def apply_escalation(
    answer: object, escalation: Escalation, state: State, snapshot: Snapshot, context: NodeContext
) -> StateRecord:
    """Return the update that an answer makes. Raises `AnswerError`, with nothing changed, if it does not fit."""
    limits, digest = context.limits, _compute_digest(escalation, state, thread=context.thread)
    chosen = parse_escalation_answer(answer, escalation, mark=digest)
    base: StateRecord = {"escalation": None, "status": "running"}
    retried: StateRecord = {**base, **_allow_replan(escalation, state)}
    guidance = list(state.get("guidance") or ())
    match chosen:
        case str():
            raise AnswerError(chosen)
        case GiveGuidance(text=text) if escalation.kind == "question":
            answered = f"{escalation.reason} Answer: {text}"
            return {**retried, "clarification_question": None, "guidance": [*guidance, answered]}
        case DeclineQuestion(message=message):
            answered = f"{escalation.reason} There is no answer to that; decide without. {message}".strip()
            return {**retried, "clarification_question": None, "guidance": [*guidance, answered]}
        case GiveGuidance(text=text) if escalation.kind == "unsure":
            return {
                **base,
                "replan_requested": True,
                "plan": None,
                "checked_plan_digest": None,
                "revision": (state.get("revision") or 1) + 1,
                "guidance": [*guidance, text],
            }
        case ConfirmPlan():
            return {**base, "plan_author": {**(state.get("plan_author") or {}), "confirmed": True}}
        case GiveGuidance(text=text):
            used_up = snapshot.replans >= limits.max_replans
            raised = _raise_budget(escalation, state, snapshot, limits, by=1) if used_up else {}
            return {**retried, **raised, "guidance": [*guidance, text]}
        case RaiseBudget(by=by):
            return {**retried, **_raise_budget(escalation, state, snapshot, limits, by=by)}
        case AcceptResult():
            reason = f"A person chose to end with what there is. {escalation.reason}"
            return {**base, "partial_result_accepted": True, "termination": {"status": "failed", "reason": reason}}
        case AbortRun(message=message):
            reason = f"A person ended the run{f': {message}' if message else ''}. {escalation.reason}"
            return {**base, "termination": {"status": "cancelled", "reason": reason}}
        case _:
            assert_never(chosen)


def _compute_digest(escalation: Escalation, state: State, *, thread: str) -> str:
    return hash_escalation(
        escalation, thread=thread, revision=state.get("revision") or 1, turn=state.get("escalation_count") or 0
    )


def _allow_replan(escalation: Escalation, state: State) -> StateRecord:
    """Allow another replan for the same failure."""
    return {
        "dead_end_reason": None,
        "replanned_failures": [mark for mark in state.get("replanned_failures") or () if mark != escalation.signature],
    }


def _raise_budget(
    escalation: Escalation, state: State, snapshot: Snapshot, limits: Limits, *, by: float
) -> StateRecord:
    """Raise the budget that is used up, or else the replans, by `by` beyond what is allowed or used already."""
    name = escalation.budget.name if escalation.budget is not None else "replans"
    exceeded = exhausted(escalation.budget, snapshot, limits) if escalation.budget is not None else None
    used = exceeded.used if exceeded is not None else snapshot.replans
    base = max(get_budget_limit(name, limits) or 0, used)
    return {"raised_budgets": {**(state.get("raised_budgets") or {}), name: base + by}}
