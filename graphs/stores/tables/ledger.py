"""The ledger of effects in SQL, behind the fence of the leases."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from langgraph.checkpoint.serde.base import SerializerProtocol

from agent.errors import StaleClaimError
from agent.execution.ledger import Claim, Claimed, Grant, Intent, LedgerRow, Record, refusal, standing
from graphs.stores.checkpoint_validation import reading
from graphs.stores.database import Database, Later, Run
from graphs.stores.tables.leases import Leases, this_process

_WHERE = "WHERE thread = ? AND revision = ? AND task = ? AND item = ?"
_COLUMNS = (
    "thread, revision, task, item, tool, args_digest, approval, state, epoch, owner, since, finished_at, record_type,"
    " record"
)
_GRANT = "digest, thread, revision, task, expires_at, granted_by"


class SqlLedger:
    """Keeps the contract of `agent.ledger.Ledger` in a database; records go through the serializer of checkpoints."""

    def __init__(
        self,
        database: Database,
        *,
        leases: Leases,
        serde: SerializerProtocol,
        later: Later,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._leases = leases
        self._serde = serde
        self._later = later
        self._clock = clock

    async def claim(self, intent: Intent, *, again: int | None = None) -> Claim:
        """See `Ledger.claim`."""
        # A claim whose commit arrived but whose answer was lost finds its own token.
        token = uuid4().hex
        return await self._later(
            self._database.transact, lambda run: self._claimed(run, intent, again=again, token=token)
        )

    def _claimed(self, run: Run, intent: Intent, *, again: int | None, token: str) -> Claim:
        self._leases.fence(run, intent.thread)
        rows = self._rows(run, intent)
        if not rows:
            if again is not None:
                raise StaleClaimError(f"There is no claim of {intent} to take over; claim it anew.")
            no = self._refusal(run, intent)
            if no is not None:
                return no
            if self._inserted(run, intent, token=token):
                self._use(run, intent)
                return Claimed(epoch=1)
            rows = self._rows(run, intent)
        row, holder = rows[0]
        if holder == token:
            return Claimed(epoch=row.epoch)
        found = standing(row, intent, again=again) or self._refusal(run, intent)
        if found is not None:
            return found
        self._use(run, intent)
        run(
            f"UPDATE planwave_ledger SET epoch = epoch + 1, claim = ?, owner = ?, approval = ? {_WHERE}",
            token,
            str(this_process()),
            intent.approval,
            *intent.key,
        )
        return Claimed(epoch=row.epoch + 1)

    def _inserted(self, run: Run, intent: Intent, *, token: str) -> bool:
        made = run(
            "INSERT INTO planwave_ledger (thread, revision, task, item, tool, args_digest, approval, state, epoch,"
            " claim, owner, since) VALUES (?, ?, ?, ?, ?, ?, ?, 'started', 1, ?, ?, ?)"
            " ON CONFLICT (thread, revision, task, item) DO NOTHING RETURNING epoch",
            *intent.key,
            intent.tool,
            intent.args_digest,
            intent.approval,
            token,
            str(this_process()),
            self._clock().isoformat(),
        )
        return bool(made)

    def _refusal(self, run: Run, intent: Intent) -> Claim | None:
        rows = run(
            f"SELECT {_GRANT}, used_at FROM planwave_approvals WHERE digest = ?{self._database.for_update}",
            intent.approval or "",
        )
        grant = _grant(rows[0]) if rows else None
        return refusal(intent, grant, used=bool(rows and rows[0][-1]), now=self._clock())

    def _use(self, run: Run, intent: Intent) -> None:
        if intent.approval is not None:
            run(
                "UPDATE planwave_approvals SET used_at = COALESCE(used_at, ?) WHERE digest = ?",
                self._clock().isoformat(),
                intent.approval,
            )

    async def complete(self, intent: Intent, *, epoch: int, record: Record) -> None:
        """See `Ledger.complete`."""
        tag, data = self._serde.dumps_typed(record)

        def work(run: Run) -> None:
            self._leases.fence(run, intent.thread)
            done = run(
                "UPDATE planwave_ledger SET state = 'done', finished_at = COALESCE(finished_at, ?),"
                " record_type = COALESCE(record_type, ?), record = COALESCE(record, ?)"
                f" {_WHERE} AND epoch = ? RETURNING epoch",
                self._clock().isoformat(),
                tag,
                data,
                *intent.key,
                epoch,
            )
            if not done:
                raise StaleClaimError(f"The claim of {intent} at epoch {epoch} is not held; nothing was recorded.")

        await self._later(self._database.transact, work)

    async def grant(self, approvals: Sequence[Grant]) -> None:
        """See `Ledger.grant`."""

        def work(run: Run) -> None:
            for thread in sorted({approval.thread for approval in approvals}):
                self._leases.fence(run, thread)
            for approval in approvals:
                run(
                    f"INSERT INTO planwave_approvals ({_GRANT}, granted_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT (digest) DO UPDATE SET expires_at = excluded.expires_at, granted_by ="
                    " excluded.granted_by, granted_at = excluded.granted_at WHERE planwave_approvals.used_at IS NULL",
                    approval.digest,
                    approval.thread,
                    approval.revision,
                    approval.task,
                    approval.expires_at,
                    approval.by,
                    self._clock().isoformat(),
                )

        await self._later(self._database.transact, work)

    async def granted(self, digests: Collection[str]) -> set[str]:
        """See `Ledger.granted`."""
        now, wanted = self._clock(), sorted(set(digests))

        def work(run: Run) -> set[str]:
            found = [
                run(f"SELECT {_GRANT} FROM planwave_approvals WHERE digest = ? AND used_at IS NULL", digest)
                for digest in wanted
            ]
            return {str(rows[0][0]) for rows in found if rows and not _grant(rows[0]).expired(now=now)}

        return await self._later(self._database.transact, work)

    async def rows(self, thread: str) -> list[LedgerRow]:
        """See `Ledger.rows`."""

        def work(run: Run) -> list[LedgerRow]:
            found = run(f"SELECT {_COLUMNS}, claim FROM planwave_ledger WHERE thread = ?", thread)
            # Sorted here, since databases differ in how they order texts.
            return sorted((self._row(columns) for columns in found), key=lambda row: row.intent.key)

        return await self._later(self._database.transact, work)

    async def forget(self, thread: str) -> None:
        """See `Ledger.forget`."""

        def work(run: Run) -> None:
            self._leases.fence(run, thread)
            forget_thread(run, thread)

        await self._later(self._database.transact, work)

    def _rows(self, run: Run, intent: Intent) -> list[tuple[LedgerRow, str]]:
        found = run(f"SELECT {_COLUMNS}, claim FROM planwave_ledger {_WHERE}{self._database.for_update}", *intent.key)
        return [(self._row(columns), columns[-1]) for columns in found]

    def _row(self, columns: tuple[Any, ...]) -> LedgerRow:
        (
            thread,
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
            _,
        ) = columns
        with reading(f"The ledger's row of task {task!r} on thread {thread!r}"):
            intent = Intent(
                thread=thread,
                revision=revision,
                task=task,
                item=None if item < 0 else item,
                tool=tool,
                args_digest=args_digest,
                approval=approval,
            )
            return LedgerRow(
                intent=intent,
                state=state,
                epoch=epoch,
                owner=owner,
                since=since,
                finished_at=finished,
                record=self._serde.loads_typed((tag, bytes(data))) if tag is not None else None,
            )


def forget_thread(run: Run, thread: str) -> None:
    """Delete the rows and approvals of a thread within a transaction."""
    run("DELETE FROM planwave_ledger WHERE thread = ?", thread)
    run("DELETE FROM planwave_approvals WHERE thread = ?", thread)


def _grant(columns: tuple[Any, ...]) -> Grant:
    digest, thread, revision, task, expires_at, by = columns[:6]
    return Grant(digest=digest, thread=thread, revision=revision, task=task, expires_at=expires_at, by=by)
