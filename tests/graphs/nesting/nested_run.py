"""A graph that calls Planwave three times in one node, in a process that dies inside the second write:
`python -m tests.graphs.nesting.nested_run DATABASE JOURNAL`."""

import asyncio
import os
import signal
import sys
from typing import Any

from langchain_core.tools import StructuredTool
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command
from typing_extensions import TypedDict

from graphs.persistence import Persistence, open_persistence
from graphs.plan_execute import build_graph
from tests.support.journal import Journal
from tests.support.worlds import APPROVE, thread


class Parent(TypedDict, total=False):
    outs: list[Any]


def build_parent(persistence: Persistence, journal: Journal, *, dies_at: str = "") -> Any:
    """Return a graph over `persistence` whose one node has three writes made, one after another."""

    async def post(name: str, idempotency_key: str) -> str:
        journal.note("post", name, idempotency_key)
        if name == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return name

    child = build_graph(
        tools=[StructuredTool.from_function(coroutine=post, name="post", description="Post.")], persistence=persistence
    )

    async def three(state: Parent) -> Parent:
        outs = []
        for name in ("one", "two", "three"):
            plan = {"tasks": [{"id": "w", "tool": "post", "args": {"name": name}}]}
            outs.append((await child.ainvoke({"goal": "Post.", "plan": plan}))["results"]["w"]["output"])
        return {"outs": outs}

    builder: Any = StateGraph(Parent)
    builder.add_node("three", three)
    builder.add_edge(START, "three")
    builder.add_edge("three", END)
    return builder.compile(checkpointer=persistence.saver)


async def run(url: str, journal: str) -> None:
    """Approve the first two writes; the process dies inside the second."""
    async with open_persistence(url) as persistence:
        parent = build_parent(persistence, Journal(journal), dies_at="two")
        await parent.ainvoke({}, thread())
        for _ in range(2):
            await parent.ainvoke(Command(resume=APPROVE), thread())


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
