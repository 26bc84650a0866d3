"""Processes forked off one that has imported everything, so that a test can afford hundreds of them."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_FORKS = multiprocessing.get_context("forkserver")
#: Whatever a run imports, so that a child imports next to nothing; `pytest` is what a child takes for its main module.
_FORKS.set_forkserver_preload(
    [
        "pytest",
        "cel",
        "graphs.plan_execute",
        "graphs.stores.postgres_store",
        "agent.structured",
        "anyio._backends._asyncio",
        "langchain_core.language_models.fake_chat_models",
    ]
)


@dataclass(frozen=True)
class Raised:
    """What a child's function raised."""

    name: str
    text: str


class Child:
    """A function, or a coroutine function, at work in a process of its own."""

    def __init__(self, work: Callable[..., Any], *args: Any) -> None:
        self._hears, tells = _FORKS.Pipe(duplex=False)
        self._process = _FORKS.Process(target=_tell, args=(tells, work, args))
        self._process.start()
        tells.close()

    def send(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def told(self, timeout_s: float = 120) -> Any:
        """Wait for the end and return what the function returned, `Raised`, or None where the process was killed."""
        try:
            if not self._hears.poll(timeout_s):
                self._process.kill()
                raise AssertionError(f"process {self._process.pid} was silent for {timeout_s} s")
            told = self._hears.recv()
        except EOFError:
            told = None
        self._process.join(timeout_s)
        if told is None:
            assert self._process.exitcode == -signal.SIGKILL, f"exit status {self._process.exitcode}"
        self._process.close()
        return told


def _tell(tells: Any, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        made = asyncio.run(work(*args)) if asyncio.iscoroutinefunction(work) else work(*args)
    except Exception as error:  # noqa: BLE001 - the parent judges it
        made = Raised(type(error).__name__, str(error))
    tells.send(made)
