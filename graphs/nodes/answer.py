"""The end of a run: an outcome for every task, a status, an answer."""

from typing import Any

from agent.core.engine.outcomes import Done, Outcome, outcome_from
from agent.core.engine.progress import final_outcomes, progress
from agent.core.engine.snapshot import Snapshot
from agent.events import AnswerGiven, Emit, ProgressMade
from agent.execution.executor import utc_now
from agent.llm.usage import Meter, metered
from agent.results.answerer import make_answer
from graphs.nodes.rollback import rollback_report, rollback_told
from graphs.run.plan_history import doubt_of
from graphs.run.services import Context, Wiring
from graphs.run.state_updates import finished_event, record, spent
from graphs.state import State


async def ending(
    wiring: Wiring, state: State, snapshot: Snapshot, context: Context | None, *, meter: Meter, emit: Emit
) -> dict[str, Any]:
    """Return what the end of a run writes: status, answer, and the outcomes of tasks that never ran."""
    status, reason = snapshot.stop or ("completed", "")
    budget = state.get("budget") if snapshot.stop is not None else None
    never_ran = _never_ran(snapshot, state, because=reason or "The run has ended.")
    for task, outcome in never_ran.items():
        emit(finished_event(task, outcome))
    outcomes = {**snapshot.outcomes, **never_ran}
    if snapshot.compiled is not None:
        emit(ProgressMade(progress=progress(snapshot.compiled, outcomes)))
    with metered(meter):
        made = await make_answer(
            state.get("goal") or "",
            compiled=snapshot.compiled,
            outcomes=outcomes,
            status=status,
            reason=reason,
            accepted=snapshot.accepted,
            model=await wiring.answering_model(context, given=bool(state.get("given"))),
            emit=emit,
            settings=wiring.settings_for(context),
        )
    if meter.refused is not None:
        # Nothing is missing but the model's words.
        budget = meter.refused.model_dump()
    report = rollback_report(state, outcomes)
    answer = "\n\n".join(part for part in (made.text, _caveat(state), rollback_told(report)) if part)
    emit(AnswerGiven(status=status, answer=answer))
    problems = list(state.get("problems") or ()) or ([reason] if status == "failed" and reason else [])
    return {
        "status": status,
        "answer": answer,
        "problems": problems,
        "results": {task: record(outcome) for task, outcome in never_ran.items()},
        "rollback": report,
        "usage": spent(meter.take()),
        "budget": budget,
        "ended": sorted(never_ran) if budget else [],
        "ended_at": utc_now().isoformat() if budget else None,
        "pending": [],
        "failed": [],
    }


def _caveat(state: State) -> str:
    """Say that the planner was not sure of the plan that was carried out; nothing where it was."""
    doubt = doubt_of(state)
    return f"Not certain. {doubt} Check the plan." if doubt else ""


async def forget_calls(wiring: Wiring, snapshot: Snapshot, thread: str) -> None:
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
        await wiring.calls.forget(thread)
    elif done := {task for task in logged if isinstance(snapshot.outcomes[task], Done)}:
        await wiring.calls.forget(thread, done)


def _never_ran(snapshot: Snapshot, state: State, *, because: str) -> dict[str, Outcome]:
    """Return outcomes for what stays undone or in doubt; an undoing that never ran is in the rollback's report."""
    if snapshot.compiled is None:
        return {}
    doubts = {task: outcome_from(record) for task, record in (state.get("doubts") or {}).items()}
    known = {**doubts, **snapshot.outcomes}
    ended = final_outcomes(snapshot.compiled, known, revision=state.get("revision") or 1, because=because)
    return {**{task: doubt for task, doubt in doubts.items() if task not in snapshot.outcomes}, **ended}
