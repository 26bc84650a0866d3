"""SQLite as the database for checkpoints, leases, ledger and store."""

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from filelock import FileLock
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.sqlite import SqliteSaver

from agent.errors import PersistenceError
from graphs.stores.backend import Backend
from graphs.stores.checkpoint_upgrade import complete_upgrade
from graphs.stores.checkpoint_validation import (
    describe_checkpoint,
    get_thread_id,
    validate_checkpoint_tuple,
    wrap_read_errors,
)
from graphs.stores.database import StatementRunner
from graphs.stores.tables import migrations as schema
from graphs.stores.tables.artifacts import delete_artifact_rows
from graphs.stores.tables.call_log import delete_call_rows
from graphs.stores.tables.leases import LeaseManager
from graphs.stores.tables.ledger import delete_ledger_rows
from graphs.stores.tables.submissions import delete_submission_rows
from graphs.stores.tables.threads import delete_thread_row

if TYPE_CHECKING:
    from langgraph.store.sqlite import SqliteStore

VALUES_TABLE: Final = """CREATE TABLE IF NOT EXISTS planwave_values (
    thread TEXT NOT NULL,
    namespace TEXT NOT NULL,
    channel TEXT NOT NULL,
    version TEXT NOT NULL,
    type TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (thread, namespace, channel, version)
)"""
#: The key, in a stored checkpoint, of the names of channels whose values are in `planwave_values`.
_EXTERNAL_VALUES_KEY: Final = "planwave_beside"
#: A text up to this length takes less space within the checkpoint.
_MAX_INLINE_LENGTH: Final = 256


def store_large_values(
    run: StatementRunner, thread: str, namespace: str, checkpoint: Checkpoint, *, serde: SerializerProtocol
) -> Checkpoint:
    """Store the large values of `checkpoint` that are not stored yet, and return it without them.

    A value that several checkpoints share is so stored once.
    """
    values, versions = checkpoint["channel_values"], checkpoint["channel_versions"]
    external = sorted(channel for channel, value in values.items() if channel in versions and _is_large(value))
    if not external:
        return checkpoint
    for channel in external:
        key = (thread, namespace, channel, str(versions[channel]))
        is_stored = run(
            "SELECT 1 FROM planwave_values WHERE thread = ? AND namespace = ? AND channel = ? AND version = ?", *key
        )
        if not is_stored:
            run("INSERT INTO planwave_values VALUES (?, ?, ?, ?, ?, ?)", *key, *serde.dumps_typed(values[channel]))
    inline = {channel: value for channel, value in values.items() if channel not in external}
    return {**checkpoint, "channel_values": inline, _EXTERNAL_VALUES_KEY: external}  # type: ignore[typeddict-unknown-key]  # our own


def load_large_values(
    run: StatementRunner,
    thread: str,
    namespace: str,
    checkpoint: Any,  # noqa: ANN401 - what was stored
    *,
    serde: SerializerProtocol,
) -> Checkpoint:
    """Return a stored checkpoint with all its values. Raises `PersistenceError` if one is missing."""
    document: dict[str, Any] = dict(checkpoint)
    external = document.pop(_EXTERNAL_VALUES_KEY, None)
    if not external:
        return checkpoint  # type: ignore[no-any-return]  # as it was stored
    values = dict(document["channel_values"])
    for channel in external:
        version = str(document["channel_versions"][channel])
        rows = run(
            "SELECT type, value FROM planwave_values"
            " WHERE thread = ? AND namespace = ? AND channel = ? AND version = ?",
            thread,
            namespace,
            channel,
            version,
        )
        if not rows:
            raise PersistenceError(f"The value of {channel!r} in a checkpoint of thread {thread!r} is missing.")
        values[channel] = serde.loads_typed(rows[0])
    return {**document, "channel_values": values}  # type: ignore[typeddict-item]  # `validate_checkpoint_tuple` checks it


def delete_value_rows(run: StatementRunner, thread: str) -> None:
    """Delete the large values of a thread within a transaction."""
    run("DELETE FROM planwave_values WHERE thread = ?", thread)


def _is_large(value: object) -> bool:
    return bool(value) if isinstance(value, dict | list) else isinstance(value, str) and len(value) > _MAX_INLINE_LENGTH


T = TypeVar("T")
_MEMORY_PATH = ":memory:"
_BUSY_S = 30.0
_PRIVATE_FILE, _PRIVATE_FOLDER = 0o600, 0o700


