"""What is known of a run while it runs: its plan, and the standing of each task."""

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
)
from graphs.cli.terminal.units import get_call_seconds


@dataclass(slots=True)
class TaskRow:
    """One task as it stands."""

    task: Task
    needs: tuple[str, ...]
    #: Counted from 1.
    wave: int
    status: TaskStatus = "waiting"
    #: Why it was skipped, failed or is tried again.
    note: str = ""
    attempts: int = 0
    #: Of a `for_each`: how many items have ended, and how many there are.
    items: tuple[int, int] | None = None
    #: On the clock of the track, while it runs.
    started: float | None = None
    duration_s: float | None = None


@dataclass(slots=True)
class RunTracker:
    """The rows of the current plan, fed by events; an event of another plan's task is passed over."""

    clock: Callable[[], float] = time.monotonic
    rows: Mapping[str, TaskRow] = field(default_factory=dict)
    revision: int = 0
    #: What a role is thinking about, and since when.
    thinking: str = ""
    thinking_since: float = 0.0
    started_at: float = 0.0

    def __post_init__(self) -> None:
        self.started_at = self.thinking_since = self.clock()

    def restore(self, plan: Plan, outcomes: Mapping[str, Outcome], *, revision: int) -> None:
        """Take over what an earlier process did."""
        self.revision = revision
        self.rows = _build_rows(plan)
        for task, outcome in outcomes.items():
            if task in self.rows:
                _apply_outcome(self.rows[task], outcome)

    def apply_statuses(self, statuses: Mapping[str, TaskStatus]) -> None:
        """Give rows the statuses that were derived from everything that is stored."""
        for task, status in statuses.items():
            if task in self.rows:
                self.rows[task].status = status

    def apply_event(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case Thinking(text=text):
                self.thinking, self.thinking_since = text, self.clock()
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
        """Mark the tasks that an approval asks about; where the whole run is asked about, nothing is under way."""
        if request.get("impasse"):
            self.mark_interrupted()
        for action in request.get("action_requests", ()):
            row = self.rows.get(action.get("task_id", ""))
            if row is not None and row.status != "in_doubt":
                row.status = "awaiting_approval"

    def mark_interrupted(self) -> None:
        """Note that what runs was broken off."""
        for row in self.rows.values():
            if row.status in {"running", "retrying"}:
                row.status, row.note, row.started = (
                    "ready",
                    "Broken off; it runs again when the thread is resumed.",
                    None,
                )

    def measure_duration(self, row: TaskRow) -> float | None:
        """Return the seconds that a task took or has taken so far."""
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
        row.status, row.attempts = event.status, event.attempts  # type: ignore[assignment]  # an outcome's word
        row.note = event.error or event.because or event.missing or ""
        row.items = None


def format_retry(event: TaskRetrying) -> str:
    """Return the sentence of a retry."""
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
