"""Leases: one run at a time for each thread, and a fence that refuses the writes of any other.

A lease is a row with an epoch that grows whenever the thread gets another owner. Everything for a thread is written in
a transaction that first compares the epoch (a fencing token: Kleppmann, "How to do distributed locking", 2016).
"""

import os
import platform
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from agent.errors import LeaseLostError, PersistenceError, ThreadBusyError
from agent.logging_context import get_logger
from graphs.stores.database import StatementRunner, StoreDatabase
from graphs.stores.tables.threads import open_thread_row

_logger = get_logger(__name__)


class Owner(BaseModel):
    """A process, distinguished from a later one with the same number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    #: One boot of one machine or container, within which process numbers are unique.
    machine: str
    pid: int
    #: When it was started, in the clock ticks of the system; empty if the system does not say.
    pid_started: str

    def __str__(self) -> str:
        return f"{self.host} pid {self.pid}"

    def has_ended(self) -> bool:
        """Return whether the process is known to have ended; False if that cannot be known from here."""
        if self.machine != _identify_machine():
            return False
        if Path("/proc/self/stat").exists():
            return _read_start_time(self.pid) != self.pid_started
        if os.name != "posix":
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


def get_current_process() -> Owner:
    """Return the calling process; a forked child is another one."""
    return Owner(
        host=platform.node() or "this host",
        machine=_identify_machine(),
        pid=os.getpid(),
        pid_started=_read_start_time(os.getpid()) or "",
    )


@cache
def _identify_machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    if boot.exists():
        # Containers of one machine share the boot id but number their processes separately.
        return f"{boot.read_text().strip()}:{Path('/proc/self/ns/pid').stat().st_ino}"
    return f"{platform.node()}:{uuid.getnode():x}"


def _read_start_time(pid: int) -> str | None:
    """Return the start of a process in clock ticks from boot (proc_pid_stat(5), field 22); None if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field is a name in parentheses that may contain anything.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


