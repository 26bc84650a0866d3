"""Workers that tests start and kill: their tools note in a journal what they did."""

import asyncio
import logging
import os
import signal
import time
from contextlib import suppress
from typing import Any

from langchain_core.tools import StructuredTool

from agent.errors import AnswerError
from agent.settings import Settings
from graphs.persistence import Persistence
from graphs.plan_execute import PlanwaveGraph, build_graph
from graphs.stores.postgres import PostgresCheckpointSaver
from graphs.stores.tables import leases
from graphs.stores.tables.submissions import SubmissionTable
from graphs.workers.client import ThreadQueue
from graphs.workers.sweep import Sweeper
from graphs.workers.worker import run_worker
from tests.support.faults import befall
from tests.support.journal import Journal

GRAPH = "tests.graphs.workers.worker_run:build"
APPROVE = {"decisions": [{"type": "approve"}]}
_JOURNAL = "WORKER_JOURNAL"
_PAUSE = "WORKER_CALL_S"
#: How soon a test's worker counts as dead, and a lease as lost.
FAST = {"PLANWAVE_WORKER_DEAD_S": "3", "PLANWAVE_LEASE_TTL_S": "2"}


def tool(function: Any, **metadata: Any) -> StructuredTool:
    """Return a coroutine function as a tool of its name."""
    name = function.__name__
    return StructuredTool.from_function(coroutine=function, name=name, description=name, metadata=metadata)


def build_far_tools(journal: Journal, pause_s: float) -> list[StructuredTool]:
    """Return tools whose calls are made in a pool."""

    async def far_look(name: str, seconds: float = 0.0) -> str:
        journal.note("far_look", name, os.getpid(), time.time())
        try:
            await asyncio.sleep(seconds or pause_s)
        except asyncio.CancelledError:
            journal.note("cancelled", name)
            raise
        return f"saw {name}"

    async def far_keep(name: str, idempotency_key: str) -> str:
        journal.note("far_keep", name, os.getpid(), time.time(), idempotency_key)
        await asyncio.sleep(pause_s)
        return f"kept {name}"

    async def far_post(name: str, seconds: float = 0.0) -> str:
        journal.note("far_post", name, os.getpid(), time.time())
        await asyncio.sleep(seconds or pause_s)
        return f"posted {name}"

    def far_fail(name: str) -> str:
        journal.note("far_fail", name, os.getpid(), time.time())
        raise LookupError(f"nothing at {name}")

    def far_crunch(number: int) -> int:
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            number = number * 7 % 1_000_003
        return number

    far = {"pool": "far"}
    return [
        StructuredTool.from_function(far_crunch, description="far_crunch", metadata={"readOnlyHint": True, **far}),
        tool(far_look, readOnlyHint=True, **far),
        tool(far_keep, **far),
        tool(far_post, **far),
        StructuredTool.from_function(far_fail, description="far_fail", metadata={"readOnlyHint": True, **far}),
    ]


def build(persistence: Persistence) -> PlanwaveGraph:
    """Return a graph over a read, a keyed and an unkeyed write, and tools that harm their process."""
    journal, pause_s = Journal(os.environ[_JOURNAL]), float(os.environ.get(_PAUSE, "0.01"))

    async def look(name: str, rests_on: str = "") -> str:
        journal.note("look", name, os.getpid(), time.time())
        await asyncio.sleep(pause_s)
        return f"saw {name}"

    async def keep(name: str, idempotency_key: str, rests_on: str = "") -> str:
        journal.note("keep", name, os.getpid(), time.time(), idempotency_key)
        await asyncio.sleep(pause_s)
        return f"kept {name}"

    async def post(name: str, rests_on: str = "") -> str:
        journal.note("post", name, os.getpid(), time.time())
        await asyncio.sleep(pause_s)
        return f"posted {name}"

    async def die(name: str) -> str:
        journal.note("die", name, os.getpid())
        befall(signal.SIGKILL)
        return "never"

    async def post_and_die(name: str) -> str:
        journal.note("post", name, os.getpid(), time.time())
        if len(journal.having("post", name)) == 1:
            befall(signal.SIGKILL)
        return f"posted {name}"

    tools = [
        *build_far_tools(journal, pause_s),
        tool(look, readOnlyHint=True),
        tool(keep),
        tool(post),
        tool(post_and_die),
        tool(die, readOnlyHint=True),
    ]
    return build_graph(tools=tools, settings=Settings(grace_s=1.0), persistence=persistence)