class SqliteDatabase:
    """One connection to a file, used by one thread at a time."""

    #: Rows need no locks: a transaction has the whole database for itself from its first statement on.
    for_update = ""
    for_share = ""
    now_expression = "planwave_now()"

    def __init__(self, path: str) -> None:
        """Open the file `path`, or `:memory:`. Raises `sqlite3.Error` and `OSError`."""
        self.url = f"sqlite:///{path}"
        self.connection = _connect(path)
        self.connection.create_function("planwave_now", 0, time.time)
        self.lock = threading.RLock()

    def run_in_transaction(self, work: Callable[[StatementRunner], T], *, durable: bool = False) -> T:
        """See `StoreDatabase.run_in_transaction`."""
        with self.lock:
            try:
                with self._synchronous_commit() if durable else nullcontext():
                    return self._transact(work)
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                    raise PersistenceError(
                        f"Another process has been writing to the database {self.url!r} for more than {_BUSY_S:g} s; "
                        "end it, or continue it if it is paused, and try again."
                    ) from error
                raise PersistenceError(f"The database {self.url!r} cannot be used: {error}.") from error

    def _transact(self, work: Callable[[StatementRunner], T]) -> T:
        # IMMEDIATE: one that reads first fails, without waiting, if the file has changed before it writes.
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(self._execute)
            self.connection.execute("COMMIT")
        except BaseException:
            self.connection.rollback()
            raise
        return result

    @contextmanager
    def _synchronous_commit(self) -> Iterator[None]:
        """Have the next commit wait until the disk has it, with all commits before it."""
        self.connection.execute("PRAGMA synchronous=FULL")
        try:
            yield
        finally:
            self.connection.execute("PRAGMA synchronous=NORMAL")

    def read(self, work: Callable[[StatementRunner], T]) -> T:
        """Return what `work` returns, which only reads; each of its statements is a transaction."""
        with self.lock:
            return work(self._execute)

    def _execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401 - what a column holds
        return self.connection.execute(statement, values).fetchall()


