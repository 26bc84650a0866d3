"""A run with a short lease, as a process: `python -m tests.graphs.stores.leased_run URL LOG TTL [resume]`."""

import asyncio
import sys
from pathlib import Path

from langchain_core.tools import StructuredTool

from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph

#: Three waves; each task notes its start and its end.
PLAN = {
    "tasks": [
        {"id": "a", "tool": "note", "args": {"name": "a", "seconds": 0.05}},
        {"id": "b", "tool": "note", "args": {"name": "b", "seconds": 0.8}, "depends_on": ["a"]},
        {"id": "c", "tool": "note", "args": {"name": "c", "seconds": 0.05}, "depends_on": ["b"]},
    ]
}


async def main(url: str, log: str, ttl: str, *how: str) -> str:
    async def note(name: str, seconds: float) -> str:
        with Path(log).open("a") as file:  # noqa: ASYNC230
            file.write(f"start {name}\n")
        await asyncio.sleep(seconds)
        with Path(log).open("a") as file:  # noqa: ASYNC230
            file.write(f"end {name}\n")
        return name

    tool = StructuredTool.from_function(coroutine=note, name="note", description="n", metadata={"readOnlyHint": True})
    async with open_persistence(url, ttl_s=float(ttl)) as persistence:
        graph = build_graph(tools=[tool], settings=Settings(dispatch="wave"), persistence=persistence)
        given = None if how else {"goal": "g", "plan": PLAN}
        out = await graph.ainvoke(given, {"configurable": {"thread_id": "t"}})
        return str(out["status"])


if __name__ == "__main__":
    try:
        print(asyncio.run(main(*sys.argv[1:])), flush=True)
    except Exception as error:  # noqa: BLE001 - its name is what the test wants
        print(type(error).__name__, flush=True)
        print(error, file=sys.stderr)
