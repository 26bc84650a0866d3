"""A worker in a process of its own that may be killed.

`python -m tests.graphs.delegation.delegated_run URL LOG DIES_AT HOW`

HOW is `start`, `on`, `approve`, `approve by id` or `respond`. DIES_AT is the tool in whose call the process kills
itself, after the effect: `look`, `write` or `-`. LOG gets a line for each call and for each time that the worker's
model is asked.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import StructuredTool
from langgraph.types import Command

from graphs.delegation.delegate_tool import delegate_tool
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph

URL, LOG, DIES_AT, HOW = sys.argv[1:]
TURNS = [("look", {"value": 1}), ("look", {"value": 2}), ("write", {"value": 5})]
GIVEN: dict[str, Any] = {
    "start": {"goal": "g", "plan": {"tasks": [{"id": "job", "tool": "delegate", "args": {"task": "Write 5."}}]}},
    "on": None,
    "approve": Command(resume={"decisions": [{"type": "approve"}]}),
    "respond": Command(resume={"decisions": [{"type": "respond", "message": "it did"}]}),
}


def note(line: str) -> None:
    with Path(LOG).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def die(name: str, value: int) -> None:
    if name == DIES_AT and value != 1:
        os.kill(os.getpid(), signal.SIGKILL)


async def look(value: int) -> int:
    """Look."""
    note(f"look {value}")
    die("look", value)
    return value


async def write(value: int) -> int:
    """Write."""
    note(f"write {value}")
    die("write", value)
    return value


class Worker(BaseChatModel):
    """Takes its turns in order."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        number = sum(isinstance(message, AIMessage) for message in messages)
        note(f"asked {number}")
        said = AIMessage("Over.")
        if number < len(TURNS):
            name, args = TURNS[number]
            said = AIMessage("", tool_calls=[{"name": name, "args": args, "id": "call_0"}])
        return ChatResult(generations=[ChatGeneration(message=said)])


async def main() -> None:
    tools = [
        StructuredTool.from_function(coroutine=look, metadata={"readOnlyHint": True}),
        StructuredTool.from_function(coroutine=write),
    ]
    async with open_persistence(URL, ttl_s=1.0) as stored:
        graph = build_graph(tools=[*tools, delegate_tool(tools, Worker)], persistence=stored)
        config: RunnableConfig = {"configurable": {"thread_id": "t"}}
        given = GIVEN[HOW.removesuffix(" by id")]
        if HOW.endswith("by id"):
            [waiting] = (await graph.aget_state(config)).interrupts
            given = Command(resume={waiting.id: given.resume})
        out = await graph.ainvoke(given, config)
    doubt = [action.get("doubt") for each in out.get("__interrupt__", ()) for action in each.value["action_requests"]]
    print(out["status"], "in doubt" if any(doubt) else "", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
