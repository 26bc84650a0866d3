"""How the budgets of a run stand, by what has happened in it."""

from typing import assert_never

from agent.core.budget import Exhausted, limit_of, model_budget
from agent.core.frontier import was_run
from agent.core.limits import Limits
from agent.core.snapshot import Snapshot


def tasks_run(snapshot: Snapshot) -> int:
    """Return how many tasks of the run, of all revisions, have been run: each counts once, whatever its attempts."""
    kept = snapshot.frontier
    return kept.run if kept is not None else sum(map(was_run, snapshot.outcomes.values()))


def holds(budget: Exhausted, snapshot: Snapshot, limits: Limits) -> Exhausted | None:
    """Return how `budget` stands within these limits; None where it is used up no more."""
    match budget.name:
        case "replans":
            used: int | float = snapshot.replans
        case "tasks" if snapshot.compiled is None:
            # Of a plan that is too large, all tasks but the first ones are too many.
            return budget.model_copy(update={"limit": limits.max_tasks}) if budget.used > limits.max_tasks else None
        case "tasks":
            used = tasks_run(snapshot)
        case "wall_time_s":
            return late(snapshot, limits)
        case "model_calls" | "tokens" | "cost":
            return model_budget(snapshot.spending, limits)
        case _:
            assert_never(budget.name)
    limit = limit_of(budget.name, limits)
    return Exhausted(name=budget.name, limit=limit, used=used) if limit is not None and used >= limit else None


def late(snapshot: Snapshot, limits: Limits) -> Exhausted | None:
    """Return the deadline where it has passed."""
    if limits.deadline_s is None or snapshot.elapsed_s < limits.deadline_s:
        return None
    return Exhausted(name="wall_time_s", limit=limits.deadline_s, used=snapshot.elapsed_s)


def asked_about(budget: Exhausted | None, limits: Limits) -> bool:
    """Whether a person is asked how to go on: where `budget` is used up, or, None, where a run is stuck otherwise."""
    return limits.can_escalate and (budget is None or budget.name == "replans" or limits.can_escalate_budgets)
