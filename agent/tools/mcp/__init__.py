"""Tools of MCP servers."""

from agent.moved_modules import Moved, forward_names

__getattr__ = forward_names(
    __name__, Moved("tools", {"Servers": "McpServers", "ServedTool": "McpTool", "mcp_tools": "mcp_tools"})
)
