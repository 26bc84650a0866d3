"""A thread run in a process of its own: one that has killed its workers then kills nothing else."""

import asyncio
import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Final

from agent.errors import PersistenceError, PlanwaveError, UsageError
from agent.logging_context import get_logger
from graphs.compiled_graph import PlanwaveGraph
from graphs.persistence import Persistence, open_persistence
from graphs.plan_execute import build_graph
from graphs.stores.tables.submissions import SubmissionTable
from graphs.workers.advance import ThreadAdvancer

_logger = get_logger(__name__)
_SPAWN: Final = multiprocessing.get_context("spawn")
#: Seconds beyond the grace time of its run that a process has to store what it has.
_STOP_S: Final = 15.0


class ProcessDiedError(PlanwaveError):
    """The process that ran a thread alone has died."""


class IsolatedRunError(PlanwaveError):
    """A thread that was run in a process of its own ended with an error."""


#: Suspects that a worker runs at a time; starting a process costs seconds.
_MAX_PROCESSES: Final = 2
#: Another run has the thread, or the process was told to stop: tried again without a word.
_PASSING: Final = {"ThreadBusyError", "LeaseLostError", "StaleClaimError", "PersistenceError", "CancelledError"}


@dataclass(frozen=True, slots=True)
class _Raised:
    name: str
    text: str


def load_graph_function(spec: str | None) -> Callable[[Persistence], PlanwaveGraph]:
    """Return the function that makes the graph of a worker, from `MODULE:FUNCTION`; None: the default tools.

    Modules are also looked for in the current folder. Raises `UsageError` if there is no such function.
    """
    if spec is None:
        return lambda persistence: build_graph(persistence=persistence)
    found = _import_function(spec)

    def make_graph(persistence: Persistence) -> PlanwaveGraph:
        graph = found(persistence)
        if not isinstance(graph, PlanwaveGraph):
            raise UsageError(f"{spec!r} returned {type(graph).__name__}; it must return what `build_graph` returns.")
        if graph.checkpointer is not persistence.saver:
            raise UsageError(f"{spec!r} must pass the persistence that it is given to `build_graph`.")
        return graph

    return make_graph


def _import_function(spec: str) -> Callable[[Persistence], object]:
    name, _, path = spec.partition(":")
    if not (name and path):
        raise UsageError(f"The graph is {spec!r}; give MODULE:FUNCTION, such as my_tools:build.")
    if os.getcwd() not in sys.path:  # noqa: PTH109 - as the import system has it
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        found: Any = importlib.import_module(name)
        for part in path.split("."):
            found = getattr(found, part)
    except ImportError as error:
        raise UsageError(f"The module of --graph {spec!r} cannot be imported: {error}.") from error
    except AttributeError:
        raise UsageError(f"The module {name!r} has no {path!r}, which --graph names.") from None
    if not callable(found):
        raise UsageError(f"{spec!r} is no function; it must take a persistence and return a graph.")
    return found  # type: ignore[no-any-return]  # checked where it is called


class IsolatedRunner:
    """Runs suspects, each alone in a process that is kept for the next one as long as it lives."""

    def __init__(self, *, db: str, graph: str | None) -> None:
        self._db = db
        self._graph = graph
        self._idle: list[_Child] = []
        self._places = asyncio.Semaphore(_MAX_PROCESSES)

    async def advance(self, thread: str) -> None:
        """Advance a thread; one that is cancelled is stopped as a worker is.

        Raises `ProcessDiedError` if the process dies, `PersistenceError` if another run has the thread, and
        `IsolatedRunError` for any other error.
        """
        async with self._places:
            child = self._idle.pop() if self._idle else _Child(self._db, self._graph)
            try:
                told = await child.run(thread)
            except BaseException:
                await asyncio.shield(asyncio.to_thread(child.stop))
                raise
            self._idle.append(child)
        if isinstance(told, _Raised):
            kind = PersistenceError if told.name in _PASSING else IsolatedRunError
            raise kind(f"{told.name}: {told.text}")

    async def close(self) -> None:
        """End the processes that are kept."""
        while self._idle:
            await asyncio.to_thread(self._idle.pop().stop)


class _Child:
    """A process that advances threads, one after another."""

    def __init__(self, db: str, graph: str | None) -> None:
        self._pipe, far_end = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(far_end, db, graph), name="planwave suspect")
        self._far_end: Connection[Any, Any] | None = far_end

    async def run(self, thread: str) -> object:
        """Return None, or what was raised. Raises `ProcessDiedError`, `PersistenceError` if it does not start."""
        try:
            await asyncio.to_thread(self._start)
        except (EOFError, OSError):
            # No fault of the thread, which it does not know yet.
            raise PersistenceError("The process for a thread that has killed its workers does not start.") from None
        try:
            return await asyncio.to_thread(self._exchange, thread)
        except (EOFError, OSError):
            await asyncio.to_thread(self._process.join)
            status = self._process.exitcode or 0
            how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
            raise ProcessDiedError(f"with {how}") from None

    def _start(self) -> None:
        if self._far_end is not None:
            self._process.start()
            self._far_end.close()
            self._far_end = None
            self._pipe.recv()

    def _exchange(self, thread: str) -> object:
        self._pipe.send(thread)
        return self._pipe.recv()

    def stop(self) -> None:
        """Let what it runs be stored, and end it."""
        if self._process.pid is not None:
            self._process.terminate()
            self._process.join(_STOP_S)
            self._process.kill()
            self._process.join()
        self._pipe.close()


def _serve(pipe: "Connection[Any, Any]", db: str, graph: str | None) -> None:
    """Advance the threads that the parent names; the process ends when the parent has ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel
        threading.Thread(target=lambda: (wait([sentinel]), os._exit(1)), daemon=True).start()
    # Ctrl-C at a terminal goes to the whole group; the parent says what is to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(asyncio.CancelledError, EOFError):
        asyncio.run(_serve_threads(pipe, db, graph))


async def _serve_threads(pipe: "Connection[Any, Any]", db: str, graph: str | None) -> None:
    serving = asyncio.current_task()
    assert serving is not None  # noqa: S101 - it is run by `asyncio.run`
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    async with open_persistence(db) as persistence:
        table = SubmissionTable(persistence.backend.database, serde=persistence.saver.serde)
        advancer = ThreadAdvancer(load_graph_function(graph)(persistence), persistence, table)
        pipe.send("ready")
        while True:
            # In a thread of its own that nobody waits for: one that still reads would keep the process alive.
            named: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            threading.Thread(target=_receive, args=(pipe, named), daemon=True).start()
            thread = await named
            try:
                await advancer.advance(thread)
            except Exception as error:  # noqa: BLE001 - told to the parent, which logs it
                pipe.send(_Raised(type(error).__name__, str(error)))
            else:
                pipe.send(None)


def _receive(pipe: "Connection[Any, Any]", named: "asyncio.Future[str]") -> None:
    try:
        thread = pipe.recv()
    except (EOFError, OSError):
        os._exit(0)
    named.get_loop().call_soon_threadsafe(named.set_result, thread)
