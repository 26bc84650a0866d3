"""A ledger in memory, for graphs without persistence."""

import threading
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime

from agent.errors import StaleClaimError
from agent.ledger import Claim, Claimed, Grant, Intent, LedgerRow, Record, refusal, standing


class MemoryLedger:
    """Keeps the contract of `agent.ledger.Ledger` for as long as the process lives."""

    def __init__(self, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rows: dict[tuple[str, int, str, int], LedgerRow] = {}
        self._grants: dict[str, Grant] = {}
        self._used: set[str] = set()

    async def claim(self, intent: Intent, *, again: int | None = None) -> Claim:
        """See `Ledger.claim`."""
        with self._lock:
            row = self._rows.get(intent.key)
            if row is None and again is not None:
                raise StaleClaimError(f"There is no claim of {intent} to take over; claim it anew.")
            found = standing(row, intent, again=again) if row else None
            if found is not None:
                return found
            used = intent.approval in self._used
            no = refusal(intent, self._grants.get(intent.approval or ""), used=used, now=self._clock())
            if no is not None:
                return no
            if intent.approval is not None:
                self._used.add(intent.approval)
            epoch, since = (row.epoch + 1, row.since) if row else (1, self._clock().isoformat())
            self._rows[intent.key] = LedgerRow(
                intent=intent, state="started", epoch=epoch, owner="this process", since=since
            )
            return Claimed(epoch=epoch)

    async def complete(self, intent: Intent, *, epoch: int, record: Record) -> None:
        """See `Ledger.complete`."""
        with self._lock:
            row = self._rows.get(intent.key)
            if row is None or row.epoch != epoch:
                raise StaleClaimError(f"The claim of {intent} at epoch {epoch} is not held; nothing was recorded.")
            if row.state == "started":
                done = {"state": "done", "finished_at": self._clock().isoformat(), "record": record}
                self._rows[intent.key] = row.model_copy(update=done)

    async def grant(self, approvals: Sequence[Grant]) -> None:
        """See `Ledger.grant`."""
        with self._lock:
            for approval in approvals:
                if approval.digest not in self._used:
                    self._grants[approval.digest] = approval

    async def granted(self, digests: Collection[str]) -> set[str]:
        """See `Ledger.granted`."""
        now = self._clock()
        with self._lock:
            found = {digest: self._grants[digest] for digest in digests if digest in self._grants}
            return {digest for digest, one in found.items() if digest not in self._used and not one.expired(now=now)}

    async def rows(self, thread: str) -> list[LedgerRow]:
        """See `Ledger.rows`."""
        with self._lock:
            return [row for key, row in sorted(self._rows.items()) if key[0] == thread]

    async def forget(self, thread: str) -> None:
        """See `Ledger.forget`."""
        with self._lock:
            self._rows = {key: row for key, row in self._rows.items() if key[0] != thread}
            gone = {digest for digest, approval in self._grants.items() if approval.thread == thread}
            self._grants = {digest: approval for digest, approval in self._grants.items() if digest not in gone}
            self._used -= gone