_SELECT_LEASE = (
    "SELECT epoch, owner, host, machine, pid, pid_started, since, expires_at > {now} FROM planwave_leases"
    " WHERE thread = ?"
)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one run to write for a thread."""

    thread: str
    epoch: int
    #: Unique for each acquisition.
    token: str


@dataclass(frozen=True, slots=True)
class _LeaseRow:
    epoch: int
    token: str | None
    owner: Owner
    since: str
    is_unexpired: bool

    @property
    def is_live(self) -> bool:
        return self.token is not None and self.is_unexpired and not self.owner.has_ended()


@dataclass(slots=True)
class LeaseManager:
    """The leases of one database, and those that this process holds through it."""

    database: StoreDatabase
    #: Seconds for which a lease is valid without being renewed; it is renewed three times in that time.
    ttl_s: float
    closed: bool = False
    _held: dict[str, Lease] = field(default_factory=dict)
    #: By thread: the tokens of the runs that share its lease, each with the execution of a node that called it.
    _sharers: dict[str, dict[str, tuple[str, int] | None]] = field(default_factory=dict)
    #: Tokens of leases whose loss has been logged.
    _lost: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop_renewing: threading.Event = field(default_factory=threading.Event)
    _renewal: threading.Thread | None = None

    def acquire(self, thread: str, token: str, *, caller: tuple[str, int] | None = None, writes: bool = True) -> Lease:
        """Take the lease of a thread. Raises `ThreadBusyError` if a run, of this process or another, has it.

        Unless it only removes the thread, or looks at it (`writes` is False), the thread's own row is marked as open.

        A run that another graph calls has a `caller`: the task of that graph, and its execution in this process. Such
        runs share a lease that this process has; but not two executions of one task, which would do the same twice.
        """
        owner = get_current_process()
        if caller is not None:
            with self._lock:
                shared, sharers = self._held.get(thread), self._sharers.get(thread, {})
                if any(each and each[0] == caller[0] and each[1] != caller[1] for each in sharers.values()):
                    raise ThreadBusyError(
                        f"The same task on thread {thread!r} is being run by {owner}; wait for it, or stop it."
                    )
                if shared is not None:
                    sharers[token] = caller
                    return shared

        def take_lease(run: StatementRunner) -> tuple[int, _LeaseRow]:
            previous = self._lock_row(run, thread)
            if previous.token == token:
                return previous.epoch, previous
            _raise_if_live(previous, thread)
            taken = run(
                "UPDATE planwave_leases SET epoch = epoch + 1, owner = ?, host = ?, machine = ?, pid = ?,"
                f" pid_started = ?, since = ?, expires_at = {self.database.now_expression} + ?"
                " WHERE thread = ? RETURNING epoch",
                token,
                owner.host,
                owner.machine,
                owner.pid,
                owner.pid_started,
                datetime.now(UTC).isoformat(timespec="seconds"),
                self.ttl_s,
                thread,
            )
            if writes:
                open_thread_row(run, thread)
            return int(taken[0][0]), previous

        epoch, previous = self.database.run_in_transaction(take_lease)
        if previous.token not in {None, token}:
            _logger.warning(
                "Lease of thread %r taken over from %s, which had it since %s and did not release it",
                thread,
                previous.owner,
                previous.since,
                extra={"thread_id": thread},
            )
        _logger.info("Lease of thread %r taken, epoch %d", thread, epoch, extra={"thread_id": thread})
        lease = Lease(thread, epoch, token)
        with self._lock:
            self._held[thread] = lease
            self._sharers[thread] = {token: caller}
            if self._renewal is None:
                # In a thread of its own: an event loop that is kept busy must not lose the lease.
                self._renewal = threading.Thread(target=self._renew_all, name="planwave-leases", daemon=True)
                self._renewal.start()
        return lease

    def release(self, thread: str, token: str) -> None:
        """Release a thread; nothing happens if the token does not hold it, or not any more, or others share it."""
        with self._lock:
            lease, sharers = self._held.get(thread), self._sharers.get(thread, {})
            is_held = lease is not None and token in sharers
            if lease is not None and token in sharers:
                del sharers[token]
                if sharers:
                    return
                del self._held[thread], self._sharers[thread]
                token = lease.token
        self.database.run_in_transaction(
            lambda run: run(
                "UPDATE planwave_leases SET owner = NULL, expires_at = 0 WHERE thread = ? AND owner = ?", thread, token
            )
        )
        if is_held:
            _logger.debug("Lease of thread %r released", thread, extra={"thread_id": thread})

    def check_fence(self, run: StatementRunner, thread: str) -> None:
        """Let a transaction write for `thread`, or raise.

        Raises `LeaseLostError` if this process had the thread and another one took it over, `ThreadBusyError` if it
        never had it and another run has it.
        """
        lease = self._held.get(thread)
        if lease is not None:
            rows = run(f"SELECT epoch FROM planwave_leases WHERE thread = ?{self.database.for_share}", thread)
            if not rows or rows[0][0] != lease.epoch:
                _logger.warning(
                    "Write for thread %r refused: its lease, epoch %d, was taken over",
                    thread,
                    lease.epoch,
                    extra={"thread_id": thread},
                )
                raise LeaseLostError(
                    f"Another process took over thread {thread!r}, because this one did not renew its lease for more "
                    f"than {self.ttl_s:g} s; nothing was written. Look at the thread before you continue."
                )
            return
        row = self._lock_row(run, thread)
        _raise_if_live(row, thread)
        open_thread_row(run, thread)
        if row.token is not None:
            # Otherwise a paused owner could wake up and overwrite what is written now.
            _logger.warning("Lease of thread %r revoked from %s", thread, row.owner, extra={"thread_id": thread})
            run("UPDATE planwave_leases SET epoch = epoch + 1, owner = NULL, expires_at = 0 WHERE thread = ?", thread)

    def is_busy(self, thread: str) -> bool:
        """Return whether a run, of this process or another, has the thread, without locking or writing."""

        def query_lease(run: StatementRunner) -> bool:
            rows = run(_SELECT_LEASE.format(now=self.database.now_expression), thread)
            return bool(rows) and _parse_row(rows[0]).is_live

        return self.database.run_in_transaction(query_lease)

    def close(self) -> None:
        """Stop renewing and release what is still held."""
        self.closed = True
        self._stop_renewing.set()
        if self._renewal is not None:
            self._renewal.join()
        for thread, tokens in [(thread, list(sharers)) for thread, sharers in self._sharers.items()]:
            for token in tokens:
                self.release(thread, token)

    def _lock_row(self, run: StatementRunner, thread: str) -> _LeaseRow:
        """Return the row of the thread, locked; it is created if missing, so that there is always a row to lock."""
        run("INSERT INTO planwave_leases (thread, epoch) VALUES (?, 0) ON CONFLICT (thread) DO NOTHING", thread)
        return _parse_row(
            run(_SELECT_LEASE.format(now=self.database.now_expression) + self.database.for_update, thread)[0]
        )

    def _renew_all(self) -> None:
        while not self._stop_renewing.wait(self.ttl_s / 3):
            for lease in list(self._held.values()):
                try:
                    self._renew(lease)
                except PersistenceError as error:
                    # The next round tries again. If the lease is lost by then, the fence refuses the next write.
                    _logger.warning(
                        "Lease of thread %r not renewed: %s", lease.thread, error, extra={"thread_id": lease.thread}
                    )

    def _renew(self, lease: Lease) -> None:
        renewed = self.database.run_in_transaction(
            lambda run: run(
                f"UPDATE planwave_leases SET expires_at = {self.database.now_expression} + ?"
                " WHERE thread = ? AND owner = ? RETURNING epoch",
                self.ttl_s,
                lease.thread,
                lease.token,
            )
        )
        if renewed:
            _logger.debug("Lease of thread %r renewed", lease.thread, extra={"thread_id": lease.thread})
        # Not if it was released while this waited for the database.
        elif self._held.get(lease.thread) == lease and lease.token not in self._lost:
            self._lost.add(lease.token)
            _logger.warning(
                "Lease of thread %r lost: another process took it over",
                lease.thread,
                extra={"thread_id": lease.thread},
            )


def _parse_row(row: Sequence[Any]) -> _LeaseRow:
    epoch, token, host, machine, pid, started, since, in_time = row
    owner = Owner(host=host or "", machine=machine or "", pid=pid or 0, pid_started=started or "")
    return _LeaseRow(epoch, token, owner, since or "", bool(in_time))


def _raise_if_live(row: _LeaseRow, thread: str) -> None:
    if row.is_live:
        _logger.info("Thread %r is refused: %s has it", thread, row.owner, extra={"thread_id": thread})
        raise ThreadBusyError(
            f"Thread {thread!r} is being run by {row.owner} since {row.since}; wait for it, or stop it."
        )
