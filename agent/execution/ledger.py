"""The ledger of writes: what is about to be written, what was written, and which approvals cover it.

A row is claimed before a write and completed after it, so that a crash in between is detected and nobody has to guess.
"""

import re
import threading
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Final, Literal, Protocol
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, JsonValue, field_validator

from agent.errors import StaleClaimError, UsageError

LedgerRecord = dict[str, JsonValue]

#: Between the thread and the run in a scope; no name of a thread has it.
_SEPARATOR: Final = "\x1e"
_RUN_PATTERN: Final = re.compile(r"(?:.*/)?run-[0-9a-f]{32}", re.DOTALL)
_RUN_ID_PATTERN: Final = re.compile("run-[0-9a-f]{32}")


def create_run_id() -> str:
    """Return a new id for a run."""
    return f"run-{uuid4().hex}"


def is_run_id(text: str) -> bool:
    """Whether `create_run_id` may have made `text`; earlier releases made ids of another form."""
    return _RUN_ID_PATTERN.fullmatch(text) is not None


def join_scope(thread: str, run_id: str, *, namespace: str = "") -> str:
    """Return the scope of a run: the text that tells its calls and approvals from those of every other run.

    A thread may have many runs, one after another or, as parts of another graph, side by side, each in a checkpoint
    `namespace` of its own. A copied thread has the same run ids, but another scope. A run that was stored before runs
    had scopes, whose id has another form, has the whole thread for its scope, as it had then.
    Raises `UsageError` for the name of a thread that cannot be told from a scope.
    """
    if _SEPARATOR in thread:
        raise UsageError(f"The thread id {thread!r} holds the character U+001E, which is reserved; leave it out.")
    if not is_run_id(run_id):
        return thread
    return join_stored_scope(thread, f"{namespace}/{run_id}" if namespace else run_id)


def split_scope(scope: str) -> tuple[str, str]:
    """Return the thread of a scope, and the run on it: `[namespace/]run id`, or "" if the scope is a whole thread."""
    thread, _, run = scope.partition(_SEPARATOR)
    return (thread, run) if _RUN_PATTERN.fullmatch(run) else (scope, "")


def join_stored_scope(thread: str, run: str) -> str:
    """Return the scope that `split_scope` made the two parts of."""
    return f"{thread}{_SEPARATOR}{run}" if run else thread


def is_in_scope(scope: str, wanted: str) -> bool:
    """Return whether `scope` is `wanted`, or a run on it if `wanted` is a whole thread."""
    return scope == wanted or split_scope(scope)[0] == wanted


class _FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Intent(_FrozenModel):
    """One call that is about to be made."""

    #: The scope of the run, see `join_scope`.
    thread: str
    revision: int
    task: str
    #: Position within a `for_each`; None if the task is one call.
    item: int | None = None
    tool: str
    #: Digest of the tool and its resolved arguments.
    args_digest: str
    #: Digest of the approval that covers the call.
    approval: str | None = None
    #: Whether the run's settings let writes be made without an approval, so that there is none.
    is_approval_waived: bool = False

    @property
    def key(self) -> tuple[str, int, str, int]:
        """What identifies the call after a restart; -1 stands for no item."""
        return self.thread, self.revision, self.task, -1 if self.item is None else self.item

    def __str__(self) -> str:
        of_item = "" if self.item is None else f", item {self.item}"
        return f"task {self.task!r}{of_item} of revision {self.revision} on thread {split_scope(self.thread)[0]!r}"


class Claimed(_FrozenModel):
    """The row is the caller's: make the call, then complete it with this epoch."""

    found: Literal["claimed"] = "claimed"
    epoch: int


class FoundDone(_FrozenModel):
    """The call was made before and this is its record; do not make it again."""

    found: Literal["done"] = "done"
    record: LedgerRecord


class FoundStarted(_FrozenModel):
    """The call was begun before and it is not known whether it took effect.

    Claim with `takeover_epoch=epoch` if it is cleared, or with a clearance of your own.
    """

    found: Literal["started"] = "started"
    epoch: int
    #: ISO 8601 with UTC offset.
    since: str
    #: Who began it: host and process.
    owner: str
    #: Why this attempt may be made again, if it may.
    cleared_by: str | None = None


class NotApproved(_FrozenModel):
    """The call must not be made and nothing was written; `reason` is a sentence."""

    found: Literal["not_approved"] = "not_approved"
    reason: str


ClaimResult = Claimed | FoundDone | FoundStarted | NotApproved


