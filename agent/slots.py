"""Places to run in: a bound on calls at the same time, the most urgent waiter first."""

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from aiolimiter import AsyncLimiter
from anyio import CapacityLimiter

from agent.core.tool import ToolSpec

Urgency = tuple[float, ...]


class PrioritySemaphore:
    """A semaphore whose free place goes to the waiter with the lowest urgency tuple, then to the first come.

    The standard library's semaphores are first come first served. One event loop only.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: list[tuple[Urgency, int, asyncio.Future[None]]] = []
        self._arrivals = count()

    async def acquire(self, urgency: Urgency) -> None:
        """Wait for a place."""
        if self._free > 0:
            self._free -= 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (urgency, next(self._arrivals), place))
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Give a place back: to the most urgent waiter, if one still waits."""
        while self._waiting:
            _, _, place = heapq.heappop(self._waiting)
            if not place.done():
                place.set_result(None)
                return
        self._free += 1


class Slots:
    """The places of one run: in all, and per tool as its policy says."""

    def __init__(self, max_concurrency: int) -> None:
        self._all = PrioritySemaphore(max_concurrency)
        self._per_tool: dict[str, PrioritySemaphore] = {}
        self._rates: dict[str, AsyncLimiter] = {}
        #: Threads for tools that have no coroutine; as many as there are places.
        self.threads = CapacityLimiter(max_concurrency)

    @asynccontextmanager
    async def place(self, spec: ToolSpec, *, urgency: Urgency) -> AsyncIterator[None]:
        """Hold a place for one call: first the tool's own bound, then the rate, then one of all places.

        The order keeps a call that waits for its tool from holding a place that another tool could use.
        """
        own = self._own(spec)
        if own is not None:
            await own.acquire(urgency)
        try:
            if spec.policy.rate_per_s is not None:
                await self._rate(spec.name, spec.policy.rate_per_s).acquire()
            await self._all.acquire(urgency)
            try:
                yield
            finally:
                self._all.release()
        finally:
            if own is not None:
                own.release()

    def _own(self, spec: ToolSpec) -> PrioritySemaphore | None:
        bound = spec.policy.max_concurrency
        return None if bound is None else self._per_tool.setdefault(spec.name, PrioritySemaphore(bound))

    def _rate(self, name: str, per_s: float) -> AsyncLimiter:
        """One call every 1/rate seconds, without a burst at the start."""
        return self._rates.setdefault(name, AsyncLimiter(1, 1 / per_s))
