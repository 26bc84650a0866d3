"""Runs over given tools: with a plan, or planned by a scripted model."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver

from agent.settings import Settings
from graphs.plan_execute import build_graph

SETTINGS = Settings(approve="never", max_replans=0)


def told(out: dict[str, Any]) -> Any:
    """Return what became of a run: by task id its output or its error, or the problems of its plan."""
    results = out.get("results") or {}
    if not results:
        return out["problems"]
    return {
        task: record.get("output") if record["status"] == "done" else record["error"]
        for task, record in results.items()
    }


@pytest.fixture
def run() -> Callable[..., Any]:
    async def run_plan(tools: list[Any], *tasks: dict[str, Any], **options: Any) -> Any:
        graph = build_graph(tools=tools, settings=SETTINGS, checkpointer=InMemorySaver(), **options)
        config: Any = {"configurable": {"thread_id": "t"}}
        return told(await graph.ainvoke({"goal": "See.", "plan": {"tasks": list(tasks)}}, config))

    return run_plan


@pytest.fixture
def plan_and_run() -> Callable[..., Any]:
    """Run what a model plans: one call of a tool."""

    async def make(tools: list[Any], tool: str, args: dict[str, Any]) -> Any:
        task = {"id": "a", "description": "d", "reasoning": "r", "tool": tool, "args": args}
        replies = [json.dumps({"execution_mode": "parallel", "tasks": [task]}), "All is done."]
        graph = build_graph(tools=tools, settings=SETTINGS, model=FakeListChatModel(responses=replies))
        return told(await graph.ainvoke({"goal": "See."}))

    return make


def task(name: str, tool: str, /, **args: Any) -> dict[str, Any]:
    return {"id": name, "tool": tool, "args": args}


def schema_tool(properties: dict[str, Any], *, name: str = "take", **more: Any) -> StructuredTool:
    """Return a tool of a JSON Schema, as MCP servers have them, which returns its arguments."""

    async def take(**given: Any) -> Any:
        return given

    schema = {"type": "object", "properties": properties, **more}
    return StructuredTool(name=name, description="Take.", args_schema=schema, coroutine=take)