class Grant(_FrozenModel):
    """An approval of exactly one task's call or calls, for a single use."""

    digest: str
    thread: str
    revision: int
    task: str
    #: ISO 8601 with UTC offset; None: never.
    expires_at: str | None = None
    #: Who approved.
    by: str = ""

    @field_validator("expires_at")
    @classmethod
    def _require_utc_offset(cls, given: str | None) -> str | None:
        if given is not None and datetime.fromisoformat(given).tzinfo is None:
            raise ValueError(f"the time {given!r} has no UTC offset")
        return given

    def is_expired(self, *, now: datetime) -> bool:
        """Whether the approval has expired."""
        return self.expires_at is not None and datetime.fromisoformat(self.expires_at) <= now


class StoredGrant(_FrozenModel):
    """An approval as it is stored. Times are ISO 8601 with UTC offset."""

    grant: Grant
    granted_at: str
    #: When a call was made with it; None: not yet.
    used_at: str | None = None


class LedgerRow(_FrozenModel):
    """A row as it is stored."""

    intent: Intent
    state: Literal["started", "done"]
    epoch: int
    owner: str
    #: When it was first claimed; ISO 8601 with UTC offset, like `finished_at`.
    since: str
    finished_at: str | None = None
    record: LedgerRecord | None = None
    #: The last attempt that was cleared to be made again, and why: a person's word, a verdict, or a repeatable call.
    cleared_epoch: int | None = None
    cleared_by: str | None = None


class Ledger(Protocol):
    """Where writes are recorded. Every method is atomic and may be called from any event loop.

    With leases, the methods that write raise `LeaseLostError` or `ThreadBusyError` as saving a checkpoint does.
    """

    async def claim(
        self, intent: Intent, *, takeover_epoch: int | None = None, clearance: str | None = None
    ) -> ClaimResult:
        """Claim the row of a call, or return what was found in it.

        The approval that the intent names is used up in the same transaction. `takeover_epoch` takes over a row that
        was found started at that epoch, if `clear_doubt` has cleared it or `clearance` says why it may be made again,
        which is stored; if another process was quicker, the newer epoch is returned as `FoundStarted`. Raises
        `StaleClaimError` if there is no row to take over.
        """
        ...

    async def clear_doubt(self, intent: Intent, *, epoch: int, by: str) -> None:
        """Store that the attempt at `epoch` had no effect, according to `by`, so that the call may be made once more.

        Does nothing if the row is of another call, done, or at another epoch: what was said is not about that attempt.
        """
        ...

    async def complete(self, intent: Intent, *, epoch: int, record: LedgerRecord) -> None:
        """Record the result of a call. The first record stays, so that completing twice is harmless.

        Raises `StaleClaimError` if the row is not, or no longer, at that epoch.
        """
        ...

    async def grant(self, approvals: Sequence[Grant]) -> None:
        """Store approvals, all or none; one that was used stays used, even if it is granted again."""
        ...

    async def find_usable_grants(self, digests: Collection[str]) -> set[str]:
        """Return those of `digests` that are granted and neither expired nor used."""
        ...

    async def list_rows(self, thread: str) -> list[LedgerRow]:
        """Return the rows of the run with this scope, or of all runs on a thread, by run, revision, task and item."""
        ...

    async def list_grants(self, thread: str) -> list[StoredGrant]:
        """Return the approvals of the run with this scope, or of all runs on a thread, in the order they were given."""
        ...

    async def delete_thread(self, thread: str) -> None:
        """Delete the rows and approvals of a thread with all its runs."""
        ...


def is_same_call(row: LedgerRow, intent: Intent) -> bool:
    """Whether the call in `row` is that of `intent`, which has the same key."""
    return (row.intent.tool, row.intent.args_digest) == (intent.tool, intent.args_digest)


def check_existing_row(
    row: LedgerRow, intent: Intent, *, takeover_epoch: int | None, clearance: str | None
) -> ClaimResult | None:
    """Return what a claim finds in `row`, or None if the claim takes the row over."""
    if not is_same_call(row, intent):
        return NotApproved(reason=f"Another call was made or begun as {intent}; plan it again under another revision.")
    if row.state == "done":
        return FoundDone(record=row.record or {})
    cleared_by = row.cleared_by if row.cleared_epoch == row.epoch else None
    if takeover_epoch != row.epoch or not (clearance or cleared_by):
        return FoundStarted(epoch=row.epoch, since=row.since, owner=row.owner, cleared_by=cleared_by)
    return None


