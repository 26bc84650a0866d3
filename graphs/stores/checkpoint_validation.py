"""Stored checkpoints, checked against their expected shape before LangGraph sees them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, get_type_hints

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.types import Overwrite
from pydantic import ConfigDict, TypeAdapter, ValidationError

from agent.core.engine.approvals import ApprovalRequest
from agent.core.engine.outcomes import InDoubt
from agent.errors import PersistenceError
from agent.logging_context import get_logger
from graphs.state import State
from graphs.stores.checkpoint_upgrade import upgrade_checkpoint

_logger = get_logger(__name__)

_CHECKPOINT_TYPES = {"id": str, "ts": str, "channel_values": dict, "channel_versions": dict, "versions_seen": dict}
#: Their reducers check what is written to them, and what is stored of `results` is not its value.
_REDUCER_KEYS = frozenset({"results", "calls_in_doubt", "usage", "out_of_budget_tasks", "messages"})
_FIELD_VALIDATORS: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(hint, config=ConfigDict(strict=True))
    for name, hint in get_type_hints(State).items()
    if name not in _REDUCER_KEYS
} | {
    "pending_approvals": TypeAdapter(list[ApprovalRequest]),
    "started_at": TypeAdapter(datetime),
}
_DOUBTS_VALIDATOR = TypeAdapter(dict[str, InDoubt])


#: A graph has a channel with this prefix for each of its nodes.
_NODE_CHANNEL: Final = "branch:to:"


@contextmanager
def wrap_read_errors(what: str) -> Iterator[None]:
    """Raise `PersistenceError` if a record cannot be parsed; `what` starts the sentence.

    A `PersistenceError` passes as it is. Errors are logged by type only, since their text may quote the record.
    """
    try:
        yield
    except PersistenceError as error:
        _logger.warning("%s cannot be read: %s", what, type(error.__cause__ or error).__name__)
        raise
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        _logger.warning("%s cannot be read: %s", what, type(error).__name__)
        raise PersistenceError(
            f"{what} cannot be read: {error}. Something else has changed it, or it is damaged."
        ) from error


def validate_checkpoint_tuple(
    found: CheckpointTuple, *, unwrap: Callable[[CheckpointTuple], CheckpointTuple] | None = None
) -> CheckpointTuple:
    """Return `found`, after `unwrap` if that is given, with the state keys of today.

    Raises `PersistenceError` if it lacks a part of a checkpoint or a part has a wrong type.
    """
    with wrap_read_errors(describe_checkpoint(found.config)):
        _validate_shape(found)
        result = upgrade_checkpoint(unwrap(found) if unwrap is not None else found)
        _validate_fields(result)
    return result


def _validate_shape(found: CheckpointTuple) -> None:
    checkpoint, metadata = found.checkpoint, found.metadata
    is_valid = (
        isinstance(checkpoint, dict)
        and isinstance(metadata, dict)
        and all(isinstance(checkpoint.get(name), kind) for name, kind in _CHECKPOINT_TYPES.items())
        and all(isinstance(seen, dict) for seen in checkpoint["versions_seen"].values())
        and isinstance(checkpoint.get("updated_channels"), list | None)
        and isinstance(metadata.get("step"), int)
        and isinstance(metadata.get("parents", {}), dict)
        and _is_hexadecimal(checkpoint["id"])
    )
    if not is_valid:
        thread = found.config["configurable"].get("thread_id")
        raise PersistenceError(
            f"A checkpoint of thread {thread!r} is not valid; something else has changed it, or it is damaged."
        )


def _is_hexadecimal(text: str) -> bool:
    try:
        bytes.fromhex(text.replace("-", ""))
    except ValueError:
        return False
    return True


def get_thread_id(config: RunnableConfig) -> str:
    """Return the thread that a config names."""
    return str(config["configurable"]["thread_id"])


def with_text_thread(config: RunnableConfig) -> RunnableConfig:
    """Return `config` with the thread as a text: PostgreSQL compares no text with a number or a UUID."""
    return {**config, "configurable": {**config["configurable"], "thread_id": get_thread_id(config)}}


def describe_checkpoint(config: RunnableConfig | None) -> str:
    """Return the start of a sentence about the checkpoint that a config selects."""
    thread = ((config or {}).get("configurable") or {}).get("thread_id")
    return f"A checkpoint of thread {thread!r}" if thread is not None else "A checkpoint"


def _is_of_another_graph(saved: CheckpointTuple) -> bool:
    """Whether a graph around this one wrote a checkpoint: it has other nodes, and its fields are its own."""
    nodes = [name for name in saved.checkpoint["channel_versions"] if name.startswith(_NODE_CHANNEL)]
    return bool(nodes) and f"{_NODE_CHANNEL}gather_context" not in nodes and f"{_NODE_CHANNEL}planner" not in nodes


def _validate_fields(saved: CheckpointTuple) -> None:
    """Check the values and pending writes of a run's checkpoint. Raises `PersistenceError` for one of a wrong type."""
    if saved.config["configurable"].get("checkpoint_ns") or _is_of_another_graph(saved):
        return
    writes = [(channel, value) for _, channel, value in saved.pending_writes or () if not isinstance(value, Overwrite)]
    try:
        for channel, value in [*saved.checkpoint["channel_values"].items(), *writes]:
            if channel in _FIELD_VALIDATORS:
                _FIELD_VALIDATORS[channel].validate_python(value)
        _DOUBTS_VALIDATOR.validate_python(saved.checkpoint["channel_values"].get("calls_in_doubt", {}))
    except ValidationError as error:
        thread = saved.config["configurable"].get("thread_id")
        raise PersistenceError(f"The checkpoint of thread {thread!r} is not the state of a run: {error}") from error
