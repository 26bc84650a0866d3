"""What becomes of two writes to one field of the state."""

from collections.abc import Mapping, Sequence
from typing import Any

from agent.errors import PersistenceError

Record = dict[str, Any]


def merge_results(results: Mapping[str, Record], writes: Sequence[Mapping[str, Record]]) -> dict[str, Record]:
    """Add outcomes by task id; the first one recorded stays, so a task's result is single.

    Deterministic, and the same however the writes are batched, as `DeltaChannel` asks. What is stored comes by here
    before it comes to a node. Raises `PersistenceError` where it is not what was written.
    """
    for records in (results, *writes):
        # By their types at once: a plan that is dispatched level by level comes here as often as it has levels.
        if not isinstance(records, Mapping) or not all(
            issubclass(each, Mapping) for each in set(map(type, records.values()))
        ):
            raise PersistenceError(f"The stored results cannot be read: {records!r:.80} are none.")
    merged = dict(results)
    for write in writes:
        for task, record in write.items():
            merged.setdefault(task, record)
    return merged


def merge_doubts(doubts: Mapping[str, Record] | None, write: Mapping[str, Record | None]) -> dict[str, Record]:
    """Add doubts by task id; None takes one away. Raises `PersistenceError` as `merge_results`."""
    if not isinstance(write, Mapping):
        raise PersistenceError(f"The stored doubts cannot be read: {write!r:.80} are none.")
    merged = {**(doubts or {}), **write}
    return {task: record for task, record in merged.items() if record is not None}


def merge_usage(usage: Mapping[str, Any] | None, write: Mapping[str, Any]) -> dict[str, Any]:
    """Add what was spent. Raises `PersistenceError` where it is no record of numbers."""
    if not isinstance(write, Mapping) or not all(isinstance(value, int | float) for value in write.values()):
        raise PersistenceError(f"The stored usage cannot be read: {write!r:.80} is none.")
    before = usage or {}
    return {**before, **{name: before.get(name, 0) + value for name, value in write.items()}}


def merge_cut(cut: Mapping[str, Record] | None, write: Mapping[str, Record]) -> dict[str, Record]:
    """Add tasks that a budget stopped. Raises `PersistenceError` as `merge_results`."""
    if not isinstance(write, Mapping):
        raise PersistenceError(f"The stored tasks without budget cannot be read: {write!r:.80} are none.")
    return {**(cut or {}), **write}
