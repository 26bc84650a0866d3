"""Stored values of a run held against the types of its state before a node reads them."""

from datetime import datetime
from typing import Any, get_type_hints

from langgraph.checkpoint.base import CheckpointTuple
from langgraph.types import Overwrite
from pydantic import ConfigDict, TypeAdapter, ValidationError

from agent.core.approval import Request
from agent.core.outcome import InDoubt
from agent.errors import PersistenceError
from graphs.state import State

#: Reducers look at what is written to these themselves, and what is stored of `results` is not the value.
_REDUCED = frozenset({"results", "doubts", "usage", "cut"})
_FIELDS: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(hint, config=ConfigDict(strict=True))
    for name, hint in get_type_hints(State).items()
    if name not in _REDUCED
} | {
    "pending": TypeAdapter(list[Request]),
    "started_at": TypeAdapter(datetime),
}
_DOUBTS = TypeAdapter(dict[str, InDoubt])


def check_values(found: CheckpointTuple) -> None:
    """Raise `PersistenceError` where a checkpoint of a run, or a write that waits beside it, is not of its state."""
    if found.config["configurable"].get("checkpoint_ns"):
        return
    written = [(channel, value) for _, channel, value in found.pending_writes or () if not isinstance(value, Overwrite)]
    try:
        for channel, value in [*found.checkpoint["channel_values"].items(), *written]:
            if channel in _FIELDS:
                _FIELDS[channel].validate_python(value)
        _DOUBTS.validate_python(found.checkpoint["channel_values"].get("doubts", {}))
    except ValidationError as error:
        thread = found.config["configurable"].get("thread_id")
        raise PersistenceError(f"What is stored of thread {thread!r} is not the state of a run: {error}") from error
