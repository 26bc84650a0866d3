"""Impasses put to a person: what the interrupt shows, and what an answer changes."""

from typing import assert_never

from langchain_core.runnables import RunnableConfig
from langgraph._internal._constants import CONFIG_KEY_CHECKPOINTER
from pydantic import ValidationError

from agent.core.engine.budgets import limit_of
from agent.core.engine.escalations import (
    Abort,
    Accept,
    Confirm,
    Decline,
    Guide,
    Impasse,
    Raise,
    impasse_mark,
    impasse_payload,
    read_settlement,
)
from agent.core.engine.snapshot import Snapshot, asked_about, holds
from agent.core.plan.limits import Limits
from agent.errors import AnswerError, PersistenceError
from graphs.state import Record, State


def can_wait(config: RunnableConfig) -> bool:
    """Whether a run can stop for a person and go on later: without a checkpointer it cannot."""
    return config.get("configurable", {}).get(CONFIG_KEY_CHECKPOINTER) is not None


def escalated(impasse: Impasse, state: State) -> Record:
    """Return the part of the state that an impasse sets."""
    return {
        "status": "awaiting_approval",
        "impasse": impasse.model_dump(mode="json"),
        "impasses": (state.get("impasses") or 0) + 1,
    }


def impasse_in(state: State) -> Impasse | None:
    """Read the impasse that waits for an answer. Raises `PersistenceError`."""
    stored = state.get("impasse")
    try:
        return None if stored is None else Impasse.model_validate(stored)
    except ValidationError as error:
        raise PersistenceError(f"What is stored of a question cannot be read: {error}") from error


def passed(impasse: Impasse, snapshot: Snapshot, limits: Limits) -> bool:
    """Whether there is nothing left to ask: nobody answers any more, or the settings allow more by now."""
    if not asked_about(impasse.budget, limits):
        return True
    return impasse.budget is not None and holds(impasse.budget, snapshot, limits) is None


def impasse_shown(impasse: Impasse, state: State, *, thread: str) -> Record:
    """Return what the interrupt shows."""
    plan = {"plan": state.get("plan")} if impasse.kind == "unsure" else {}
    return {
        **impasse_payload(impasse, mark=_mark(impasse, state, thread=thread)),
        **plan,
        "revision": state.get("revision"),
        "goal": state.get("goal"),
        "plan_changes": state.get("difference"),
    }


def settled(
    answer: object, impasse: Impasse, state: State, snapshot: Snapshot, *, limits: Limits, thread: str
) -> Record:
    """Return what an answer changes in the state. Raises `AnswerError`, with nothing changed, where it is none."""
    chosen = read_settlement(answer, impasse, mark=_mark(impasse, state, thread=thread))
    base: Record = {"impasse": None, "status": "running"}
    match chosen:
        case str():
            raise AnswerError(chosen)
        case Guide(text=text) if impasse.kind == "question":
            return {**base, **_answered(state, f"{impasse.reason} Answer: {text}"), **_again(impasse, state)}
        case Decline(message=message):
            said = f"{impasse.reason} There is no answer to that; decide without. {message}".strip()
            return {**base, **_answered(state, said), **_again(impasse, state)}
        case Guide(text=text) if impasse.kind == "unsure":
            guidance = [*(state.get("guidance") or ()), text]
            revision = (state.get("revision") or 1) + 1
            return {**base, "anew": True, "plan": None, "compiled": None, "revision": revision, "guidance": guidance}
        case Confirm():
            return {**base, "written_by": {**(state.get("written_by") or {}), "confirmed": True}}
        case Guide(text=text):
            more = _raised(impasse, state, snapshot, limits, by=1) if snapshot.replans >= limits.max_replans else {}
            return {**base, **_again(impasse, state), **more, "guidance": [*(state.get("guidance") or ()), text]}
        case Raise(by=by):
            return {**base, **_again(impasse, state), **_raised(impasse, state, snapshot, limits, by=by)}
        case Accept():
            reason = f"A person chose to end with what there is. {impasse.reason}"
            return {**base, "accepted": True, "stop": {"status": "failed", "reason": reason}}
        case Abort(message=message):
            reason = f"A person ended the run{f': {message}' if message else ''}. {impasse.reason}"
            return {**base, "stop": {"status": "cancelled", "reason": reason}}
        case _:
            assert_never(chosen)


def _mark(impasse: Impasse, state: State, *, thread: str) -> str:
    return impasse_mark(impasse, thread=thread, revision=state.get("revision") or 1, turn=state.get("impasses") or 0)


def _answered(state: State, said: str) -> Record:
    return {"question": None, "guidance": [*(state.get("guidance") or ()), said]}


def _again(impasse: Impasse, state: State) -> Record:
    """Let the failure be replanned for again."""
    return {"stuck": None, "replanned": [mark for mark in state.get("replanned") or () if mark != impasse.signature]}


def _raised(impasse: Impasse, state: State, snapshot: Snapshot, limits: Limits, *, by: float) -> Record:
    """Raise the budget that is used up, or replans, by so much beyond what is allowed or used already."""
    name = impasse.budget.name if impasse.budget is not None else "replans"
    stands = holds(impasse.budget, snapshot, limits) if impasse.budget is not None else None
    used = stands.used if stands is not None else snapshot.replans
    base = max(limit_of(name, limits) or 0, used)
    return {"raised": {**(state.get("raised") or {}), name: base + by}}
