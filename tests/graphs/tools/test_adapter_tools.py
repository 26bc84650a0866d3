"""Tools of `langchain-mcp-adapters`, as `MultiServerMCPClient.get_tools()` gives them, over a real session."""

from typing import Any

from langchain_core.tools import BaseTool, tool
from langchain_mcp_adapters.tools import load_mcp_tools
from mcp.server.fastmcp import FastMCP
from mcp.shared.memory import create_connected_server_and_client_session
from mcp.types import TextContent
from pydantic import BaseModel

from tests.graphs.tools.conftest import task

server = FastMCP("shop")


class Stock(BaseModel):
    product: str
    pieces: int


@server.tool()
def stock(product: str) -> Stock:
    """Say what is in stock."""
    return Stock(product=product, pieces=3)


@server.tool(structured_output=False)
def words(product: str) -> str:
    """Say it in words."""
    return f"3 of {product}"


@server.tool(structured_output=False)
def blocks(product: str) -> list[TextContent]:
    """Say it in two blocks."""
    return [TextContent(type="text", text=product), TextContent(type="text", text="3")]


@tool
def double(n: int) -> int:
    """Double a number."""
    return 2 * n


async def test_their_outputs_are_structured_and_the_same_each_time(run):
    outputs = []
    for _ in range(2):
        async with create_connected_server_and_client_session(server._mcp_server) as session:
            tools: list[BaseTool] = [*await load_mcp_tools(session), double]
            tasks: list[dict[str, Any]] = [task(name, name, product="desk") for name in ("stock", "words", "blocks")]
            twice = task("twice", "double", n={"output_of": "stock", "path": ["pieces"]})
            outputs.append(await run(tools, *tasks, twice))
    assert outputs[0] == {
        "stock": {"product": "desk", "pieces": 3},
        "words": "3 of desk",
        "blocks": [{"type": "text", "text": "desk"}, {"type": "text", "text": "3"}],
        "twice": 6,
    }
    assert outputs[0] == outputs[1]