def build_reader(persistence: Persistence) -> PlanwaveGraph:
    """Return a graph that has only the read."""
    journal = Journal(os.environ[_JOURNAL])

    async def look(name: str, rests_on: str = "") -> str:
        journal.note("look", name, os.getpid())
        return f"saw {name}"

    return build_graph(tools=[tool(look, readOnlyHint=True)], persistence=persistence)


def work(
    url: str,
    journal: str,
    *,
    graph: str = GRAPH,
    slots: int = 4,
    calls: str | None = None,
    machine: str | None = None,
    fault: tuple[str, int] | None = None,
    **env: str,
) -> None:
    """Be a worker, as `planwave worker` is; one on another `machine` cannot be seen to have ended.

    `fault` kills it when it comes to a point for the n-th time.
    """
    os.environ.update({**FAST, _JOURNAL: journal, **env})
    if machine is not None:
        leases._identify_machine = lambda: machine  # type: ignore[assignment]
    if fault is not None:
        _set_fault(Journal(journal), *fault)
    logging.basicConfig(filename=f"{journal}.log", level=logging.INFO)
    asyncio.run(run_worker(url, graph=graph, slots=slots, calls=calls))


#: By name: the method that a worker is killed in, and whether before or after it.
POINTS: dict[str, tuple[type, str, str]] = {
    "before a checkpoint": (PostgresCheckpointSaver, "put", "before"),
    "after a checkpoint": (PostgresCheckpointSaver, "put", "after"),
    "after a task": (PostgresCheckpointSaver, "put_writes", "after"),
    "in the sweep": (Sweeper, "_free_queues", "before"),
    "after the sweep": (Sweeper, "sweep", "after"),
    "in the inbox": (SubmissionTable, "list_answers", "after"),
    "right after an answer": (SubmissionTable, "mark_taken", "before"),
    "before the end is noted": (SubmissionTable, "settle", "before"),
    "after the end is noted": (SubmissionTable, "settle", "after"),
}


def _set_fault(journal: Journal, point: str, nth: int) -> None:
    owner, name, where = POINTS[point]
    method, passed = getattr(owner, name), []

    def reach(*args: Any, **options: Any) -> Any:
        passed.append(name)
        result = method(*args, **options) if where == "after" else None
        if len(passed) == nth:
            journal.note("fault", point.replace(" ", "-"), nth)
            befall(signal.SIGKILL)
        return result if where == "after" else method(*args, **options)

    setattr(owner, name, reach)


def decide(action: dict[str, Any], journal: Journal) -> dict[str, Any]:
    """Answer one request as a person does who approves every call, and looks whether one in doubt has happened."""
    name = action["args"]["name"]
    journal.note("doubted" if "doubt" in action else "approved", name)
    if "doubt" in action and journal.having(action["name"].removesuffix("_and_die"), name):
        return {"type": "respond", "message": f"posted {name}"}
    return {"type": "approve"}


async def answer_all(threads: ThreadQueue, thread: str, out: Any, journal: Journal) -> None:
    """Answer what a thread asks, once and twice; another one may have answered before."""
    [asked] = out["__interrupt__"]
    decisions = {"decisions": [decide(action, journal) for action in asked.value["action_requests"]]}
    for _ in range(2):
        with suppress(AnswerError):
            await threads.answer(thread, {asked.id: decisions})


def plan_of(name: str, *, gated: bool) -> dict[str, Any]:
    """Return seven tasks: reads, and writes with and without a key if they are to be asked about."""
    writes = ("keep", "post") if gated else ("look", "look")
    tools = ["look", "look", writes[0], "look", writes[1], "look", "look"]
    tasks = [
        {
            "id": f"t{number}",
            "tool": tool,
            "args": {
                "name": f"{name}/t{number}",
                **({"rests_on": {"output_of": f"t{number - 2}"}} if number > 2 else {}),
            },
        }
        for number, tool in enumerate(tools, start=1)
    ]
    return {"tasks": tasks}


def one_task(tool: str, name: str, **task: Any) -> dict[str, Any]:
    """Return a goal with a plan of one task."""
    return {"goal": "Go.", "plan": {"tasks": [{"id": "w", "tool": tool, "args": {"name": name}, **task}]}}
