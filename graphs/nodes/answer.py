"""The end of a run: an outcome for every task, a status, an answer."""

from typing import Any

from agent.core.engine.outcomes import Done, Outcome, parse_outcome
from agent.core.engine.progress import build_final_outcomes, count_progress
from agent.core.engine.snapshot import Snapshot
from agent.events import Emit, PlanProgress, RunFinished
from agent.execution.executor import utc_now
from agent.llm.usage import Meter, use_meter
from agent.results.answerer import make_answer
from graphs.nodes.rollback import build_rollback_report, describe_rollback
from graphs.run.plan_history import get_planner_doubt
from graphs.run.services import Context, Services
from graphs.run.state_updates import build_finished_event, build_usage_update, outcome_to_json
from graphs.state import State


async def finish_run(
    services: Services, state: State, snapshot: Snapshot, context: Context | None, *, meter: Meter, emit: Emit
) -> dict[str, Any]:
    """Return what the end of a run writes: status, answer, and the outcomes of tasks that never ran."""
    status, reason = snapshot.stop or ("completed", "")
    budget = state.get("budget") if snapshot.stop is not None else None
    never_ran = _settle_unfinished_tasks(snapshot, state, because=reason or "The run has ended.")
    for task, outcome in never_ran.items():
        emit(build_finished_event(task, outcome))
    outcomes = {**snapshot.outcomes, **never_ran}
    if snapshot.compiled is not None:
        emit(PlanProgress(progress=count_progress(snapshot.compiled, outcomes)))
    with use_meter(meter):
        made = await make_answer(
            state.get("goal") or "",
            compiled=snapshot.compiled,
            outcomes=outcomes,
            status=status,
            reason=reason,
            accepted=snapshot.accepted,
            model=await services.load_answer_model(context, given=bool(state.get("given"))),
            emit=emit,
            settings=services.resolve_settings(context),
        )
    if meter.exhausted_budget is not None:
        # Nothing is missing but the model's words.
        budget = meter.exhausted_budget.model_dump()
    report = build_rollback_report(state, outcomes)
    answer = "\n\n".join(part for part in (made.text, _format_caveat(state), describe_rollback(report)) if part)
    emit(RunFinished(status=status, answer=answer))
    problems = list(state.get("problems") or ()) or ([reason] if status == "failed" and reason else [])
    return {
        "status": status,
        "answer": answer,
        "problems": problems,
        "results": {task: outcome_to_json(outcome) for task, outcome in never_ran.items()},
        "rollback": report,
        "usage": build_usage_update(meter.take_spending()),
        "budget": budget,
        "ended": sorted(never_ran) if budget else [],
        "ended_at": utc_now().isoformat() if budget else None,
        "pending": [],
        "failed": [],
    }


def _format_caveat(state: State) -> str:
    """Say that the planner was not sure of the plan that was carried out; nothing where it was."""
    doubt = get_planner_doubt(state)
    return f"Not certain. {doubt} Check the plan." if doubt else ""


async def prune_call_log(services: Services, snapshot: Snapshot, thread: str) -> None:
    """Delete what is logged of calls whose results are recorded.

    The items of a `for_each` that failed in a run that did not reach its goal stay: a plan that a person then edits
    does not call them again.
    """
    plans = [plan for plan in (snapshot.compiled, snapshot.undo) if plan is not None]
    repeated = {task.id for plan in plans for task in plan.plan.tasks if task.for_each is not None}
    logged = {task for task, outcome in snapshot.outcomes.items() if task in repeated or outcome.attempts > 1}
    if not logged:
        return
    if snapshot.stop is None:
        await services.calls.delete_calls(thread)
    elif done := {task for task in logged if isinstance(snapshot.outcomes[task], Done)}:
        await services.calls.delete_calls(thread, done)


def _settle_unfinished_tasks(snapshot: Snapshot, state: State, *, because: str) -> dict[str, Outcome]:
    """Return outcomes for what stays undone or in doubt; an undoing that never ran is in the rollback's report."""
    if snapshot.compiled is None:
        return {}
    doubts = {task: parse_outcome(record) for task, record in (state.get("doubts") or {}).items()}
    known = {**doubts, **snapshot.outcomes}
    ended = build_final_outcomes(snapshot.compiled, known, revision=state.get("revision") or 1, because=because)
    return {**{task: doubt for task, doubt in doubts.items() if task not in snapshot.outcomes}, **ended}
