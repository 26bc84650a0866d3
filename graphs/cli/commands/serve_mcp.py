"""The command `mcp`."""

import asyncio
from importlib.util import find_spec

from agent.errors import UsageError, describe_extra
from agent.llm.models import is_model_available, resolve_model
from agent.planning.planner import PlanningFailure, PlanningResult
from graphs.cli.commands.config_trust import apply_secrets, read_trusted_configuration
from graphs.cli.commands.run import build_thread_config
from graphs.cli.commands.tools import make_tools
from graphs.cli.plan_commands.plan import plan_without_running
from graphs.cli.terminal.command_context import CommandContext
from graphs.cli.terminal.run_options import RunOptions
from graphs.plan_execute import build_graph


def serve_mcp(*, port: int | None, options: RunOptions, context: CommandContext) -> int:
    """Serve MCP on standard input and output, or on `port` of this machine, until the client goes; return 0.

    Raises `PlanwaveError` if the server cannot start.
    """
    if find_spec("mcp") is None:
        raise UsageError(f"The MCP server needs {describe_extra('mcp')}.")
    configured = read_trusted_configuration(options, context=context)
    settings = apply_secrets(options.build_settings(), configured)
    tools = make_tools(options, settings, configured, screen=context.screen)

    async def serve() -> None:
        from graphs.composition.mcp_server import (  # noqa: PLC0415 - needs the extra `mcp`
            McpService,
            build_mcp_server,
            serve_http,
            serve_stdio,
        )

        async with context.open_database() as stored:
            graph = build_graph(tools=tools, model=options.model, settings=settings, persistence=stored)

            async def make_plan(goal: str) -> PlanningResult | PlanningFailure:
                # Only `planwave models pull` and `run` fetch weights, because they say so and show the progress.
                if not is_model_available(options.model):
                    raise UsageError("No model is set up that could plan; give --model, or run `planwave models`.")
                model = await asyncio.to_thread(
                    resolve_model,
                    options.model,
                    scale=settings.model_scale,
                    max_output_tokens=settings.max_output_tokens,
                )
                return await plan_without_running(
                    goal, await graph.toolbox(), settings, model=model, emit=lambda _event: None
                )

            service = McpService(graph, stored, make_plan, lambda thread: build_thread_config(thread, options))
            server = await build_mcp_server(service)
            if port is None:
                await serve_stdio(server)
            else:
                context.screen.say(f"Serving MCP at http://127.0.0.1:{port}/mcp; Ctrl-C ends it.")
                await serve_http(server, port=port)

    asyncio.run(serve())
    return 0
