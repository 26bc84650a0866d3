"""How each task of a run stands, derived from everything that has happened."""

from collections import Counter
from collections.abc import Collection, Mapping

from pydantic import BaseModel, ConfigDict

from agent.core.engine.outcomes import Cancelled, Done, Failed, InDoubt, Outcome, Rejected, Skipped
from agent.core.engine.progress import derive_statuses, find_blocked_tasks
from agent.core.engine.rollback import UNDO_PREFIX
from agent.core.engine.snapshot import Snapshot
from agent.core.engine.task_status import TaskStatus, is_terminal

#: Failures that may pass: the same call can be tried again as it is.
_TRANSIENT_KINDS = frozenset({"timeout", "transient"})


class TaskState(BaseModel):
    """One task as it stands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    status: TaskStatus
    #: How often the tool was called, as far as it is recorded.
    attempts: int = 0
    #: Seconds from the first attempt to the end; None where no call was made or none has ended.
    duration_s: float | None = None
    #: The run takes no further step from here but to undo.
    is_terminal: bool
    #: The very same call may succeed at another time: it is to be tried again, or failed in a way that may pass.
    can_retry: bool
    #: A sentence, where there is a reason.
    because: str = ""


def derive_task_states(
    snapshot: Snapshot,
    *,
    running: Collection[str] = (),
    retrying: Collection[str] = (),
    asked: Collection[str] = (),
    begun: Collection[str] = (),
) -> dict[str, TaskState]:
    """Return how each task of the plan stands, in listed order; nothing where no plan compiled.

    `running`, `retrying` and `asked` are what is under way now, as the events of a run tell. `begun` are tasks with a
    call in the ledger that was begun and not seen to end: where they are neither running nor retrying, they are in
    doubt.
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
    stuck = find_blocked_tasks(snapshot.compiled, snapshot.outcomes)
    return {task: _build_task_state(task, status, snapshot.outcomes.get(task), stuck) for task, status in found.items()}


def list_ready_tasks(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the tasks that could begin now, the most urgent first: an approval may be all that they wait for."""
    compiled = snapshot.compiled
    if compiled is None:
        return ()
    found = derive_statuses(compiled, snapshot.outcomes, doubted=snapshot.doubts)
    ready = [task for task, status in found.items() if status == "ready"]
    return tuple(sorted(ready, key=lambda task: (compiled.tasks[task].priority, -compiled.ranks[task])))


def find_undone_tasks(snapshot: Snapshot) -> frozenset[str]:
    """Return the tasks whose rollback is done: of a `for_each`, that of every item that returned."""
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


def _build_task_state(task: str, status: TaskStatus, outcome: Outcome | None, stuck: Mapping[str, str]) -> TaskState:
    return TaskState(
        task=task,
        status=status,
        attempts=outcome.attempts if outcome is not None else 0,
        duration_s=outcome.duration_s if outcome is not None else None,
        is_terminal=is_terminal(status),
        can_retry=status == "retrying" or (isinstance(outcome, Failed) and outcome.kind in _TRANSIENT_KINDS),
        because=_describe_reason(outcome)
        if outcome is not None
        else f"It rests on {stuck[task]!r}."
        if task in stuck
        else "",
    )


def _describe_reason(outcome: Outcome) -> str:
    match outcome:
        case Skipped(because=because) | Cancelled(because=because) | Rejected(message=because):
            return because
        case Done() | Failed() | InDoubt():
            return outcome.error or ""
