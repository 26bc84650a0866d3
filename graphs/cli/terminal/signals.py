"""Ctrl-C and SIGTERM: the first signal stops the run so that it can be resumed, the second ends the process."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, TypeVar

T = TypeVar("T")
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR: Final = b"\x1b[?25h"


class SignalInterrupt(Exception):  # noqa: N818 - a request of the user, not an error
    """The run was told to stop; `status` is the exit status that shells expect: 128 plus the number of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


class Stopper:
    """Catches the signals within `catch_signals`; one for each process, in its main thread."""

    def __init__(self, *, on_stop: Callable[[], None]) -> None:
        """Call `on_stop` in the event loop before the running work is cancelled."""
        self._on_stop = on_stop
        self._signal: int | None = None
        self._task: asyncio.Task[object] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextmanager
    def catch_signals(self) -> Iterator[None]:
        """Catch the signals inside the block."""
        previous = {number: signal.signal(number, self._handle_signal) for number in _SIGNALS}
        try:
            with self.translate_interrupt():
                yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @contextmanager
    def translate_interrupt(self) -> Iterator[None]:
        """Turn the `KeyboardInterrupt` by which a signal ends a prompt into `SignalInterrupt`."""
        try:
            yield
        except KeyboardInterrupt:
            raise SignalInterrupt(self._signal or signal.SIGINT) from None

    async def run(self, work: Coroutine[object, object, T]) -> T:
        """Return what `work` returns. Raises `SignalInterrupt` if a signal cancelled it.

        Outside of this call a signal raises `KeyboardInterrupt` immediately, in whatever blocks the main thread.
        """
        task = asyncio.ensure_future(work)
        self._loop, self._task = asyncio.get_running_loop(), task
        try:
            return await task
        except asyncio.CancelledError:
            if self._signal is None:
                raise
            raise SignalInterrupt(self._signal) from None
        finally:
            self._task = None

    def _handle_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._signal is not None:
            if sys.stdout.isatty():
                os.write(sys.stdout.fileno(), _SHOW_CURSOR)
            os._exit(128 + number)
        self._signal = number
        if self._task is None or self._loop is None:
            raise KeyboardInterrupt
        self._loop.call_soon_threadsafe(self._cancel_task, self._task)

    def _cancel_task(self, task: "asyncio.Task[object]") -> None:
        self._on_stop()
        task.cancel()
