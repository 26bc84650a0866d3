"""Coroutines of tools, made ready to be called often and to do no harm to the event loop."""

from collections.abc import Callable, Coroutine
from functools import lru_cache, wraps
from inspect import signature
from typing import Any, get_type_hints

from langchain_core.tools import BaseTool, StructuredTool, Tool

from agent.errors import ToolFailure
from agent.json_values import error_text


def has_coroutine(tool: BaseTool) -> bool:
    """Whether `tool` runs in the event loop; one without a coroutine blocks, and belongs in a thread."""
    if isinstance(tool, StructuredTool | Tool):
        return tool.coroutine is not None
    return type(tool)._arun is not BaseTool._arun  # noqa: SLF001 - the method that a tool overrides to be async


def prepare_tool(tool: BaseTool) -> BaseTool:
    """Return `tool` such that `sys.exit` in its coroutine is a failure of the tool, and each call costs less.

    LangChain makes a task of the coroutine, and a `SystemExit` in a task of asyncio ends the loop, and with it the
    process, before anyone can catch it. It also works out at each call what the coroutine takes, from annotations that
    are text in its own tools: a third of a call that returns at once.
    """
    if not has_coroutine(tool):
        return tool
    copy = tool.model_copy()
    # Set beside pydantic's fields: LangChain looks it up by name.
    object.__setattr__(copy, "_arun", _convert_system_exit(tool._arun, tool.name))  # noqa: SLF001 - what a tool overrides
    return copy


def _convert_system_exit(
    call: Callable[..., Coroutine[Any, Any, Any]], name: str
) -> Callable[..., Coroutine[Any, Any, Any]]:
    @wraps(call)
    async def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the tool takes and returns
        try:
            return await call(*args, **kwargs)
        except SystemExit as error:
            raise make_exit_failure(error, name) from error

    run.__annotations__ = _resolve_annotations(getattr(call, "__func__", call))
    run.__signature__ = signature(call)  # type: ignore[attr-defined]  # what `inspect.signature` returns if it is there
    return run


@lru_cache
def _resolve_annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """Return what a function's annotations mean, once for all tools that have it from their class."""
    try:
        return get_type_hints(function)
    except Exception:  # noqa: BLE001 - text that names what is not to be found; LangChain goes without it then, too
        return dict(getattr(function, "__annotations__", {}))


def make_exit_failure(error: BaseException, name: str) -> ToolFailure:
    """Return the failure that stands for what a tool raised to end the program or a loop."""
    return ToolFailure(f"The tool {name!r} raised {type(error).__name__}: {error_text(error)}")
