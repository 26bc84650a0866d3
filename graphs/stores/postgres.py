"""PostgreSQL as the database for checkpoints, leases, ledger and store."""

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
from agent.json_values import replace_surrogates
from graphs.stores.backend import Backend
from graphs.stores.checkpoint_upgrade import complete_upgrade
from graphs.stores.checkpoint_validation import (
    describe_checkpoint,
    get_thread_id,
    validate_checkpoint_tuple,
    with_text_thread,
    wrap_read_errors,
)
from graphs.stores.database import StatementRunner
from graphs.stores.postgres_pool import (
    RETRY_TIMEOUT_S,
    Connection,
    Pool,
    PostgresDatabase,
    UnpipelinedConnection,
    UnpipelinedCursor,
)
from graphs.stores.serializer import EncryptedOnlySerializer
from graphs.stores.tables import migrations as schema
from graphs.stores.tables.artifacts import delete_artifact_rows
from graphs.stores.tables.call_log import delete_call_rows
from graphs.stores.tables.leases import LeaseManager
from graphs.stores.tables.ledger import delete_ledger_rows
from graphs.stores.tables.submissions import delete_submission_rows
from graphs.stores.tables.threads import delete_thread_row

_TEXT_MARK = "__planwave_text__"


def wrap_texts(checkpoint: Checkpoint, *, encrypted: bool) -> Checkpoint:
    """Return the checkpoint with texts wrapped in objects, which LangGraph serializes; it stores plain texts as JSONB.

    With encryption every text is wrapped, since LangGraph encrypts only what it serializes; else those that JSONB
    refuses, with a NUL or a lone surrogate.
    """

    def must_be_wrapped(value: object) -> bool:
        if isinstance(value, str):
            return encrypted or "\x00" in value or replace_surrogates(value) != value
        return isinstance(value, dict) and value.keys() == {_TEXT_MARK}

    values = {
        name: {_TEXT_MARK: value} if must_be_wrapped(value) else value
        for name, value in checkpoint["channel_values"].items()
    }
    return {**checkpoint, "channel_values": values}


def unwrap_texts(found: CheckpointTuple, *, encrypted: bool) -> CheckpointTuple:
    """Undo `wrap_texts`. Raises `PersistenceError` if a text was stored unencrypted although there is a key."""
    values = found.checkpoint["channel_values"]
    if encrypted and (plain := [name for name, value in values.items() if isinstance(value, str)]):
        thread = found.config["configurable"].get("thread_id")
        raise PersistenceError(
            f"The {plain[0]!r} in a checkpoint of thread {thread!r} is not encrypted, although a key is set; "
            "do not trust it."
        )
    checkpoint: Checkpoint = {
        **found.checkpoint,
        "channel_values": {name: _unwrap_value(value) for name, value in values.items()},
    }
    return found._replace(checkpoint=checkpoint)


def _unwrap_value(value: Any) -> Any:  # noqa: ANN401 - any channel's value
    return value[_TEXT_MARK] if isinstance(value, dict) and value.keys() == {_TEXT_MARK} else value


T = TypeVar("T")
_CONNECTION_OPTIONS = {
    "autocommit": True,
    "prepare_threshold": 0,
    "row_factory": dict_row,
    "cursor_factory": UnpipelinedCursor,
}
_OPEN_TIMEOUT_S = 10.0
_LATEST_VERSIONS = {
    "checkpoints": len(PostgresSaver.MIGRATIONS) - 1,
    "store": len(PostgresStore.MIGRATIONS) - 1,
    "planwave": schema.SCHEMA_VERSION,
}
_SETUP_LOCK = "hashtext('planwave setup')"


