"""Many short runs in one process, and how its memory grows."""

import gc
from pathlib import Path
from typing import Any

from langgraph.types import Command

from graphs.persistence import open_persistence
from tests.crash.approval_run import APPROVE, graph_over, plan_of
from tests.support.journal import Journal


async def soak(url: str, path: str, count: int, every: int) -> dict[str, Any]:
    """Make `count` runs, each asked about and approved on a thread of its own; measure after each `every`."""
    journal = Journal(path)
    measured: list[tuple[int, int]] = []
    async with open_persistence(url) as persistence:
        graph = graph_over(persistence, journal)
        for number in range(1, count + 1):
            config: Any = {"configurable": {"thread_id": f"t{number}"}}
            await graph.ainvoke({"goal": "Post.", "plan": plan_of(f"t{number}")}, config)
            out = await graph.ainvoke(Command(resume=APPROVE), config)
            assert out["status"] == "completed", out
            if number % every == 0:
                gc.collect()
                measured.append((number, _resident_kib()))
    return {"measured": measured, "effects": len(journal.lines())}


def _resident_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])
