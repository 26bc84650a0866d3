"""A run that can be stopped: nothing new starts, what runs is given time to end, and what finished is kept."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from typing import Any

import anyio
from langgraph.errors import GraphDrained, GraphInterrupt
from langgraph.runtime import RunControl
from langgraph.types import Command

from agent.execution.concurrency import RunHalted
from agent.execution.early_execution import EarlyExecution
from agent.logging_context import get_logger

_logger = get_logger(__name__)

#: Seconds between two looks at a control of the caller, which does not notify anybody when it changes.
_POLL_INTERVAL_S = 0.1
_END_OF_STREAM = object()


class GracefulRunControl(RunControl):
    """LangGraph's control of a run, with callbacks for when the run is to stop. For one event loop only."""

    __slots__ = (
        "_cleanups",
        "_drain_deferred",
        "_stop_callbacks",
        "early_execution",
        "has_breakpoints",
        "has_unstarted_tasks",
        "stop_reason",
    )

    def __init__(self, *, has_breakpoints: bool = False) -> None:
        super().__init__()
        #: Whether the run may stop between two nodes, where a human then expects that nothing is running.
        self.has_breakpoints = has_breakpoints
        #: Whether a task of the superstep was not started; LangGraph then reports the run as interrupted, not drained.
        self.has_unstarted_tasks = False
        #: The tasks of the plan that were started while the model was still writing the plan.
        self.early_execution: EarlyExecution | None = None
        #: Why the run is to stop; None until then.
        self.stop_reason: str | None = None
        #: Whether LangGraph is notified only by `allow_drain`.
        self._drain_deferred = False
        self._stop_callbacks: list[Callable[[], None]] = []
        self._cleanups: list[Callable[[], Awaitable[None]]] = []

    def on_stop(self, stop: Callable[[], None]) -> None:
        """Call `stop` when the run is to stop, immediately if it already is."""
        if self.stop_reason is not None:
            stop()
        elif stop not in self._stop_callbacks:
            self._stop_callbacks.append(stop)

    def on_end(self, cleanup: Callable[[], Awaitable[None]]) -> None:
        """Await `cleanup` when the run has ended, however it ends."""
        self._cleanups.append(cleanup)

    async def run_cleanups(self) -> None:
        """Call the callbacks of `on_end`, the last one first."""
        while self._cleanups:
            await self._cleanups.pop()()

    def defer_drain(self) -> None:
        """Let the run continue to its next superstep even if it is to stop: what is running is recorded there."""
        self._drain_deferred = True

    def allow_drain(self) -> None:
        """Undo `defer_drain`: the run stops before its next superstep if it is to stop."""
        self._drain_deferred = False
        if self.stop_reason is not None:
            super().request_drain(self.stop_reason)

    def request_drain(self, reason: str = "shutdown") -> None:
        """Stop the run once what is running has ended."""
        self.stop_reason = reason
        if not self._drain_deferred:
            super().request_drain(reason)
        for stop in self._stop_callbacks:
            stop()


@contextmanager
def interrupt_when_halted(control: GracefulRunControl | None) -> Iterator[None]:
    """Interrupt the node, to run again at resume, if the run is stopped before the node's calls have started."""
    try:
        yield
    except RunHalted:
        if control is not None:
            control.has_unstarted_tasks = True
        raise GraphInterrupt(()) from None


#: How many runs of this process are being stopped, by a graph's stores and the thread's id.
_stopping_runs: Counter[tuple[int, str]] = Counter()
_STOPPING_POLL_S = 0.02


@asynccontextmanager
async def register_run(scope: tuple[int, str], control: GracefulRunControl) -> AsyncIterator[None]:
    """Have `wait_for_stopping_run` wait for the end of the block once the run in it is to stop."""
    marks: list[None] = []

    def mark() -> None:
        if not marks:
            marks.append(None)
            _stopping_runs[scope] += 1

    control.on_stop(mark)
    try:
        yield
    finally:
        if marks:
            _stopping_runs[scope] -= 1
            if not _stopping_runs[scope]:
                del _stopping_runs[scope]


