"""Two runs in a process of its own, traced if the environment says so: one planned by a model, one given."""

import asyncio
import sys
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.tracers.langchain import wait_for_all_tracers
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import SecretStr

from agent.tools.sql.data_source import open_data_source
from graphs.plan_execute import build_graph

READ = {"readOnlyHint": True}


class Vault(BaseTool):
    """A tool that is configured with a secret."""

    name: str = "vault"
    description: str = "Looks something up behind a key."
    metadata: dict[str, Any] | None = READ
    token: SecretStr
    address: str

    def _run(self, name: str) -> dict[str, Any]:
        return {"name": name, "open": bool(self.token.get_secret_value())}


def connect() -> str:
    """Open a database that is not there."""
    open_data_source(sys.argv[1])
    return "open"


async def write(value: int) -> dict[str, int]:
    """Write."""
    return {"written": value}


async def main() -> None:
    tools = [
        Vault(token=SecretStr(sys.argv[2]), address=sys.argv[1]),
        StructuredTool.from_function(connect, metadata=READ),
        StructuredTool.from_function(coroutine=write),
    ]
    graph = build_graph(tools=tools, model="openai:scripted", checkpointer=InMemorySaver())
    out = await graph.ainvoke({"goal": "Open the vault"}, {"configurable": {"thread_id": "planned"}})
    assert out["status"] == "completed", out
    given: dict[str, Any] = {
        "tasks": [
            {"id": "db", "tool": "connect", "on_failure": "skip"},
            {"id": "w", "tool": "write", "args": {"value": 2}},
        ]
    }
    config: Any = {"configurable": {"thread_id": "given"}}
    await graph.ainvoke({"goal": "Write", "plan": given}, config)
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
    assert out["status"] == "completed", out
    assert out["results"]["db"]["status"] == "failed", out
    await asyncio.to_thread(wait_for_all_tracers)


if __name__ == "__main__":
    asyncio.run(main())
