"""The phases of a plan: named groups of tasks, and how far each one is."""

from collections.abc import Collection, Mapping, Sequence

from typing_extensions import TypedDict  # pydantic makes no schema of the one in `typing` before Python 3.12

from agent.core.compile import CompiledPlan
from agent.core.outcome import Cancelled, Done, Outcome, Skipped
from agent.core.progress import blocked


class PhaseProgress(TypedDict):
    """One phase; `percentage` is of tasks that are out of the way, 0 to 100."""

    name: str
    description: str
    #: In listed order.
    tasks: list[str]
    percentage: float
    is_complete: bool


def phases_of(compiled: CompiledPlan, outcomes: Mapping[str, Outcome]) -> list[PhaseProgress]:
    """Return the phases: those that the plan describes in its order, then those that only tasks name.

    A cancelled or skipped task, and one that will not run because of it, does not keep a phase from being complete. A
    failed or rejected one does, until it is replanned or an edit takes it away.
    """
    members: dict[str, list[str]] = {name: [] for name in compiled.plan.phases}
    for task in compiled.plan.tasks:
        if task.phase is not None:
            members.setdefault(task.phase, []).append(task.id)
    passed = _out_of_the_way(compiled, outcomes)
    return [_phase(name, compiled.plan.phases.get(name, ""), tasks, passed) for name, tasks in members.items()]


def current_phase(phases: Sequence[PhaseProgress]) -> str | None:
    """Return the name of the first phase that is not complete; None where all are, or there are none."""
    return next((phase["name"] for phase in phases if not phase["is_complete"]), None)


def _out_of_the_way(compiled: CompiledPlan, outcomes: Mapping[str, Outcome]) -> set[str]:
    passed = {task for task, outcome in outcomes.items() if isinstance(outcome, Done | Skipped | Cancelled)}
    # Each stands behind what blocks it.
    for task, need in blocked(compiled, outcomes).items():
        if need in passed:
            passed.add(task)
    return passed


def _phase(name: str, description: str, tasks: list[str], passed: Collection[str]) -> PhaseProgress:
    count = sum(task in passed for task in tasks)
    return PhaseProgress(
        name=name,
        description=description,
        tasks=tasks,
        percentage=round(100 * count / len(tasks), 1) if tasks else 100.0,
        is_complete=count == len(tasks),
    )
