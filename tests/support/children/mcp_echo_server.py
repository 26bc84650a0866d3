"""A real MCP server over standard input and output: `echo` returns its arguments, `deny` reports an error."""

import asyncio
import json
import sys
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.types import CallToolResult, TextContent, Tool

server: Server[Any, Any] = Server("echo")
_NAMES = sys.argv[1].split(",")


@server.list_tools()
async def list_tools() -> list[Tool]:
    """Return the tools; the names of `echo`'s arguments are given by the command line."""
    schema = {"type": "object", "properties": {name: {"type": "object"} for name in _NAMES}, "required": _NAMES}
    return [
        Tool(name="echo", description="Return the arguments.", inputSchema=schema),
        Tool(name="deny", description="Fail.", inputSchema={"type": "object", "properties": {}}),
    ]


@server.call_tool()
async def call_tool(name: str, arguments: dict[str, Any]) -> CallToolResult:
    """Return the arguments as they came, or an error."""
    text = "denied" if name == "deny" else json.dumps(arguments)
    return CallToolResult(content=[TextContent(type="text", text=text)], isError=name == "deny")


async def _serve() -> None:
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


if __name__ == "__main__":
    asyncio.run(_serve())
