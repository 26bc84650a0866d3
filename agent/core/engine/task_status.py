"""The statuses of a task, and every step that may be seen from one to the next."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

TaskStatus = Literal[
    "waiting",  # something it needs is neither settled nor blocked
    "ready",  # all it needs is settled, and nothing blocks it
    "running",  # its tool has been called
    "retrying",  # a call of it failed in a way that may pass, and the next attempt is near
    "awaiting_approval",  # a person has been asked about this very call
    "blocked",  # what it needs came to nothing
    "done",  # the call returned
    "failed",  # the call did not return, or could not be made
    "skipped",  # not run, on purpose
    "rejected",  # a person said no
    "cancelled",  # the run ended first
    "in_doubt",  # a write was begun, and nobody knows whether it took effect
    "rolled_back",  # it was done, and has been undone
]

#: What a task is before its call begins. A changed plan may move it among these, and so may a stop or a crash.
_OPEN: frozenset[TaskStatus] = frozenset({"waiting", "ready", "blocked"})
#: What a call that is not begun, or is told at once, may come to without ever running.
_WITHOUT_CALL: frozenset[TaskStatus] = frozenset({"done", "failed", "skipped", "rejected", "cancelled"})

#: Every legal step. The run takes no step out of a terminal status but to undo; the other steps out of one are a
#: person's edit of the plan, which opens again what came to nothing.
TRANSITIONS: Mapping[TaskStatus, frozenset[TaskStatus]] = MappingProxyType(
    {
        # `skipped`: the run ended while what it needs was in doubt.
        "waiting": frozenset({"ready", "blocked", "skipped", "cancelled"}),
        # `done`: the same work was done before. `in_doubt`: the ledger knows of a call that an earlier process began.
        "ready": _WITHOUT_CALL | {"waiting", "blocked", "running", "awaiting_approval", "in_doubt"},
        # Back to `ready` where the process was stopped. A tool may ask a person by itself.
        "running": frozenset({"retrying", "done", "failed", "in_doubt", "ready", "awaiting_approval"}),
        # Of the calls of a `for_each` one may end the task while another waits for its next attempt.
        "retrying": frozenset({"running", "failed", "in_doubt", "ready"}),
        # Approved, edited, answered in its place, rejected; or the plan is changed before an answer came.
        "awaiting_approval": _OPEN | {"done", "rejected", "cancelled"},
        # `cancelled`: where a run ends, its tasks are settled one by one.
        "blocked": frozenset({"waiting", "ready", "skipped", "cancelled"}),
        # A person says: it did not happen, it did with this result, leave it.
        "in_doubt": _OPEN | {"done", "failed"},
        "done": frozenset({"rolled_back"}),
        "failed": _OPEN,
        "skipped": _OPEN,
        "rejected": _OPEN,
        "cancelled": frozenset(),
        "rolled_back": frozenset(),
    }
)

TERMINAL_STATUSES: frozenset[TaskStatus] = frozenset(
    {"done", "failed", "skipped", "rejected", "cancelled", "rolled_back"}
)


class IllegalTransition(AssertionError):  # noqa: N818 - says what it is
    """A task was seen to take a step that is not in the table; the message tells its whole story."""


def is_terminal(status: TaskStatus) -> bool:
    """Whether the run takes no further step from here but to undo what was done."""
    return status in TERMINAL_STATUSES


def append_status(story: tuple[TaskStatus, ...], status: TaskStatus, *, task: str) -> tuple[TaskStatus, ...]:
    """Return the statuses that `task` went through with `status` at their end; the same one again is no step.

    Raises `IllegalStep` where the table does not have the step.
    """
    if not story:
        return (status,)
    if story[-1] == status:
        return story
    if status not in TRANSITIONS[story[-1]]:
        raise IllegalTransition(f"Task {task!r} went from {story[-1]!r} to {status!r} after {' -> '.join(story)}.")
    return (*story, status)
