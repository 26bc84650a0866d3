"""The log of calls: what is known of the calls of tasks that have no outcome yet.

A task's outcome is recorded when all of its calls have ended. Until then the log has the items of a `for_each` that
have ended and the number of failed attempts of a call, so that a resumed task continues from there.
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
    #: A sentence, if the call was a write and its output could not be stored; `output` is null then.
    lost_output: str | None = None


@dataclass(frozen=True, slots=True)
class CallFailed:
    """A call did not return; `error` is a sentence."""

    kind: FailureKind
    error: str
    attempts: int
    started_at: datetime | None
    #: Whether the last attempt may have taken effect all the same.
    may_have_effect: bool = False


@dataclass(frozen=True, slots=True)
class CallInDoubt:
    """Nobody knows whether the call took effect."""

    doubt: Doubt
    attempts: int
    started_at: datetime | None


CallOutcome = CallResult | CallFailed | CallInDoubt


def serialize_call(call: CallResult | CallFailed) -> CallRecord:
    """Return what is stored of a call that ended."""
    started = call.started_at.isoformat() if call.started_at else None
    if isinstance(call, CallResult):
        record: CallRecord = {
            "status": "done",
            "output": call.output,
            "attempts": call.attempts,
            "started_at": started,
        }
        return record if call.lost_output is None else {**record, "lost_output": call.lost_output}
    return {
        "status": "failed",
        "kind": call.kind,
        "error": call.error,
        "attempts": call.attempts,
        "started_at": started,
    }


def deserialize_call(record: CallRecord) -> CallResult | CallFailed:
    """Return the call that `serialize_call` made the record of."""
    fields: dict[str, Any] = record
    started_at = datetime.fromisoformat(fields["started_at"]) if fields["started_at"] else None
    if fields["status"] == "done":
        return CallResult(fields["output"], int(fields["attempts"]), started_at, fields.get("lost_output"))
    return CallFailed(fields["kind"], str(fields["error"]), int(fields["attempts"]), started_at)


class LoggedCall(BaseModel):
    """One call, identified by its place in a plan."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: The scope of the run, see `agent.execution.ledger.join_scope`.
    thread: str
    revision: int
    task: str
    #: Position within a `for_each`; None if the task is one call.
    item: int | None = None
    tool: str
    #: Fingerprint of the call: tool, resolved arguments, and fingerprints of what they depend on.
    mark: str
    #: Attempts so far, in all processes.
    attempts: int
    #: When the first attempt began: ISO 8601 with UTC offset.
    started_at: str | None = None
    #: The result, as `serialize_call` returns it; None while the call is to be tried again.
    record: CallRecord | None = None

    @property
    def key(self) -> tuple[str, int, str, int]:
        """What identifies the call after a restart; -1 stands for no item."""
        return self.thread, self.revision, self.task, -1 if self.item is None else self.item


class CallLog(Protocol):
    """Where calls are logged. Every method is atomic and may be called from any event loop.

    `thread` is the scope of a run, whose calls no other run sees. With leases, the methods that write raise
    `LeaseLostError` or `ThreadBusyError` as saving a checkpoint does.
    """

    async def save_calls(self, calls: Sequence[LoggedCall]) -> None:
        """Store calls, all or none, in place of what was stored of the same calls before."""
        ...

    async def load_task_calls(self, thread: str, *, revision: int, task: str, tool: str) -> list[LoggedCall]:
        """Return the calls of a task, and the calls of its tool that ended in earlier revisions."""
        ...

    async def load_retryable_calls(self, thread: str, *, revision: int) -> list[LoggedCall]:
        """Return the calls of a revision that are to be tried again."""
        ...

    async def delete_calls(self, thread: str, tasks: Collection[str] | None = None) -> None:
        """Delete the calls of these tasks, None: of all tasks."""
        ...


class MemoryCallLog:
    """A `CallLog` in memory, for graphs without persistence."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: dict[str, dict[tuple[str, int, str, int], LoggedCall]] = {}

    async def save_calls(self, calls: Sequence[LoggedCall]) -> None:
        """See `CallLog.save_calls`."""
        with self._lock:
            for call in calls:
                self._threads.setdefault(call.thread, {})[call.key] = call

    async def load_task_calls(self, thread: str, *, revision: int, task: str, tool: str) -> list[LoggedCall]:
        """See `CallLog.load_task_calls`."""
        return [
            call
            for call in self._list_calls(thread)
            if (call.revision, call.task) == (revision, task)
            or (call.revision < revision and call.tool == tool and call.record is not None)
        ]

    async def load_retryable_calls(self, thread: str, *, revision: int) -> list[LoggedCall]:
        """See `CallLog.load_retryable_calls`."""
        return [call for call in self._list_calls(thread) if call.revision == revision and call.record is None]

    async def delete_calls(self, thread: str, tasks: Collection[str] | None = None) -> None:
        """See `CallLog.delete_calls`."""
        with self._lock:
            calls = {} if tasks is None else self._threads.get(thread, {})
            remaining = {key: call for key, call in calls.items() if call.task not in (tasks or ())}
            if remaining:
                self._threads[thread] = remaining
            else:
                self._threads.pop(thread, None)

    def _list_calls(self, thread: str) -> list[LoggedCall]:
        with self._lock:
            return [call for _, call in sorted(self._threads.get(thread, {}).items())]
