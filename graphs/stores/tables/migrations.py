"""Our tables, version by version."""

from collections.abc import Mapping
from datetime import UTC, datetime

from agent.errors import PersistenceError
from agent.logging_context import get_logger
from graphs.stores.database import StatementRunner, StoreDatabase

_logger = get_logger(__name__)

#: Each entry upgrades one version to the next and is never changed after a release; `{bytes}` is the dialect's type.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE planwave_leases (
            thread TEXT PRIMARY KEY,
            epoch BIGINT NOT NULL,
            owner TEXT,
            host TEXT,
            machine TEXT,
            pid BIGINT,
            pid_started TEXT,
            since TEXT,
            expires_at DOUBLE PRECISION NOT NULL DEFAULT 0
        )""",
        """CREATE TABLE planwave_ledger (
            thread TEXT NOT NULL,
            revision BIGINT NOT NULL,
            task TEXT NOT NULL,
            item BIGINT NOT NULL,
            tool TEXT NOT NULL,
            args_digest TEXT NOT NULL,
            approval TEXT,
            state TEXT NOT NULL,
            epoch BIGINT NOT NULL,
            claim TEXT NOT NULL,
            owner TEXT NOT NULL,
            since TEXT NOT NULL,
            finished_at TEXT,
            record_type TEXT,
            record {bytes},
            PRIMARY KEY (thread, revision, task, item)
        )""",
        """CREATE TABLE planwave_approvals (
            digest TEXT PRIMARY KEY,
            thread TEXT NOT NULL,
            revision BIGINT NOT NULL,
            task TEXT NOT NULL,
            expires_at TEXT,
            granted_by TEXT NOT NULL,
            granted_at TEXT NOT NULL,
            used_at TEXT
        )""",
        "CREATE INDEX planwave_approvals_thread ON planwave_approvals (thread)",
    ),
    (
        """CREATE TABLE planwave_artifacts (
            thread TEXT NOT NULL,
            digest TEXT NOT NULL,
            size BIGINT NOT NULL,
            value_type TEXT NOT NULL,
            value {bytes} NOT NULL,
            PRIMARY KEY (thread, digest)
        )""",
    ),
    (
        """CREATE TABLE planwave_cache (
            namespace TEXT NOT NULL,
            name TEXT NOT NULL,
            value_type TEXT NOT NULL,
            value {bytes} NOT NULL,
            expires_at DOUBLE PRECISION,
            PRIMARY KEY (namespace, name)
        )""",
        "CREATE INDEX planwave_cache_expires ON planwave_cache (expires_at)",
    ),
    (
        """CREATE TABLE planwave_calls (
            thread TEXT NOT NULL,
            revision BIGINT NOT NULL,
            task TEXT NOT NULL,
            item BIGINT NOT NULL,
            tool TEXT NOT NULL,
            mark TEXT NOT NULL,
            attempts BIGINT NOT NULL,
            started_at TEXT,
            record_type TEXT,
            record {bytes},
            PRIMARY KEY (thread, revision, task, item)
        )""",
    ),
    (
        # Rows of before belong to the whole thread, which is the scope of its earlier runs: `run` is "".
        "ALTER TABLE planwave_ledger RENAME TO planwave_ledger_before",
        """CREATE TABLE planwave_ledger (
            thread TEXT NOT NULL,
            run TEXT NOT NULL,
            revision BIGINT NOT NULL,
            task TEXT NOT NULL,
            item BIGINT NOT NULL,
            tool TEXT NOT NULL,
            args_digest TEXT NOT NULL,
            approval TEXT,
            state TEXT NOT NULL,
            epoch BIGINT NOT NULL,
            claim TEXT NOT NULL,
            owner TEXT NOT NULL,
            since TEXT NOT NULL,
            finished_at TEXT,
            record_type TEXT,
            record {bytes},
            PRIMARY KEY (thread, run, revision, task, item)
        )""",
        """INSERT INTO planwave_ledger (thread, run, revision, task, item, tool, args_digest, approval, state, epoch,
            claim, owner, since, finished_at, record_type, record)
            SELECT thread, '', revision, task, item, tool, args_digest, approval, state, epoch, claim,
            owner, since, finished_at, record_type, record FROM planwave_ledger_before""",
        "DROP TABLE planwave_ledger_before",
        "ALTER TABLE planwave_calls RENAME TO planwave_calls_before",
        """CREATE TABLE planwave_calls (
            thread TEXT NOT NULL,
            run TEXT NOT NULL,
            revision BIGINT NOT NULL,
            task TEXT NOT NULL,
            item BIGINT NOT NULL,
            tool TEXT NOT NULL,
            mark TEXT NOT NULL,
            attempts BIGINT NOT NULL,
            started_at TEXT,
            record_type TEXT,
            record {bytes},
            PRIMARY KEY (thread, run, revision, task, item)
        )""",
        """INSERT INTO planwave_calls (thread, run, revision, task, item, tool, mark, attempts, started_at, record_type,
            record)
            SELECT thread, '', revision, task, item, tool, mark, attempts, started_at, record_type, record
            FROM planwave_calls_before""",
        "DROP TABLE planwave_calls_before",
        "ALTER TABLE planwave_approvals ADD COLUMN run TEXT NOT NULL DEFAULT ''",
    ),
    (
        "ALTER TABLE planwave_ledger ADD COLUMN cleared_epoch BIGINT",
        "ALTER TABLE planwave_ledger ADD COLUMN cleared_by TEXT",
    ),
    (
        # One row for each thread. `newest` is the id of its newest checkpoint, which begins with the time; of a thread
        # that a run has, `is_open`, what it says of the thread may be old.
        """CREATE TABLE planwave_threads (
            thread TEXT PRIMARY KEY,
            version BIGINT NOT NULL,
            is_open BIGINT NOT NULL,
            newest TEXT NOT NULL,
            summary_type TEXT,
            summary {bytes}
        )""",
        "CREATE INDEX planwave_threads_newest ON planwave_threads (newest)",
        """INSERT INTO planwave_threads (thread, version, is_open, newest)
            SELECT thread_id, 1, 1, MAX(checkpoint_id) FROM checkpoints GROUP BY thread_id""",
    ),
    (
        # What workers run; times are seconds since 1970.
        """CREATE TABLE planwave_submissions (
            thread TEXT PRIMARY KEY,
            submission TEXT NOT NULL,
            version BIGINT NOT NULL,
            state TEXT NOT NULL,
            reason TEXT,
            begun BIGINT NOT NULL DEFAULT 0,
            isolated BIGINT NOT NULL DEFAULT 0,
            failures BIGINT NOT NULL DEFAULT 0,
            crashes BIGINT NOT NULL DEFAULT 0,
            stuck BIGINT NOT NULL DEFAULT 0,
            crash_mark TEXT,
            input_type TEXT,
            input {bytes},
            submitted_at DOUBLE PRECISION NOT NULL,
            changed_at DOUBLE PRECISION NOT NULL
        )""",
        "CREATE INDEX planwave_submissions_state ON planwave_submissions (state)",
        """CREATE TABLE planwave_answers (
            id TEXT PRIMARY KEY,
            thread TEXT NOT NULL,
            question TEXT NOT NULL,
            subject TEXT NOT NULL,
            state TEXT NOT NULL,
            reason TEXT,
            answer_type TEXT NOT NULL,
            answer {bytes} NOT NULL,
            given_at DOUBLE PRECISION NOT NULL,
            UNIQUE (thread, question)
        )""",
        """CREATE TABLE planwave_workers (
            worker TEXT PRIMARY KEY,
            engine_id BIGINT,
            queues TEXT NOT NULL,
            tools TEXT NOT NULL,
            slots BIGINT NOT NULL,
            doing TEXT NOT NULL,
            host TEXT NOT NULL,
            machine TEXT NOT NULL,
            pid BIGINT NOT NULL,
            pid_started TEXT NOT NULL,
            started_at DOUBLE PRECISION NOT NULL,
            seen_at DOUBLE PRECISION NOT NULL
        )""",
    ),
    (
        # Calls that other processes make; `epoch` is that of the ledger's claim, or for a call without one, whose
        # `claimed` is 0, that of the lease of its thread.
        """CREATE TABLE planwave_pool_calls (
            id TEXT PRIMARY KEY,
            thread TEXT NOT NULL,
            run TEXT NOT NULL,
            revision BIGINT NOT NULL,
            task TEXT NOT NULL,
            item BIGINT NOT NULL,
            tool TEXT NOT NULL,
            pool TEXT NOT NULL,
            claimed BIGINT NOT NULL,
            epoch BIGINT NOT NULL,
            state TEXT NOT NULL,
            attempts BIGINT NOT NULL,
            call_type TEXT NOT NULL,
            call {bytes} NOT NULL,
            result_type TEXT,
            result {bytes}
        )""",
        "CREATE INDEX planwave_pool_calls_thread ON planwave_pool_calls (thread)",
        """CREATE TABLE planwave_rates (
            tool TEXT PRIMARY KEY,
            next_at DOUBLE PRECISION NOT NULL
        )""",
    ),
)
SCHEMA_VERSION = len(MIGRATIONS)

#: Version of each family of tables; None if there are none yet.
TableVersions = Mapping[str, int | None]


def upgrade_tables(database: StoreDatabase, *, bytes_type: str) -> None:
    """Upgrade our tables to `SCHEMA_VERSION` in one transaction. Raises as `check_version`."""

    def apply_migrations(run: StatementRunner) -> None:
        run("CREATE TABLE IF NOT EXISTS planwave_schema (version BIGINT PRIMARY KEY, applied_at TEXT NOT NULL)")
        version = run("SELECT COALESCE(MAX(version), 0) FROM planwave_schema")[0][0]
        check_version(version, url=database.url)
        for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
            for statement in statements:
                run(statement.format(bytes=bytes_type))
            run(
                "INSERT INTO planwave_schema (version, applied_at) VALUES (?, ?)", number, datetime.now(UTC).isoformat()
            )

    database.run_in_transaction(apply_migrations)


def check_version(version: int | None, *, url: str) -> None:
    """Raise `PersistenceError` if the tables were written by a newer Planwave."""
    if (version or 0) > SCHEMA_VERSION:
        raise PersistenceError(
            f"The database {url!r} has tables of version {version}, but this Planwave knows only {SCHEMA_VERSION}; "
            "upgrade Planwave."
        )


def describe_changes(before: TableVersions, after: TableVersions) -> list[str]:
    """Return what an upgrade has done, one sentence for each family of tables that it changed, and log it."""
    sentences = []
    for family, version in after.items():
        previous = before.get(family)
        if previous is None:
            sentences.append(f"Created the tables of {family}, version {version}.")
        elif previous != version:
            sentences.append(f"Upgraded the tables of {family} from version {previous} to {version}.")
    for sentence in sentences:
        _logger.info(sentence)
    return sentences
