"""Processes forked off one that has imported everything, so that a test can afford hundreds of them."""

import asyncio
import atexit
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

_FORKS = multiprocessing.get_context("forkserver")
#: Whatever a run imports, so that a child imports next to nothing; `pytest` is what a child takes for its main module.
_FORKS.set_forkserver_preload(
    [
        "pytest",
        "cel",
        "graphs.plan_execute",
        "graphs.stores.postgres",
        "graphs.workers.worker",
        "agent.llm.structured_output",
        "langchain.agents",
        "anyio._backends._asyncio",
        "langchain_core.language_models.fake_chat_models",
    ]
)


@dataclass(frozen=True)
class Raised:
    """What a child's function raised."""

    name: str
    text: str


#: What is heard of a child that was killed.
KILLED = object()
_CHILDREN: set[Any] = set()
#: Whoever starts a process has `multiprocessing` read the status of all that have ended, and a status that two threads
#: read at once is lost to one of them.
_STATUS = threading.Lock()


@atexit.register
def _end_children() -> None:
    """Kill what a failed test left behind, before `multiprocessing` waits for it: it may be paused."""
    for child in _CHILDREN:
        child.kill()


def barrier(parties: int) -> Any:
    """Return what children wait at until all have come."""
    return _FORKS.Barrier(parties)


class Child:
    """A function, or a coroutine function, at work in a process of its own."""

    def __init__(self, work: Callable[..., Any], *args: Any, **options: Any) -> None:
        self._hears, tells = _FORKS.Pipe(duplex=False)
        self._process = _FORKS.Process(target=_tell, args=(tells, work, args, options))
        with _STATUS:
            self._process.start()
        _CHILDREN.add(self._process)
        tells.close()

    def send(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    def send_group(self, number: signal.Signals) -> None:
        """Send a signal to the child and to the processes that it has started, where it leads a group of its own."""
        os.killpg(self._process.pid, number)

    @property
    def pid(self) -> int:
        return int(self._process.pid or 0)

    @property
    def alive(self) -> bool:
        with _STATUS:
            return self._process.is_alive()

    def told(self, timeout_s: float = 120) -> Any:
        """Wait for the end and return what the function returned, `Raised`, or `KILLED`."""
        told: Any = KILLED
        if not self._hears.poll(timeout_s):
            self._process.kill()
            raise AssertionError(f"process {self._process.pid} was silent for {timeout_s} s")
        with contextlib.suppress(EOFError):
            told = self._hears.recv()
        wait([self._process.sentinel], timeout_s)
        with _STATUS:
            self._process.join(0)
            status = self._process.exitcode
        if told is KILLED:
            assert status == -signal.SIGKILL, f"exit status {status}"
        _CHILDREN.discard(self._process)
        self._process.close()
        return told


def _tell(tells: Any, work: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> None:
    try:
        made = work(*args, **options)
        if asyncio.iscoroutine(made):
            made = asyncio.run(made)
    except Exception as error:  # noqa: BLE001 - the parent judges it
        made = Raised(type(error).__name__, str(error))
    tells.send(made)
