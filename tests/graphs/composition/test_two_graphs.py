"""Two graphs in one `langgraph.json`: two assistants, and two tools of the server's MCP endpoint."""

import pytest
from langgraph_sdk import get_client
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from tests.support.studio import StudioServer

MODULE = "tests.graphs.composition.two_graphs"
GRAPHS = {
    "stock": {"path": f"{MODULE}:stock", "description": "Looks after the stock."},
    "reminders": {"path": f"{MODULE}:reminders", "description": "Reminds people."},
}
COUNT = {"tasks": [{"id": "n", "tool": "count_pieces", "args": {"product": "lamp"}}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory, shop_folder):
    with StudioServer(tmp_path_factory.mktemp("two"), data=shop_folder, graphs=GRAPHS) as running:
        yield running


async def test_each_graph_is_an_assistant_with_its_own_tools(server):
    async with get_client(url=server.url) as client:
        found = {each["graph_id"]: each for each in await client.assistants.search()}
        assert {name: each["description"] for name, each in found.items()} == {
            name: served["description"] for name, served in GRAPHS.items()
        }
        out = await client.runs.wait(None, "stock", input={"goal": "Count", "plan": COUNT})
        assert (out["status"], out["results"]["n"]["output"]) == ("completed", {"pieces": 4})
        out = await client.runs.wait(None, "reminders", input={"goal": "Count", "plan": COUNT})
        assert out["status"] == "failed"
        assert "count_pieces" in out["problems"][0]


async def test_each_graph_is_a_tool_of_the_servers_mcp(server):
    async with (
        streamable_http_client(f"{server.url}/mcp/") as (received, sent, _),
        ClientSession(received, sent) as session,
    ):
        await session.initialize()
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert {name: tool.description for name, tool in tools.items()} == {
            name: served["description"] for name, served in GRAPHS.items()
        }
        assert "goal" in tools["stock"].inputSchema["properties"]
        told = await session.call_tool("stock", {"goal": "Count", "plan": COUNT})
        assert not told.isError, told.content
        # The server writes what a graph gives as Python does.
        assert "'output': {'pieces': 4}" in told.content[0].text
