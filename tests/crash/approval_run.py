"""Threads with one write that waits for an approval, and who answers it."""

import asyncio
import random
from typing import Any

from langchain_core.tools import StructuredTool
from langgraph.types import Command

from agent.settings import Settings
from graphs.persistence import Persistence, open_persistence
from graphs.plan_execute import PlanwaveGraph, build_graph
from tests.support.journal import Journal

APPROVE = {"decisions": [{"type": "approve"}]}


def plan_of(name: str) -> dict[str, Any]:
    """Return a plan whose one write is told apart by `name`."""
    return {"tasks": [{"id": "w", "tool": "post", "args": {"name": name}}]}


def graph_over(
    persistence: Persistence, journal: Journal, *, hung: asyncio.Event | None = None, **settings: Any
) -> PlanwaveGraph:
    """Return a graph whose one tool writes; with `hung` its writes set it and do not return."""

    async def post(name: str) -> str:
        journal.note("effect", name)
        if hung is not None:
            hung.set()
            await asyncio.sleep(60)
        await asyncio.sleep(0.002)
        return f"posted {name}"

    tool = StructuredTool.from_function(coroutine=post, name="post", description="post")
    return build_graph(tools=[tool], settings=Settings(**settings), persistence=persistence)


async def begin(url: str, path: str, threads: list[str]) -> None:
    """Bring each thread to its approval."""
    async with open_persistence(url) as persistence:
        graph = graph_over(persistence, Journal(path))
        for thread in threads:
            config = {"configurable": {"thread_id": thread}}
            out = await graph.ainvoke({"goal": "Post.", "plan": plan_of(thread)}, config)
            assert out["status"] == "awaiting_approval", out


async def answer(url: str, path: str, threads: list[str], together: Any, seed: int) -> list[str]:
    """Approve on each thread at about the same time as others do; return what each approval met."""
    chance, met = random.Random(seed), []  # noqa: S311 - a delay, no secret
    async with open_persistence(url) as persistence:
        graph = graph_over(persistence, Journal(path))
        for thread in threads:
            together.wait(60)
            await asyncio.sleep(chance.choice((0.0, 0.0, chance.uniform(0, 0.1))))
            try:
                out = await graph.ainvoke(Command(resume=APPROVE), {"configurable": {"thread_id": thread}})
                met.append(out["status"])
            except Exception as error:  # noqa: BLE001 - its name is what the test counts
                met.append(type(error).__name__)
    return met


async def statuses(url: str, path: str, threads: list[str]) -> list[str]:
    """Return the status that each thread has come to."""
    async with open_persistence(url) as persistence:
        graph = graph_over(persistence, Journal(path))
        states = [await graph.aget_state({"configurable": {"thread_id": thread}}) for thread in threads]
    return [state.values["status"] for state in states]
