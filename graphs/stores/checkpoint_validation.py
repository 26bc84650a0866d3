"""Stored checkpoints held against their shape before LangGraph sees them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple

from agent.errors import PersistenceError
from graphs.state import validate_checkpoint
from graphs.stores.checkpoint_upgrade import upgrade_checkpoint

_CHECKPOINT_TYPES = {"id": str, "ts": str, "channel_values": dict, "channel_versions": dict, "versions_seen": dict}


@contextmanager
def wrap_read_errors(what: str) -> Iterator[None]:
    """Raise `PersistenceError` for a record that cannot be taken apart; `what` begins the sentence."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise PersistenceError(
            f"{what} cannot be read: {error}. It was changed by something else, or is damaged."
        ) from error


def validate_checkpoint_tuple(
    found: CheckpointTuple, *, unwrap: Callable[[CheckpointTuple], CheckpointTuple] | None = None
) -> CheckpointTuple:
    """Return `found`, `opened` where its values are sealed.

    Raises `PersistenceError` where it has not the parts of a checkpoint.
    """
    checkpoint, metadata = found.checkpoint, found.metadata
    whole = (
        isinstance(checkpoint, dict)
        and isinstance(metadata, dict)
        and all(isinstance(checkpoint.get(name), kind) for name, kind in _CHECKPOINT_TYPES.items())
        and all(isinstance(seen, dict) for seen in checkpoint["versions_seen"].values())
        and isinstance(checkpoint.get("updated_channels"), list | None)
        and isinstance(metadata.get("step"), int)
        and isinstance(metadata.get("parents", {}), dict)
        and _is_hexadecimal(checkpoint["id"])
    )
    if not whole:
        thread = found.config["configurable"].get("thread_id")
        raise PersistenceError(
            f"A checkpoint of thread {thread!r} is none; it was changed by something else, or is damaged."
        )
    values = upgrade_checkpoint(unwrap(found) if unwrap is not None else found)
    validate_checkpoint(values)
    return values


def _is_hexadecimal(text: str) -> bool:
    try:
        bytes.fromhex(text.replace("-", ""))
    except ValueError:
        return False
    return True


def get_thread_id(config: RunnableConfig) -> str:
    """Return the thread that a config names."""
    return str(config["configurable"]["thread_id"])


def describe_checkpoint(config: RunnableConfig | None) -> str:
    """Return the beginning of a sentence about a checkpoint that a config leads to."""
    thread = ((config or {}).get("configurable") or {}).get("thread_id")
    return f"A checkpoint of thread {thread!r}" if thread is not None else "A checkpoint"
