"""Tools that report a failure by what they return instead of raising."""

from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import StructuredTool
from langgraph.types import Command
from mcp.types import CallToolResult, TextContent

from agent.settings import Settings
from graphs.plan_execute import build_graph
from tests.support.worlds import READ

BAD = ToolMessage("insufficient funds", tool_call_id="1", status="error")
GOOD = ToolMessage("paid", tool_call_id="2")
RESULT = CallToolResult(isError=True, content=[TextContent(type="text", text="insufficient funds")])
PLAN = {
    "tasks": [
        {"id": "w", "tool": "pay", "args": {}},
        {"id": "after", "tool": "look", "args": {}, "depends_on": ["w"]},
    ]
}


async def run(returned: Any, *, blocking: bool = False, **options: Any) -> Any:
    async def pay() -> Any:
        return returned

    async def look() -> str:
        return "seen"

    how = {"func": lambda: returned} if blocking else {"coroutine": pay}
    tools = [
        StructuredTool.from_function(name="pay", description="p", **how, **options),
        StructuredTool.from_function(coroutine=look, name="look", description="l", metadata=READ),
    ]
    return await build_graph(tools=tools, settings=Settings(approve="never")).ainvoke({"goal": "g", "plan": PLAN})


@pytest.mark.parametrize("blocking", [False, True], ids=["loop", "thread"])
@pytest.mark.parametrize(
    "returned",
    [
        BAD,
        [GOOD, BAD],
        Command(update={"messages": [BAD]}),
        Command(update={"messages": BAD}),
        Command(update=[("messages", [GOOD, BAD])]),
        [Command(update={"messages": [BAD]})],
        {"messages": [GOOD, BAD]},
        RESULT,
        RESULT.model_dump(),
        ToolMessage(
            [{"type": "text", "text": "insufficient funds"}], tool_call_id="1", status="error", artifact={"a": 1}
        ),
        BAD.model_dump(),
    ],
    ids=str,
)
async def test_a_reported_failure_is_a_failure(returned, blocking):
    out = await run(returned, blocking=blocking)
    assert out["status"] == "failed"
    paid = out["results"]["w"]
    assert (paid["status"], paid["kind"], paid["error"]) == ("failed", "tool", "insufficient funds")
    assert out["results"]["after"]["status"] in {"skipped", "cancelled"}


@pytest.mark.parametrize(
    "returned", [(BAD, {"rows": []}), ("failed", RESULT), ([BAD], None)], ids=["content", "artifact", "list"]
)
async def test_so_is_one_of_content_and_artifact(returned):
    out = await run(returned, response_format="content_and_artifact")
    assert (out["results"]["w"]["status"], out["results"]["w"]["kind"]) == ("failed", "tool")
    assert "insufficient funds" in out["results"]["w"]["error"]


@pytest.mark.parametrize(
    "returned", [GOOD, [GOOD], {"status": "error"}, {"isError": False, "content": []}, "error"], ids=str
)
async def test_other_words_are_results(returned):
    out = await run(returned)
    assert (out["status"], out["results"]["w"]["status"]) == ("completed", "done")
