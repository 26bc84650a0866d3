"""Slots to run in: a limit on calls at the same time, the most urgent waiter first."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from itertools import count

from aiolimiter import AsyncLimiter
from anyio import CapacityLimiter

from agent.core.plan.tool_spec import ToolSpec
from agent.logging_context import get_logger

Urgency = tuple[float, ...]
_logger = get_logger(__name__)


class RunHalted(Exception):  # noqa: N818 - the run is being stopped; nothing is wrong
    """No further call is begun; the task runs when the thread is resumed."""


class PrioritySemaphore:
    """A semaphore whose free slot goes to the waiter with the lowest urgency tuple, then to the first come.

    The standard library's semaphores are first come, first served. For one event loop only.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._waiting: list[tuple[Urgency, int, asyncio.Future[None]]] = []
        self._arrivals = count()
        self._halted = False

    async def acquire(self, urgency: Urgency, *, begun: bool = False) -> None:
        """Wait for a slot. Raises `RunHalted` once `halt` was called, unless the work has `begun` and must continue."""
        if self._halted and not begun:
            raise RunHalted
        if self._free > 0:
            self._free -= 1
            return
        _logger.debug("Waiting for a slot, like %d others", len(self._waiting))
        slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (urgency, next(self._arrivals), slot))
        try:
            await slot
        except asyncio.CancelledError:
            if slot.done() and not slot.cancelled():
                self.release()
            raise

    @property
    def free_count(self) -> int:
        """How many slots are free."""
        return self._free

    def halt(self) -> None:
        """Raise `RunHalted` for all who wait, and for all who ask later to begin something."""
        self._halted = True
        for _, _, slot in self._waiting:
            if not slot.done():
                slot.set_exception(RunHalted())

    def release(self) -> None:
        """Give a slot back: to the most urgent waiter, if there is one."""
        while self._waiting:
            _, _, slot = heapq.heappop(self._waiting)
            if not slot.done():
                slot.set_result(None)
                return
        self._free += 1


class Slots:
    """The slots of one run: in all, and per tool as its policy says."""

    def __init__(self, max_concurrency: int) -> None:
        self._max_concurrency = max_concurrency
        self._all = PrioritySemaphore(max_concurrency)
        self._per_tool: dict[str, PrioritySemaphore] = {}
        self._rates: dict[str, AsyncLimiter] = {}
        self._halted = asyncio.Event()
        #: Threads for tools that have no coroutine; as many as there are slots.
        self.threads = CapacityLimiter(max_concurrency)

    @asynccontextmanager
    async def acquire_slot(self, spec: ToolSpec, *, urgency: Urgency, begun: bool = False) -> AsyncIterator[None]:
        """Hold a slot for one call: first one of its tool, then the rate limit, then one of the run.

        In this order a call that waits for its tool does not hold a slot that another tool could use.
        Raises `RunHalted` once `halt` was called, unless the call has `begun` and must continue.
        """
        own = self._get_tool_semaphore(spec)
        if own is not None:
            await own.acquire(urgency, begun=begun)
        try:
            if spec.policy.rate_per_s is not None:
                limiter = self._get_rate_limiter(spec.name, spec.policy.rate_per_s)
                if not limiter.has_capacity():
                    _logger.debug(
                        "Waiting for the rate limit of %r: %g calls a second", spec.name, spec.policy.rate_per_s
                    )
                await self.wait_unless_halted(limiter.acquire(), begun=begun)
            await self._all.acquire(urgency, begun=begun)
            try:
                yield
            finally:
                self._all.release()
        finally:
            if own is not None:
                own.release()

    @property
    def free_count(self) -> int:
        """How many more calls could run now, whatever their tools."""
        return self._all.free_count

    def get_tool_limit(self, spec: ToolSpec) -> int:
        """Return how many calls of a tool can run at the same time."""
        return min(self._max_concurrency, spec.policy.max_concurrency or self._max_concurrency)

    def halt(self) -> None:
        """Begin nothing more: who waits for a slot gets `RunHalted`, who has one continues."""
        self._halted.set()
        self._all.halt()
        for own in self._per_tool.values():
            own.halt()

    async def wait_unless_halted(self, waiting: Coroutine[None, None, None], *, begun: bool = False) -> None:
        """Wait for `waiting` to end. Raises `RunHalted` as soon as `halt` is called, unless the work has `begun`."""
        if begun:
            await waiting
            return
        waits, halt = asyncio.ensure_future(waiting), asyncio.ensure_future(self._halted.wait())
        try:
            await asyncio.wait((waits, halt), return_when=asyncio.FIRST_COMPLETED)
            if not waits.done():
                raise RunHalted
            await waits
        finally:
            waits.cancel()
            halt.cancel()

    def _get_tool_semaphore(self, spec: ToolSpec) -> PrioritySemaphore | None:
        limit = spec.policy.max_concurrency
        if limit is None:
            return None
        own = self._per_tool.get(spec.name)
        if own is None:
            own = self._per_tool[spec.name] = PrioritySemaphore(limit)
            if self._halted.is_set():
                own.halt()
        return own

    def _get_rate_limiter(self, name: str, per_s: float) -> AsyncLimiter:
        """Allow one call every 1 / `per_s` seconds, without a burst at the start."""
        return self._rates.setdefault(name, AsyncLimiter(1, 1 / per_s))
