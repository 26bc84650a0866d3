"""Planwave as a part of what other people have built: a tool of an agent, a subagent, an MCP server."""
