"""One call of a tool: with its secrets, in the event loop or in a thread; whatever it raises is an ordinary error."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

import anyio.to_thread
from anyio import CapacityLimiter
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool

from agent.core.plan.references import JsonPath
from agent.core.plan.tool_spec import ToolSpec
from agent.errors import ToolFailure
from agent.secret_values import inject_secrets, redacting_tool
from agent.tools.async_tools import has_coroutine, make_exit_failure


async def call_tool(
    tool: BaseTool,
    args: Mapping[str, Any],
    config: RunnableConfig,
    *,
    spec: ToolSpec,
    secrets: Mapping[JsonPath, str],
    threads: CapacityLimiter | None = None,
) -> object:
    """Return what `tool` returns; a tool without a coroutine runs in a thread, which goes on if the call is cancelled.

    The `secrets` that the plan names, by place in `args`, are injected, and redacted in what is returned or raised.
    Raises what the tool raises, and
    `ToolFailure` if the tool exits, cancels itself, or needs a secret that is not set.
    """
    args = inject_secrets(args, spec, named=secrets)
    tool = redacting_tool(tool, args)
    try:
        if has_coroutine(tool):
            return await tool.ainvoke(args, config)
        run = partial(tool.invoke, args, config)
        return await anyio.to_thread.run_sync(run, abandon_on_cancel=True, limiter=threads)
    except (SystemExit, StopAsyncIteration) as error:
        # Outside a tool they would end the process or a loop.
        raise make_exit_failure(error, spec.name) from error
    except asyncio.CancelledError as error:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        raise ToolFailure(f"The tool {spec.name!r} cancelled itself.") from error
