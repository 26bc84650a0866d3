"""A process that reads tampered rows under an audit hook."""

import logging
import os
import random
import sys
import traceback
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

from langgraph.types import Command

from agent.errors import PlanwaveError
from graphs.persistence import open_persistence
from tests.crash.approval_run import begin, graph_over
from tests.crash.tampering import CANARY, Rows
from tests.support.journal import Journal

#: Audit events by which code that is not ours could come to run (docs.python.org, "Audit events table").
_RUNS_CODE = frozenset(
    {"import", "exec", "compile", "code.__new__", "marshal.loads", "pickle.find_class", "ctypes.dlopen", "os.system",
     "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "os.startfile", "pty.spawn", "subprocess.Popen",
     "socket.connect", "shutil.copyfile", "os.remove", "os.rename"}
)  # fmt: skip
#: For a value marked as an array LangGraph imports this by a name of its own, which no row can change; what numpy
#: imports in its turn is imported before the hook listens.
_OWN_IMPORT = ("import", "numpy")


async def read_tampered(url: str, folder: str, count: int, seed: int) -> dict[str, Any]:
    """Change a row, read and resume its threads, and put it back, `count` times; return what was seen."""
    chance = random.Random(seed)  # noqa: S311 - faults, no secrets
    journal = Journal(Path(folder) / "journal")
    sys.path.insert(0, folder)
    canary = Path(folder) / CANARY
    (Path(folder) / "planwave_canary.py").write_text(f"open({str(canary)!r}, 'w')\n")
    os.chdir(folder)
    # LangGraph warns of every type that it does not make.
    logging.disable()
    await begin(url, str(journal.path), ["done", "waiting"])
    async with open_persistence(url) as persistence:
        graph = graph_over(persistence, journal)
        await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), _at("done"))
    import_module(_OWN_IMPORT[1])
    rows = Rows(url)
    for turn in range(5):
        # What an error's own way out imports is imported before the hook listens.
        thread, _ = rows.change(random.Random(turn))  # noqa: S311
        await _use(url, journal, thread)
        rows.restore()
    foreign: list[str] = []
    listening = False

    def heard(event: str, args: tuple[Any, ...]) -> None:
        if (
            listening
            and (event, args[:1]) != (_OWN_IMPORT[0], _OWN_IMPORT[1:])
            and (event in _RUNS_CODE or (event == "open" and CANARY in str(args[0])))
        ):
            foreign.append(f"{event} {args[0]!r:.80}")

    sys.addaudithook(heard)
    met: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    untyped: list[str] = []
    for _ in range(count):
        thread, how = rows.change(chance)
        kinds[how.split(":")[1].strip().split(" of ")[0]] += 1
        listening = True
        found = await _use(url, journal, thread)
        listening = False
        met.update(each if isinstance(each, str) else type(each).__name__ for each in found)
        untyped += [_told(how, each) for each in found if not isinstance(each, str | PlanwaveError)]
        rows.restore()
    return {
        "foreign": foreign,
        "canary": canary.exists(),
        "met": dict(met),
        "kinds": dict(kinds),
        "untyped": untyped,
        "effects": Counter(name for _, name in journal.lines()),
    }


def _told(how: str, error: Exception) -> str:
    return f"{how}\n{''.join(traceback.format_exception(error)[-4:])}"


async def _use(url: str, journal: Journal, thread: str) -> list[str | Exception]:
    """Read, list and resume a thread; return what each of that met."""
    met: list[str | Exception] = []
    async with open_persistence(url) as persistence:
        graph = graph_over(persistence, journal)
        for use in (_state, _history, _resumed, _rows):
            try:
                met.append(await use(graph, persistence, thread))
            except Exception as error:  # noqa: BLE001 - shown by the test
                met.append(error)
    return met


async def _state(graph: Any, persistence: Any, thread: str) -> str:
    await graph.aget_state(_at(thread))
    return "read"


async def _history(graph: Any, persistence: Any, thread: str) -> str:
    _ = [state async for state in graph.aget_state_history(_at(thread))]
    return "read"


async def _resumed(graph: Any, persistence: Any, thread: str) -> str:
    return str((await graph.ainvoke(None, _at(thread)))["status"])


async def _rows(graph: Any, persistence: Any, thread: str) -> str:
    await persistence.ledger.list_rows(thread)
    return "read"


def _at(thread: str) -> Any:
    return {"configurable": {"thread_id": thread}}
