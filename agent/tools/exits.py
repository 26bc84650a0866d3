"""Tools that end the program, made into tools that fail."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool, Tool

from agent.errors import ToolFailure
from agent.values import told_by


def has_coroutine(tool: BaseTool) -> bool:
    """Whether `tool` runs in the event loop; one without a coroutine blocks, and belongs in a thread."""
    if isinstance(tool, StructuredTool | Tool):
        return tool.coroutine is not None
    return type(tool)._arun is not BaseTool._arun  # noqa: SLF001 - the method that a tool overrides to be async


def without_exit(tool: BaseTool) -> BaseTool:
    """Return `tool` so that `sys.exit` in its coroutine is a failure of the tool.

    LangChain makes a task of the coroutine, and a `SystemExit` in a task of asyncio ends the loop, and with it the
    process, before anyone can catch it.
    """
    if not has_coroutine(tool):
        return tool
    copy = tool.model_copy()
    # Set beside pydantic's fields: LangChain looks it up by name and reads its signature.
    object.__setattr__(copy, "_arun", _failing(tool._arun, tool.name))  # noqa: SLF001 - what a tool overrides
    return copy


def _failing(call: Callable[..., Coroutine[Any, Any, Any]], name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    @wraps(call)
    async def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the tool takes and returns
        try:
            return await call(*args, **kwargs)
        except SystemExit as error:
            raise exited(error, name) from error

    return run


def exited(error: BaseException, name: str) -> ToolFailure:
    """Return the failure that stands for what a tool raised to end the program or a loop."""
    return ToolFailure(f"The tool {name!r} raised {type(error).__name__}: {told_by(error)}")
