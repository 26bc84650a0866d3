"""One call of a tool: with its secrets, in the event loop or in a thread; whatever it raises is an ordinary error."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import anyio.to_thread
from anyio import CapacityLimiter
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool

from agent.core.plan.references import JsonPath
from agent.core.plan.tool_spec import ToolSpec
from agent.errors import ToolFailure
from agent.secret_values import inject_secrets, redacting_tool
from agent.tools.async_tools import has_coroutine, make_exit_failure


@dataclass(frozen=True, slots=True)
class PooledCall:
    """One call of a tool that has a pool, as it is given to the workers of that pool."""

    #: The scope of the run, see `agent.execution.ledger.join_scope`.
    scope: str
    revision: int
    task: str
    item: int | None
    tool: str
    pool: str
    args: Mapping[str, Any]
    #: The secrets that the plan names, by place in `args`: names, never values.
    secrets: Mapping[JsonPath, str]
    #: The epoch of the ledger's claim; None for a call that needs none.
    epoch: int | None


class CallPool(Protocol):
    """Has calls made by other processes."""

    async def make_call(self, call: PooledCall) -> object:
        """Return what the tool returns, or raise what it raises; a caller that is cancelled cancels the call.

        A call that is being made already, or was made, for the same claim is waited for, not made again.
        """
        ...

    async def find_call(self, call: PooledCall) -> "Literal['not_begun', 'unknown'] | PooledResult":
        """Return how a call ended that an earlier process gave to the pool; one that still runs is waited for.

        `not_begun`: it was not, and will not be. `unknown`: it was begun, and nobody knows how it ended.
        """
        ...


@dataclass(frozen=True, slots=True)
class PooledResult:
    """What a call in a pool returned or raised."""

    output: object
    error: BaseException | None = None


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
    Raises what the tool raises, the only error of a group by itself, and
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
    except ExceptionGroup as group:
        raise _find_only_error(group) from None
    except asyncio.CancelledError as error:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        raise ToolFailure(f"The tool {spec.name!r} cancelled itself.") from error


def _find_only_error(error: Exception) -> Exception:
    """Return the only error in a group, as a task group raises it around the error of its one task; else the group."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
