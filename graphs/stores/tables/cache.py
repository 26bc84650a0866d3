"""LangGraph's cache in the tables of SQLite and PostgreSQL; LangGraph has one for SQLite only, unencrypted."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from langgraph.cache.base import BaseCache, FullKey, Namespace
from langgraph.checkpoint.serde.base import SerializerProtocol

from agent.errors import PersistenceError
from graphs.stores.database import BlockingRunner, StatementRunner, StoreDatabase


class SqlCache(BaseCache[Any]):
    """Values by namespace and key until their time is over, by the database's clock.

    They go through the serializer of checkpoints. One that cannot be read, for it was written with another key or was
    changed since, is not there. Values whose time is over are deleted when others are set.
    """

    def __init__(self, database: StoreDatabase, *, serde: SerializerProtocol, run_on_worker: BlockingRunner) -> None:
        super().__init__(serde=serde)
        self._database = database
        self._run_on_worker = run_on_worker

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, Any]:
        """Return the values that are there. Raises `PersistenceError` where the database does not answer."""
        return self._database.run_in_transaction(partial(self._select_values, keys))

    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, Any]:
        """Return the values that are there. Raises as `get`."""
        return await self._run_on_worker(self.get, keys)

    def set(self, pairs: Mapping[FullKey, tuple[Any, int | None]]) -> None:
        """Keep values, each for so many seconds, or without end. Raises as `get`."""
        sealed = [(key, self.serde.dumps_typed(value), ttl) for key, (value, ttl) in pairs.items()]

        def upsert_values(run: StatementRunner) -> None:
            run(f"DELETE FROM planwave_cache WHERE expires_at <= {self._database.now_expression}")
            for (namespace, key), (tag, data), ttl in sealed:
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
        """Keep values. Raises as `get`."""
        await self._run_on_worker(self.set, pairs)

    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Delete all values of `namespaces`; None: of all. Raises as `get`."""

        def delete_values(run: StatementRunner) -> None:
            if namespaces is None:
                run("DELETE FROM planwave_cache")
            for namespace in namespaces or ():
                run("DELETE FROM planwave_cache WHERE namespace = ?", json.dumps(namespace))

        self._database.run_in_transaction(delete_values)

    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Delete all values of `namespaces`; None: of all. Raises as `get`."""
        await self._run_on_worker(self.clear, namespaces)

    def _select_values(self, keys: Sequence[FullKey], run: StatementRunner) -> dict[FullKey, Any]:
        found: dict[FullKey, Any] = {}
        for namespace, key in keys:
            rows = run(
                "SELECT value_type, value FROM planwave_cache WHERE namespace = ? AND name = ?"
                f" AND (expires_at IS NULL OR expires_at > {self._database.now_expression})",
                json.dumps(namespace),
                key,
            )
            for tag, data in rows:
                try:
                    found[namespace, key] = self.serde.loads_typed((tag, bytes(data)))
                except PersistenceError:
                    continue
        return found
