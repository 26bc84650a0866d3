"""A run that can be stopped: nothing new is begun, what runs is given time, and what finished is kept."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

import anyio
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl

from agent.execution.early_execution import HeadStart

#: Seconds between two looks at a control that the caller keeps and that tells nobody when it changes.
_LOOK_S = 0.1
_END = object()


class Control(RunControl):
    """LangGraph's control of a run, which tells those who watch it when the run is to stop. One event loop only."""

    __slots__ = ("_endings", "_held", "_watchers", "ahead", "left_over", "stopping", "stops_between")

    def __init__(self, *, stops_between: bool = False) -> None:
        super().__init__()
        #: Whether the run may stop between two nodes, where a person then expects that nothing is under way.
        self.stops_between = stops_between
        #: Whether a task of the superstep was not begun; LangGraph then takes the run for interrupted, not drained.
        self.left_over = False
        #: What was begun of the run's plan while that was being written.
        self.ahead: HeadStart | None = None
        #: Why the run is to stop, once it is.
        self.stopping: str | None = None
        #: Whether LangGraph is to be told only later that it is.
        self._held = False
        self._watchers: list[Callable[[], None]] = []
        self._endings: list[Callable[[], Awaitable[None]]] = []

    def watch(self, stop: Callable[[], None]) -> None:
        """Call `stop` when the run is to stop, at once if it is already."""
        if self.stopping is not None:
            stop()
        elif stop not in self._watchers:
            self._watchers.append(stop)

    def at_end(self, ending: Callable[[], Awaitable[None]]) -> None:
        """Await `ending` when the run has ended, however it does."""
        self._endings.append(ending)

    async def end(self) -> None:
        """End what was begun beside the run."""
        while self._endings:
            await self._endings.pop()()

    def hold(self) -> None:
        """Have the run go on to its next superstep whatever happens: what is under way is recorded there."""
        self._held = True

    def let_go(self) -> None:
        """Have the run stop before its next superstep again where it is to stop."""
        self._held = False
        if self.stopping is not None:
            super().request_drain(self.stopping)

    def request_drain(self, reason: str = "shutdown") -> None:
        """Stop the run after what it has under way."""
        self.stopping = reason
        if not self._held:
            super().request_drain(reason)
        for stop in self._watchers:
            stop()


class Draining:
    """Drives a run in a task of its own, so that a consumer that is cancelled or goes away does not tear it down."""

    def __init__(self, control: Control, *, grace_s: float, given: RunControl | None) -> None:
        """`given` is a control that the caller keeps; when it asks for a drain, so does `control`."""
        self._control = control
        self._grace_s = grace_s
        self._given = given
        #: As without a task in between, a run goes on to its next part when that is asked for.
        self._wanted = asyncio.Semaphore(0)
        self._parts: asyncio.Queue[Any] = asyncio.Queue()
        self._gone = False

    async def parts(self, run: AsyncGenerator[Any]) -> AsyncGenerator[Any]:
        """Yield what `run` yields.

        When the consumer is cancelled or closes this, the run is drained: calls that have begun get `grace_s` seconds
        to end, then they are cancelled. What finished is stored before this ends, either way.
        """
        pump = asyncio.create_task(self._pump(run))
        looking = asyncio.create_task(self._look(self._given)) if self._given else None
        try:
            while True:
                self._wanted.release()
                part = await self._parts.get()
                if part is _END:
                    break
                yield part
            await pump
            if self._control.left_over:
                raise GraphDrained(self._control.drain_reason or "shutdown")
        finally:
            if looking is not None:
                looking.cancel()
            if not pump.done():
                await self._drain(pump)

    async def _pump(self, run: AsyncGenerator[Any]) -> None:
        try:
            async with aclosing(run) as parts:
                await self._wanted.acquire()
                async for part in parts:
                    if not self._gone:
                        self._parts.put_nowait(part)
                        await self._wanted.acquire()
        finally:
            try:
                await self._control.end()
            finally:
                self._parts.put_nowait(_END)

    async def _look(self, given: RunControl) -> None:
        while not given.drain_requested:  # noqa: ASYNC110 - it offers nothing to wait for
            await asyncio.sleep(_LOOK_S)
        self._control.request_drain(given.drain_reason or "shutdown")

    async def _drain(self, pump: "asyncio.Task[None]") -> None:
        self._gone = True
        self._control.request_drain("stopped")
        self._wanted.release()
        with anyio.CancelScope(shield=True):
            try:
                await asyncio.wait((pump,), timeout=self._grace_s)
            finally:
                pump.cancel()
                with suppress(asyncio.CancelledError, GraphDrained):
                    await pump
