"""A replan carried out: what the replanner chose becomes the next revision, or the end."""

from typing import Any, assert_never

from agent.core.compiler.compiler import CompiledPlan
from agent.core.engine.call_preparation import compute_failure_signature, diff_plans
from agent.core.engine.outcomes import Rejected
from agent.core.engine.snapshot import Snapshot
from agent.core.plan.limits import Limits
from agent.errors import BudgetError, ModelError
from agent.events import Emit, ReplanStarted
from agent.llm.models import Model
from agent.planning.replanner import ClarificationRequest, RevisionAbandoned, RevisionResult, make_revision
from agent.results.summary import preview_value
from agent.tools.toolbox import Toolbox
from graphs.run.plan_history import record_plan_author
from graphs.run.services import Context, Services
from graphs.run.state_updates import build_plan_event, build_plan_update
from graphs.state import State


async def replan_after_failure(
    services: Services,
    state: State,
    snapshot: Snapshot,
    toolbox: Toolbox,
    context: Context | None,
    *,
    limits: Limits,
    emit: Emit,
) -> dict[str, Any]:
    """Ask the replanner and return what changes.

    A replan that failed counts as one; a question to a person does not, nor does a replan that a budget cut short.
    """
    compiled = snapshot.compiled
    if compiled is None:
        raise AssertionError("only a compiled plan is replanned")
    failed = tuple(state.get("failed") or ())
    count, revision = (state.get("replans") or 0) + 1, (state.get("revision") or 1) + 1
    emit(
        ReplanStarted(
            replan=count, tasks=list(failed), reason="; ".join(_describe_failure(snapshot, task) for task in failed)
        )
    )
    failures = "; ".join(_describe_failure(snapshot, task, call=_describe_call(compiled, task)) for task in failed)
    entry = f"Replan {count}: {failures}"
    base: dict[str, Any] = {"replans": count, "failed": [], "question": None}
    unreplanned = [
        mark for mark in state.get("replanned") or () if mark != compute_failure_signature(snapshot.outcomes, failed)
    ]
    try:
        model = await services.load_model(context)
    except ModelError as error:
        return {
            **base,
            "history": [*(state.get("history") or ()), entry],
            "stop": {"status": "failed", "reason": str(error)},
        }
    settings, asked = services.resolve_settings(context), state.get("questions") or 0
    try:
        made = await make_revision(
            state["goal"],
            compiled=compiled,
            outcomes=snapshot.outcomes,
            failed=failed,
            history=state.get("history") or (),
            guidance=state.get("guidance") or (),
            may_ask=limits.can_escalate and asked < settings.max_questions,
            context=state.get("context") or "",
            toolbox=toolbox,
            model=model,
            settings=settings,
            limits=limits,
            emit=emit,
            waived=snapshot.waived,
        )
    except BudgetError:
        return {"failed": [], "replanned": unreplanned}
    match made:
        case ClarificationRequest(question=question):
            return {"failed": [], "replanned": unreplanned, "question": question, "questions": asked + 1}
        case RevisionAbandoned(reason=reason, chosen=chosen):
            history = [*(state.get("history") or ()), f"{entry}. Given up: {reason}"]
            ended = {"stop": {"status": "failed", "reason": reason}} if chosen else {"stuck": reason}
            return {**base, "history": history, **ended}
        case RevisionResult():
            return {**base, **_apply_revision(made, model, state, compiled, revision=revision, entry=entry, emit=emit)}
        case _:
            assert_never(made)


def _apply_revision(
    made: RevisionResult, model: Model, state: State, compiled: CompiledPlan, *, revision: int, entry: str, emit: Emit
) -> dict[str, Any]:
    changes = diff_plans(compiled.plan, made.compiled.plan)
    emit(build_plan_event(made.compiled, revision=revision, difference=changes))
    stored = build_plan_update(made.compiled.plan)
    return {
        **stored,
        **record_plan_author(model.name, stored, made.usage),
        "revision": revision,
        "approvals": {},
        "waived": sorted(made.waived),
        "history": [*(state.get("history") or ()), f"{entry}. {made.note}".strip()],
        "difference": changes.model_dump(mode="json"),
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
