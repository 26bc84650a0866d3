"""Texts of a checkpoint kept from PostgreSQL's eyes where there is a key.

LangGraph's saver for PostgreSQL puts texts and numbers of the state into the checkpoint's own JSON, past the
serializer and so unencrypted; every other value it hands to the serializer. So a text is put into an object.
"""

from typing import Any

from langgraph.checkpoint.base import Checkpoint, CheckpointTuple

from agent.errors import PersistenceError

_MARK = "__planwave_text__"


def with_texts_wrapped(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint with its texts in objects, which the serializer encrypts."""
    values = {
        name: {_MARK: value} if isinstance(value, str) else value
        for name, value in checkpoint["channel_values"].items()
    }
    return {**checkpoint, "channel_values": values}


def with_texts_unwrapped(found: CheckpointTuple) -> CheckpointTuple:
    """Return what was found as it was before. Raises `PersistenceError` for a text that nobody encrypted."""
    values = found.checkpoint["channel_values"]
    if plain := [name for name, value in values.items() if isinstance(value, str)]:
        thread = found.config["configurable"].get("thread_id")
        raise PersistenceError(
            f"The {plain[0]!r} in a checkpoint of thread {thread!r} is not encrypted, though there is a key; "
            "do not trust it."
        )
    checkpoint: Checkpoint = {
        **found.checkpoint,
        "channel_values": {name: _unwrapped(value) for name, value in values.items()},
    }
    return found._replace(checkpoint=checkpoint)


def _unwrapped(value: Any) -> Any:  # noqa: ANN401 - any channel's value
    return value[_MARK] if isinstance(value, dict) and value.keys() == {_MARK} else value
