"""PostgreSQL as the place of checkpoints, leases, ledger and store."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.store.base import Op, Result
from langgraph.store.postgres import PostgresStore
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from agent.errors import PersistenceError
from graphs.stores.backend import Backend
from graphs.stores.checkpoint_validation import checkpoint_of, reading, sound, thread_of
from graphs.stores.database import Run
from graphs.stores.postgres_pool import (
    PATIENCE_S,
    Connection,
    OneByOneConnection,
    OneByOneCursor,
    Pool,
    PostgresDatabase,
)
from graphs.stores.serializer import SealedSerializer
from graphs.stores.tables import migrations as schema
from graphs.stores.tables.artifacts import forget_artifacts
from graphs.stores.tables.call_log import forget_calls
from graphs.stores.tables.leases import Leases
from graphs.stores.tables.ledger import forget_thread

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


T = TypeVar("T")
_OPTIONS = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row, "cursor_factory": OneByOneCursor}
_OPEN_S = 10.0
_NEWEST = {
    "checkpoints": len(PostgresSaver.MIGRATIONS) - 1,
    "store": len(PostgresStore.MIGRATIONS) - 1,
    "planwave": schema.VERSION,
}
_SETUP_LOCK = "hashtext('planwave setup')"


class PostgresThreads(PostgresSaver):
    """LangGraph's saver, each of whose writes is one transaction that begins at the fence."""

    def __init__(self, database: PostgresDatabase, *, leases: Leases, serde: SerializerProtocol) -> None:
        super().__init__(database.pool, serde=serde)
        self._database = database
        self._leases = leases
        self._sealed = isinstance(serde, SealedSerializer)

    def _read(self, found: CheckpointTuple) -> CheckpointTuple:
        return sound(found, opened=with_texts_unwrapped if self._sealed else None)

    def _on(self, connection: Connection) -> PostgresSaver:
        return PostgresSaver(connection, serde=self.serde)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint with its pending writes. Raises `PersistenceError` for one that cannot be read."""
        with reading(checkpoint_of(config)):
            found = self._database.steadily(lambda connection: self._on(connection).get_tuple(config))
        return self._read(found) if found else None

    def list(self, config: RunnableConfig | None, **options: Any) -> Iterator[CheckpointTuple]:  # noqa: ANN401 - LangGraph's
        """Yield checkpoints, the newest first. Raises `PersistenceError` for one that cannot be read."""
        with reading(checkpoint_of(config)):
            found = self._database.steadily(lambda connection: [*self._on(connection).list(config, **options)])
        return map(self._read, found)

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Return the writes from which delta channels are rebuilt. Raises `PersistenceError` as `get_tuple`."""
        with reading(checkpoint_of(config)):
            return self._database.steadily(
                lambda connection: self._on(connection).get_delta_channel_history(config=config, channels=channels)
            )

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint. Raises `LeaseLostError` or `ThreadBusyError`, with nothing stored."""
        checkpoint = with_texts_wrapped(checkpoint) if self._sealed else checkpoint
        return self._fenced(thread_of(config), lambda saver: saver.put(config, checkpoint, metadata, new_versions))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task wrote. Raises as `put`."""
        self._fenced(thread_of(config), lambda saver: saver.put_writes(config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        """Delete everything of a thread, its ledger, calls and artifacts too; its epoch stays. Raises as `put`."""

        def work(connection: Connection, run: Run) -> None:
            self._leases.fence(run, str(thread_id))
            self._on(connection).delete_thread(thread_id)
            # What a thread of the same name did before must not pass for done.
            forget_thread(run, str(thread_id))
            forget_calls(run, str(thread_id))
            forget_artifacts(run, str(thread_id))

        self._database.transact_on(work)

    def _fenced(self, thread: str, write: Callable[[PostgresSaver], T]) -> T:
        def work(connection: Connection, run: Run) -> T:
            self._leases.fence(run, thread)
            return write(self._on(connection))

        return self._database.transact_on(work)


class SteadyStore(PostgresStore):
    """LangGraph's store, whose batches are made again where a connection was lost; each of them may be."""

    def __init__(self, database: PostgresDatabase) -> None:
        super().__init__(database.pool)
        self._database = database

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry out operations in order, all of them or none."""
        listed = list(ops)

        def once(connection: Connection) -> list[Result]:
            with connection.transaction():
                return PostgresStore(connection).batch(listed)

        return self._database.steadily(once)


@contextmanager
def open_postgres(url: str, *, shown: str, serde: SerializerProtocol, ttl_s: float) -> Iterator[Backend]:
    """Connect to a server; `shown` is its URL without a password. Raises `PersistenceError` where that cannot be."""
    pool: Pool = ConnectionPool(
        url,
        connection_class=OneByOneConnection,
        min_size=1,
        max_size=4,
        kwargs=_OPTIONS,
        configure=partial(_configure, ttl_s=ttl_s),
        check=ConnectionPool.check_connection,
        timeout=5,
        open=False,
    )
    with pool:
        try:
            pool.wait(timeout=_OPEN_S)
        except psycopg.Error as error:
            raise PersistenceError(f"The database {shown!r} cannot be used: {error}.") from error
        database = PostgresDatabase(pool, url=shown)
        leases = Leases(database, ttl_s)
        saver = PostgresThreads(database, leases=leases, serde=serde)
        try:
            yield Backend(database, saver, SteadyStore(database), leases, set_up=lambda: _set_up(database))
        finally:
            leases.close()


def _configure(connection: Connection, *, ttl_s: float) -> None:
    """Let the server end what a paused process left open: its locks would keep others from the thread for ever."""
    connection.execute(f"SET idle_in_transaction_session_timeout = {max(1, round(ttl_s * 1000))}".encode())


def _set_up(database: PostgresDatabase) -> list[str]:
    before = _versions(database)
    schema.check(before["planwave"], url=database.url)
    if before == _NEWEST:
        return []

    def locked(connection: Connection) -> list[str]:
        # Asked again and again instead of waited for: LangGraph makes an index CONCURRENTLY, which waits for whoever
        # waits in a statement, and that would be those who wait for this lock.
        Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, _TakenError)),
            stop=stop_after_delay(PATIENCE_S),
            wait=wait_random_exponential(multiplier=0.05, max=0.5),
            reraise=True,
        )(_lock, connection, database.url)
        try:
            was = _versions(database)
            PostgresSaver(connection).setup()
            PostgresStore(connection).setup()
            schema.upgrade(database, bytes_type="BYTEA")
            return schema.changes(was, _versions(database))
        finally:
            connection.execute(f"SELECT pg_advisory_unlock({_SETUP_LOCK})".encode())

    return database.steadily(locked)


class _TakenError(PersistenceError):
    """Another process sets the tables up."""


def _lock(connection: Connection, url: str) -> None:
    row = connection.execute(f"SELECT pg_try_advisory_lock({_SETUP_LOCK}) AS taken".encode()).fetchone()
    if row is None or not row["taken"]:
        raise _TakenError(f"Another process is setting up the tables of {url!r}; try again when it is done.")


def _versions(database: PostgresDatabase) -> dict[str, int | None]:
    def work(run: Run) -> dict[str, int | None]:
        found: dict[str, int | None] = {}
        for family, table, column in (
            ("checkpoints", "checkpoint_migrations", "v"),
            ("store", "store_migrations", "v"),
            ("planwave", "planwave_schema", "version"),
        ):
            there = run("SELECT to_regclass(?) IS NOT NULL", table)[0][0]
            found[family] = run(f"SELECT MAX({column}) FROM {table}")[0][0] if there else None
        return found

    return database.transact(work)
