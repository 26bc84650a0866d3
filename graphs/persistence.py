"""Everything that is stored beyond the life of a process, opened by one URL."""

import asyncio
import atexit
import math
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, closing, contextmanager
from functools import partial
from typing import Any
from urllib.parse import unquote

from langgraph.cache.base import BaseCache
from langgraph.store.base import BaseStore

from agent.errors import SettingsError, UsageError, describe_extra
from agent.execution.call_log import CallLog
from agent.execution.ledger import Ledger
from agent.results.artifacts import Artifacts
from graphs.stores.backend import Backend
from graphs.stores.database import mask_password
from graphs.stores.serializer import create_strict_serializer
from graphs.stores.single_thread import LeasedSaver, SingleThreadStore
from graphs.stores.sqlite import open_sqlite
from graphs.stores.tables.artifacts import SqlArtifacts
from graphs.stores.tables.cache import SqlCache
from graphs.stores.tables.call_log import SqlCallLog
from graphs.stores.tables.leases import Lease
from graphs.stores.tables.ledger import SqlLedger
from graphs.stores.tables.threads import ThreadRow, delete_ended_threads

_THREAD_EXISTS = (
    "SELECT 1 FROM checkpoints WHERE thread_id = ? LIMIT 1",
    "SELECT 1 FROM planwave_ledger WHERE thread = ? LIMIT 1",
    "SELECT 1 FROM planwave_approvals WHERE thread = ? LIMIT 1",
    "SELECT 1 FROM planwave_calls WHERE thread = ? LIMIT 1",
    "SELECT 1 FROM planwave_artifacts WHERE thread = ? LIMIT 1",
    "SELECT 1 FROM planwave_submissions WHERE thread = ? LIMIT 1",
)
_NESTED_NAMESPACES = (
    "SELECT DISTINCT checkpoint_ns FROM checkpoints WHERE thread_id = ? AND checkpoint_ns <> '' ORDER BY checkpoint_ns"
)
_POSTGRES_CHECKPOINTS = dict.fromkeys(("checkpoints", "checkpoint_blobs", "checkpoint_writes"), "thread_id")
_SQLITE_CHECKPOINTS = {"checkpoints": "thread_id", "writes": "thread_id", "planwave_values": "thread"}
#: Threads that one transaction deletes.
_REMOVED_AT_ONCE = 100
_KEY_VARIABLE = "PLANWAVE_AES_KEY"
_TTL_VARIABLE = "PLANWAVE_LEASE_TTL_S"
_DEFAULT_TTL_S = 30.0


class Persistence:
    """The stores of one database; `open_persistence` creates it."""

    def __init__(
        self,
        backend: Backend,
        *,
        saver: LeasedSaver,
        store: BaseStore,
        ledger: Ledger,
        calls: CallLog,
        artifacts: Artifacts,
        cache: BaseCache[Any],
    ) -> None:
        self.saver = saver
        #: LangGraph's store. Its values are not encrypted.
        self.store = store
        self.ledger = ledger
        self.calls = calls
        self.artifacts = artifacts
        self.cache = cache
        #: The URL without its password.
        self.url = backend.database.url
        self._backend = backend

    @property
    def backend(self) -> Backend:
        """The open database, for tables that other rooms keep in it."""
        return self._backend

    def lease(self, thread: str) -> AbstractAsyncContextManager[Lease]:
        """Hold a thread. Raises `ThreadBusyError` if another run, also of this process, has it."""
        return self.saver.lease(thread)

    async def is_busy(self, thread: str) -> bool:
        """Return whether a run has the thread, in this process or another."""
        return await self.saver.run_on_worker(self._backend.leases.is_busy, thread)

    async def has_thread(self, thread: str) -> bool:
        """Return whether anything of the thread is stored."""
        return await self.saver.run_on_worker(
            self._backend.database.run_in_transaction, lambda run: any(run(query, thread) for query in _THREAD_EXISTS)
        )

    async def delete(self, thread: str) -> bool:
        """Delete a thread: checkpoints, ledger, approvals, calls, artifacts; return whether it existed.

        Raises `ThreadBusyError` if a run has it.
        """
        if not await self.has_thread(thread):
            return False
        async with self.saver.lease(thread, writes=False):
            await self.saver.adelete_thread(thread)
        return True

    async def threads(self) -> list[str]:
        """Return the ids of all threads, the one that changed last first."""
        return [row.thread for row in await self.list_threads()]

    async def list_threads(self, most: int | None = None) -> list[ThreadRow]:
        """Return what is known of at most `most` threads without their checkpoints, the newest first."""
        return await self.saver.run_on_worker(self.saver.threads.list_rows, most)

    async def remove_ended(self, threads: Sequence[str], *, dry_run: bool = False) -> list[str]:
        """Delete at once those of `threads` that nothing holds, and return them; `dry_run` only finds them.

        Left are the ones that a run has, that have a write in doubt, and that have runs of other graphs.
        """
        is_postgres = self.url.startswith("postgres")
        tables = _POSTGRES_CHECKPOINTS if is_postgres else _SQLITE_CHECKPOINTS
        database, removed = self._backend.database, []
        for start in range(0, len(threads), _REMOVED_AT_ONCE):
            delete = partial(
                delete_ended_threads,
                threads=threads[start : start + _REMOVED_AT_ONCE],
                checkpoint_tables=tables,
                dry_run=dry_run,
                for_update=database.for_update,
            )
            removed += await self.saver.run_on_worker(database.run_in_transaction, delete)
        return removed

    async def list_nested_namespaces(self, thread: str) -> list[str]:
        """Return the checkpoint namespaces of the runs on a thread that are part of another run on it."""
        return await self.saver.run_on_worker(
            self._backend.database.run_in_transaction, lambda run: [row[0] for row in run(_NESTED_NAMESPACES, thread)]
        )


