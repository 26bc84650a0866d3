"""`replanner`: what the replanner's model chooses becomes the next revision of the plan, a question, or the end."""

from typing import assert_never

from agent.core.compiler.compiler import CompiledPlan
from agent.core.engine.call_preparation import compute_failure_signature, diff_plans
from agent.core.engine.outcomes import Rejected
from agent.core.engine.snapshot import Snapshot
from agent.errors import BudgetError, ModelError
from agent.events import ReplanStarted
from agent.llm.models import Model
from agent.llm.usage import use_meter
from agent.planning.draft_review import REVISED
from agent.planning.replanner import (
    ClarificationRequest,
    RevisionAbandoned,
    RevisionResult,
    make_revision,
)
from agent.results.summary import preview_value
from graphs.nodes.program_lookup import load_planning_context
from graphs.run.node_context import NodeContext
from graphs.run.plan_history import record_plan_author
from graphs.run.state_updates import build_plan_event, build_plan_update, build_usage_update
from graphs.state import State, StateRecord


async def replanner(state: State, context: NodeContext) -> StateRecord:
    """Have the rest of the plan made again, or end the run if that cannot be done."""
    state = await context.load_outputs(state)
    with use_meter(context.meter):
        update = await _replan(state, context.build_snapshot(state), context)
    return {**update, "usage": build_usage_update(context.meter.take_spending())}


async def _replan(state: State, snapshot: Snapshot, context: NodeContext) -> StateRecord:
    """Ask the replanner's model and return what changes.

    A replan that failed counts as one; a question to a human, or a replan that a budget cut short, does not.
    """
    compiled, failed = snapshot.compiled, tuple(state.get("target_tasks") or ())
    if compiled is None:
        raise AssertionError("only a compiled plan is replanned")
    count, history = (state.get("replans") or 0) + 1, list(state.get("replan_history") or ())
    reason = "; ".join(_describe_failure(snapshot, task) for task in failed)
    context.emit(ReplanStarted(replan=count, tasks=list(failed), reason=reason))
    failures = "; ".join(_describe_failure(snapshot, task, call=_describe_call(compiled, task)) for task in failed)
    entry = f"Replan {count}: {failures}"
    counted: StateRecord = {"replans": count, "target_tasks": [], "clarification_question": None}
    try:
        model = await context.load_model()
    except ModelError as error:
        return {
            **counted,
            **_end_without_model(state, snapshot, failed, reason=str(error)),
            "replan_history": [*history, entry],
        }
    signature = compute_failure_signature(snapshot.outcomes, failed)
    uncounted: StateRecord = {
        "target_tasks": [],
        "replanned_failures": [mark for mark in state.get("replanned_failures") or () if mark != signature],
    }
    try:
        revision = await _make_revision(model, state, snapshot, compiled, context)
    except BudgetError:
        return uncounted
    match revision:
        case ClarificationRequest(question=question):
            return {
                **uncounted,
                "clarification_question": question,
                "clarification_count": (state.get("clarification_count") or 0) + 1,
            }
        case RevisionAbandoned(reason=reason, is_model_failure=True):
            context.services.discard_model(context.runtime.context)
            given_up = {**counted, "replan_history": [*history, f"{entry}. Given up: {reason}"]}
            if context.limits.can_escalate:
                return {**given_up, "dead_end_reason": reason}
            return {**given_up, **_end_without_model(state, snapshot, failed, reason=reason)}
        case RevisionAbandoned(reason=reason, chosen=chosen):
            ended = {"termination": {"status": "failed", "reason": reason}} if chosen else {"dead_end_reason": reason}
            return {**counted, "replan_history": [*history, f"{entry}. Given up: {reason}"], **ended}
        case RevisionResult():
            note = f"{entry}. {revision.note}".strip()
            return {
                **counted,
                **_apply_revision(revision, model, state, compiled, context),
                "replan_history": [*history, note],
            }
        case _:
            assert_never(revision)


def _end_without_model(state: State, snapshot: Snapshot, failed: tuple[str, ...], *, reason: str) -> StateRecord:
    """Return the update that ends a run because no model answers, and with which it can be resumed from here."""
    signature = compute_failure_signature(snapshot.outcomes, failed)
    before = [mark for mark in state.get("replanned_failures") or () if mark != signature]
    return {
        "termination": {"status": "failed", "reason": reason},
        "model_failure": {
            "role": "replanner",
            "reason": reason,
            "replans": state.get("replans") or 0,
            "replanned_failures": before,
        },
    }


async def _make_revision(
    model: Model, state: State, snapshot: Snapshot, compiled: CompiledPlan, context: NodeContext
) -> RevisionResult | RevisionAbandoned | ClarificationRequest:
    """Return what `model` chooses after the failures in the state. Raises `BudgetError`."""
    limits, settings = context.limits, context.settings
    return await make_revision(
        state["goal"],
        compiled=compiled,
        outcomes=snapshot.outcomes,
        failed=tuple(state.get("target_tasks") or ()),
        history=state.get("replan_history") or (),
        guidance=state.get("guidance") or (),
        may_ask=limits.can_escalate and (state.get("clarification_count") or 0) < settings.max_questions,
        context=await load_planning_context(state, context),
        toolbox=context.toolbox,
        model=model,
        settings=settings,
        limits=limits,
        emit=context.emit,
        waived=snapshot.waived,
    )


def _apply_revision(
    result: RevisionResult, model: Model, state: State, compiled: CompiledPlan, context: NodeContext
) -> StateRecord:
    revision, changes = (state.get("revision") or 1) + 1, diff_plans(compiled.plan, result.compiled.plan)
    context.emit(build_plan_event(result.compiled, revision=revision, warnings=result.warnings, difference=changes))
    stored = build_plan_update(result.compiled.plan, warnings=result.warnings)
    return {
        **stored,
        **record_plan_author(model.name, stored, result.usage, confidence=REVISED if model.scale == "small" else None),
        "revision": revision,
        "approvals": {},
        "waived_tasks": sorted(result.waived),
        "plan_changes": changes.model_dump(mode="json"),
    }


def _describe_failure(snapshot: Snapshot, task: str, *, call: str = "") -> str:
    outcome, named = snapshot.outcomes[task], f"{task!r}{f' ({call})' if call else ''}"
    if isinstance(outcome, Rejected):
        return f"{named} was rejected by a person" + (f": {outcome.message}" if outcome.message else "")
    return f"{named} failed: {outcome.error}"


def _describe_call(compiled: CompiledPlan, task: str) -> str:
    """Return the call of a task, which no later plan shows any more."""
    call = compiled.tasks[task]
    return f"{call.tool} {preview_value(dict(call.args))}"
