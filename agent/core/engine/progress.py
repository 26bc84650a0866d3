"""The status of each task and the progress of the run, derived from plan and outcomes; never stored."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from typing_extensions import TypedDict  # pydantic makes no schema of the one in `typing` before Python 3.12

from agent.core.compiler.compiler import CompiledPlan
from agent.core.engine.outcomes import Cancelled, Done, Failed, Outcome, Rejected, Skipped
from agent.core.engine.task_status import TaskStatus
from agent.core.plan.document import Task


class TaskProgress(TypedDict):
    """Counts of tasks: rejected ones count as failed, cancelled ones as skipped, those in doubt as waiting.

    `percentage` is the share of completed tasks, 0 to 100.
    """

    completed: int
    running: int
    failed: int
    waiting: int
    skipped: int
    total: int
    percentage: float


def find_blocker(
    task: Task, needs: Collection[str], *, outcomes: Mapping[str, Outcome], blocked: Collection[str]
) -> str | None:
    """Return the need that keeps `task` from running; None if nothing does.

    A need blocks if it failed, was skipped, rejected or cancelled, is in doubt, or is blocked itself. With
    `run_if: any` one need that is done, or may still be, is enough.
    """
    bad = [need for need in needs if need in blocked or (need in outcomes and not isinstance(outcomes[need], Done))]
    if not bad or (task.run_if == "any" and len(bad) < len(needs)):
        return None
    return bad[0]


def find_blocked_tasks(compiled: CompiledPlan, outcomes: Mapping[str, Outcome]) -> dict[str, str]:
    """Return every task without an outcome that cannot run because of the outcomes so far, with its blocking need."""
    found: dict[str, str] = {}
    for task_id in compiled.order:
        if task_id not in outcomes:
            need = find_blocker(compiled.tasks[task_id], compiled.needs[task_id], outcomes=outcomes, blocked=found)
            if need is not None:
                found[task_id] = need
    return found


def derive_statuses(
    compiled: CompiledPlan,
    outcomes: Mapping[str, Outcome],
    *,
    running: Collection[str] = (),
    retrying: Collection[str] = (),
    asked: Collection[str] = (),
    doubted: Collection[str] = (),
    undone: Collection[str] = (),
) -> dict[str, TaskStatus]:
    """Return the status of every task of the plan, in listed order.

    An outcome goes first, then a doubt, then what is in flight: `retrying` tasks wait for their next attempt, `running`
    ones have been called, `asked` ones wait for a human. `undone` are done tasks whose rollback is done.
    """
    blocked = find_blocked_tasks(compiled, outcomes)

    def derive_status(task: str) -> TaskStatus:
        outcome = outcomes.get(task)
        if outcome is not None:
            return "rolled_back" if task in undone and isinstance(outcome, Done) else outcome.status
        derived: tuple[tuple[Collection[str], TaskStatus], ...] = (
            (doubted, "in_doubt"),
            (retrying, "retrying"),
            (running, "running"),
            (asked, "awaiting_approval"),
            (blocked, "blocked"),
        )
        for tasks, status in derived:
            if task in tasks:
                return status
        settled = all(need in outcomes or need in blocked for need in compiled.needs[task])
        return "ready" if settled else "waiting"

    return {task.id: derive_status(task.id) for task in compiled.plan.tasks}


def count_progress(
    compiled: CompiledPlan, outcomes: Mapping[str, Outcome], *, running: Collection[str] = ()
) -> TaskProgress:
    """Count the plan's tasks."""
    settled: Counter[str] = Counter(outcomes[task].status for task in compiled.tasks if task in outcomes)
    active = sum(task in compiled.tasks and task not in outcomes for task in running)
    return build_progress(settled, running=active, total=len(compiled.tasks))


def build_progress(settled: Mapping[str, int], *, running: int, total: int) -> TaskProgress:
    """Return the progress of `total` tasks; `settled` counts those with an outcome by its status."""
    completed, failed = settled.get("done", 0), settled.get("failed", 0) + settled.get("rejected", 0)
    skipped = settled.get("skipped", 0) + settled.get("cancelled", 0)
    return TaskProgress(
        completed=completed,
        running=running,
        failed=failed,
        waiting=total - completed - failed - skipped - running,
        skipped=skipped,
        total=total,
        percentage=round(100 * completed / total, 1) if total else 100.0,
    )


def is_complete(counts: TaskProgress) -> bool:
    """Whether every task is settled."""
    return counts["waiting"] == counts["running"] == 0


def has_failures(counts: TaskProgress) -> bool:
    """Whether a task failed or was rejected."""
    return counts["failed"] > 0


def build_final_outcomes(
    compiled: CompiledPlan, outcomes: Mapping[str, Outcome], *, revision: int, because: str
) -> dict[str, Outcome]:
    """Return an outcome for every task that has none when the run ends; `because` is the sentence of cancelled ones."""
    ended: dict[str, Outcome] = {}
    blocked = find_blocked_tasks(compiled, outcomes)
    for task in compiled.order:
        if task in outcomes:
            continue
        need = blocked.get(task)
        if need is None:
            ended[task] = Cancelled(revision=revision, because=because)
        else:
            end = _describe_end(outcomes.get(need) or ended.get(need))
            ended[task] = Skipped(revision=revision, because=f"It depends on {need!r}, which {end}.")
    return ended


def _describe_end(outcome: Outcome | None) -> str:
    match outcome:
        case Failed():
            return "failed"
        case Skipped():
            return "was skipped"
        case Rejected():
            return "was rejected"
        case _:
            return "did not run"


class PhaseProgress(TypedDict):
    """One phase; `percentage` is the share of its tasks that no longer keep it from being complete, 0 to 100."""

    name: str
    description: str
    #: In listed order.
    tasks: list[str]
    percentage: float
    is_complete: bool


def compute_phase_progress(compiled: CompiledPlan, outcomes: Mapping[str, Outcome]) -> list[PhaseProgress]:
    """Return the phases: first those that the plan describes, in its order, then those that only tasks name.

    A cancelled or skipped task, and one that will not run because of it, does not keep a phase from being complete. A
    failed or rejected one does, until it is replanned or removed by an edit.
    """
    members: dict[str, list[str]] = {name: [] for name in compiled.plan.phases}
    for task in compiled.plan.tasks:
        if task.phase is not None:
            members.setdefault(task.phase, []).append(task.id)
    passed = _find_passed_tasks(compiled, outcomes)
    return [_build_phase(name, compiled.plan.phases.get(name, ""), tasks, passed) for name, tasks in members.items()]


def current_phase(phases: Sequence[PhaseProgress]) -> str | None:
    """Return the name of the first phase that is not complete; None if there is none."""
    return next((phase["name"] for phase in phases if not phase["is_complete"]), None)


def _find_passed_tasks(compiled: CompiledPlan, outcomes: Mapping[str, Outcome]) -> set[str]:
    passed = {task for task, outcome in outcomes.items() if isinstance(outcome, Done | Skipped | Cancelled)}
    # In plan order, so each task comes after the one that blocks it.
    for task, need in find_blocked_tasks(compiled, outcomes).items():
        if need in passed:
            passed.add(task)
    return passed


def _build_phase(name: str, description: str, tasks: list[str], passed: Collection[str]) -> PhaseProgress:
    count = sum(task in passed for task in tasks)
    return PhaseProgress(
        name=name,
        description=description,
        tasks=tasks,
        percentage=round(100 * count / len(tasks), 1) if tasks else 100.0,
        is_complete=count == len(tasks),
    )
