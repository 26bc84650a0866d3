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


async def advance_alone(thread: str, *, db: str, graph: str | None) -> None:
    """Advance a thread in a new process. Raises `ProcessDiedError` if that dies, `PersistenceError` if it fails."""
    receiver, sender = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_run_child, args=(sender, thread, db, graph), name=f"planwave {thread}")
    await asyncio.to_thread(process.start)
    sender.close()
    try:
        await asyncio.to_thread(_join, process, None)
    except asyncio.CancelledError:
        process.terminate()
        await asyncio.shield(asyncio.to_thread(_join, process, _STOP_S))
        raise
    finally:
        if process.is_alive():
            process.kill()
    told: object = None
    with receiver, suppress(EOFError):
        told = receiver.recv()
    if isinstance(told, _Raised):
        kind = PersistenceError if told.name in _PASSING else IsolatedRunError
        raise kind(f"{told.name}: {told.text}")
    if told is None:
        status = process.exitcode or 0
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        raise ProcessDiedError(f"with {how}")


def _join(process: Any, timeout_s: float | None) -> None:  # noqa: ANN401 - multiprocessing keeps its type to itself
    process.join(timeout_s)


def _run_child(sender: "Connection[Any, Any]", thread: str, db: str, graph: str | None) -> None:
    """Advance a thread in this process, which ends when its parent has ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel
        threading.Thread(target=lambda: (wait([sentinel]), os._exit(1)), daemon=True).start()
    try:
        asyncio.run(_advance(thread, db=db, graph=graph))
    except asyncio.CancelledError:
        sender.send(_Raised("CancelledError", "the worker was stopped"))
    except Exception as error:  # noqa: BLE001 - told to the parent, which logs it
        sender.send(_Raised(type(error).__name__, str(error)))
    else:
        sender.send("ended")


async def _advance(thread: str, *, db: str, graph: str | None) -> None:
    running = asyncio.current_task()
    assert running is not None  # noqa: S101 - it is run by `asyncio.run`
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    async with open_persistence(db) as persistence:
        table = SubmissionTable(persistence.backend.database, serde=persistence.saver.serde)
        await ThreadAdvancer(load_graph_function(graph)(persistence), persistence, table).advance(thread)
