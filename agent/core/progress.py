"""Status of each task and of the whole, derived from plan and outcomes; never stored."""

from collections.abc import Collection, Mapping
from typing import Literal, TypedDict

from agent.core.compile import CompiledPlan
from agent.core.outcome import Cancelled, Done, Failed, Outcome, Rejected, Skipped
from agent.core.plan import Task

Status = Literal[
    "waiting",
    "ready",
    "running",
    "awaiting_approval",
    "done",
    "failed",
    "skipped",
    "rejected",
    "cancelled",
    "in_doubt",
    "blocked",
]


class Progress(TypedDict):
    """Counts of tasks by standing; `percentage` is of settled tasks, 0 to 100."""

    completed: int
    running: int
    failed: int
    waiting: int
    skipped: int
    total: int
    percentage: float


def blocked_by(
    task: Task, needs: Collection[str], *, outcomes: Mapping[str, Outcome], blocked: Collection[str]
) -> str | None:
    """Return the need that keeps `task` from running now, None where nothing does.

    A need blocks when it failed, was skipped, rejected or cancelled, or is blocked itself. With `run_if: any` one need
    that is done, or may yet be, is enough.
    """
    bad = [need for need in needs if need in blocked or (need in outcomes and not isinstance(outcomes[need], Done))]
    if not bad or (task.run_if == "any" and len(bad) < len(needs)):
        return None
    return bad[0]


def blocked(compiled: CompiledPlan, outcomes: Mapping[str, Outcome]) -> dict[str, str]:
    """Return every task without an outcome that cannot run as things stand, with the need that blocks it."""
    found: dict[str, str] = {}
    for task_id in compiled.order:
        if task_id not in outcomes:
            need = blocked_by(compiled.tasks[task_id], compiled.needs[task_id], outcomes=outcomes, blocked=found)
            if need is not None:
                found[task_id] = need
    return found


def statuses(
    compiled: CompiledPlan,
    outcomes: Mapping[str, Outcome],
    *,
    running: Collection[str] = (),
    asked: Collection[str] = (),
) -> dict[str, Status]:
    """Return the status of every task of the plan, in listed order."""
    stuck = blocked(compiled, outcomes)
    return {task.id: _status(task.id, compiled, outcomes, stuck, running, asked) for task in compiled.plan.tasks}


def _status(
    task: str,
    compiled: CompiledPlan,
    outcomes: Mapping[str, Outcome],
    stuck: Mapping[str, str],
    running: Collection[str],
    asked: Collection[str],
) -> Status:
    if task in outcomes:
        return outcomes[task].status
    if task in running:
        return "running"
    if task in asked:
        return "awaiting_approval"
    if task in stuck:
        return "blocked"
    return "ready" if all(need in outcomes or need in stuck for need in compiled.needs[task]) else "waiting"


def progress(compiled: CompiledPlan, outcomes: Mapping[str, Outcome], *, running: Collection[str] = ()) -> Progress:
    """Count the plan's tasks."""
    found = list(statuses(compiled, outcomes, running=running).values())
    completed, failed = found.count("done"), found.count("failed") + found.count("rejected")
    skipped, active = found.count("skipped") + found.count("cancelled"), found.count("running")
    total = len(found)
    return Progress(
        completed=completed,
        running=active,
        failed=failed,
        waiting=total - completed - failed - skipped - active,
        skipped=skipped,
        total=total,
        percentage=round(100 * (completed + failed + skipped) / total, 1) if total else 100.0,
    )


def final_outcomes(
    compiled: CompiledPlan, outcomes: Mapping[str, Outcome], *, revision: int, because: str
) -> dict[str, Outcome]:
    """Return an outcome for every task that will never run, now that the run ends."""
    ended: dict[str, Outcome] = {}
    stuck = blocked(compiled, outcomes)
    for task in compiled.order:
        if task in outcomes:
            continue
        need = stuck.get(task)
        if need is None:
            ended[task] = Cancelled(revision=revision, because=because)
        else:
            fate = _fate(outcomes.get(need) or ended.get(need))
            ended[task] = Skipped(revision=revision, because=f"It rests on {need!r}, which {fate}.")
    return ended


def _fate(outcome: Outcome | None) -> str:
    match outcome:
        case Failed():
            return "failed"
        case Skipped():
            return "was skipped"
        case Rejected():
            return "was rejected"
        case _:
            return "did not run"
