"""The tools of a command: analytics over the user's data or the sample shop, and the tools of MCP servers."""

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool

from agent.config_file import read_configuration
from agent.llm.models import resolve_model
from agent.settings import Settings
from agent.tools.analytics import analytics_tools, build_query_limits
from agent.tools.mcp.tools import mcp_tools
from agent.tools.sample_data import ensure_shop
from agent.tools.sql.data_source import open_data_source
from agent.tools.writing.typed_writing import typed_writing_tools
from graphs.cli.terminal.run_options import RunOptions
from graphs.cli.terminal.screen import Screen
from graphs.delegation.delegate_tool import delegate_tool


def make_tools(options: RunOptions, settings: Settings, *, screen: Screen) -> list[BaseTool]:
    """Return the tools over `options.data`, or over the sample shop, which is created if it is missing.

    The tools of the configuration's MCP servers follow. Raises `DataError` for data that cannot be opened,
    `SettingsError` for a wrong configuration, `ToolError` for a server or a tool that cannot be used.
    """
    place = options.data or ensure_shop(settings.data_folder, say=screen.say)

    def writer() -> BaseChatModel:
        return resolve_model(options.model).chat

    output = settings.output_folder.expanduser().absolute()
    source = open_data_source(place, limits=build_query_limits(settings))
    analytics = analytics_tools(source=source, output=output, writer=writer)
    file = options.find_configuration_file()
    if file is None:
        return analytics
    configured = read_configuration(file)
    servers = configured.mcp.servers
    if servers:
        # Printed before they are started: the file may have come with the folder.
        screen.say(f"MCP servers of {file}: {', '.join(servers)}.", style="dim")
    writing = typed_writing_tools(writer) if configured.tools.writing else []
    tools = [*analytics, *writing, *mcp_tools(servers)]
    return [*tools, delegate_tool(tools, writer)] if configured.tools.delegate else tools
