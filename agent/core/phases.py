"""The phases of a plan: named groups of tasks, and how far each one is."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from agent.core.plan import Plan
from agent.core.status import Status

#: What holds a phase up no more. A failed or rejected task does, until it is replanned or the plan goes on without it.
_OUT_OF_THE_WAY: frozenset[Status] = frozenset({"done", "skipped", "cancelled", "rolled_back"})


class PhaseProgress(TypedDict):
    """One phase; `percentage` is of tasks that are out of the way, 0 to 100."""

    name: str
    description: str
    #: In listed order.
    tasks: list[str]
    percentage: float
    is_complete: bool


def phases_of(plan: Plan, statuses: Mapping[str, Status]) -> list[PhaseProgress]:
    """Return the phases: those that the plan describes in its order, then those that only tasks name.

    A cancelled or skipped task does not keep a phase from being complete. `statuses` holds every task of the plan.
    """
    members: dict[str, list[str]] = {name: [] for name in plan.phases}
    for task in plan.tasks:
        if task.phase is not None:
            members.setdefault(task.phase, []).append(task.id)
    return [_phase(name, plan.phases.get(name, ""), tasks, statuses) for name, tasks in members.items()]


def current_phase(phases: Sequence[PhaseProgress]) -> str | None:
    """Return the name of the first phase that is not complete; None where all are, or there are none."""
    return next((phase["name"] for phase in phases if not phase["is_complete"]), None)


def _phase(name: str, description: str, tasks: list[str], statuses: Mapping[str, Status]) -> PhaseProgress:
    passed = sum(statuses[task] in _OUT_OF_THE_WAY for task in tasks)
    return PhaseProgress(
        name=name,
        description=description,
        tasks=tasks,
        percentage=round(100 * passed / len(tasks), 1) if tasks else 100.0,
        is_complete=passed == len(tasks),
    )
