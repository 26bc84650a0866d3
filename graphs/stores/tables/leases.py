"""Leases: one run at a time for each thread, and a fence that stops the record of any other.

A lease is a row with an epoch that grows whenever the thread changes hands. Whatever is written for a thread is written
in a transaction that first compares the epoch (a fencing token: Kleppmann, "How to do distributed locking", 2016).
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
from graphs.stores.database import StatementRunner, StoreDatabase


class Owner(BaseModel):
    """A process, told apart from a later one with the same number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    #: One boot of one machine or container; process numbers mean nothing beyond it.
    machine: str
    pid: int
    #: When it was started, as the system counts; empty where the system does not say.
    pid_started: str

    def __str__(self) -> str:
        return f"{self.host} pid {self.pid}"

    def has_ended(self) -> bool:
        """Whether the process is known to have ended; False where that cannot be known from here."""
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
    """Return the process that asks; a forked child is another."""
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
        # Containers of one machine share the boot but count their processes apart.
        return f"{boot.read_text().strip()}:{Path('/proc/self/ns/pid').stat().st_ino}"
    return f"{platform.node()}:{uuid.getnode():x}"


def _read_start_time(pid: int) -> str | None:
    """Return the clock ticks from boot to the process's start (proc_pid_stat(5), field 22); None where it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field is a name in parentheses that may hold anything.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


_SELECT_LEASE = (
    "SELECT epoch, owner, host, machine, pid, pid_started, since, expires_at > {now} FROM planwave_leases"
    " WHERE thread = ?"
)


@dataclass(frozen=True, slots=True)
class Lease:
    """A thread held by one run."""

    thread: str
    epoch: int
    #: Different for every acquisition.
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
    """The leases of one database, and those of them that this process holds through it."""

    database: StoreDatabase
    #: How long a lease holds without being renewed, in seconds; it is renewed three times as often.
    ttl_s: float
    closed: bool = False
    _held: dict[str, Lease] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop_renewing: threading.Event = field(default_factory=threading.Event)
    _renewal: threading.Thread | None = None

    def acquire(self, thread: str, token: str) -> Lease:
        """Take a thread. Raises `ThreadBusyError` where a run, of this process or another, has it."""
        owner = get_current_process()

        def take_lease(run: StatementRunner) -> int:
            found = self._lock_row(run, thread)
            if found.token == token:
                return found.epoch
            _raise_if_live(found, thread)
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
            return int(taken[0][0])

        lease = Lease(thread, self.database.run_in_transaction(take_lease), token)
        with self._lock:
            self._held[thread] = lease
            if self._renewal is None:
                # A thread of its own: an event loop that is kept busy must not cost the lease.
                self._renewal = threading.Thread(target=self._renew_all, name="planwave-leases", daemon=True)
                self._renewal.start()
        return lease

    def release(self, thread: str, token: str) -> None:
        """Give a thread back; nothing happens where it is not, or no more, held by that token."""
        with self._lock:
            lease = self._held.get(thread)
            if lease is not None and lease.token == token:
                del self._held[thread]
        self.database.run_in_transaction(
            lambda run: run(
                "UPDATE planwave_leases SET owner = NULL, expires_at = 0 WHERE thread = ? AND owner = ?", thread, token
            )
        )

    def check_fence(self, run: StatementRunner, thread: str) -> None:
        """Let a transaction write for `thread`, or raise.

        Raises `LeaseLostError` where this process had the thread and another took it over, `ThreadBusyError` where it
        never had it and another run is at it.
        """
        lease = self._held.get(thread)
        if lease is not None:
            rows = run(f"SELECT epoch FROM planwave_leases WHERE thread = ?{self.database.for_share}", thread)
            if not rows or rows[0][0] != lease.epoch:
                raise LeaseLostError(
                    f"Another process has taken thread {thread!r} over, since this one was silent for more than "
                    f"{self.ttl_s:g} s; nothing was written. See what the other makes of it before you go on."
                )
            return
        found = self._lock_row(run, thread)
        _raise_if_live(found, thread)
        if found.token is not None:
            # Else a paused owner could wake up and write over what is written now.
            run("UPDATE planwave_leases SET epoch = epoch + 1, owner = NULL, expires_at = 0 WHERE thread = ?", thread)

    def is_busy(self, thread: str) -> bool:
        """Return whether a run, of this process or another, has the thread; nothing is locked or written."""

        def query_lease(run: StatementRunner) -> bool:
            rows = run(_SELECT_LEASE.format(now=self.database.now_expression), thread)
            return bool(rows) and _parse_row(rows[0]).is_live

        return self.database.run_in_transaction(query_lease)

    def close(self) -> None:
        """Give back what is still held and stop renewing."""
        self.closed = True
        self._stop_renewing.set()
        if self._renewal is not None:
            self._renewal.join()
        for lease in list(self._held.values()):
            self.release(lease.thread, lease.token)

    def _lock_row(self, run: StatementRunner, thread: str) -> _LeaseRow:
        """Return the thread's row, locked; made where there is none, so that there is always a row to lock."""
        run("INSERT INTO planwave_leases (thread, epoch) VALUES (?, 0) ON CONFLICT (thread) DO NOTHING", thread)
        return _parse_row(
            run(_SELECT_LEASE.format(now=self.database.now_expression) + self.database.for_update, thread)[0]
        )

    def _renew_all(self) -> None:
        while not self._stop_renewing.wait(self.ttl_s / 3):
            for lease in list(self._held.values()):
                try:
                    self._renew(lease)
                except PersistenceError:
                    # The next round tries again; if the lease is lost by then, the fence says so to whoever writes.
                    continue

    def _renew(self, lease: Lease) -> None:
        self.database.run_in_transaction(
            lambda run: run(
                f"UPDATE planwave_leases SET expires_at = {self.database.now_expression} + ?"
                " WHERE thread = ? AND owner = ?",
                self.ttl_s,
                lease.thread,
                lease.token,
            )
        )


def _parse_row(row: Sequence[Any]) -> _LeaseRow:
    epoch, token, host, machine, pid, started, since, in_time = row
    owner = Owner(host=host or "", machine=machine or "", pid=pid or 0, pid_started=started or "")
    return _LeaseRow(epoch, token, owner, since or "", bool(in_time))


def _raise_if_live(found: _LeaseRow, thread: str) -> None:
    if found.is_live:
        raise ThreadBusyError(
            f"Thread {thread!r} is being run by {found.owner} since {found.since}; wait for it, or stop it."
        )
