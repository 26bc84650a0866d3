"""One plan driven through the graph by tools that sleep, and how long that took."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.memory import InMemorySaver

from agent.settings import Settings
from graphs.persistence import Persistence
from graphs.plan_execute import build_graph
from tests.bench.workloads import Workload

Dispatch = Literal["eager", "wave"]
DISPATCHES: tuple[Dispatch, ...] = ("eager", "wave")
#: More than any plan here has tasks.
UNLIMITED = 20_000


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds of one run: until the first tool starts, from there to the last tool's end, and after that."""

    before: float
    tools: float
    after: float

    @property
    def total(self) -> float:
        """Seconds from the call of the graph to its return."""
        return self.before + self.tools + self.after


class Sleepers:
    """Reading tools of the given kinds that sleep, and note when the first began and the last ended."""

    def __init__(self, kinds: Iterable[str]) -> None:
        self.reset()
        self.tools: list[BaseTool] = [
            StructuredTool.from_function(
                coroutine=self._sleep, name=kind, description="Wait.", metadata={"readOnlyHint": True}
            )
            for kind in kinds
        ]

    def reset(self) -> None:
        """Forget all calls."""
        self._first: float | None = None
        self._last = 0.0
        self.calls = 0

    @property
    def span(self) -> tuple[float, float]:
        """When the first call began and the last one ended, by the loop's clock."""
        if self._first is None:
            raise AssertionError("no tool was called")
        return self._first, self._last

    async def _sleep(self, name: str, seconds: float) -> str:
        now = asyncio.get_running_loop().time
        if self._first is None:
            self._first = now()
        self.calls += 1
        if seconds > 0:
            await asyncio.sleep(seconds)
        self._last = now()
        return name


class Driver:
    """A graph over sleeping tools of the given kinds, in memory unless a persistence is given."""

    def __init__(
        self,
        kinds: Collection[str],
        *,
        dispatch: Dispatch = "eager",
        workers: int = UNLIMITED,
        persistence: Persistence | None = None,
    ) -> None:
        self._sleepers = Sleepers(sorted(kinds))
        self._saver = None if persistence else InMemorySaver()
        settings = Settings(dispatch=dispatch, max_concurrency=workers, default_timeout_s=3600.0)
        kept: dict[str, Any] = {"persistence": persistence} if persistence else {"checkpointer": self._saver}
        self._graph = build_graph(tools=self._sleepers.tools, settings=settings, **kept)

    async def drive(self, workload: Workload, *, scale: float = 1.0) -> Run:
        """Run a workload once, its durations times `scale`, and check that every task was done once."""
        self._sleepers.reset()
        thread = uuid4().hex
        given = {"goal": workload.name, "plan": workload.document(scale=scale)}
        now = asyncio.get_running_loop().time
        begun = now()
        out = await self._graph.ainvoke(given, {"configurable": {"thread_id": thread}})
        ended = now()
        if out["status"] != "completed" or self._sleepers.calls != len(workload.steps):
            raise AssertionError(
                f"{workload.name}: {out['status']}, {self._sleepers.calls} calls, {out['problems'][:3]}"
            )
        if self._saver is not None:
            self._saver.delete_thread(thread)
        first, last = self._sleepers.span
        return Run(before=first - begun, tools=last - first, after=ended - last)


def kinds_of(workloads: Iterable[Workload]) -> set[str]:
    """Return the tools that the workloads call."""
    return {step.kind for workload in workloads for step in workload.steps}


@contextmanager
def postgres(folder: Path) -> Iterator[Callable[[], str] | None]:
    """Give what makes a new database on a server of one's own; None where there is no server to start."""
    try:
        from tests.support.postgres import PostgresServer

        server = PostgresServer(folder)
    except (ImportError, OSError):
        yield None
        return
    try:
        yield server.create
    finally:
        server.stop()
