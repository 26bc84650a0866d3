"""Values of channels beside their checkpoints, each version once.

LangGraph's SQLite saver writes all channels into every checkpoint, so that a plan of n tasks, run level by level, is
written n times. Its PostgreSQL saver keeps a row for each version of a channel, and this does the same.
"""

from typing import Any, Final

from langgraph.checkpoint.base import Checkpoint
from langgraph.checkpoint.serde.base import SerializerProtocol

from agent.errors import PersistenceError
from graphs.stores.database import Run

TABLE: Final = """CREATE TABLE IF NOT EXISTS planwave_values (
    thread TEXT NOT NULL,
    namespace TEXT NOT NULL,
    channel TEXT NOT NULL,
    version TEXT NOT NULL,
    type TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (thread, namespace, channel, version)
)"""
#: Names, in a stored checkpoint, the channels whose values are beside it.
_BESIDE: Final = "planwave_beside"
#: A shorter text costs more beside than within.
_SHORT: Final = 256


def put_beside(
    run: Run, thread: str, namespace: str, checkpoint: Checkpoint, *, serde: SerializerProtocol
) -> Checkpoint:
    """Store the larger values of `checkpoint` that are not stored yet, and return it without them."""
    values, versions = checkpoint["channel_values"], checkpoint["channel_versions"]
    beside = sorted(channel for channel, value in values.items() if channel in versions and _is_large(value))
    if not beside:
        return checkpoint
    for channel in beside:
        key = (thread, namespace, channel, str(versions[channel]))
        known = run(
            "SELECT 1 FROM planwave_values WHERE thread = ? AND namespace = ? AND channel = ? AND version = ?", *key
        )
        if not known:
            run("INSERT INTO planwave_values VALUES (?, ?, ?, ?, ?, ?)", *key, *serde.dumps_typed(values[channel]))
    within = {channel: value for channel, value in values.items() if channel not in beside}
    return {**checkpoint, "channel_values": within, _BESIDE: beside}  # type: ignore[typeddict-unknown-key]  # our own


def bring_back(run: Run, thread: str, namespace: str, checkpoint: Any, *, serde: SerializerProtocol) -> Checkpoint:  # noqa: ANN401 - what was stored
    """Return a stored checkpoint with its values. Raises `PersistenceError` where one is gone."""
    whole: dict[str, Any] = dict(checkpoint)
    beside = whole.pop(_BESIDE, None)
    if not beside:
        return checkpoint  # type: ignore[no-any-return]  # as it was stored
    values = dict(whole["channel_values"])
    for channel in beside:
        version = str(whole["channel_versions"][channel])
        rows = run(
            "SELECT type, value FROM planwave_values"
            " WHERE thread = ? AND namespace = ? AND channel = ? AND version = ?",
            thread,
            namespace,
            channel,
            version,
        )
        if not rows:
            raise PersistenceError(f"The value of {channel!r} in a checkpoint of thread {thread!r} is gone.")
        values[channel] = serde.loads_typed(rows[0])
    return {**whole, "channel_values": values}  # type: ignore[typeddict-item]  # its shape is checked by `sound`


def forget_values(run: Run, thread: str) -> None:
    """Delete the values of a thread within a transaction."""
    run("DELETE FROM planwave_values WHERE thread = ?", thread)


def _is_large(value: object) -> bool:
    return bool(value) if isinstance(value, dict | list) else isinstance(value, str) and len(value) > _SHORT
