"""Updates of the state, and events for those who watch, made from plans, outcomes and budgets."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import JsonValue

from agent.core.compiler.compiler import CompiledPlan
from agent.core.engine.budgets import ExhaustedBudget, Spending
from agent.core.engine.call_preparation import PlanDiff
from agent.core.engine.outcomes import Done, Outcome, Skipped
from agent.core.plan.dependencies import execution_waves
from agent.core.plan.document import Plan
from agent.core.plan.hashing import hash_json
from agent.core.plan.limits import Limits
from agent.core.plan.problems import Problem
from agent.events import PlanCompiled, TaskFinished
from agent.results.artifacts import drop_stored_output
from graphs.messages import PlanName
from graphs.state import StateRecord

_PREVIEW_LENGTH = 200


def plan_to_json(plan: Plan) -> StateRecord:
    """Return a plan as it is stored: without fields at their defaults, except id, tool and args."""
    return {
        "execution_mode": plan.execution_mode,
        **({"phases": plan.phases} if plan.phases else {}),
        **({"inputs": plan.inputs, "input_values": plan.input_values} if plan.inputs is not None else {}),
        "tasks": [
            {"id": task.id, "tool": task.tool, "args": task.args, **task.model_dump(mode="json", exclude_defaults=True)}
            for task in plan.tasks
        ],
    }


def build_plan_update(plan: Plan, *, warnings: Mapping[str, list[str]]) -> dict[str, Any]:
    """Return the update for a plan that was just compiled, with the `warnings` about it by task id."""
    stored = plan_to_json(plan)
    return {
        "plan": stored,
        "checked_plan_digest": hash_json(stored),
        "plan_warnings": dict(warnings),
        "warnings": cite_warnings(warnings),
    }


def cite_warnings(warnings: Mapping[str, Iterable[str]]) -> list[str]:
    """Return warnings by task id as sentences, each with the id of its task as a citation."""
    return [f"{sentence} [{task}]" for task, sentences in warnings.items() for sentence in dict.fromkeys(sentences)]


def name_plan(state: Mapping[str, Any]) -> PlanName:
    """Return which plan of a run is carried out in `state`."""
    undo = state.get("rollback_plan")
    digest = hash_json(undo) if undo else str(state.get("checked_plan_digest") or "")
    return PlanName(revision=state.get("revision") or 1, digest=digest, is_rollback=bool(undo))


def build_invalid_plan_update(plan: JsonValue, problems: Iterable[Problem], *, limits: Limits) -> dict[str, Any]:
    """Return the update for a plan that does not compile."""
    listed = list(problems)
    tasks = plan.get("tasks") if isinstance(plan, dict) else None
    update: StateRecord = {
        "problems": [str(problem) for problem in listed],
        "checked_plan_digest": compute_plan_digest(plan),
    }
    if isinstance(tasks, list) and any(problem.kind == "too_many_tasks" for problem in listed):
        return {
            **update,
            **build_budget_stop_update(ExhaustedBudget(name="tasks", limit=limits.max_tasks, used=len(tasks))),
        }
    return update


def build_budget_stop_update(budget: ExhaustedBudget) -> StateRecord:
    """Return the update for a budget that kept a plan from being made or accepted."""
    return {"out_of_budget_tasks": {"": budget.model_dump()}}


def compute_plan_digest(plan: JsonValue) -> str | None:
    """Return the digest of a plan document; None if it is not JSON, which never compiles."""
    try:
        return hash_json(plan)
    except (TypeError, ValueError, RecursionError):
        return None


def outcome_to_json(outcome: Outcome) -> StateRecord:
    """Return an outcome as it is stored; an output that is stored as an artifact is replaced by a reference."""
    # Left out if empty, because a record is stored for each task and most have none of these.
    idle = {name for name in ("artifact", "items") if getattr(outcome, name, None) is None}
    left_out = ("warnings", "cuts", "steps", "failed_attempts")
    idle |= {name for name in left_out if not getattr(outcome, name, None)}
    idle |= {"was_in_doubt"} if isinstance(outcome, Done) and not outcome.was_in_doubt else set()
    return drop_stored_output(outcome).model_dump(mode="json", exclude=idle)


def build_plan_event(
    compiled: CompiledPlan,
    *,
    revision: int,
    warnings: Mapping[str, list[str]],
    difference: PlanDiff | None = None,
) -> PlanCompiled:
    """Return the event for a plan that is about to run."""
    return PlanCompiled(
        revision=revision,
        plan=plan_to_json(compiled.plan),
        waves=execution_waves(compiled.plan, needs=compiled.needs),
        difference=difference,
        warnings=cite_warnings(warnings),
    )


def build_finished_event(task: str, outcome: Outcome) -> TaskFinished:
    """Return the event for a settled task."""
    return TaskFinished(
        task=task,
        status=outcome.status,
        error=outcome.error,
        because=outcome.because if isinstance(outcome, Skipped) else None,
        preview=_preview_output(outcome) if isinstance(outcome, Done) else None,
        missing=str(outcome.items) if isinstance(outcome, Done) and outcome.items is not None else None,
        warnings=outcome.warnings,
        attempts=outcome.attempts,
        duration_s=outcome.duration_s,
    )


def build_usage_update(spending: Spending) -> StateRecord:
    """Return what is added to the run's usage; with a cost only if one is known."""
    return spending.model_dump(exclude=None if spending.cost else {"cost"})


def _preview_output(done: Done) -> str:
    value = done.output
    if done.artifact is not None and done.is_offloaded:
        return done.artifact.preview
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _PREVIEW_LENGTH else f"{text[: _PREVIEW_LENGTH - 3]}..."
