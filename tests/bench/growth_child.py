"""One plan of a given shape and size measured in a process of its own; prints a JSON object for each part."""

import asyncio
import gc
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

from agent.core.compiler.compiler import CompiledPlan
from agent.core.engine.frontier import Frontier
from agent.core.engine.next_move import Answer, RunTasks, next_move
from agent.core.engine.outcomes import Done, Outcome
from agent.core.engine.snapshot import Snapshot
from agent.core.plan.limits import Limits
from agent.settings import Settings
from agent.tools.plan_check import CheckedPlan, check_plan
from agent.tools.toolbox import Toolbox
from graphs.cli.commands.show import show_thread
from graphs.cli.terminal.command_context import CommandContext
from graphs.cli.terminal.screen import Screen
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.bench.driving import UNLIMITED
from tests.bench.workloads import Shape, shaped

T = TypeVar("T")
_THREAD = "measured"
_CONFIG = {"configurable": {"thread_id": _THREAD}}
_SETTINGS = Settings(max_concurrency=UNLIMITED, grace_s=0.0)


class HalfWay:
    """A tool that takes no time for the first half of its calls and waits without end in the second."""

    def __init__(self, tasks: int) -> None:
        self.tool: BaseTool = StructuredTool.from_function(
            coroutine=self._work, name="work", description="Work.", metadata={"readOnlyHint": True}
        )
        self.reached = asyncio.Event()
        self.first: float | None = None
        self._left = tasks // 2

    async def _work(self, name: str, seconds: float) -> str:
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
    """Measure and print part by part, so that a part that takes too long hides none before it."""
    document = shaped(shape, tasks).document()
    base = memory("VmRSS")
    with tempfile.TemporaryDirectory(prefix="planwave-bench-") as folder:
        file = Path(folder) / "growth.db"
        tell(asyncio.run(whole_run(f"sqlite:///{file}", document, tasks=tasks)))
        tell({"peak memory": max(0, memory("VmHWM") - base), **stored(file)})
        tell({"show": spent(lambda: shown(f"sqlite:///{file}"))[0]})
    toolbox, limits = Toolbox([HalfWay(tasks).tool]), Limits()
    seconds, checked = spent(lambda: asyncio.run(check_plan(document, toolbox, limits=limits)))
    if not isinstance(checked, CheckedPlan):
        raise AssertionError(f"the plan does not compile: {checked[:3]}")  # noqa: TRY004 - no type is wrong
    tell({"compile": seconds, "schedule, eager": spent(lambda: steer(checked.compiled, limits))[0]})
    waves = limits.model_copy(update={"dispatch": "wave"})
    tell({"schedule, wave": spent(lambda: steer(checked.compiled, waves))[0]})
    with tempfile.TemporaryDirectory(prefix="planwave-bench-") as folder:
        tell(asyncio.run(stopped_and_resumed(f"sqlite:///{folder}/growth.db", document, tasks=tasks)))
        tell({"peak memory with resume": max(0, memory("VmHWM") - base)})


def tell(found: dict[str, float]) -> None:
    """Print figures at once."""
    print(json.dumps(found), flush=True)


async def whole_run(url: str, document: dict[str, Any], *, tasks: int) -> dict[str, float]:
    """Run the plan from its beginning to its end; return the seconds."""
    work = HalfWay(tasks)
    work.lift()
    async with open_persistence(url) as persistence:
        graph = build_graph(tools=[work.tool], settings=_SETTINGS, persistence=persistence)
        begun = time.perf_counter()
        check(await graph.ainvoke({"goal": "growth", "plan": document}, _CONFIG), tasks=tasks)
        return {"run": time.perf_counter() - begun}


async def stopped_and_resumed(url: str, document: dict[str, Any], *, tasks: int) -> dict[str, float]:
    """Run half of the plan, stop, and resume with everything opened anew.

    Return the seconds from resuming to the first call, and to the end of the other half.
    """
    half = HalfWay(tasks)
    async with open_persistence(url) as persistence:
        graph = build_graph(tools=[half.tool], settings=_SETTINGS, persistence=persistence)
        run = asyncio.create_task(graph.ainvoke({"goal": "growth", "plan": document}, _CONFIG))
        reached = asyncio.create_task(half.reached.wait())
        await asyncio.wait((run, reached), return_when=asyncio.FIRST_COMPLETED)
        await _stopped(run)
    half.lift()
    async with open_persistence(url) as persistence:
        graph = build_graph(tools=[half.tool], settings=_SETTINGS, persistence=persistence)
        begun = time.perf_counter()
        check(await graph.ainvoke(None, _CONFIG), tasks=tasks)
        ended = time.perf_counter()
    first = half.first if half.first is not None else ended
    return {"resume to first call": first - begun, "resume to end": ended - begun}


def check(out: dict[str, Any], *, tasks: int) -> None:
    """Raise `AssertionError` unless every task was done."""
    done = sum(record["status"] == "done" for record in out["results"].values())
    if out["status"] != "completed" or done != tasks:
        raise AssertionError(f"{out['status']}: {done} of {tasks} tasks were done")


async def _stopped(run: "asyncio.Task[Any]") -> None:
    run.cancel()
    with suppress(asyncio.CancelledError):
        await run


def steer(compiled: CompiledPlan, limits: Limits) -> int:
    """Return how many moves carry the plan out, every task done as soon as it is sent."""
    outcomes: dict[str, Outcome] = {}
    # As the graph does, which tells it what is new at each dispatch.
    frontier = Frontier(compiled, outcomes)
    moves = 0
    while True:
        moves += 1
        match next_move(Snapshot(compiled=compiled, outcomes=outcomes, frontier=frontier), limits):
            case RunTasks(tasks):
                new = {task: Done(revision=1, output=task, fingerprint=task) for task in tasks}
                outcomes |= new
                frontier.advance(new)
            case Answer():
                return moves
            case other:
                raise AssertionError(f"a plan of reads leads to {other!r:.200}")


def shown(url: str) -> None:
    """Print a thread as `planwave show` does, for nobody."""
    screen = Screen(console=Console(file=StringIO(), width=120), live=False, interactive=False)
    show_thread(_THREAD, context=CommandContext(screen=screen, as_json=False, db=url), mermaid=False)


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
    """Return the processor seconds of the quickest of three runs: what others on the machine add least to."""
    times: list[float] = []
    for _ in range(3):
        gc.collect()
        begun = time.process_time()
        made = work()
        times.append(time.process_time() - begun)
    return min(times), made


def memory(field: str) -> int:
    """Return a field of this process's status in bytes, 0 where the system has none."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return int(lines[field].split()[0]) * 1024


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))  # type: ignore[arg-type]  # the bench gives one of the shapes
