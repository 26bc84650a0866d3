"""The job queue: procrastinate's tables beside ours, and the jobs that are put into them.

A job is deferred in the transaction that stores what it is for, so neither is ever there without the other. Its
`lock` is the thread, so that jobs of one thread are run one after another; with a `queueing_lock` too, the job of a
worker that died and its successor would wait for each other for ever.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from agent.errors import PersistenceError, SettingsError, UsageError, describe_extra
from graphs.persistence import Persistence
from graphs.stores.database import StatementRunner, mask_password

#: The queue of threads that any worker may take.
THREAD_QUEUE: Final = "planwave-threads"
ADVANCE_TASK: Final = "planwave:advance"
CALL_TASK: Final = "planwave:call"
#: A thread that goes on comes before one that is new, so that it does not have to wait twice.
NEW_PRIORITY: Final = 0
CONTINUED_PRIORITY: Final = 1
_DEAD_VARIABLE: Final = "PLANWAVE_WORKER_DEAD_S"
_DEFAULT_DEAD_S: Final = 30.0
_DEFER: Final = (
    "SELECT procrastinate_defer_jobs_v1(ARRAY[ROW(?, ?, ?, ?, NULL, ?::jsonb, NULL)::procrastinate_job_to_defer_v1])"
)
_SETUP_LOCK: Final = "hashtext('planwave queue setup')"


def read_dead_seconds() -> float:
    """Return how long a worker may be silent before it counts as dead. Raises `SettingsError`."""
    text = os.environ.get(_DEAD_VARIABLE)
    try:
        dead_s = float(text) if text else _DEFAULT_DEAD_S
    except ValueError:
        dead_s = 0.0
    if not 0 < dead_s < float("inf"):
        raise SettingsError(f"{_DEAD_VARIABLE} is {text!r}; give a number of seconds above 0, such as 30.")
    return dead_s


def name_tool_queue(tools: Iterable[str]) -> str:
    """Return the queue of the workers that have exactly these tools."""
    digest = hashlib.sha256(json.dumps(sorted(tools)).encode()).hexdigest()
    return f"{THREAD_QUEUE}-{digest[:16]}"


def name_thread_lock(thread: str) -> str:
    """Return the lock of the jobs of a thread."""
    return f"planwave:{thread}"


def defer_thread(run: StatementRunner, thread: str, *, priority: int = NEW_PRIORITY) -> None:
    """Put a job that advances the thread into the queue, within a transaction; a higher priority goes first."""
    lock, args = name_thread_lock(thread), json.dumps({"thread": thread})
    run(_DEFER, THREAD_QUEUE, ADVANCE_TASK, priority, lock, args)


def name_pool_queue(pool: str) -> str:
    """Return the queue of the calls of a pool."""
    return f"planwave-calls-{pool}"


def defer_call(run: StatementRunner, call: str, *, pool: str, priority: int) -> None:
    """Put a job that makes a call into the queue of its pool, within a transaction; a higher priority goes first."""
    run(_DEFER, name_pool_queue(pool), CALL_TASK, priority, None, json.dumps({"call": call}))


def require_engine(persistence: Persistence) -> None:
    """Create the tables of the queue, or upgrade them; blocks.

    Raises `UsageError` without PostgreSQL or the extra, `PersistenceError` if the database cannot be used.
    """
    if persistence.url.startswith("sqlite"):
        raise UsageError(
            f"Workers need PostgreSQL, which several machines can reach, and {persistence.url!r} is a file; give "
            "--db postgresql://user@host/name."
        )
    try:
        from procrastinate.schema import SchemaManager  # noqa: PLC0415 - an extra
    except ImportError:
        raise UsageError(f"Workers need {describe_extra('workers')}.") from None
    from graphs.stores.postgres_pool import PostgresDatabase  # noqa: PLC0415 - as above

    database = persistence.backend.database
    assert isinstance(database, PostgresDatabase)  # noqa: S101 - what is not a file is this

    def set_up(connection: Any, run: StatementRunner) -> None:  # noqa: ANN401 - the driver's, an extra
        files = sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))
        if _read_applied(run) == {file.name for file in files}:
            return
        run(f"SELECT pg_advisory_xact_lock({_SETUP_LOCK})")
        run("CREATE TABLE IF NOT EXISTS planwave_queue_schema (name TEXT PRIMARY KEY)")
        applied = {row[0] for row in run("SELECT name FROM planwave_queue_schema")}
        if not run("SELECT to_regclass('procrastinate_jobs') IS NOT NULL")[0][0]:
            connection.execute(SchemaManager.get_schema().encode(), prepare=False)
            # The engine's own index does not lead with the lock, by which the sweep asks whether a thread has a job.
            run("CREATE INDEX planwave_jobs_lock ON procrastinate_jobs (lock) WHERE status IN ('todo', 'doing')")
        elif not applied:
            raise PersistenceError(
                f"The database {persistence.url!r} has tables of procrastinate that Planwave did not create; give "
                "workers a database, or a schema in the search_path, of their own."
            )
        else:
            for file in files:
                if file.name not in applied:
                    connection.execute(file.read_bytes(), prepare=False)
        for file in files:
            run("INSERT INTO planwave_queue_schema (name) VALUES (?) ON CONFLICT DO NOTHING", file.name)

    database.run_on_connection(set_up)


def _read_applied(run: StatementRunner) -> set[str]:
    if not run("SELECT to_regclass('planwave_queue_schema') IS NOT NULL")[0][0]:
        return set()
    return {row[0] for row in run("SELECT name FROM planwave_queue_schema")}


def check_address(url: str) -> None:
    """Raise `UsageError` if the server that answers is not the one that greeted: a pooler stands in between; blocks.

    Another kind of database, a missing extra and a server that cannot be reached are for others to report.
    """
    if not url.startswith(("postgresql://", "postgres://")):
        return
    try:
        import psycopg  # noqa: PLC0415 - an extra
    except ImportError:
        return
    try:
        with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
            row = connection.execute("SELECT pg_backend_pid()").fetchone()
            is_same = row is not None and row[0] == connection.info.backend_pid
    except psycopg.Error:
        return
    if not is_same:
        raise UsageError(
            f"A connection pooler such as PgBouncer is before the database {mask_password(url)!r}; workers are woken"
            " by LISTEN, which needs a connection of its own: give the address of PostgreSQL itself."
        )