class SqliteCheckpointSaver(SqliteSaver):
    """LangGraph's saver; each write is one transaction that first passes the fence."""

    def __init__(self, database: SqliteDatabase, *, leases: LeaseManager, serde: SerializerProtocol) -> None:
        super().__init__(database.connection, serde=serde)
        self._database = database
        self._leases = leases

    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:  # noqa: ARG002 - LangGraph's signature
        """Yield a cursor within the transaction of the caller, which has passed the fence."""
        with self._database.lock, closing(self.conn.cursor()) as cursor:
            yield cursor

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint with its pending writes. Raises `PersistenceError` if it cannot be read."""
        with wrap_read_errors(describe_checkpoint(config)):
            found = super().get_tuple(config)
            loaded = self._load_values(found) if found else None
        return validate_checkpoint_tuple(loaded) if loaded else None

    def list(self, config: RunnableConfig | None, **options: Any) -> Iterator[CheckpointTuple]:  # noqa: ANN401
        """Yield checkpoints, the newest first. Raises `PersistenceError` if one cannot be read."""
        with wrap_read_errors(describe_checkpoint(config)):
            # Read to the end first: if the caller stopped early, the generator would keep the lock of the database.
            listed = [*super().list(config, **options)]
            checkpoints = [self._load_values(each) for each in listed]
        return map(validate_checkpoint_tuple, checkpoints)

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Return the writes from which delta channels are rebuilt. Raises `PersistenceError` as `get_tuple`."""
        with wrap_read_errors(describe_checkpoint(config)):
            return super().get_delta_channel_history(config=config, channels=channels)

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint. Raises `LeaseLostError` or `ThreadBusyError`, with nothing stored."""
        write, thread = super().put, get_thread_id(config)
        namespace = config["configurable"].get("checkpoint_ns") or ""

        checkpoint, new_versions = complete_upgrade(checkpoint, new_versions)

        def store_checkpoint(run: StatementRunner) -> RunnableConfig:
            remaining = store_large_values(run, thread, namespace, checkpoint, serde=self.serde)
            return write(config, remaining, metadata, new_versions)

        return self._write_fenced(thread, store_checkpoint)

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store the writes of a task. Raises as `put`."""
        write = super().put_writes
        self._write_fenced(get_thread_id(config), lambda _run: write(config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread with its ledger, calls and artifacts; its epoch stays. Raises as `put`."""
        delete = super().delete_thread

        def delete_rows(run: StatementRunner) -> None:
            self._leases.check_fence(run, str(thread_id))
            delete(thread_id)
            # A later thread of the same name must not take its writes for made already.
            delete_ledger_rows(run, str(thread_id))
            delete_call_rows(run, str(thread_id))
            delete_artifact_rows(run, str(thread_id))
            delete_submission_rows(run, str(thread_id))
            delete_thread_row(run, str(thread_id))
            delete_value_rows(run, str(thread_id))

        self._database.run_in_transaction(delete_rows)

    def _load_values(self, found: CheckpointTuple) -> CheckpointTuple:
        """Return `found` with its large values."""
        thread, namespace = get_thread_id(found.config), found.config["configurable"].get("checkpoint_ns") or ""
        checkpoint = self._database.read(
            lambda run: load_large_values(run, thread, namespace, found.checkpoint, serde=self.serde)
        )
        return found._replace(checkpoint=checkpoint)

    def _write_fenced(self, thread: str, write: Callable[[StatementRunner], T]) -> T:
        def fence_and_write(run: StatementRunner) -> T:
            self._leases.check_fence(run, thread)
            return write(run)

        return self._database.run_in_transaction(fence_and_write)


@contextmanager
def open_sqlite(path: str, *, serde: SerializerProtocol, ttl_s: float) -> Iterator[Backend]:
    """Open a file, or `:memory:`. Raises `PersistenceError` if that fails."""
    try:
        if path != _MEMORY_PATH:
            _make_private(path)
        database = SqliteDatabase(path)
        store_connection = _connect(path)
    except (sqlite3.Error, OSError) as error:
        raise PersistenceError(f"The database {path!r} cannot be used: {error}.") from error
    with closing(database.connection), closing(store_connection):
        leases = LeaseManager(database, ttl_s)
        saver = SqliteCheckpointSaver(database, leases=leases, serde=serde)
        store = _create_store(store_connection)
        try:
            yield Backend(database, saver, store, leases, set_up=lambda: _set_up(path, database, saver, store))
        finally:
            leases.close()


def _create_store(connection: sqlite3.Connection) -> "SqliteStore":
    from langgraph.store.sqlite import SqliteStore  # noqa: PLC0415 - loads numpy where it is installed

    return SqliteStore(connection)


def _make_private(path: str) -> None:
    """Create a database, and the folders that are missing, for this user only: plans and results are in it.

    SQLite gives its `-wal` and `-shm` the mode of the database. One that is there is made private too, unless others
    may write to it: then somebody has let them in. It is not opened, since closing it would drop the locks that other
    connections of this process hold.
    """
    file = Path(path).resolve()
    for folder in [each for each in reversed(file.parents) if not each.exists()]:
        folder.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)
    with suppress(FileExistsError):
        if not file.exists():
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _PRIVATE_FILE))
    for each in (file, *(file.with_name(f"{file.name}{end}") for end in ("-wal", "-shm", ".lock"))):
        # It may be another user's, or gone by now.
        with suppress(OSError):
            mode = each.stat().st_mode
            if stat.S_ISREG(mode) and not mode & (stat.S_IWGRP | stat.S_IWOTH):
                each.chmod(mode & _PRIVATE_FILE)


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, timeout=_BUSY_S, isolation_level=None)
    # In WAL mode, NORMAL keeps every commit if the process is killed; a power cut can lose those since the last one
    # that was `durable`.
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def _set_up(path: str, database: SqliteDatabase, saver: SqliteCheckpointSaver, store: "SqliteStore") -> list[str]:
    try:
        before = _read_versions(database)
        schema.check_version(before["planwave"], url=database.url)
        latest = {"checkpoints": 2, "store": len(store.MIGRATIONS) - 1, "planwave": schema.SCHEMA_VERSION}
        if before != latest:
            if path == _MEMORY_PATH:
                _upgrade(database, saver, store)
            else:
                # LangGraph creates its tables in several transactions; no other process may look in between.
                with FileLock(f"{path}.lock", timeout=_BUSY_S, mode=_PRIVATE_FILE):
                    before = _read_versions(database)
                    _upgrade(database, saver, store)
        saver.is_setup = store.is_setup = path != _MEMORY_PATH or store.is_setup
        return schema.describe_changes(before, _read_versions(database))
    except (sqlite3.Error, OSError, TimeoutError) as error:
        raise PersistenceError(f"The database {path!r} cannot be used: {error}.") from error


def _upgrade(database: SqliteDatabase, saver: SqliteCheckpointSaver, store: "SqliteStore") -> None:
    database.connection.execute("PRAGMA journal_mode=WAL")
    saver.setup()
    store.setup()
    database.connection.execute(VALUES_TABLE)
    schema.upgrade_tables(database, bytes_type="BLOB")


def _read_versions(database: SqliteDatabase) -> dict[str, int | None]:
    def query_versions(run: StatementRunner) -> dict[str, int | None]:
        tables = {row[0] for row in run("SELECT name FROM sqlite_master WHERE type = 'table'")}
        has_path = bool(run("SELECT 1 FROM pragma_table_info('writes') WHERE name = 'task_path'"))
        return {
            "checkpoints": has_path + ("planwave_values" in tables) if "writes" in tables else None,
            "store": run("SELECT MAX(v) FROM store_migrations")[0][0] if "store_migrations" in tables else None,
            "planwave": run("SELECT MAX(version) FROM planwave_schema")[0][0] if "planwave_schema" in tables else None,
        }

    return database.run_in_transaction(query_versions)
