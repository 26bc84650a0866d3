"""A `for_each` and a call that is tried again, in a process that kills itself in the middle."""

import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.types import Command

from agent.execution.call_log import LoggedCall
from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from graphs.stores.tables.call_log import SqlCallLog
from tests.support.journal import Journal


def items(count: int) -> dict[str, Any]:
    return {
        "tasks": [
            {"id": "list", "tool": "count", "args": {"to": count}},
            {"id": "look", "tool": "look", "for_each": {"output_of": "list"}, "args": {"n": {"item": []}}},
            {"id": "send", "tool": "send", "for_each": {"output_of": "list"}, "args": {"n": {"item": []}}},
            {"id": "join", "tool": "add", "args": {"looked": {"output_of": "look"}, "sent": {"output_of": "send"}}},
        ]
    }


def retried(tool: str) -> dict[str, Any]:
    return {"tasks": [{"id": "shaky", "tool": tool, "max_retries": 2}]}


def _tools(journal: Journal, kill: tuple[str, int] | None) -> list[BaseTool]:
    noted: Counter[str] = Counter()

    def note(word: str, *more: object) -> None:
        journal.note(word, *more)
        noted[word] += 1
        if kill is not None and kill[0] == word and noted[word] == kill[1]:
            os.kill(os.getpid(), signal.SIGKILL)

    async def count(to: int) -> list[int]:
        return list(range(to))

    async def look(n: int) -> int:
        note("look", n)
        return n

    async def send(n: int) -> int:
        note("send", n)
        return n

    async def add(looked: list[int], sent: list[int]) -> list[int]:
        return [a + b for a, b in zip(looked, sent, strict=True)]

    async def shaky() -> str:
        note("shaky")
        raise ConnectionError("nobody answers")

    async def shaky_write(idempotency_key: str) -> str:
        note("shaky", idempotency_key)
        raise ConnectionError("nobody answers")

    _note_storing(note)
    read = {"readOnlyHint": True}
    write = {"idempotentHint": True}
    reading = [_tool(function, read) for function in (count, look, add, shaky)]
    return [*reading, *(_tool(function, write) for function in (send, shaky_write))]


def _tool(function: Callable[..., Any], metadata: dict[str, Any]) -> BaseTool:
    name = function.__name__
    return StructuredTool.from_function(coroutine=function, name=name, description=name, metadata=metadata)


def _note_storing(note: Callable[..., None]) -> None:
    """Have what is stored of calls noted too."""
    store = SqlCallLog.save_calls

    async def noted(this: SqlCallLog, calls: list[LoggedCall]) -> None:
        await store(this, calls)
        for call in calls:
            note("stored", call.task, call.item, call.attempts)

    SqlCallLog.save_calls = noted  # type: ignore[method-assign]


async def run(url: str, path: str, dispatch: str, plan: dict[str, Any], kill: tuple[str, int] | None) -> dict[str, Any]:
    """Begin the run or take it up; `kill` names a word of the journal and how often it may stand there before."""
    config: RunnableConfig = {"configurable": {"thread_id": "t"}}
    async with open_persistence(url) as persistence:
        settings = Settings(dispatch=dispatch, max_concurrency=4)
        graph = build_graph(tools=_tools(Journal(path), kill), settings=settings, persistence=persistence)
        left = await graph.aget_state(config)
        out = await graph.ainvoke(None if left.values else {"goal": "g", "plan": plan}, config)
        if out["status"] == "awaiting_approval":
            out = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
    return {**out, "__interrupt__": None}