@asynccontextmanager
async def open_persistence(
    url: str, *, key: bytes | None = None, ttl_s: float | None = None
) -> AsyncIterator[Persistence]:
    """Open `sqlite:///file.db` (three slashes: relative, four: absolute) or `postgresql://user@host/database`.

    Creates missing tables. `key`, of 16, 24 or 32 bytes, encrypts checkpoints, ledger, calls, artifacts and cache; the
    environment variable PLANWAVE_AES_KEY, in hexadecimal digits, does so if it is None. A run that has not renewed its
    lease for `ttl_s` seconds (None: those of PLANWAVE_LEASE_TTL_S, or 30) counts as dead, and another may take its
    thread over. One whose process has ended on the same machine is taken over at once; until one on another machine
    counts as dead, a run on its thread raises `ThreadBusyError`: try again later. What was taken over ends with
    `LeaseLostError`.
    Raises `UsageError` for another kind of URL, `SettingsError` for an invalid key or time, `PersistenceError` if the
    database cannot be opened.
    """
    stores = await asyncio.to_thread(_open_stores, url, key, _read_lease_ttl() if ttl_s is None else ttl_s)
    persistence = await asyncio.to_thread(stores.__enter__)
    try:
        yield persistence
    finally:
        await asyncio.to_thread(stores.__exit__, None, None, None)


def open_for_process(url: str) -> Persistence:
    """Open a persistence that is closed when the process ends. Raises as `open_persistence`; blocks."""
    stores = _open_stores(url, None, _read_lease_ttl())
    persistence = stores.__enter__()
    atexit.register(stores.__exit__, None, None, None)
    return persistence


async def migrate_database(url: str) -> list[str]:
    """Create or upgrade the tables and return what was done, in sentences; none if they were up to date.

    Raises as `open_persistence`.
    """

    def set_up_tables() -> list[str]:
        with _open_backend(url, key=None, ttl_s=_DEFAULT_TTL_S) as backend:
            return backend.set_up()

    return await asyncio.to_thread(set_up_tables)


@contextmanager
def _open_stores(url: str, key: bytes | None, ttl_s: float) -> Iterator[Persistence]:
    with _open_backend(url, key=key if key is not None else _read_environment_key(), ttl_s=ttl_s) as backend:
        backend.set_up()
        saver = LeasedSaver(backend.saver, leases=backend.leases)
        with closing(saver), closing(SingleThreadStore(backend.store)) as store:
            database, leases, serde = backend.database, backend.leases, backend.saver.serde
            yield Persistence(
                backend,
                saver=saver,
                store=store,
                ledger=SqlLedger(database, leases=leases, serde=serde, run_on_worker=saver.run_on_worker),
                calls=SqlCallLog(database, leases=leases, serde=serde, run_on_worker=saver.run_on_worker),
                artifacts=Artifacts(
                    SqlArtifacts(database, leases=leases, serde=serde, run_on_worker=saver.run_on_worker)
                ),
                cache=SqlCache(database, serde=serde, run_on_worker=saver.run_on_worker),
            )


def _open_backend(url: str, *, key: bytes | None, ttl_s: float) -> AbstractContextManager[Backend]:
    scheme, serde = url.partition("://")[0], create_strict_serializer(key)
    if scheme == "sqlite":
        return open_sqlite(_parse_sqlite_path(url), serde=serde, ttl_s=ttl_s)
    shown = mask_password(url)
    if scheme not in {"postgresql", "postgres"}:
        raise UsageError(
            f"{shown!r} is not a database URL; write 'sqlite:///planwave.db' or 'postgresql://user@host/name'."
        )
    try:
        from graphs.stores.postgres import open_postgres  # noqa: PLC0415 - an extra
    except ImportError:
        raise UsageError(f"PostgreSQL needs {describe_extra('postgres')}.") from None
    return open_postgres(url, shown=shown, serde=serde, ttl_s=ttl_s)


def _read_environment_key() -> bytes | None:
    digits = os.environ.get(_KEY_VARIABLE)
    if not digits:
        return None
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise SettingsError(f"{_KEY_VARIABLE} is not hexadecimal; give 64 digits for a key of 32 bytes.") from None


def _read_lease_ttl() -> float:
    text = os.environ.get(_TTL_VARIABLE)
    if not text:
        return _DEFAULT_TTL_S
    try:
        ttl_s = float(text)
    except ValueError:
        ttl_s = math.nan
    if not (math.isfinite(ttl_s) and ttl_s > 0):
        raise SettingsError(f"{_TTL_VARIABLE} is {text!r}; give a number of seconds above 0, such as 30.")
    return ttl_s


def _parse_sqlite_path(url: str) -> str:
    rest = unquote(url.removeprefix("sqlite://"))
    if rest in {"", "/", "/:memory:"}:
        return ":memory:"
    if not rest.startswith("/"):
        raise UsageError(
            f"{url!r} has two slashes; write 'sqlite:///{rest}' for a relative path, four slashes for an absolute one."
        )
    return rest[1:]
