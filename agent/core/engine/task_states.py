"""The state of each task of a run, derived from everything that has happened."""

from collections import Counter
from collections.abc import Collection, Mapping

from pydantic import BaseModel, ConfigDict

from agent.core.engine.outcomes import Cancelled, Done, Failed, InDoubt, Outcome, Rejected, Skipped
from agent.core.engine.progress import derive_statuses, find_blocked_tasks
from agent.core.engine.rollback import UNDO_PREFIX
from agent.core.engine.snapshot import Snapshot
from agent.core.engine.task_status import TaskStatus, is_terminal

#: Kinds of failure after which the same call can be tried again unchanged.
_TRANSIENT_KINDS = frozenset({"timeout", "transient"})


class TaskState(BaseModel):
    """The state of one task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    status: TaskStatus
    #: How often the tool was called, as far as recorded.
    attempts: int = 0
    #: Seconds from the first attempt to the end; None if no call was made or none has ended.
    duration_s: float | None = None
    #: Whether the run takes no further step from here except to undo.
    is_terminal: bool
    #: Whether the same call may succeed later: it waits for another attempt, or its failure was transient.
    can_retry: bool
    #: A sentence; empty if there is no reason.
    because: str = ""


def derive_task_states(
    snapshot: Snapshot,
    *,
    running: Collection[str] = (),
    retrying: Collection[str] = (),
    asked: Collection[str] = (),
    begun: Collection[str] = (),
) -> dict[str, TaskState]:
    """Return the state of each task of the plan, in listed order; empty if no plan compiled.

    `running`, `retrying` and `asked` are the tasks in flight, known from the events of the run. `begun` are tasks with
    a call that the ledger has as started and not ended: unless they are running or retrying, they are in doubt.
    """
    if snapshot.compiled is None:
        return {}
    found = derive_statuses(
        snapshot.compiled,
        snapshot.outcomes,
        running=running,
        retrying=retrying,
        asked=asked,
        doubted=snapshot.doubts | {task for task in begun if task not in running and task not in retrying},
        undone=find_undone_tasks(snapshot),
    )
    blocked = find_blocked_tasks(snapshot.compiled, snapshot.outcomes)
    return {
        task: _build_task_state(task, status, snapshot.outcomes.get(task), blocked) for task, status in found.items()
    }


def list_ready_tasks(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the tasks that could start now, the most urgent first; some may still need an approval."""
    compiled = snapshot.compiled
    if compiled is None:
        return ()
    found = derive_statuses(compiled, snapshot.outcomes, doubted=snapshot.doubts)
    ready = [task for task, status in found.items() if status == "ready"]
    return tuple(sorted(ready, key=lambda task: (compiled.tasks[task].priority, -compiled.ranks[task])))


def find_undone_tasks(snapshot: Snapshot) -> frozenset[str]:
    """Return the tasks whose rollback is done; of a `for_each`, those whose every returned item was undone."""
    tasks = snapshot.undo.tasks if snapshot.undo is not None else {}
    names = {task.removeprefix(UNDO_PREFIX) for task in tasks if isinstance(snapshot.outcomes.get(task), Done)}
    items = Counter(name.rpartition("[")[0] for name in names if name.endswith("]"))
    whole = {task for task, count in items.items() if count == _count_returned_items(snapshot.outcomes.get(task))}
    return frozenset(names | whole)


def _count_returned_items(outcome: Outcome | None) -> int:
    if not isinstance(outcome, Done):
        return 0
    if outcome.items is not None:
        return outcome.items.returned
    return len(outcome.output) if isinstance(outcome.output, list) else 0


def _build_task_state(task: str, status: TaskStatus, outcome: Outcome | None, blocked: Mapping[str, str]) -> TaskState:
    if outcome is not None:
        because = _describe_reason(outcome)
    else:
        because = f"It depends on {blocked[task]!r}." if task in blocked else ""
    return TaskState(
        task=task,
        status=status,
        attempts=outcome.attempts if outcome is not None else 0,
        duration_s=outcome.duration_s if outcome is not None else None,
        is_terminal=is_terminal(status),
        can_retry=status == "retrying" or (isinstance(outcome, Failed) and outcome.kind in _TRANSIENT_KINDS),
        because=because,
    )


def _describe_reason(outcome: Outcome) -> str:
    match outcome:
        case Skipped(because=because) | Cancelled(because=because) | Rejected(message=because):
            return because
        case Done() | Failed() | InDoubt():
            return outcome.error or ""
