"""What became of one call of a task, and the record by which that outlives the process."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from pydantic import JsonValue

from agent.core.call import Arguments
from agent.core.outcome import Doubt, FailureKind
from agent.events import Emit
from agent.slots import Slots, Urgency

Record = dict[str, JsonValue]


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
    unsure: bool = False


@dataclass(frozen=True, slots=True)
class CallInDoubt:
    """Nobody knows whether the call took effect."""

    doubt: Doubt
    attempts: int
    started_at: datetime | None


CallMade = CallResult | CallFailed | CallInDoubt


class Maker(Protocol):
    """Makes one call of a task."""

    async def make(self, args: Arguments, *, item: int | None, slots: Slots, urgency: Urgency, emit: Emit) -> CallMade:
        """Return what became of the call."""
        ...


def record_of(made: CallResult | CallFailed) -> Record:
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


def made_from(record: Record) -> CallResult | CallFailed:
    """Return the call that `record_of` made a record of."""
    found: dict[str, Any] = record
    at = datetime.fromisoformat(found["started_at"]) if found["started_at"] else None
    if found["status"] == "done":
        return CallResult(found["output"], int(found["attempts"]), at)
    return CallFailed(found["kind"], str(found["error"]), int(found["attempts"]), at)
