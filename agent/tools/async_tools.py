"""Preparation of tools for the event loop: `sys.exit` cannot end it, and each call costs less."""

from collections.abc import Callable, Coroutine
from functools import lru_cache, wraps
from inspect import signature
from typing import Any, get_type_hints

from langchain_core.tools import BaseTool, StructuredTool, Tool

from agent.errors import ToolFailure
from agent.json_values import error_text, find_reported_failure


def has_coroutine(tool: BaseTool) -> bool:
    """Whether `tool` runs in the event loop; one without a coroutine blocks and must run in a thread."""
    if isinstance(tool, StructuredTool | Tool):
        return tool.coroutine is not None
    return type(tool)._arun is not BaseTool._arun  # noqa: SLF001 - the method that a tool overrides to be async


def prepare_tool(tool: BaseTool) -> BaseTool:
    """Return `tool` so that it raises what it reports as a failure or `sys.exit`, and with cheaper calls.

    LangChain runs the coroutine in a task, and a `SystemExit` in an asyncio task ends the loop, and with it the
    process, before it can be caught. LangChain also resolves the annotations of the coroutine at each call; in its own
    tools they are strings, which takes a third of the time of a call that returns immediately.
    """
    if not has_coroutine(tool):
        return tool
    copy = tool.model_copy()
    # Set around pydantic, whose fields do not include it; LangChain looks it up by name.
    object.__setattr__(copy, "_arun", _convert_system_exit(tool._arun, tool.name))  # noqa: SLF001 - what a tool overrides
    return copy


def _convert_system_exit(
    call: Callable[..., Coroutine[Any, Any, Any]], name: str
) -> Callable[..., Coroutine[Any, Any, Any]]:
    @wraps(call)
    async def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the tool takes and returns
        try:
            output = await call(*args, **kwargs)
        except SystemExit as error:
            raise make_exit_failure(error, name) from error
        if (failure := find_reported_failure(output)) is not None:
            raise ToolFailure(failure)
        return output

    run.__annotations__ = _resolve_annotations(getattr(call, "__func__", call))
    run.__signature__ = signature(call)  # type: ignore[attr-defined]  # what `inspect.signature` returns if it is there
    return run


def raise_reported_failures(tool: BaseTool) -> BaseTool:
    """Return a tool without a coroutine so that it raises what it reports as a failure."""
    copy, call = tool.model_copy(), tool._run  # noqa: SLF001 - what a tool overrides

    @wraps(call)
    def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the tool takes and returns
        output = call(*args, **kwargs)
        if (failure := find_reported_failure(output)) is not None:
            raise ToolFailure(failure)
        return output

    object.__setattr__(copy, "_run", run)
    return copy


@lru_cache
def _resolve_annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """Return a function's annotations as types; cached, because all tools of a class share the function."""
    try:
        return get_type_hints(function)
    except Exception:  # noqa: BLE001 - an annotation that cannot be resolved; LangChain ignores it then, too
        return dict(getattr(function, "__annotations__", {}))


def make_exit_failure(error: BaseException, name: str) -> ToolFailure:
    """Return the failure to raise for an exception with which a tool tried to end the process or a loop."""
    return ToolFailure(f"The tool {name!r} raised {type(error).__name__}: {error_text(error)}")
