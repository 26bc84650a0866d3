"""What a real MCP server is sent and what it reports, through our own sessions and through the adapters' client."""

import json
import sys

import pytest
from langchain_mcp_adapters.client import MultiServerMCPClient
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from agent.config_file import StdioServer
from agent.errors import ToolError
from agent.tools.mcp.tools import mcp_tools
from graphs.plan_execute import build_graph
from tests.support.processes import ROOT
from tests.support.worlds import APPROVE, thread

SCRIPT = str(ROOT / "tests/support/children/mcp_echo_server.py")
NAMES = ("config", "run_manager", "callbacks", "self", "runtime", "state", "store", "tool_call_id", "args", "kwargs")


async def tools_of(way, names):
    args = (SCRIPT, ",".join(names))
    if way == "ours":
        return mcp_tools({"echo": StdioServer(command=sys.executable, args=args)})
    connection = {"command": sys.executable, "args": list(args), "transport": "stdio"}
    return await MultiServerMCPClient({"echo": connection}).get_tools()


async def approved(graph, task):
    out = await graph.ainvoke({"goal": "g", "plan": {"tasks": [{"id": "w", **task}]}}, thread())
    assert out["__interrupt__"][0].value["action_requests"][0]["args"] == task["args"]
    return (await graph.ainvoke(Command(resume=APPROVE), thread()))["results"]["w"]


@pytest.mark.parametrize("way", ["ours", "adapters"])
async def test_the_server_is_sent_what_was_approved(way):
    names = [name for name in NAMES if way == "ours" or name != "runtime"]
    graph = build_graph(tools=await tools_of(way, names), checkpointer=InMemorySaver())
    args = {name: {"of": name} for name in names}
    sent = (await approved(graph, {"tool": "echo", "args": args}))["output"]
    assert json.loads(sent if isinstance(sent, str) else sent[0]["text"]) == args


async def test_what_the_adapters_keep_for_themselves_is_refused_by_name():
    tools = await tools_of("adapters", ["runtime"])
    with pytest.raises(ToolError, match="'echo' has an argument 'runtime'"):
        build_graph(tools=tools)


@pytest.mark.parametrize("way", ["ours", "adapters"])
async def test_an_error_that_the_server_reports_is_a_failure(way):
    graph = build_graph(tools=await tools_of(way, ["a"]), checkpointer=InMemorySaver())
    found = await approved(graph, {"tool": "deny", "args": {}})
    assert (found["status"], found["kind"]) == ("failed", "tool")
    assert "denied" in found["error"]
