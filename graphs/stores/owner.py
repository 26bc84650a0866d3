"""Who holds a lease: a process of a machine, and whether it is known to be gone."""

import os
import platform
import uuid
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict


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

    def gone(self) -> bool:
        """Whether the process is known to have ended; False where that cannot be known from here."""
        if self.machine != _machine():
            return False
        if Path("/proc/self/stat").exists():
            return _started(self.pid) != self.pid_started
        if os.name != "posix":
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


def this_process() -> Owner:
    """Return the process that asks; a forked child is another."""
    return Owner(
        host=platform.node() or "this host",
        machine=_machine(),
        pid=os.getpid(),
        pid_started=_started(os.getpid()) or "",
    )


@cache
def _machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    if boot.exists():
        # Containers of one machine share the boot but count their processes apart.
        return f"{boot.read_text().strip()}:{Path('/proc/self/ns/pid').stat().st_ino}"
    return f"{platform.node()}:{uuid.getnode():x}"


def _started(pid: int) -> str | None:
    """Return the clock ticks from boot to the process's start (proc_pid_stat(5), field 22); None where it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field is a name in parentheses that may hold anything.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]
