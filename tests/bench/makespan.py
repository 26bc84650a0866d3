"""Makespan against the critical path: how close a run comes to what its dependencies allow."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

from langgraph.checkpoint.memory import InMemorySaver

from graphs.persistence import Persistence, open_persistence
from tests.bench.driving import DISPATCHES, UNLIMITED, Dispatch, Driver, Run, kinds_of
from tests.bench.figures import Finding, Unmeasured, figure
from tests.bench.rivals import Runner, bare_dataflow, send_loop
from tests.bench.virtual_time import run_in_virtual_time
from tests.bench.workloads import Workload, asynchow, sample, wfinstances

BENCH = "makespan"
#: Seconds that a plan's critical path is scaled to in real time. The workflows of WfInstances have up to a thousand
#: tasks of minutes and hours each; in less than 10 s their tasks alone would fill a processor.
_SECONDS = {"asynchow": 0.3, "wfinstances": 10.0}
#: How many plans are run beside the rivals; `alone` runs all of WfInstances.
_BESIDE = {"asynchow": 100, "wfinstances": 10}
_SETS: dict[str, Callable[[], list[Workload] | None]] = {"asynchow": asynchow, "wfinstances": wfinstances}
_MEAN, _MAX = 1.05, 1.15
_WORKERS = (2, 4, 8, 16)


def bench(*, quick: bool = False) -> Iterator[Finding]:
    """Yield the ratios of both data sets: the order alone in virtual time, then real time."""
    for name, read in _SETS.items():
        workloads = read()
        if workloads is None:
            yield Unmeasured(BENCH, name, f"there is no ../shared/data/{name}")
            continue
        if quick:
            workloads = sample([one for one in workloads if len(one.steps) <= 60], 20)
        seconds = min(1.0, _SECONDS[name]) if quick else _SECONDS[name]
        yield from virtual(name, workloads)
        yield from limited(name, sample(workloads, 100))
        yield from real(name, sample(workloads, 5 if quick else _BESIDE[name]), seconds=seconds, store="memory")
        yield from real(name, sample(workloads, 5 if quick else round(30 / seconds)), seconds=seconds, store="sqlite")
        if name == "wfinstances" and not quick:
            yield from alone(name, workloads, seconds=seconds)


def virtual(name: str, workloads: Sequence[Workload]) -> Iterator[Finding]:
    """Yield makespan / critical path in virtual time, where work takes no time and only the order shows."""
    runs = {dispatch: run_in_virtual_time(_in_virtual_time(workloads, dispatch=dispatch)) for dispatch in DISPATCHES}
    for dispatch in DISPATCHES:
        yield _ratios(f"{name}, virtual, {dispatch}", runs[dispatch])
    saved = [wave / eager for eager, wave in zip(runs["eager"], runs["wave"], strict=True)]
    yield _ratios(f"{name}, virtual", saved, of="wave / eager")


def limited(name: str, workloads: Sequence[Workload]) -> Iterator[Finding]:
    """Yield makespan / lower bound with few workers, in virtual time."""
    for workers in _WORKERS:
        for dispatch in DISPATCHES:
            found = run_in_virtual_time(_in_virtual_time(workloads, dispatch=dispatch, workers=workers))
            yield _ratios(f"{name}, {workers} workers, {dispatch}", found, of="makespan / lower bound")


async def _in_virtual_time(
    workloads: Sequence[Workload], *, dispatch: Dispatch, workers: int = UNLIMITED
) -> list[float]:
    driver = Driver(kinds_of(workloads), dispatch=dispatch, workers=workers)
    found = []
    for one in workloads:
        # Long enough that what groups the ends of tasks, in milliseconds, does not show; short enough for no timeout.
        scale = 1000.0 / one.critical_path
        run = await driver.drive(one, scale=scale)
        found.append(run.total / (one.bound(workers) * scale))
    return found


def real(name: str, workloads: Sequence[Workload], *, seconds: float, store: str) -> Iterator[Finding]:
    """Yield makespan / critical path in real time.

    Bare asyncio beside it shows how late this machine's timers are, and a bare LangGraph loop, in memory, what a graph
    costs that checks nothing.
    """
    bare, looped, runs = asyncio.run(_side_by_side(workloads, seconds=seconds, store=store))
    yield _ratios(f"{name}, real, bare asyncio", [run / seconds for run in bare])
    yield _ratios(f"{name}, real, LangGraph Send loop in memory", [run / seconds for run in looped])
    for dispatch, found in runs.items():
        case, strict = f"{name}, real, {store}, {dispatch}", dispatch == "eager"
        yield _ratios(case, [run.total / seconds for run in found], of="whole run / critical path", strict=strict)
        yield _ratios(case, [run.tools / seconds for run in found], of="first to last tool / critical path")
        yield figure(BENCH, case, "before the first tool", [1000 * run.before for run in found], unit="ms")
        yield figure(BENCH, case, "after the last tool", [1000 * run.after for run in found], unit="ms")
    saved = [wave.total / eager.total for eager, wave in zip(runs["eager"], runs["wave"], strict=True)]
    yield _ratios(f"{name}, real, {store}", saved, of="wave / eager")


def alone(name: str, workloads: Sequence[Workload], *, seconds: float) -> Iterator[Finding]:
    """Yield makespan / critical path of every plan in real time, eager and in memory, without rivals beside it."""

    async def driven() -> list[Run]:
        driver = Driver(kinds_of(workloads))
        await driver.drive(workloads[0], scale=0.0)
        return [await driver.drive(one, scale=seconds / one.critical_path) for one in workloads]

    case, found = f"{name}, real, memory, eager, all {len(workloads)}", asyncio.run(driven())
    yield _ratios(case, [run.total / seconds for run in found], of="whole run / critical path", strict=True)
    yield _ratios(case, [run.tools / seconds for run in found], of="first to last tool / critical path")


async def _side_by_side(
    workloads: Sequence[Workload], *, seconds: float, store: str
) -> tuple[list[float], list[float], dict[Dispatch, list[Run]]]:
    bare: list[float] = []
    looped: list[float] = []
    loop = send_loop(InMemorySaver())
    runs: dict[Dispatch, list[Run]] = {dispatch: [] for dispatch in DISPATCHES}
    async with _kept(store) as persistence:
        kinds = kinds_of(workloads)
        drivers = {dispatch: Driver(kinds, dispatch=dispatch, persistence=persistence) for dispatch in DISPATCHES}
        for driver in drivers.values():
            await driver.drive(workloads[0], scale=0.0)
        for one in workloads:
            scale = seconds / one.critical_path
            bare.append(await bare_dataflow(one, scale=scale))
            looped.append(await _seconds(loop, one.scaled(scale)))
            for dispatch, driver in drivers.items():
                runs[dispatch].append(await driver.drive(one, scale=scale))
    return bare, looped, runs


async def _seconds(runner: Runner, workload: Workload) -> float:
    now = asyncio.get_running_loop().time
    begun = now()
    await runner(workload)
    return now() - begun


@asynccontextmanager
async def _kept(store: str) -> AsyncIterator[Persistence | None]:
    if store == "memory":
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="planwave-bench-") as folder:
        async with open_persistence(f"sqlite:///{folder}/bench.db") as persistence:
            yield persistence


def _ratios(
    case: str, found: Sequence[float], *, of: str = "makespan / critical path", strict: bool = False
) -> Finding:
    goals = {"target": _MEAN, "target_most": _MAX} if strict else {}
    return figure(BENCH, case, of, found, unit="x", mean=True, **goals)
