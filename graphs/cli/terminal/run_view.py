"""The state of a run while it runs: its plan, and the status of each task."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

from agent.core.engine.outcomes import Done, Outcome, Skipped
from agent.core.engine.rollback import UNDO_PREFIX
from agent.core.engine.task_status import TaskStatus
from agent.core.plan.dependencies import build_dependency_graph, waves
from agent.core.plan.document import Plan, Task
from agent.events import (
    ApprovalRequested,
    Event,
    ItemProgress,
    PlanCompiled,
    PlanProgress,
    ReplanStarted,
    RunFinished,
    TaskFinished,
    TaskRetrying,
    TaskStarted,
    Thinking,
    ThinkingProgress,
)
from graphs.cli.terminal.units import get_call_seconds


@dataclass(slots=True)
class TaskRow:
    """One task with its current state."""

    task: Task
    needs: tuple[str, ...]
    #: Its wave, counted from 1.
    wave: int
    status: TaskStatus = "waiting"
    #: Why it was skipped, failed or is retried.
    note: str = ""
    attempts: int = 0
    #: Of a `for_each`: how many items have ended, and how many there are.
    items: tuple[int, int] | None = None
    #: When it started, by the clock of the tracker.
    started: float | None = None
    duration_s: float | None = None


@dataclass(slots=True)
class RunTracker:
    """The rows of the current plan, updated by events; events of tasks that are not in the plan are ignored."""

    clock: Callable[[], float] = time.monotonic
    rows: Mapping[str, TaskRow] = field(default_factory=dict)
    revision: int = 0
    #: What the planner or another role is doing, and since when by the clock.
    thinking: str = ""
    thinking_since: float = 0.0
    #: How far it is.
    thinking_progress: str = ""
    started_at: float = 0.0

    def __post_init__(self) -> None:
        self.started_at = self.thinking_since = self.clock()

    def restore(self, plan: Plan, outcomes: Mapping[str, Outcome], *, revision: int) -> None:
        """Show a stored plan and its outcomes."""
        self.revision = revision
        self.rows = _build_rows(plan)
        for task, outcome in outcomes.items():
            if task in self.rows:
                _apply_outcome(self.rows[task], outcome)

    def apply_statuses(self, statuses: Mapping[str, TaskStatus]) -> None:
        """Set the statuses of rows, as derived from everything that is stored."""
        for task, status in statuses.items():
            if task in self.rows:
                self.rows[task].status = status

    def apply_event(self, event: Event) -> None:
        """Update the rows by one event."""
        match event:
            case Thinking(text=text):
                self.thinking, self.thinking_since, self.thinking_progress = text, self.clock(), ""
            case ThinkingProgress():
                self.thinking_progress = event.describe_work()
            case PlanCompiled():
                self._replace_plan(event)
            case TaskStarted(task=task) | TaskRetrying(task=task) | ItemProgress(task=task) if task in self.rows:
                self._update_running(self.rows[task], event)
            case TaskFinished(task=task) if task in self.rows:
                self._finish_task(self.rows[task], event)
            case TaskFinished(task=task, status="done") if task.removeprefix(UNDO_PREFIX) in self.rows:
                self.rows[task.removeprefix(UNDO_PREFIX)].status = "rolled_back"
            case ApprovalRequested(request=request):
                self.mark_awaiting_approval(request)
            case RunFinished():
                self.thinking = ""
            case TaskStarted() | TaskRetrying() | ItemProgress() | TaskFinished() | PlanProgress() | ReplanStarted():
                pass
            case _:
                assert_never(event)

    def _update_running(self, row: TaskRow, event: TaskStarted | TaskRetrying | ItemProgress) -> None:
        match event:
            case TaskStarted(attempt=attempt):
                row.status, row.attempts = "running", max(row.attempts, attempt)
                row.started = self.clock() if row.started is None else row.started
                self.thinking = ""
            case TaskRetrying():
                row.status, row.note = "retrying", format_retry(event)
            case ItemProgress(ended=ended, total=total):
                row.items = (ended, total)

    def mark_awaiting_approval(self, request: Mapping[str, Any]) -> None:
        """Mark the tasks that an approval asks about; if it asks about the whole run, no task is running."""
        if request.get("impasse"):
            self.mark_interrupted()
        for action in request.get("action_requests", ()):
            row = self.rows.get(action.get("task_id", ""))
            if row is not None and row.status != "in_doubt":
                row.status = "awaiting_approval"

    def mark_interrupted(self) -> None:
        """Mark running tasks as interrupted."""
        for row in self.rows.values():
            if row.status in {"running", "retrying"}:
                row.status, row.note, row.started = (
                    "ready",
                    "Interrupted; it runs again when the thread is resumed.",
                    None,
                )

    def measure_duration(self, row: TaskRow) -> float | None:
        """Return the seconds that a task took, or has taken so far; None if it has not started."""
        if row.duration_s is not None or row.started is None:
            return row.duration_s
        return self.clock() - row.started

    def count(self, *statuses: TaskStatus) -> int:
        """Return how many tasks have one of these statuses."""
        return sum(row.status in statuses for row in self.rows.values())

    def _replace_plan(self, event: PlanCompiled) -> None:
        plan = Plan.model_validate(event.plan)
        rows = _build_rows(plan)
        kept = set(event.difference.kept) if event.difference else set()
        self.rows = {task: self.rows[task] if task in kept and task in self.rows else rows[task] for task in rows}
        self.revision, self.thinking = event.revision, ""

    def _finish_task(self, row: TaskRow, event: TaskFinished) -> None:
        row.duration_s = event.duration_s if event.duration_s is not None else self.measure_duration(row)
        row.status, row.attempts = event.status, event.attempts  # type: ignore[assignment]  # the status of an outcome
        row.note = event.error or event.because or event.missing or " ".join(event.warnings)
        row.items = None


def format_retry(event: TaskRetrying) -> str:
    """Return the sentence that reports a retry."""
    return f"Attempt {event.attempt} failed, the next in {event.wait_s:.1f} s: {event.error}"


def _build_rows(plan: Plan) -> dict[str, TaskRow]:
    needs = build_dependency_graph(plan)
    wave = {task: number for number, level in enumerate(waves(needs), start=1) for task in level}
    return {task.id: TaskRow(task=task, needs=needs[task.id], wave=wave[task.id]) for task in plan.tasks}


def _apply_outcome(row: TaskRow, outcome: Outcome) -> None:
    row.status, row.attempts = outcome.status, outcome.attempts
    row.duration_s = get_call_seconds(outcome)
    row.note = outcome.because if isinstance(outcome, Skipped) else outcome.error or ""
    if isinstance(outcome, Done) and outcome.items is not None:
        row.note = str(outcome.items)
    elif isinstance(outcome, Done) and outcome.warnings:
        row.note = " ".join(outcome.warnings)
