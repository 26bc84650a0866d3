"""The statuses of a task, and every legal transition between them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

TaskStatus = Literal[
    "waiting",  # something it needs is neither settled nor blocked
    "ready",  # all it needs is settled, and nothing blocks it
    "running",  # its tool has been called
    "retrying",  # an attempt failed with a transient error, and another one follows
    "awaiting_approval",  # a human has been asked about this call
    "blocked",  # something it needs failed, was skipped, rejected or cancelled, or is blocked
    "done",  # the call returned
    "failed",  # the call did not return, or could not be made
    "skipped",  # not run on purpose
    "rejected",  # a human rejected the call
    "cancelled",  # the run ended first
    "in_doubt",  # a write was started, and it is unknown whether it took effect
    "rolled_back",  # it was done, and has been undone
]

#: Statuses before the call starts. A changed plan, a stop or a crash may move a task between these.
_OPEN: frozenset[TaskStatus] = frozenset({"waiting", "ready", "blocked"})
#: Outcomes that may be recorded without the task being seen as running.
_WITHOUT_CALL: frozenset[TaskStatus] = frozenset({"done", "failed", "skipped", "rejected", "cancelled"})

#: Every legal transition. The run leaves a terminal status only to undo the task; the other transitions out of one come
#: from a human's edit of the plan, after which a task that is not done is open again.
TRANSITIONS: Mapping[TaskStatus, frozenset[TaskStatus]] = MappingProxyType(
    {
        # `skipped`: the run ended while what it needs was in doubt.
        "waiting": frozenset({"ready", "blocked", "skipped", "cancelled"}),
        # `done`: the same work was done before. `in_doubt`: the ledger has a call that an earlier process started.
        "ready": _WITHOUT_CALL | {"waiting", "blocked", "running", "awaiting_approval", "in_doubt"},
        # Back to `ready` if the process was stopped. `awaiting_approval`: a tool may ask a human by itself.
        "running": frozenset({"retrying", "done", "failed", "in_doubt", "ready", "awaiting_approval"}),
        # One call of a `for_each` may end the task while another waits for its next attempt.
        "retrying": frozenset({"running", "failed", "in_doubt", "ready"}),
        # Approved, edited, answered instead of called, rejected; or the plan was changed before an answer came.
        "awaiting_approval": _OPEN | {"done", "rejected", "cancelled"},
        # `cancelled`: when a run ends, its tasks are settled one by one.
        "blocked": frozenset({"waiting", "ready", "skipped", "cancelled"}),
        # A human says: it did not happen, it did happen with this result, or leave it.
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
    """A task made a transition that is not in the table; the message has all of its statuses so far."""


def is_terminal(status: TaskStatus) -> bool:
    """Whether the run leaves this status only to undo the task."""
    return status in TERMINAL_STATUSES


def append_status(story: tuple[TaskStatus, ...], status: TaskStatus, *, task: str) -> tuple[TaskStatus, ...]:
    """Return the statuses that `task` went through with `status` added, unless it is the last one already.

    Raises `IllegalTransition` if the table does not have the transition.
    """
    if not story:
        return (status,)
    if story[-1] == status:
        return story
    if status not in TRANSITIONS[story[-1]]:
        raise IllegalTransition(f"Task {task!r} went from {story[-1]!r} to {status!r} after {' -> '.join(story)}.")
    return (*story, status)
