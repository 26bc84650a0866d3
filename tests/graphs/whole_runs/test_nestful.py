"""Every gold plan of NESTFUL, run through the graph with recorded tools."""

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.memory import InMemorySaver

from agent.settings import Settings
from graphs.plan_execute import build_graph

DATA = Path(__file__).parents[4] / "shared" / "data" / "nestful"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the NESTFUL data lie beside a development checkout only")


def reference(value: Any) -> Any:
    if isinstance(value, dict) and "$ref" in value:
        return {"output_of": value["$ref"], "path": value["path"]}
    return value


def plan_of(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "tasks": [
            {
                "id": step["id"],
                "tool": step["tool"],
                "args": {name: reference(value) for name, value in step["args"].items()},
                "depends_on": step["depends_on"],
            }
            for step in record["plan"]
        ]
    }


def tape_tool(name: str, spec: dict[str, Any], tape: list[dict[str, Any]]) -> BaseTool:
    recorded = {json.dumps(entry["args"], sort_keys=True): entry["output"] for entry in tape}

    async def play(**args: Any) -> Any:
        return recorded[json.dumps(args, sort_keys=True)]

    return StructuredTool.from_function(
        coroutine=play,
        name=name,
        description=spec["description"],
        args_schema={"type": "object", "properties": {name: {} for name in spec["parameters"]}},
        metadata={"readOnlyHint": True},
    )


@pytest.mark.parametrize("dispatch", ["eager", "wave"])
async def test_every_gold_plan_gives_its_gold_outputs(dispatch):
    tape = json.loads((DATA / "tool_tape.json").read_text())
    # The types that the specs declare are words of their own (`int or float`), so names alone are taken from them.
    specs = json.loads((DATA / "tools.json").read_text())
    tools = {name: tape_tool(name, specs[name], entries) for name, entries in tape.items()}
    records = [json.loads(line) for line in (DATA / "plans.jsonl").read_text().splitlines()]
    saver = InMemorySaver()
    graph = build_graph(tools=list(tools.values()), settings=Settings(dispatch=dispatch), checkpointer=saver)
    wrong = []
    for record in records:
        config = {"configurable": {"thread_id": record["id"]}}
        out = await graph.ainvoke({"goal": record["query"], "plan": plan_of(record)}, config)
        outputs = {task: result["output"] for task, result in out["results"].items()}
        if out["status"] != "completed" or outputs != record["expected_outputs"]:
            wrong.append((record["id"], out["problems"] or outputs))
    print(f"{len(records) - len(wrong)}/{len(records)} gold plans exact, dispatch={dispatch}")
    assert len(records) == 533
    assert wrong == []
