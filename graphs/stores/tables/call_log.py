"""The log of calls in SQL; writes pass the fence of the leases."""

from collections.abc import Collection, Sequence
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol

from agent.execution.call_log import LoggedCall
from agent.execution.ledger import join_stored_scope, split_scope
from graphs.stores.checkpoint_validation import wrap_read_errors
from graphs.stores.database import BlockingRunner, StatementRunner, StoreDatabase
from graphs.stores.tables.leases import LeaseManager

_COLUMNS = "thread, run, revision, task, item, tool, mark, attempts, started_at, record_type, record"
_UPSERT = (
    f"INSERT INTO planwave_calls ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (thread, run, revision, task, item) DO UPDATE SET tool = excluded.tool, mark = excluded.mark,"
    " attempts = excluded.attempts, started_at = excluded.started_at, record_type = excluded.record_type,"
    " record = excluded.record"
)


class SqlCallLog:
    """Implements `agent.execution.call_log.CallLog` in a database; records are serialized as checkpoints are.

    Each batch is one transaction, so that the items of a large `for_each` cost little more than their bytes.
    """

    def __init__(
        self, database: StoreDatabase, *, leases: LeaseManager, serde: SerializerProtocol, run_on_worker: BlockingRunner
    ) -> None:
        self._database = database
        self._leases = leases
        self._serde = serde
        self._run_on_worker = run_on_worker

    async def save_calls(self, calls: Sequence[LoggedCall]) -> None:
        """See `CallLog.save_calls`."""
        rows = [self._to_columns(call) for call in calls]

        def upsert_calls(run: StatementRunner) -> None:
            for thread in sorted({split_scope(call.thread)[0] for call in calls}):
                self._leases.check_fence(run, thread)
            for row in rows:
                run(_UPSERT, *row)

        await self._run_on_worker(self._database.run_in_transaction, upsert_calls)

    async def load_task_calls(self, thread: str, *, revision: int, task: str, tool: str) -> list[LoggedCall]:
        """See `CallLog.load_task_calls`."""
        condition = "((revision = ? AND task = ?) OR (revision < ? AND tool = ? AND record IS NOT NULL))"
        return await self._select_calls(thread, condition, revision, task, revision, tool)

    async def load_retryable_calls(self, thread: str, *, revision: int) -> list[LoggedCall]:
        """See `CallLog.load_retryable_calls`."""
        return await self._select_calls(thread, "revision = ? AND record IS NULL", revision)

    async def delete_calls(self, thread: str, tasks: Collection[str] | None = None) -> None:
        """See `CallLog.delete_calls`."""

        def delete_rows(run: StatementRunner) -> None:
            own = split_scope(thread)
            self._leases.check_fence(run, own[0])
            if tasks is None:
                run("DELETE FROM planwave_calls WHERE thread = ? AND run = ?", *own)
            for task in sorted(tasks or ()):
                run("DELETE FROM planwave_calls WHERE thread = ? AND run = ? AND task = ?", *own, task)

        await self._run_on_worker(self._database.run_in_transaction, delete_rows)

    async def _select_calls(self, thread: str, condition: str, *values: object) -> list[LoggedCall]:
        def select_rows(run: StatementRunner) -> list[LoggedCall]:
            rows = run(
                f"SELECT {_COLUMNS} FROM planwave_calls WHERE thread = ? AND run = ? AND {condition}",
                *split_scope(thread),
                *values,
            )
            # Sorted here, because databases order texts differently.
            return sorted(map(self._parse_call, rows), key=lambda call: call.key)

        return await self._run_on_worker(self._database.run_in_transaction, select_rows)

    def _to_columns(self, call: LoggedCall) -> tuple[Any, ...]:
        tag, data = self._serde.dumps_typed(call.record) if call.record is not None else (None, None)
        return *split_scope(call.thread), *call.key[1:], call.tool, call.mark, call.attempts, call.started_at, tag, data

    def _parse_call(self, columns: tuple[Any, ...]) -> LoggedCall:
        thread, run, revision, task, item, tool, mark, attempts, started_at, tag, data = columns
        with wrap_read_errors(f"The log of the calls of task {task!r} on thread {thread!r}"):
            return LoggedCall(
                thread=join_stored_scope(thread, run),
                revision=revision,
                task=task,
                item=None if item < 0 else item,
                tool=tool,
                mark=mark,
                attempts=attempts,
                started_at=started_at,
                record=self._serde.loads_typed((tag, bytes(data))) if tag is not None else None,
            )


def delete_call_rows(run: StatementRunner, thread: str) -> None:
    """Delete the logged calls of a thread with all its runs within a transaction."""
    run("DELETE FROM planwave_calls WHERE thread = ?", thread)
