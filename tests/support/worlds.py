"""Small worlds for graph tests: tools that note what they did."""

import asyncio
from collections.abc import Callable
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool

READ = {"readOnlyHint": True}


class World:
    """Tools that note each of their calls in `log`, with what they were given."""

    def __init__(self) -> None:
        self.log: list[tuple[str, Any]] = []
        self.failing: set[Any] = set()
        self.now_running = 0
        self.most_running = 0

    def tool(self, name: str, run: Callable[..., Any], metadata: dict[str, Any] | None = None) -> BaseTool:
        return StructuredTool.from_function(coroutine=run, name=name, description=name, metadata=metadata)

    def tools(self) -> list[BaseTool]:
        return [
            self.tool("look", self.look, {**READ, "output_schema": {"type": "object", "properties": {"value": {}}}}),
            self.tool("wait", self.wait, READ),
            self.tool("write", self.write),
            self.tool("erase", self.erase),
        ]

    async def look(self, value: Any) -> dict[str, Any]:
        self.log.append(("look", value))
        if isinstance(value, int) and value in self.failing:
            raise LookupError(f"nothing at {value}")
        return {"value": value}

    async def wait(self, seconds: float, name: str = "") -> str:
        self.now_running += 1
        self.most_running = max(self.most_running, self.now_running)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.now_running -= 1
        self.log.append(("wait", name))
        return name

    async def write(self, value: Any) -> dict[str, Any]:
        self.log.append(("write", value))
        if value in self.failing:
            raise PermissionError(f"may not write {value}")
        return {"written": value}

    async def erase(self, value: Any) -> str:
        self.log.append(("erase", value))
        if ("erase", value) in self.failing:
            raise PermissionError(f"may not erase {value}")
        return "gone"


def ref(task: str, *path: str | int) -> dict[str, Any]:
    """Return a reference."""
    return {"output_of": task, "path": list(path)}


def thread(name: str = "t") -> dict[str, Any]:
    """Return the config of a thread."""
    return {"configurable": {"thread_id": name}}


APPROVE = {"decisions": [{"type": "approve"}]}


#: Two reads, a write that rests on them, and a read of what it wrote.
CHAIN = {
    "tasks": [
        {"id": "a", "tool": "look", "args": {"value": 1}},
        {"id": "b", "tool": "look", "args": {"value": ref("a", "value")}},
        {"id": "w", "tool": "write", "args": {"value": ref("b", "value")}},
        {"id": "c", "tool": "look", "args": {"value": ref("w", "written")}},
    ]
}