class PostgresCheckpointSaver(PostgresSaver):
    """LangGraph's saver; each write is one transaction that first passes the fence."""

    def __init__(self, database: PostgresDatabase, *, leases: LeaseManager, serde: SerializerProtocol) -> None:
        super().__init__(database.pool, serde=serde)
        self._database = database
        self._leases = leases
        self._encrypted = isinstance(serde, EncryptedOnlySerializer)

    def _validate_tuple(self, found: CheckpointTuple) -> CheckpointTuple:
        return validate_checkpoint_tuple(found, unwrap=partial(unwrap_texts, encrypted=self._encrypted))

    def _bind_saver(self, connection: Connection) -> PostgresSaver:
        return PostgresSaver(connection, serde=self.serde)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint with its pending writes. Raises `PersistenceError` if it cannot be read."""
        named = with_text_thread(config)
        with wrap_read_errors(describe_checkpoint(config)):
            found = self._database.run_with_retries(lambda connection: self._bind_saver(connection).get_tuple(named))
        return self._validate_tuple(found) if found else None

    def list(self, config: RunnableConfig | None, **options: Any) -> Iterator[CheckpointTuple]:  # noqa: ANN401 - LangGraph's
        """Yield checkpoints, the newest first. Raises `PersistenceError` if one cannot be read."""
        named = with_text_thread(config) if config else None
        with wrap_read_errors(describe_checkpoint(config)):
            found = self._database.run_with_retries(
                lambda connection: [*self._bind_saver(connection).list(named, **options)]
            )
        return map(self._validate_tuple, found)

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Return the writes from which delta channels are rebuilt. Raises `PersistenceError` as `get_tuple`."""
        named = with_text_thread(config)
        with wrap_read_errors(describe_checkpoint(config)):
            return self._database.run_with_retries(
                lambda connection: self._bind_saver(connection).get_delta_channel_history(
                    config=named, channels=channels
                )
            )

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint. Raises `LeaseLostError` or `ThreadBusyError`, with nothing stored."""
        checkpoint, new_versions = complete_upgrade(checkpoint, new_versions)
        checkpoint = wrap_texts(checkpoint, encrypted=self._encrypted)
        config = with_text_thread(config)
        return self._write_fenced(
            get_thread_id(config), lambda saver: saver.put(config, checkpoint, metadata, new_versions)
        )

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store the writes of a task. Raises as `put`."""
        config = with_text_thread(config)
        self._write_fenced(get_thread_id(config), lambda saver: saver.put_writes(config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread with its ledger, calls and artifacts; its epoch stays. Raises as `put`."""

        def delete_rows(connection: Connection, run: StatementRunner) -> None:
            self._leases.check_fence(run, str(thread_id))
            self._bind_saver(connection).delete_thread(str(thread_id))
            # A later thread of the same name must not take its writes for made already.
            delete_ledger_rows(run, str(thread_id))
            delete_call_rows(run, str(thread_id))
            delete_artifact_rows(run, str(thread_id))
            delete_submission_rows(run, str(thread_id))
            delete_thread_row(run, str(thread_id))

        self._database.run_on_connection(delete_rows)

    def _write_fenced(self, thread: str, write: Callable[[PostgresSaver], T]) -> T:
        def fence_and_write(connection: Connection, run: StatementRunner) -> T:
            self._leases.check_fence(run, thread)
            return write(self._bind_saver(connection))

        return self._database.run_on_connection(fence_and_write)


class RetryingStore(PostgresStore):
    """LangGraph's store; a batch is made again if a connection was lost, since all its operations are idempotent."""

    def __init__(self, database: PostgresDatabase) -> None:
        super().__init__(database.pool)
        self._database = database

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations in order, all of them or none."""
        listed = list(ops)

        def run_batch(connection: Connection) -> list[Result]:
            with connection.transaction():
                return PostgresStore(connection).batch(listed)

        return self._database.run_with_retries(run_batch)


@contextmanager
def open_postgres(url: str, *, shown: str, serde: SerializerProtocol, ttl_s: float) -> Iterator[Backend]:
    """Connect to a server; `shown` is its URL without a password. Raises `PersistenceError` if that fails."""
    pool: Pool = ConnectionPool(
        url,
        connection_class=UnpipelinedConnection,
        min_size=1,
        max_size=4,
        kwargs=_CONNECTION_OPTIONS,
        configure=partial(_configure, ttl_s=ttl_s),
        check=ConnectionPool.check_connection,
        timeout=5,
        open=False,
    )
    with pool:
        try:
            pool.wait(timeout=_OPEN_TIMEOUT_S)
        except psycopg.Error as error:
            raise PersistenceError(f"The database {shown!r} cannot be used: {error}.") from error
        database = PostgresDatabase(pool, url=shown)
        leases = LeaseManager(database, ttl_s)
        saver = PostgresCheckpointSaver(database, leases=leases, serde=serde)
        try:
            yield Backend(database, saver, RetryingStore(database), leases, set_up=lambda: _set_up(database))
        finally:
            leases.close()


def _configure(connection: Connection, *, ttl_s: float) -> None:
    """Let the server end transactions of a paused process: their locks would keep others from the thread for ever."""
    connection.execute(f"SET idle_in_transaction_session_timeout = {max(1, round(ttl_s * 1000))}".encode())


def _set_up(database: PostgresDatabase) -> list[str]:
    before = _read_versions(database)
    schema.check_version(before["planwave"], url=database.url)
    if before == _LATEST_VERSIONS:
        return []

    def upgrade_locked(connection: Connection) -> list[str]:
        # Polled instead of waited for: LangGraph creates an index CONCURRENTLY, which waits until every other
        # statement has ended, and one that waits for this lock would never end.
        Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, _SetupLockedError)),
            stop=stop_after_delay(RETRY_TIMEOUT_S),
            wait=wait_random_exponential(multiplier=0.05, max=0.5),
            reraise=True,
        )(_acquire_setup_lock, connection, database.url)
        try:
            previous = _read_versions(database)
            PostgresSaver(connection).setup()
            PostgresStore(connection).setup()
            schema.upgrade_tables(database, bytes_type="BYTEA")
            return schema.describe_changes(previous, _read_versions(database))
        finally:
            connection.execute(f"SELECT pg_advisory_unlock({_SETUP_LOCK})".encode())

    return database.run_with_retries(upgrade_locked)


class _SetupLockedError(PersistenceError):
    """Another process is setting up the tables."""


def _acquire_setup_lock(connection: Connection, url: str) -> None:
    row = connection.execute(f"SELECT pg_try_advisory_lock({_SETUP_LOCK}) AS taken".encode()).fetchone()
    if row is None or not row["taken"]:
        raise _SetupLockedError(f"Another process is setting up the tables of {url!r}; try again when it has finished.")


def _read_versions(database: PostgresDatabase) -> dict[str, int | None]:
    def query_versions(run: StatementRunner) -> dict[str, int | None]:
        versions: dict[str, int | None] = {}
        for family, table, column in (
            ("checkpoints", "checkpoint_migrations", "v"),
            ("store", "store_migrations", "v"),
            ("planwave", "planwave_schema", "version"),
        ):
            exists = run("SELECT to_regclass(?) IS NOT NULL", table)[0][0]
            versions[family] = run(f"SELECT MAX({column}) FROM {table}")[0][0] if exists else None
        return versions

    return database.run_in_transaction(query_versions)