async def wait_for_stopping_run(scope: tuple[int, str], *, timeout_s: float) -> None:
    """Wait for the end of a run of this process that is being stopped on the same thread, at most `timeout_s`.

    Its slots are closed while its calls use up their grace time, so a run that began by then could start nothing.
    """
    end = time.monotonic() + timeout_s
    # Polled, because the other run may have another event loop.
    while _stopping_runs[scope] and time.monotonic() < end:  # noqa: ASYNC110
        await asyncio.sleep(_STOPPING_POLL_S)


class GracefulRunner:
    """Drives a run in its own asyncio task, so that a consumer that is cancelled or goes away does not abort it."""

    def __init__(
        self, control: GracefulRunControl, *, grace_s: float, caller_control: RunControl | None, thread: str | None
    ) -> None:
        """Drain the run when `caller_control`, which the caller keeps, asks for it; `thread` is for the log."""
        self._control = control
        self._grace_s = grace_s
        self._caller_control = caller_control
        self._extra = {"thread_id": thread}
        #: As without a task in between, a run continues to its next part only when that is requested.
        self._requested_parts = asyncio.Semaphore(0)
        self._parts: asyncio.Queue[Any] = asyncio.Queue()
        self._consumer_gone = False

    async def stream_parts(self, run: AsyncGenerator[Any]) -> AsyncGenerator[Any]:
        """Yield what `run` yields.

        When the consumer is cancelled or closes this, the run is drained: running calls get `grace_s` seconds to end,
        then they are cancelled. What has finished is stored before this ends, either way.
        """
        pump = asyncio.create_task(self._pump_parts(run))
        watcher = asyncio.create_task(self._poll_control(self._caller_control)) if self._caller_control else None
        try:
            while True:
                self._requested_parts.release()
                part = await self._parts.get()
                if part is _END_OF_STREAM:
                    break
                yield part
            await pump
            if self._control.has_unstarted_tasks:
                raise GraphDrained(self._control.drain_reason or "shutdown")
        finally:
            if watcher is not None:
                watcher.cancel()
            if not pump.done():
                await self._drain_run(pump)

    async def _pump_parts(self, run: AsyncGenerator[Any]) -> None:
        try:
            async with aclosing(run) as parts:
                await self._requested_parts.acquire()
                async for part in parts:
                    if not self._consumer_gone:
                        self._parts.put_nowait(part)
                        await self._requested_parts.acquire()
        finally:
            try:
                await self._control.run_cleanups()
            finally:
                self._parts.put_nowait(_END_OF_STREAM)

    async def _poll_control(self, caller_control: RunControl) -> None:
        while not caller_control.drain_requested:  # noqa: ASYNC110 - it offers nothing to await
            await asyncio.sleep(_POLL_INTERVAL_S)
        self._request_drain(caller_control.drain_reason or "shutdown")

    async def _drain_run(self, pump: "asyncio.Task[None]") -> None:
        self._consumer_gone = True
        self._request_drain("stopped")
        self._requested_parts.release()
        with anyio.CancelScope(shield=True):
            try:
                await asyncio.wait((pump,), timeout=self._grace_s)
                if not pump.done():
                    _logger.info("Calls still run after %g s and are cancelled", self._grace_s, extra=self._extra)
            finally:
                pump.cancel()
                with suppress(asyncio.CancelledError, GraphDrained):
                    await pump
        _logger.info("Run has stopped", extra=self._extra)

    def _request_drain(self, reason: str) -> None:
        _logger.info("Run is stopping: %s", reason, extra=self._extra)
        self._control.request_drain(reason)


@asynccontextmanager
async def log_run(thread: str | None, given: object) -> AsyncIterator[None]:
    """Log the start and the end of one invocation of the graph."""
    kind = "is resumed" if given is None else "takes an answer" if isinstance(given, Command) else "starts"
    started_at, end, extra = time.monotonic(), "it ended or waits", {"thread_id": thread}
    _logger.info("Run on thread %r %s", thread, kind, extra=extra)
    try:
        yield
    except BaseException as error:
        end = type(error).__name__
        raise
    finally:
        _logger.info("Run on thread %r stops after %.3f s: %s", thread, time.monotonic() - started_at, end, extra=extra)
