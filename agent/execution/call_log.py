"""The log of calls: what is known of the calls of tasks that have no outcome yet.

A task's outcome is recorded when all of its calls have ended. Here stand the items of a `for_each` that ended before,
and how often a call was tried in vain, so that whoever takes the task up again goes on from there.
"""

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, JsonValue

from agent.core.engine.outcomes import Doubt, FailureKind

CallRecord = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class CallResult:
    """A call returned."""

    output: JsonValue
    attempts: int
    started_at: datetime | None


@dataclass(frozen=True, slots=True)
class CallFailed:
    """A call did not return; `error` is a sentence."""

    kind: FailureKind
    error: str
    attempts: int
    started_at: datetime | None
    #: The last attempt may have taken effect all the same.
    may_have_effect: bool = False


@dataclass(frozen=True, slots=True)
class CallInDoubt:
    """Nobody knows whether the call took effect."""

    doubt: Doubt
    attempts: int
    started_at: datetime | None


CallOutcome = CallResult | CallFailed | CallInDoubt


def serialize_call(made: CallResult | CallFailed) -> CallRecord:
    """Return what is stored of a call that ended."""
    started = made.started_at.isoformat() if made.started_at else None
    if isinstance(made, CallResult):
        return {"status": "done", "output": made.output, "attempts": made.attempts, "started_at": started}
    return {
        "status": "failed",
        "kind": made.kind,
        "error": made.error,
        "attempts": made.attempts,
        "started_at": started,
    }


def deserialize_call(record: CallRecord) -> CallResult | CallFailed:
    """Return the call that `record_of` made a record of."""
    found: dict[str, Any] = record
    at = datetime.fromisoformat(found["started_at"]) if found["started_at"] else None
    if found["status"] == "done":
        return CallResult(found["output"], int(found["attempts"]), at)
    return CallFailed(found["kind"], str(found["error"]), int(found["attempts"]), at)


class LoggedCall(BaseModel):
    """One call, by its place in a plan."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    thread: str
    revision: int
    task: str
    #: Position within a `for_each`; None where the task is one call.
    item: int | None = None
    tool: str
    #: Fingerprint of the call: tool, resolved arguments, and what they rest on.
    mark: str
    #: How often it was made so far, in all processes.
    attempts: int
    #: When the first attempt began: ISO 8601 with UTC offset.
    started_at: str | None = None
    #: What became of it, as `agent.calls.record_of` says; None while it is to be tried again.
    record: CallRecord | None = None

    @property
    def key(self) -> tuple[str, int, str, int]:
        """What makes the call the same call after a restart; -1 stands for no item."""
        return self.thread, self.revision, self.task, -1 if self.item is None else self.item


class CallLog(Protocol):
    """Where calls are logged. Every method is atomic and may be called from any event loop.

    Where threads have leases, the methods that write raise `LeaseLostError` or `ThreadBusyError` as a checkpoint does.
    """

    async def save_calls(self, calls: Sequence[LoggedCall]) -> None:
        """Store calls, all or none; what was known of the same calls before is replaced."""
        ...

    async def load_task_calls(self, thread: str, *, revision: int, task: str, tool: str) -> list[LoggedCall]:
        """Return what is known of the calls of a task, and the calls of its tool that earlier revisions ended."""
        ...

    async def load_retryable_calls(self, thread: str, *, revision: int) -> list[LoggedCall]:
        """Return the calls of a revision that are to be tried again."""
        ...

    async def delete_calls(self, thread: str, tasks: Collection[str] | None = None) -> None:
        """Delete what is known of the calls of these tasks, None: of all."""
        ...


class MemoryCallLog:
    """Keeps the contract of `CallLog` for as long as the process lives, for graphs without persistence."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: dict[str, dict[tuple[str, int, str, int], LoggedCall]] = {}

    async def save_calls(self, calls: Sequence[LoggedCall]) -> None:
        """See `CallLog.note`."""
        with self._lock:
            for call in calls:
                self._threads.setdefault(call.thread, {})[call.key] = call

    async def load_task_calls(self, thread: str, *, revision: int, task: str, tool: str) -> list[LoggedCall]:
        """See `CallLog.items`."""
        return [
            call
            for call in self._list_calls(thread)
            if (call.revision, call.task) == (revision, task)
            or (call.revision < revision and call.tool == tool and call.record is not None)
        ]

    async def load_retryable_calls(self, thread: str, *, revision: int) -> list[LoggedCall]:
        """See `CallLog.tried`."""
        return [call for call in self._list_calls(thread) if call.revision == revision and call.record is None]

    async def delete_calls(self, thread: str, tasks: Collection[str] | None = None) -> None:
        """See `CallLog.forget`."""
        with self._lock:
            kept = {} if tasks is None else self._threads.get(thread, {})
            kept = {key: call for key, call in kept.items() if call.task not in (tasks or ())}
            if kept:
                self._threads[thread] = kept
            else:
                self._threads.pop(thread, None)

    def _list_calls(self, thread: str) -> list[LoggedCall]:
        with self._lock:
            return [call for _, call in sorted(self._threads.get(thread, {}).items())]
