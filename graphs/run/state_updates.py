"""Facts made into records for the state and events for those who watch."""

import json
from collections.abc import Iterable
from typing import Any

from langgraph.runtime import Runtime
from pydantic import JsonValue

from agent.core.compiler.compiler import CompiledPlan
from agent.core.engine.budgets import Exhausted, Spending
from agent.core.engine.call_preparation import Difference
from agent.core.engine.outcomes import Done, Outcome, Skipped
from agent.core.plan.dependencies import waves
from agent.core.plan.document import Plan
from agent.core.plan.hashing import digest
from agent.core.plan.limits import Limits
from agent.core.plan.problems import Problem
from agent.events import Emit, PlanMade, TaskFinished
from agent.results.artifacts import put_away
from graphs.run.services import Context
from graphs.state import Record

_PREVIEW = 200


def emitter(runtime: Runtime[Context]) -> Emit:
    """Return the function that puts events on the run's `custom` stream."""
    return lambda event: runtime.stream_writer(event.model_dump(mode="json"))


def document(plan: Plan) -> Record:
    """Return a plan as it is stored: fields left at their defaults stay out, ids and tools never."""
    return {
        "execution_mode": plan.execution_mode,
        **({"phases": plan.phases} if plan.phases else {}),
        "tasks": [
            {"id": task.id, "tool": task.tool, "args": task.args, **task.model_dump(mode="json", exclude_defaults=True)}
            for task in plan.tasks
        ],
    }


def planned(plan: Plan) -> dict[str, Any]:
    """Return the part of the state that a newly compiled plan sets."""
    stored = document(plan)
    return {"plan": stored, "compiled": digest(stored)}


def unplanned(plan: JsonValue, problems: Iterable[Problem], *, limits: Limits) -> dict[str, Any]:
    """Return the part of the state that a plan sets which does not compile."""
    found = list(problems)
    tasks = plan.get("tasks") if isinstance(plan, dict) else None
    update: Record = {"problems": [str(problem) for problem in found], "compiled": mark_of(plan)}
    if isinstance(tasks, list) and any(problem.kind == "too_many_tasks" for problem in found):
        return {**update, **without_plan(Exhausted(name="tasks", limit=limits.max_tasks, used=len(tasks)))}
    return update


def without_plan(budget: Exhausted) -> Record:
    """Return the part of the state that tells which budget kept a plan from being made or taken."""
    return {"cut": {"": budget.model_dump()}}


def mark_of(plan: JsonValue) -> str | None:
    """Return the digest by which a checked plan is known; None for what is no JSON, which never compiles."""
    try:
        return digest(plan)
    except (TypeError, ValueError, RecursionError):
        return None


def record(outcome: Outcome) -> Record:
    """Return an outcome as it is stored: a reference in the place of an output that is in the artifacts."""
    # Most have none of these, and a record is stored for each task.
    idle = {name for name in ("artifact", "items") if getattr(outcome, name, None) is None}
    idle |= {"was_in_doubt"} if isinstance(outcome, Done) and not outcome.was_in_doubt else set()
    return put_away(outcome).model_dump(mode="json", exclude=idle)


def plan_event(compiled: CompiledPlan, *, revision: int, difference: Difference | None = None) -> PlanMade:
    """Return the event of a plan that is about to run."""
    return PlanMade(revision=revision, plan=document(compiled.plan), waves=waves(compiled.needs), difference=difference)


def finished_event(task: str, outcome: Outcome) -> TaskFinished:
    """Return the event of a settled task."""
    return TaskFinished(
        task=task,
        status=outcome.status,
        error=outcome.error,
        because=outcome.because if isinstance(outcome, Skipped) else None,
        preview=_preview(outcome) if isinstance(outcome, Done) else None,
        missing=str(outcome.items) if isinstance(outcome, Done) and outcome.items is not None else None,
        attempts=outcome.attempts,
        duration_s=outcome.duration_s,
    )


def spent(spending: Spending) -> Record:
    """Return what is added to the run's usage; a cost where one is known."""
    return spending.model_dump(exclude=None if spending.cost else {"cost"})


def _preview(done: Done) -> str:
    value = done.output
    if done.artifact is not None and done.away:
        return done.artifact.preview
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _PREVIEW else f"{text[: _PREVIEW - 3]}..."
