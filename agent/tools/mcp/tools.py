"""Tools of MCP servers (Model Context Protocol) as LangChain tools with a policy."""

from collections.abc import Awaitable, Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

import anyio
from anyio.from_thread import start_blocking_portal
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import Field, JsonValue, SecretStr

from agent.config_file import HttpServer, StdioServer, ToolPolicy
from agent.errors import ToolError, ToolFailure, describe_extra
from agent.tools.async_tools import simplify_content
from agent.tools.server_hints import select_server_hints

if TYPE_CHECKING:
    from mcp import ClientSession
    from mcp.types import Tool

    from agent.tools.mcp.session import SessionPool

McpServers = Mapping[str, StdioServer | HttpServer]
_ToolCoroutine = Callable[..., Awaitable[Any]]


class McpTool(StructuredTool):
    """A tool of an MCP server; the secrets given to the server are redacted from the tool's outputs and errors."""

    secrets: tuple[SecretStr, ...] = Field(default=(), exclude=True)


def mcp_tools(servers: McpServers) -> list[BaseTool]:
    """Return the tools of all `servers`, in order. Blocking: each server is started or connected to, to list its tools.

    A tool counts as a write unless the user's policy for it says otherwise, or its server's own hints do and the user
    trusts these (`trust_hints`). Its output is the structured content if the server declares a schema for
    it; otherwise the text, or the list of LangChain content blocks if it is not a single text. A session is opened at
    the first call and stays open as long as the event loop runs; if it is lost, the next call opens a new one.
    Raises `ToolError` if the extra `mcp` is not installed, a server cannot be reached, or a policy is for a tool that
    the server does not have.
    """
    if not servers:
        return []
    if find_spec("langchain_mcp_adapters") is None:
        raise ToolError(f"MCP servers need {describe_extra('mcp')}.")
    with start_blocking_portal() as portal:
        return portal.call(_list_all_tools, servers)


async def _list_all_tools(servers: McpServers) -> list[BaseTool]:
    tools_by_server: dict[str, list[BaseTool]] = {name: [] for name in servers}

    async def list_server(name: str) -> None:
        tools_by_server[name] = await _list_server_tools(name, servers[name])

    problem: ToolError | None = None
    try:
        async with anyio.create_task_group() as group:
            for name in servers:
                group.start_soon(list_server, name)
    except* ToolError as errors:
        problem = next(error for error in errors.exceptions if isinstance(error, ToolError))
    if problem is not None:
        raise problem
    return [tool for tools in tools_by_server.values() for tool in tools]


async def _list_server_tools(name: str, server: StdioServer | HttpServer) -> list[BaseTool]:
    from agent.tools.mcp.session import SessionPool, describe_connection_error  # noqa: PLC0415 - needs the extra `mcp`

    sessions = SessionPool(name, server)
    try:
        async with sessions.open() as session:
            listed = await _fetch_tools(session)
    except Exception as error:
        raise ToolError(
            f"The MCP server {name!r} cannot be reached: {describe_connection_error(error)}; "
            "start it, or remove it from the configuration."
        ) from error
    unknown = sorted(server.tools.keys() - {tool.name for tool in listed})
    if unknown:
        names = ", ".join(tool.name for tool in listed) or "none"
        raise ToolError(f"The MCP server {name!r} has no tool {unknown[0]!r} to set a policy for; it has: {names}.")
    return [_to_langchain_tool(tool, sessions, name=name, server=server) for tool in listed]


async def _fetch_tools(session: "ClientSession") -> list["Tool"]:
    page = await session.list_tools()
    tools = list(page.tools)
    while page.nextCursor:
        page = await session.list_tools(cursor=page.nextCursor)
        tools += page.tools
    return tools


def _to_langchain_tool(
    tool: "Tool", sessions: "SessionPool", *, name: str, server: StdioServer | HttpServer
) -> BaseTool:
    from langchain_mcp_adapters.tools import convert_mcp_tool_to_langchain_tool  # noqa: PLC0415 - needs the extra `mcp`

    from agent.tools.mcp.session import build_connection  # noqa: PLC0415 - needs the extra `mcp`

    converted = convert_mcp_tool_to_langchain_tool(
        None,
        tool,
        connection=build_connection(server, on_lost=lambda: None),
        tool_interceptors=[sessions.call],
        server_name=name,
        tool_name_prefix=server.prefix,
        handle_tool_errors=False,
    )
    call = cast("_ToolCoroutine", cast("StructuredTool", converted).coroutine)
    return McpTool(
        name=converted.name,
        description=converted.description,
        args_schema=tool.inputSchema,
        coroutine=_adapt_call(call, structured=tool.outputSchema is not None),
        metadata=_build_metadata(tool, server),
        secrets=tuple((server.env if isinstance(server, StdioServer) else server.headers).values()),
    )


def _build_metadata(tool: "Tool", server: StdioServer | HttpServer) -> dict[str, Any]:
    """Return the policy of a tool: what the user says, over those hints of the server that count."""
    told = tool.annotations.model_dump(exclude_none=True) if tool.annotations else {}
    hints = select_server_hints(told, trusted=server.trust_hints)
    schema = {"output_schema": tool.outputSchema} if tool.outputSchema is not None else {}
    policy = server.tools.get(tool.name, ToolPolicy()).model_dump(exclude_none=True)
    return {**hints, **schema, **policy}


def _adapt_call(call: _ToolCoroutine, *, structured: bool) -> _ToolCoroutine:
    """Return `call` with a single output, and with an error that the server reports raised as `ToolFailure`."""
    from agent.tools.mcp.session import PACKED_ARGUMENTS  # noqa: PLC0415 - needs the extra `mcp`

    async def call_tool(**arguments: JsonValue) -> object:
        try:
            # One by one, an argument `runtime` would be taken for the adapters' own.
            content, artifact = await call(**{PACKED_ARGUMENTS: arguments})
        except ToolException as error:
            raise ToolFailure(str(error)) from error
        if structured and artifact is not None:
            return artifact["structured_content"]
        return simplify_content(content)

    return call_tool
