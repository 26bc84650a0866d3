"""Impasses put to a person: what the interrupt shows, and what an answer changes."""

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


def build_escalation_update(impasse: Escalation, state: State) -> StateRecord:
    """Return the part of the state that an impasse sets."""
    return {
        "status": "awaiting_approval",
        "escalation": impasse.model_dump(mode="json"),
        "escalation_count": (state.get("escalation_count") or 0) + 1,
    }


def parse_stored_escalation(state: State) -> Escalation | None:
    """Read the impasse that waits for an answer. Raises `PersistenceError`."""
    stored = state.get("escalation")
    try:
        return None if stored is None else Escalation.model_validate(stored)
    except ValidationError as error:
        raise PersistenceError(f"What is stored of a question cannot be read: {error}") from error


def is_moot(impasse: Escalation, snapshot: Snapshot, limits: Limits) -> bool:
    """Whether there is nothing left to ask: nobody answers any more, or the settings allow more by now."""
    if not needs_escalation(impasse.budget, limits):
        return True
    return impasse.budget is not None and exhausted(impasse.budget, snapshot, limits) is None


def build_escalation_interrupt(impasse: Escalation, state: State, *, thread: str) -> StateRecord:
    """Return what the interrupt shows."""
    plan = {"plan": state.get("plan")} if impasse.kind == "unsure" else {}
    payload = build_escalation_payload(impasse, mark=_compute_digest(impasse, state, thread=thread))
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
    answer: object, impasse: Escalation, state: State, snapshot: Snapshot, context: NodeContext
) -> StateRecord:
    """Return what an answer changes in the state. Raises `AnswerError`, with nothing changed, where it is none."""
    limits, digest = context.limits, _compute_digest(impasse, state, thread=context.thread)
    chosen = parse_escalation_answer(answer, impasse, mark=digest)
    base: StateRecord = {"escalation": None, "status": "running"}
    match chosen:
        case str():
            raise AnswerError(chosen)
        case GiveGuidance(text=text) if impasse.kind == "question":
            return {**base, **_add_answer(state, f"{impasse.reason} Answer: {text}"), **_allow_replan(impasse, state)}
        case DeclineQuestion(message=message):
            said = f"{impasse.reason} There is no answer to that; decide without. {message}".strip()
            return {**base, **_add_answer(state, said), **_allow_replan(impasse, state)}
        case GiveGuidance(text=text) if impasse.kind == "unsure":
            guidance = [*(state.get("guidance") or ()), text]
            revision = (state.get("revision") or 1) + 1
            return {
                **base,
                "replan_requested": True,
                "plan": None,
                "checked_plan_digest": None,
                "revision": revision,
                "guidance": guidance,
            }
        case ConfirmPlan():
            return {**base, "plan_author": {**(state.get("plan_author") or {}), "confirmed": True}}
        case GiveGuidance(text=text):
            more = (
                _raise_budget(impasse, state, snapshot, limits, by=1) if snapshot.replans >= limits.max_replans else {}
            )
            return {**base, **_allow_replan(impasse, state), **more, "guidance": [*(state.get("guidance") or ()), text]}
        case RaiseBudget(by=by):
            return {**base, **_allow_replan(impasse, state), **_raise_budget(impasse, state, snapshot, limits, by=by)}
        case AcceptResult():
            reason = f"A person chose to end with what there is. {impasse.reason}"
            return {**base, "partial_result_accepted": True, "termination": {"status": "failed", "reason": reason}}
        case AbortRun(message=message):
            reason = f"A person ended the run{f': {message}' if message else ''}. {impasse.reason}"
            return {**base, "termination": {"status": "cancelled", "reason": reason}}
        case _:
            assert_never(chosen)


def _compute_digest(impasse: Escalation, state: State, *, thread: str) -> str:
    return hash_escalation(
        impasse, thread=thread, revision=state.get("revision") or 1, turn=state.get("escalation_count") or 0
    )


def _add_answer(state: State, said: str) -> StateRecord:
    return {"clarification_question": None, "guidance": [*(state.get("guidance") or ()), said]}


def _allow_replan(impasse: Escalation, state: State) -> StateRecord:
    """Let the failure be replanned for again."""
    return {
        "dead_end_reason": None,
        "replanned_failures": [mark for mark in state.get("replanned_failures") or () if mark != impasse.signature],
    }


def _raise_budget(impasse: Escalation, state: State, snapshot: Snapshot, limits: Limits, *, by: float) -> StateRecord:
    """Raise the budget that is used up, or replans, by so much beyond what is allowed or used already."""
    name = impasse.budget.name if impasse.budget is not None else "replans"
    stands = exhausted(impasse.budget, snapshot, limits) if impasse.budget is not None else None
    used = stands.used if stands is not None else snapshot.replans
    base = max(get_budget_limit(name, limits) or 0, used)
    return {"raised_budgets": {**(state.get("raised_budgets") or {}), name: base + by}}
