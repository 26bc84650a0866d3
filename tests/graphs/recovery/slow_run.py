"""A run in a process of its own, to be killed: `python -m tests.graphs.recovery.slow_run URL LOG DISPATCH [resume]`."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from langchain_core.tools import StructuredTool

from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph

#: Two short chains and a long task, then a join of all.
PLAN = {
    "tasks": [
        {"id": "a1", "tool": "note", "args": {"name": "a1", "seconds": 0.1}},
        {
            "id": "a2",
            "tool": "note",
            "args": {"name": {"template": "{x}2", "values": {"x": "a"}}, "seconds": 0.1},
            "depends_on": ["a1"],
        },
        {"id": "b1", "tool": "note", "args": {"name": "b1", "seconds": 0.05}},
        {"id": "b2", "tool": "note", "args": {"name": "b2", "seconds": 0.6}, "depends_on": ["b1"]},
        {"id": "long", "tool": "note", "args": {"name": "long", "seconds": 0.5}},
        {
            "id": "join",
            "tool": "note",
            "args": {
                "name": {
                    "template": "{a}{b}{c}",
                    "values": {n: {"output_of": t} for n, t in zip("abc", ("a2", "b2", "long"), strict=True)},
                },
                "seconds": 0.05,
            },
        },
    ]
}


def noting(log: Path) -> StructuredTool:
    async def note(name: str, seconds: float) -> str:
        with log.open("a") as file:
            file.write(f"start {name}\n")
        await asyncio.sleep(seconds)
        with log.open("a") as file:
            file.write(f"end {name}\n")
        return name

    return StructuredTool.from_function(
        coroutine=note, name="note", description="note", metadata={"readOnlyHint": True}
    )


async def main(url: str, log: str, dispatch: str, *how: str) -> dict[str, Any]:
    async with open_persistence(url) as persistence:
        graph = build_graph(tools=[noting(Path(log))], settings=Settings(dispatch=dispatch), persistence=persistence)
        given = None if how else {"goal": "g", "plan": PLAN}
        return await graph.ainvoke(given, {"configurable": {"thread_id": "t"}})


if __name__ == "__main__":
    print(asyncio.run(main(*sys.argv[1:]))["status"])
