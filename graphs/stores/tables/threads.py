"""One row for each thread, with what is listed of it, so that a list does not read all checkpoints."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.serde.base import SerializerProtocol

from graphs.stores.database import StatementRunner, StoreDatabase


@dataclass(frozen=True, slots=True)
class ThreadRow:
    """What is known of a thread without its checkpoints."""

    thread: str
    #: Grows whenever a run takes the thread.
    version: int
    #: Whether a run has the thread, or had it and did not end: the summary, if there is one, may be old.
    is_open: bool
    #: What `planwave threads` lists.
    summary: dict[str, Any] | None


class ThreadTable:
    """Reads and writes the rows; every call blocks and is one transaction."""

    def __init__(
        self,
        database: StoreDatabase,
        *,
        serde: SerializerProtocol,
        check_fence: Callable[[StatementRunner, str], None],
    ) -> None:
        self._database = database
        self._serde = serde
        self._check_fence = check_fence

    def list_rows(self, most: int | None = None) -> list[ThreadRow]:
        """Return at most `most` rows, the thread that changed last first."""
        limit = "" if most is None else f" LIMIT {most:d}"

        def select_rows(run: StatementRunner) -> list[tuple[Any, ...]]:
            return run(
                "SELECT thread, version, is_open, summary_type, summary FROM planwave_threads"
                f" ORDER BY newest DESC, thread{limit}"
            )

        rows = self._database.run_in_transaction(select_rows)
        return [
            ThreadRow(
                thread, version, bool(is_open), None if tag is None else self._serde.loads_typed((tag, bytes(data)))
            )
            for thread, version, is_open, tag, data in rows
        ]

    def close_row(self, thread: str, summary: dict[str, Any], *, newest: str, version: int | None = None) -> None:
        """Store what is listed of a thread that a run leaves, while it still has it.

        With `version`, for a thread that no run has: nothing is changed if one had it since. Raises as `check_fence`.
        """
        tag, data = self._serde.dumps_typed(summary)

        def update_row(run: StatementRunner) -> None:
            if version is None:
                self._check_fence(run, thread)
            run(
                "UPDATE planwave_threads SET is_open = 0, newest = ?, summary_type = ?, summary = ? WHERE thread = ?"
                + ("" if version is None else f" AND version = {version:d}"),
                newest,
                tag,
                data,
                thread,
            )

        self._database.run_in_transaction(update_row)


_OWN_TABLES: Final = (
    *("planwave_ledger", "planwave_approvals", "planwave_calls", "planwave_artifacts"),
    *("planwave_submissions", "planwave_answers", "planwave_pool_calls", "planwave_threads"),
)


def delete_ended_threads(
    run: StatementRunner,
    threads: Sequence[str],
    *,
    checkpoint_tables: Mapping[str, str],
    dry_run: bool,
    for_update: str,
) -> list[str]:
    """Delete, within a transaction, those of `threads` that nothing holds; return them, also if it is a `dry_run`.

    Left are the ones that a run has or had and did not give back, that have a write in doubt, and that have runs of
    other graphs. `checkpoint_tables` names the column of the thread in each table of LangGraph's.
    """
    marks = ", ".join("?" * len(threads))
    kept = {
        thread
        for query in (
            f"SELECT thread FROM planwave_threads WHERE is_open <> 0 AND thread IN ({marks})",
            f"SELECT thread FROM planwave_ledger WHERE state = 'started' AND thread IN ({marks})",
            f"SELECT thread_id FROM checkpoints WHERE checkpoint_ns <> '' AND thread_id IN ({marks})",
        )
        for (thread,) in run(query, *threads)
    }
    # Locked, so that no run takes one of them before it is gone; in order, so that two who do this do not block.
    leased = run(
        f"SELECT thread, owner FROM planwave_leases WHERE thread IN ({marks}) ORDER BY thread{for_update}", *threads
    )
    free = {thread for thread, owner in leased if owner is None}
    removed = [thread for thread in threads if thread in free - kept]
    if removed and not dry_run:
        marks = ", ".join("?" * len(removed))
        for table, column in {**checkpoint_tables, **dict.fromkeys(_OWN_TABLES, "thread")}.items():
            run(f"DELETE FROM {table} WHERE {column} IN ({marks})", *removed)
    return removed


def open_thread_row(run: StatementRunner, thread: str) -> None:
    """Mark a thread as one that a run has, within the transaction that gives it to the run."""
    run(
        "INSERT INTO planwave_threads (thread, version, is_open, newest) VALUES (?, 1, 1, ?) ON CONFLICT (thread)"
        " DO UPDATE SET version = planwave_threads.version + 1, is_open = 1, newest = excluded.newest",
        thread,
        str(uuid6()),
    )


def delete_thread_row(run: StatementRunner, thread: str) -> None:
    """Delete the row of a thread within a transaction."""
    run("DELETE FROM planwave_threads WHERE thread = ?", thread)
