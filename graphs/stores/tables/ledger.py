"""The ledger of writes in SQL; its transactions pass the fence of the leases."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

from langgraph.checkpoint.serde.base import SerializerProtocol

from agent.errors import StaleClaimError
from agent.execution.ledger import (
    Claimed,
    ClaimResult,
    Grant,
    Intent,
    LedgerRecord,
    LedgerRow,
    StoredGrant,
    check_existing_row,
    check_grant,
    is_in_scope,
    join_stored_scope,
    split_scope,
)
from graphs.stores.checkpoint_validation import wrap_read_errors
from graphs.stores.database import BlockingRunner, StatementRunner, StoreDatabase
from graphs.stores.tables.leases import LeaseManager, get_current_process

_WHERE = "WHERE thread = ? AND run = ? AND revision = ? AND task = ? AND item = ?"
_COLUMNS = (
    "thread, run, revision, task, item, tool, args_digest, approval, state, epoch, owner, since, finished_at,"
    " record_type, record, cleared_epoch, cleared_by"
)
_GRANT_COLUMNS = "digest, thread, run, revision, task, expires_at, granted_by"


class SqlLedger:
    """Implements `agent.execution.ledger.Ledger` in a database; records are serialized as checkpoints are."""

    def __init__(
        self,
        database: StoreDatabase,
        *,
        leases: LeaseManager,
        serde: SerializerProtocol,
        run_on_worker: BlockingRunner,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._leases = leases
        self._serde = serde
        self._run_on_worker = run_on_worker
        self._clock = clock

    async def claim(
        self, intent: Intent, *, takeover_epoch: int | None = None, clearance: str | None = None
    ) -> ClaimResult:
        """See `Ledger.claim`."""
        # A claim that was committed but whose answer was lost recognizes its own token when it is made again.
        token = uuid4().hex
        return await self._run_on_worker(
            # A claim that a power cut takes back would let the write be made again. A lost completion only leaves a
            # doubt, and a lost approval is asked for again.
            partial(self._database.run_in_transaction, durable=True),
            lambda run: self._claim_row(run, intent, takeover_epoch=takeover_epoch, clearance=clearance, token=token),
        )

    def _claim_row(
        self, run: StatementRunner, intent: Intent, *, takeover_epoch: int | None, clearance: str | None, token: str
    ) -> ClaimResult:
        self._leases.check_fence(run, split_scope(intent.thread)[0])
        rows = self._select_for_update(run, intent)
        if not rows:
            if takeover_epoch is not None:
                raise StaleClaimError(f"There is no claim of {intent} to take over; claim it again.")
            refusal = self._check_approval(run, intent)
            if refusal is not None:
                return refusal
            if self._insert_claim(run, intent, token=token):
                self._mark_approval_used(run, intent)
                return Claimed(epoch=1)
            rows = self._select_for_update(run, intent)
        row, holder = rows[0]
        if holder == token:
            return Claimed(epoch=row.epoch)
        found = check_existing_row(row, intent, takeover_epoch=takeover_epoch, clearance=clearance)
        result = found or self._check_approval(run, intent)
        if result is not None:
            return result
        self._mark_approval_used(run, intent)
        run(
            "UPDATE planwave_ledger SET epoch = epoch + 1, claim = ?, owner = ?, approval = ?, cleared_epoch = epoch,"
            f" cleared_by = COALESCE(?, cleared_by) {_WHERE}",
            token,
            str(get_current_process()),
            intent.approval,
            clearance,
            *_get_key(intent),
        )
        return Claimed(epoch=row.epoch + 1)

    async def clear_doubt(self, intent: Intent, *, epoch: int, by: str) -> None:
        """See `Ledger.clear_doubt`."""

        def mark_cleared(run: StatementRunner) -> None:
            self._leases.check_fence(run, split_scope(intent.thread)[0])
            run(
                "UPDATE planwave_ledger SET cleared_epoch = epoch, cleared_by = ?"
                f" {_WHERE} AND tool = ? AND args_digest = ? AND state = 'started' AND epoch = ?",
                by,
                *_get_key(intent),
                intent.tool,
                intent.args_digest,
                epoch,
            )

        await self._run_on_worker(self._database.run_in_transaction, mark_cleared)

    def _insert_claim(self, run: StatementRunner, intent: Intent, *, token: str) -> bool:
        inserted = run(
            "INSERT INTO planwave_ledger (thread, run, revision, task, item, tool, args_digest, approval, state,"
            " epoch, claim, owner, since) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'started', 1, ?, ?, ?)"
            " ON CONFLICT (thread, run, revision, task, item) DO NOTHING RETURNING epoch",
            *_get_key(intent),
            intent.tool,
            intent.args_digest,
            intent.approval,
            token,
            str(get_current_process()),
            self._clock().isoformat(),
        )
        return bool(inserted)

    def _check_approval(self, run: StatementRunner, intent: Intent) -> ClaimResult | None:
        rows = run(
            f"SELECT {_GRANT_COLUMNS}, used_at FROM planwave_approvals WHERE digest = ?{self._database.for_update}",
            intent.approval or "",
        )
        grant = _parse_grant(rows[0]) if rows else None
        return check_grant(intent, grant, used=bool(rows and rows[0][-1]), now=self._clock())

    def _mark_approval_used(self, run: StatementRunner, intent: Intent) -> None:
        if intent.approval is not None:
            run(
                "UPDATE planwave_approvals SET used_at = COALESCE(used_at, ?) WHERE digest = ?",
                self._clock().isoformat(),
                intent.approval,
            )

    async def complete(self, intent: Intent, *, epoch: int, record: LedgerRecord) -> None:
        """See `Ledger.complete`."""
        tag, data = self._serde.dumps_typed(record)

        def mark_done(run: StatementRunner) -> None:
            self._leases.check_fence(run, split_scope(intent.thread)[0])
            done = run(
                "UPDATE planwave_ledger SET state = 'done', finished_at = COALESCE(finished_at, ?),"
                " record_type = COALESCE(record_type, ?), record = COALESCE(record, ?)"
                f" {_WHERE} AND epoch = ? RETURNING epoch",
                self._clock().isoformat(),
                tag,
                data,
                *_get_key(intent),
                epoch,
            )
            if not done:
                raise StaleClaimError(f"The claim of {intent} at epoch {epoch} was taken over; nothing was recorded.")

        await self._run_on_worker(self._database.run_in_transaction, mark_done)

    async def grant(self, approvals: Sequence[Grant]) -> None:
        """See `Ledger.grant`."""

        def insert_approvals(run: StatementRunner) -> None:
            for thread in sorted({split_scope(approval.thread)[0] for approval in approvals}):
                self._leases.check_fence(run, thread)
            for approval in approvals:
                run(
                    f"INSERT INTO planwave_approvals ({_GRANT_COLUMNS}, granted_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT (digest) DO UPDATE SET expires_at = excluded.expires_at, granted_by ="
                    " excluded.granted_by, granted_at = excluded.granted_at WHERE planwave_approvals.used_at IS NULL",
                    approval.digest,
                    *split_scope(approval.thread),
                    approval.revision,
                    approval.task,
                    approval.expires_at,
                    approval.by,
                    self._clock().isoformat(),
                )

        await self._run_on_worker(self._database.run_in_transaction, insert_approvals)

    async def find_usable_grants(self, digests: Collection[str]) -> set[str]:
        """See `Ledger.find_usable_grants`."""
        now = self._clock()

        def select_unused(run: StatementRunner) -> set[str]:
            selected = [
                run(f"SELECT {_GRANT_COLUMNS} FROM planwave_approvals WHERE digest = ? AND used_at IS NULL", digest)
                for digest in sorted(set(digests))
            ]
            return {str(rows[0][0]) for rows in selected if rows and not _parse_grant(rows[0]).is_expired(now=now)}

        return await self._run_on_worker(self._database.run_in_transaction, select_unused)

    async def list_rows(self, thread: str) -> list[LedgerRow]:
        """See `Ledger.list_rows`."""

        def select_rows(run: StatementRunner) -> list[LedgerRow]:
            rows = run(f"SELECT {_COLUMNS}, claim FROM planwave_ledger WHERE thread = ?", split_scope(thread)[0])
            found = [row for row in map(self._parse_row, rows) if is_in_scope(row.intent.thread, thread)]
            # Sorted here, because databases order texts differently.
            return sorted(found, key=lambda row: row.intent.key)

        return await self._run_on_worker(self._database.run_in_transaction, select_rows)

    async def list_grants(self, thread: str) -> list[StoredGrant]:
        """See `Ledger.list_grants`."""

        def select_grants(run: StatementRunner) -> list[StoredGrant]:
            rows = run(
                f"SELECT {_GRANT_COLUMNS}, granted_at, used_at FROM planwave_approvals WHERE thread = ?",
                split_scope(thread)[0],
            )
            found = [StoredGrant(grant=_parse_grant(row[:-2]), granted_at=row[-2], used_at=row[-1]) for row in rows]
            inside = [each for each in found if is_in_scope(each.grant.thread, thread)]
            return sorted(inside, key=lambda each: (each.granted_at, each.grant.digest))

        return await self._run_on_worker(self._database.run_in_transaction, select_grants)

    async def delete_thread(self, thread: str) -> None:
        """See `Ledger.delete_thread`."""

        def delete_rows(run: StatementRunner) -> None:
            self._leases.check_fence(run, thread)
            delete_ledger_rows(run, thread)

        await self._run_on_worker(self._database.run_in_transaction, delete_rows)

    def _select_for_update(self, run: StatementRunner, intent: Intent) -> list[tuple[LedgerRow, str]]:
        rows = run(
            f"SELECT {_COLUMNS}, claim FROM planwave_ledger {_WHERE}{self._database.for_update}", *_get_key(intent)
        )
        return [(self._parse_row(columns), columns[-1]) for columns in rows]

    def _parse_row(self, columns: tuple[Any, ...]) -> LedgerRow:
        (
            thread,
            run,
            revision,
            task,
            item,
            tool,
            args_digest,
            approval,
            state,
            epoch,
            owner,
            since,
            finished,
            tag,
            data,
            cleared_epoch,
            cleared_by,
            _,
        ) = columns
        with wrap_read_errors(f"The ledger's row of task {task!r} on thread {thread!r}"):
            intent = Intent(
                thread=join_stored_scope(thread, run),
                revision=revision,
                task=task,
                item=None if item < 0 else item,
                tool=tool,
                args_digest=args_digest,
                approval=approval,
                is_approval_waived=approval is None,
            )
            return LedgerRow(
                intent=intent,
                state=state,
                epoch=epoch,
                owner=owner,
                since=since,
                finished_at=finished,
                record=self._serde.loads_typed((tag, bytes(data))) if tag is not None else None,
                cleared_epoch=cleared_epoch,
                cleared_by=cleared_by,
            )


def _get_key(intent: Intent) -> tuple[str, str, int, str, int]:
    thread, run = split_scope(intent.thread)
    return thread, run, *intent.key[1:]


def delete_ledger_rows(run: StatementRunner, thread: str) -> None:
    """Delete the rows and approvals of a thread with all its runs within a transaction."""
    run("DELETE FROM planwave_ledger WHERE thread = ?", thread)
    run("DELETE FROM planwave_approvals WHERE thread = ?", thread)


def _parse_grant(columns: tuple[Any, ...]) -> Grant:
    digest, thread, run, revision, task, expires_at, by = columns[:7]
    scope = join_stored_scope(thread, run)
    return Grant(digest=digest, thread=scope, revision=revision, task=task, expires_at=expires_at, by=by)
