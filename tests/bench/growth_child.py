"""One plan of a given shape and size measured in a process of its own; prints one JSON object."""

import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

from langchain_core.tools import BaseTool, StructuredTool
from rich.console import Console

from agent.check import Checked, check_plan
from agent.core.compile import CompiledPlan
from agent.core.flow import Answer, Run, Snapshot, next_move
from agent.core.limits import Limits
from agent.core.outcome import Done, Outcome
from agent.settings import Settings
from agent.tools.catalogue import Toolbox
from graphs.console.manner import Manner
from graphs.console.screen import Screen
from graphs.console.shown import show_thread
from graphs.invocation import PlanwaveGraph
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.bench.driving import UNLIMITED
from tests.bench.workloads import Shape, shaped

T = TypeVar("T")
_THREAD = "measured"
_CONFIG = {"configurable": {"thread_id": _THREAD}}
#: Wave mode makes a move for each level, and each move looks at the whole plan.
_MOST_LEVELS = 1000


class HalfWay:
    """A tool that takes no time for the first half of its calls and waits without end in the second."""

    def __init__(self, tasks: int) -> None:
        self.tool: BaseTool = StructuredTool.from_function(
            coroutine=self._work, name="work", description="Work.", metadata={"readOnlyHint": True}
        )
        self.reached = asyncio.Event()
        self.first: float | None = None
        self._left = tasks // 2

    async def _work(self, name: str, seconds: float) -> str:  # noqa: ARG002 - what the plan gives
        self.first = self.first or time.perf_counter()
        if self._left == 0:
            self.reached.set()
            await asyncio.Event().wait()
        self._left -= 1
        return name

    def lift(self) -> None:
        """Let all further calls through."""
        self.first, self._left = None, -1


def main(shape: Shape, tasks: int) -> None:
    """Measure in an order in which nothing that comes before adds to what comes after."""
    workload = shaped(shape, tasks)
    document = workload.document()
    with tempfile.TemporaryDirectory(prefix="planwave-bench-") as folder:
        base = memory("VmRSS")
        found = asyncio.run(stopped_and_resumed(f"sqlite:///{folder}/growth.db", document, tasks=tasks))
        found["peak memory"] = max(0, memory("VmHWM") - base)
        found |= stored(Path(folder) / "growth.db")
        found["show"], _ = spent(lambda: shown(f"sqlite:///{folder}/growth.db"))
    toolbox, limits = Toolbox([HalfWay(tasks).tool]), Limits()
    found["compile"], checked = spent(lambda: asyncio.run(check_plan(document, toolbox, limits=limits)))
    if not isinstance(checked, Checked):
        raise AssertionError(f"the plan does not compile: {checked[:3]}")
    found["schedule, eager"], _ = spent(lambda: steer(checked.compiled, limits))
    if shape == "flat" or tasks <= _MOST_LEVELS:
        waves = limits.model_copy(update={"dispatch": "wave"})
        found["schedule, wave"], _ = spent(lambda: steer(checked.compiled, waves))
    print(json.dumps(found))


async def stopped_and_resumed(url: str, document: dict[str, Any], *, tasks: int) -> dict[str, float]:
    """Run half of the plan, stop, and resume with everything opened anew; return the seconds of each part."""
    settings = Settings(max_concurrency=UNLIMITED, grace_s=0.0)
    half = HalfWay(tasks)
    async with open_persistence(url) as persistence:
        graph = build_graph(tools=[half.tool], settings=settings, persistence=persistence)
        begun = time.perf_counter()
        run = asyncio.create_task(graph.ainvoke({"goal": "growth", "plan": document}, _CONFIG))
        reached = asyncio.create_task(half.reached.wait())
        await asyncio.wait((run, reached), return_when=asyncio.FIRST_COMPLETED)
        first_half = time.perf_counter() - begun
        await _stopped(run)
    half.lift()
    async with open_persistence(url) as persistence:
        graph = build_graph(tools=[half.tool], settings=settings, persistence=persistence)
        begun = time.perf_counter()
        out = await _resumed(graph)
        ended = time.perf_counter()
    done = sum(record["status"] == "done" for record in out["results"].values())
    if out["status"] != "completed" or done != tasks:
        raise AssertionError(f"{out['status']}: {done} of {tasks} tasks were done")
    first = half.first if half.first is not None else ended
    return {"run of both halves": first_half + ended - begun, "resume": first - begun}


async def _resumed(graph: PlanwaveGraph) -> dict[str, Any]:
    out: dict[str, Any] = await graph.ainvoke(None, _CONFIG)
    return out


async def _stopped(run: "asyncio.Task[Any]") -> None:
    run.cancel()
    with suppress(asyncio.CancelledError):
        await run


def steer(compiled: CompiledPlan, limits: Limits) -> int:
    """Return how many moves carry the plan out, every task done as soon as it is sent."""
    outcomes: dict[str, Outcome] = {}
    moves = 0
    while True:
        moves += 1
        match next_move(Snapshot(compiled=compiled, outcomes=outcomes), limits):
            case Run(tasks):
                for task in tasks:
                    outcomes[task] = Done(revision=1, output=task, fingerprint=task)
            case Answer():
                return moves
            case other:
                raise AssertionError(f"a plan of reads leads to {other!r:.200}")


def shown(url: str) -> None:
    """Print a thread as `planwave show` does, for nobody."""
    screen = Screen(console=Console(file=StringIO(), width=120), live=False, interactive=False)
    show_thread(_THREAD, settings=Settings(), manner=Manner(screen=screen, as_json=False, db=url), picture=False)


def stored(file: Path) -> dict[str, float]:
    """Return the bytes of all checkpoints with their writes, and of the whole database."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        checkpoints = sum(_bytes(connection, table) for table in tables if table in {"checkpoints", "writes", "blobs"})
    return {"checkpoint bytes": checkpoints, "database bytes": file.stat().st_size}


def _bytes(connection: sqlite3.Connection, table: str) -> int:
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    lengths = " + ".join(f"COALESCE(LENGTH(CAST({column} AS BLOB)), 0)" for column in columns)
    return connection.execute(f"SELECT COALESCE(SUM({lengths}), 0) FROM {table}").fetchone()[0]


def spent(work: Callable[[], T]) -> tuple[float, T]:
    """Return the seconds of processor time that `work` takes, which others on the machine add little to."""
    begun = time.process_time()
    made = work()
    return time.process_time() - begun, made


def memory(field: str) -> int:
    """Return a field of this process's status in bytes, 0 where the system has none."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return int(lines[field].split()[0]) * 1024


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))  # type: ignore[arg-type]  # the bench gives one of the shapes
