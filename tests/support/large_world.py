"""A world whose tools return large values, and a run over it in a process of its own, to be killed.

`python -m tests.support.large_world URL LOG` runs `KILLED`, whose last task takes long.
"""

import asyncio
import sys
from pathlib import Path

from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.worlds import READ, World, ref, thread

MARK = "Quastenflosser"

KILLED = {
    "tasks": [
        {"id": "rows", "tool": "rows", "args": {"count": 3000}},
        {"id": "slow", "tool": "slow", "args": {"value": ref("rows", "rows", 2999, "name")}},
        {"id": "last", "tool": "look", "args": {"value": ref("rows", "rows", 1, "n")}, "depends_on": ["slow"]},
    ]
}


class LargeWorld(World):
    """Rows as many as are asked for."""

    def __init__(self, log=None, *, slow_s=0.0):
        super().__init__()
        self._file = log
        self._slow_s = slow_s

    def tools(self):
        return [
            self.tool("rows", self.rows, READ),
            self.tool("look", self.look, READ),
            self.tool("slow", self.slow, READ),
            self.tool("keep", self.keep),
            self.tool("unkeep", self.unkeep),
        ]

    async def rows(self, count: int):
        self.note("rows", count)
        return {"rows": [{"n": n * 1.5, "name": f"{MARK} {n}", "odd": bool(n % 2)} for n in range(count)]}

    async def keep(self, value):
        self.note("keep", value)
        return {"kept": value, "rows": [{"z": 1, "a": value}] * 300}

    async def unkeep(self, value):
        self.note("unkeep", value)
        return "gone"

    async def slow(self, value):
        self.note("slow", value)
        await asyncio.sleep(self._slow_s)
        return value

    def note(self, what, value):
        self.log.append((what, value))
        if self._file is not None:
            with Path(self._file).open("a") as file:
                file.write(f"{what} {value}\n")


async def main(url, log):
    async with open_persistence(url) as persistence:
        world = LargeWorld(log, slow_s=60)
        graph = build_graph(tools=world.tools(), persistence=persistence, settings=Settings(artifact_bytes=1000))
        await graph.ainvoke({"goal": "g", "plan": KILLED}, thread())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
