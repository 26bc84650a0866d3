"""The tools of a command: analytics over the user's data or the sample shop, and the tools of MCP servers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from langchain_core.tools import BaseTool

from agent.config_file import AgentTable, Configuration
from agent.core.compiler.argument_check import did_you_mean
from agent.errors import SettingsError
from agent.llm.chat_wrappers import ChatRunnable
from agent.llm.models import resolve_model
from agent.settings import Settings
from agent.tools.analytics import (
    ANALYTICS_TOOLS,
    analytics_tools,
    are_analytics_installed,
    build_query_limits,
    require_analytics,
)
from agent.tools.data_files.notes import FileNotes, shorten_list
from agent.tools.mcp.tools import mcp_tools
from agent.tools.sample_data import ensure_shop
from agent.tools.sql.data_source import open_data_source
from agent.tools.writing.typed_writing import typed_writing_tools
from graphs.cli.terminal.run_options import RunOptions
from graphs.cli.terminal.screen import Screen
from graphs.delegation.delegate_tool import delegate_tool


def make_tools(
    options: RunOptions,
    settings: Settings,
    configured: Configuration,
    *,
    screen: Screen,
    plan: Mapping[str, Any] | None = None,
) -> list[BaseTool]:
    """Return the tools over `options.data`, or over the sample shop, which is created if it is missing.

    The tools of the MCP servers in `configured`, which are started, follow; without the extra `analytics` they are the
    only ones. Raises `DataError` for data that cannot be opened, `ToolError` for a server or tool that cannot be used,
    and if the extra is missing although data or a tool of `plan` needs it.
    """

    def writer() -> ChatRunnable:
        return resolve_model(options.model).chat

    if are_analytics_installed():
        place = options.data or ensure_shop(settings.data_folder, say=screen.say)
        output = settings.output_folder.expanduser().absolute()
        source = open_data_source(place, limits=build_query_limits(settings), reading=configured.data.to_message())
        _say_notes(source.notes, screen=screen)
        analytics = analytics_tools(source=source, output=output, writer=writer)
        return _add_configured_tools(analytics, options, configured, writer, screen=screen)
    tools = [] if options.data else _add_configured_tools([], options, configured, writer, screen=screen)
    if not tools or (_list_tools_of(plan) & ANALYTICS_TOOLS) - {tool.name for tool in tools}:
        require_analytics()
    return tools


def _say_notes(notes: FileNotes, *, screen: Screen) -> None:
    """Say once how data files were read, and what of it may be wrong."""
    for sentence in notes.describe():
        screen.say(f"Read {sentence}", style="dim")
    for sentence in shorten_list(notes.guesses):
        screen.say(f"Check: {sentence}", style="yellow")


def _add_configured_tools(
    analytics: list[BaseTool],
    options: RunOptions,
    configured: Configuration,
    writer: Callable[[], ChatRunnable],
    *,
    screen: Screen,
) -> list[BaseTool]:
    servers = configured.mcp.servers
    if servers:
        screen.say(f"MCP servers of {options.find_configuration_file()}: {', '.join(servers)}.", style="dim")
    writing = typed_writing_tools(writer) if configured.tools.writing else []
    tools = [*analytics, *writing, *mcp_tools(servers)]
    general = [delegate_tool(tools, writer)] if configured.tools.delegate else []
    return [*tools, *general, *(_make_agent(name, each, tools, writer) for name, each in configured.agents.items())]


def _make_agent(
    name: str, agent: AgentTable, tools: Sequence[BaseTool], writer: Callable[[], ChatRunnable]
) -> BaseTool:
    """Return the tool that gives a task to an agent of the configuration. Raises `SettingsError` and `ToolError`."""
    by_name = {tool.name: tool for tool in tools}
    for wanted in agent.tools or ():
        if wanted not in by_name:
            hint = did_you_mean(wanted, by_name) or f"There are {', '.join(by_name)}."
            raise SettingsError(
                f"The agent {name!r} of the configuration has a tool {wanted!r}, and there is none. {hint}"
            )
    return delegate_tool(
        [by_name[each] for each in agent.tools] if agent.tools is not None else tools,
        agent.model if agent.model is not None else writer,
        name=name,
        description=agent.description,
        prompt=agent.prompt,
        # A file that it named has been read.
        output_schema=cast("dict[str, Any] | None", agent.output_schema),
        max_steps=agent.max_steps,
    )


def _list_tools_of(plan: Mapping[str, Any] | None) -> set[str]:
    """Return the names of the tools in a plan document, which may be no plan that compiles."""
    tasks = (plan or {}).get("tasks")
    return {str(task.get("tool")) for task in tasks if isinstance(task, Mapping)} if isinstance(tasks, list) else set()
