"""LangGraph's cache in the tables of SQLite and PostgreSQL; LangGraph has one for SQLite only, unencrypted."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from langgraph.cache.base import BaseCache, FullKey, Namespace
from langgraph.checkpoint.serde.base import SerializerProtocol

from agent.errors import PersistenceError
from agent.logging_context import get_logger
from graphs.stores.database import BlockingRunner, StatementRunner, StoreDatabase

_logger = get_logger(__name__)


class SqlCache(BaseCache[Any]):
    """Values by namespace and key until they expire by the clock of the database.

    They are serialized as checkpoints are. One that cannot be read, because it was written with another key or has been
    changed, counts as missing. Expired values are deleted when others are set.
    """

    def __init__(self, database: StoreDatabase, *, serde: SerializerProtocol, run_on_worker: BlockingRunner) -> None:
        super().__init__(serde=serde)
        self._database = database
        self._run_on_worker = run_on_worker

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, Any]:
        """Return the cached values; missing keys are left out. Raises `PersistenceError` if the database fails."""
        return self._database.run_in_transaction(partial(self._select_values, keys))

    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, Any]:
        """Return the cached values; missing keys are left out. Raises as `get`."""
        return await self._run_on_worker(self.get, keys)

    def set(self, pairs: Mapping[FullKey, tuple[Any, int | None]]) -> None:
        """Cache values, each for a number of seconds, or for ever if that is None. Raises as `get`."""
        serialized = [(key, self.serde.dumps_typed(value), ttl) for key, (value, ttl) in pairs.items()]

        def upsert_values(run: StatementRunner) -> None:
            run(f"DELETE FROM planwave_cache WHERE expires_at <= {self._database.now_expression}")
            for (namespace, key), (tag, data), ttl in serialized:
                until = "NULL" if ttl is None else f"{self._database.now_expression} + {int(ttl)}"
                run(
                    "INSERT INTO planwave_cache (namespace, name, value_type, value, expires_at)"
                    f" VALUES (?, ?, ?, ?, {until}) ON CONFLICT (namespace, name) DO UPDATE SET"
                    " value_type = excluded.value_type, value = excluded.value, expires_at = excluded.expires_at",
                    json.dumps(namespace),
                    key,
                    tag,
                    data,
                )

        self._database.run_in_transaction(upsert_values)

    async def aset(self, pairs: Mapping[FullKey, tuple[Any, int | None]]) -> None:
        """Cache values as `set`. Raises as `get`."""
        await self._run_on_worker(self.set, pairs)

    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Delete the values of `namespaces`, or all values if it is None. Raises as `get`."""

        def delete_values(run: StatementRunner) -> None:
            if namespaces is None:
                run("DELETE FROM planwave_cache")
            for namespace in namespaces or ():
                run("DELETE FROM planwave_cache WHERE namespace = ?", json.dumps(namespace))

        self._database.run_in_transaction(delete_values)

    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Delete the values of `namespaces`, or all values if it is None. Raises as `get`."""
        await self._run_on_worker(self.clear, namespaces)

    def _select_values(self, keys: Sequence[FullKey], run: StatementRunner) -> dict[FullKey, Any]:
        values: dict[FullKey, Any] = {}
        for namespace, key in keys:
            rows = run(
                "SELECT value_type, value FROM planwave_cache WHERE namespace = ? AND name = ?"
                f" AND (expires_at IS NULL OR expires_at > {self._database.now_expression})",
                json.dumps(namespace),
                key,
            )
            for tag, data in rows:
                try:
                    values[namespace, key] = self.serde.loads_typed((tag, bytes(data)))
                except PersistenceError:
                    _logger.info("A cached value of %s cannot be read and counts as missing", "/".join(namespace))
        return values
