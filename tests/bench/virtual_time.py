"""An event loop whose clock jumps to the next timer as soon as there is nothing left to do."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):  # type: ignore[misc,valid-type]  # chosen per system
    """Waits for nothing but threads: a timer that would be waited for is reached at once."""

    def __init__(self) -> None:
        super().__init__()
        self.jumped = 0.0
        self.threads_at_work = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        found = super().select(0)
        if found:
            return found
        if self.threads_at_work:
            return super().select(0.05)
        self.jumped += timeout
        return found


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Work takes no time and sleeping takes none to wait for, so that a run shows its order alone."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the seconds that were slept."""
        return self._jumping.jumped

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":  # type: ignore[override]
        """Hold the clock while a thread works."""
        self._jumping.threads_at_work += 1
        made = super().run_in_executor(executor, func, *args)
        made.add_done_callback(self._back)
        return made

    def _back(self, _: "asyncio.Future[Any] | Future[Any]") -> None:
        self._jumping.threads_at_work -= 1


def run_in_virtual_time(work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns, on a loop of virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)