def check_grant(intent: Intent, grant: Grant | None, *, used: bool, now: datetime) -> NotApproved | None:
    """Return why `intent` may not be claimed with the approval that it names, or with none; None if it may.

    An approval that the same task has used already covers its other items and its further attempts, expired or not:
    it was valid when the task began, and it could not be granted again.
    """
    if intent.approval is None and intent.is_approval_waived:
        return None
    if grant is None:
        return NotApproved(reason=f"Nobody has approved {intent} exactly as it is now.")
    if (grant.thread, grant.revision, grant.task) != intent.key[:3]:
        return NotApproved(reason=f"The approval was given for another call than {intent}.")
    if not used and grant.is_expired(now=now):
        return NotApproved(reason=f"The approval of {intent} expired at {grant.expires_at}; approve it again.")
    return None


class MemoryLedger:
    """A `Ledger` in memory, for graphs without persistence."""

    def __init__(self, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rows: dict[tuple[str, int, str, int], LedgerRow] = {}
        self._grants: dict[str, Grant] = {}
        self._granted_at: dict[str, str] = {}
        #: When each was used.
        self._used: dict[str, str] = {}

    async def claim(
        self, intent: Intent, *, takeover_epoch: int | None = None, clearance: str | None = None
    ) -> ClaimResult:
        """See `Ledger.claim`."""
        with self._lock:
            row = self._rows.get(intent.key)
            if row is None and takeover_epoch is not None:
                raise StaleClaimError(f"There is no claim of {intent} to take over; claim it without an epoch.")
            if row is not None:
                found = check_existing_row(row, intent, takeover_epoch=takeover_epoch, clearance=clearance)
                if found is not None:
                    return found
                if clearance is not None:
                    row = row.model_copy(update={"cleared_epoch": row.epoch, "cleared_by": clearance})
            used = intent.approval in self._used
            no = check_grant(intent, self._grants.get(intent.approval or ""), used=used, now=self._clock())
            if no is not None:
                return no
            if intent.approval is not None:
                self._used.setdefault(intent.approval, self._clock().isoformat())
            self._rows[intent.key] = (
                row.model_copy(update={"intent": intent, "epoch": row.epoch + 1})
                if row is not None
                else LedgerRow(
                    intent=intent, state="started", epoch=1, owner="this process", since=self._clock().isoformat()
                )
            )
            return Claimed(epoch=self._rows[intent.key].epoch)

    async def clear_doubt(self, intent: Intent, *, epoch: int, by: str) -> None:
        """See `Ledger.clear_doubt`."""
        with self._lock:
            row = self._rows.get(intent.key)
            if row is not None and is_same_call(row, intent) and (row.state, row.epoch) == ("started", epoch):
                self._rows[intent.key] = row.model_copy(update={"cleared_epoch": epoch, "cleared_by": by})

    async def complete(self, intent: Intent, *, epoch: int, record: LedgerRecord) -> None:
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
                    self._granted_at[approval.digest] = self._clock().isoformat()

    async def find_usable_grants(self, digests: Collection[str]) -> set[str]:
        """See `Ledger.find_usable_grants`."""
        now = self._clock()
        with self._lock:
            found = {digest: self._grants[digest] for digest in digests if digest in self._grants}
            return {digest for digest, one in found.items() if digest not in self._used and not one.is_expired(now=now)}

    async def list_rows(self, thread: str) -> list[LedgerRow]:
        """See `Ledger.list_rows`."""
        with self._lock:
            return [row for key, row in sorted(self._rows.items()) if is_in_scope(key[0], thread)]

    async def list_grants(self, thread: str) -> list[StoredGrant]:
        """See `Ledger.list_grants`."""
        with self._lock:
            found = [
                StoredGrant(grant=grant, granted_at=self._granted_at[digest], used_at=self._used.get(digest))
                for digest, grant in self._grants.items()
                if is_in_scope(grant.thread, thread)
            ]
        return sorted(found, key=lambda each: each.granted_at)

    async def delete_thread(self, thread: str) -> None:
        """See `Ledger.delete_thread`."""
        with self._lock:
            self._rows = {key: row for key, row in self._rows.items() if not is_in_scope(key[0], thread)}
            gone = {digest for digest, approval in self._grants.items() if is_in_scope(approval.thread, thread)}
            self._grants = {digest: approval for digest, approval in self._grants.items() if digest not in gone}
            for digest in gone:
                self._used.pop(digest, None)
