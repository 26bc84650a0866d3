"""Preparation of tools: a call ends when its work is done, a reported failure is raised, a call costs less.

A function that only begins the work, because it is async and was given as a blocking one, or a generator, is run to its
end within the call: its errors and its time are those of the call. `sys.exit` cannot end the event loop.

Of a pair of content and artifact the artifact is the output: later tasks read it, and no model reads the content.
"""

import io
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from functools import lru_cache, wraps
from inspect import isasyncgenfunction, isawaitable, iscoroutinefunction, signature
from itertools import islice
from typing import Any, Final, get_type_hints

import anyio.from_thread
from langchain_core.tools import BaseTool, StructuredTool, Tool

from agent.errors import ToolFailure
from agent.json_values import JsonConversionError, error_text, find_reported_failure, to_json_value
from agent.tools.server_hints import is_from_adapter

#: Items of a generator, which may have no end.
_MAX_ITEMS: Final = 10_000_000


def find_coroutine(tool: BaseTool) -> BaseTool:
    """Return `tool` as one with a coroutine if its blocking function is async, which LangChain would never await."""
    if has_coroutine(tool):
        return tool
    is_function = isinstance(tool, StructuredTool | Tool)
    call = tool.func if is_function else tool._run  # type: ignore[attr-defined]  # noqa: SLF001 - what a tool overrides
    if not (iscoroutinefunction(call) or isasyncgenfunction(call)):
        return tool
    copy = tool.model_copy(update={"coroutine": _await_items(call), "func": None} if is_function else None)
    if not is_function:
        object.__setattr__(copy, "_arun", _await_items(call))
    return copy


def _await_items(call: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    if iscoroutinefunction(call):
        return call

    @wraps(call)
    async def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the tool takes and returns
        return await _finish(call(*args, **kwargs))

    return run


def has_coroutine(tool: BaseTool) -> bool:
    """Whether `tool` runs in the event loop; one without a coroutine blocks and must run in a thread."""
    if isinstance(tool, StructuredTool | Tool):
        return tool.coroutine is not None
    return getattr(tool._arun, "__func__", None) is not BaseTool._arun  # noqa: SLF001 - what a tool overrides to be async


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
    object.__setattr__(copy, "_arun", _convert_system_exit(tool._arun, tool))  # noqa: SLF001 - what a tool overrides
    return copy


def _convert_system_exit(
    call: Callable[..., Coroutine[Any, Any, Any]], tool: BaseTool
) -> Callable[..., Coroutine[Any, Any, Any]]:
    @wraps(call)
    async def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the tool takes and returns
        try:
            output = await _finish(await call(*args, **kwargs))
        except SystemExit as error:
            raise make_exit_failure(error, tool.name) from error
        if (failure := find_reported_failure(output)) is not None:
            raise ToolFailure(failure)
        return _choose_output(output, tool)

    run.__annotations__ = _resolve_annotations(getattr(call, "__func__", call))
    run.__signature__ = signature(call)  # type: ignore[attr-defined]  # what `inspect.signature` returns if it is there
    return run


def raise_reported_failures(tool: BaseTool) -> BaseTool:
    """Return a tool without a coroutine so that it raises what it reports as a failure."""
    copy, call = tool.model_copy(), tool._run  # noqa: SLF001 - what a tool overrides

    @wraps(call)
    def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the tool takes and returns
        output = _finish_in_thread(call(*args, **kwargs))
        if (failure := find_reported_failure(output)) is not None:
            raise ToolFailure(failure)
        return _choose_output(output, tool)

    object.__setattr__(copy, "_run", run)
    return copy


async def _finish(output: Any) -> Any:  # noqa: ANN401 - whatever a tool returns
    """Return what comes of an output that is still to be made: an awaitable, or a generator of either kind."""
    while isawaitable(output):
        output = await output
    if not isinstance(output, AsyncIterator):
        return _collect(output)
    items: list[Any] = []
    async for item in output:
        items.append(item)
        _check_count(items)
    return items


def _finish_in_thread(output: Any) -> Any:  # noqa: ANN401 - as above
    if not isawaitable(output) and not isinstance(output, AsyncIterator):
        return _collect(output)
    # The thread is one that `call_tool` has made.
    return anyio.from_thread.run(_finish, output)


def _collect(output: Any) -> Any:  # noqa: ANN401 - as above
    if not isinstance(output, Iterator) or isinstance(output, io.IOBase):
        return output
    items = list(islice(output, _MAX_ITEMS + 1))
    _check_count(items)
    return items


def _check_count(items: Sequence[object]) -> None:
    if len(items) > _MAX_ITEMS:
        raise ToolFailure(f"The tool gives more than {_MAX_ITEMS:,} items, one after another.")


def _choose_output(output: Any, tool: BaseTool) -> Any:  # noqa: ANN401 - whatever the tool returns
    """Return the output of a call, in the form that LangChain takes: a pair stays one, its first half is the output."""
    if tool.response_format != "content_and_artifact" or not isinstance(output, tuple) or len(output) != 2:
        return output
    content, artifact = output
    if is_from_adapter(tool):
        structured = artifact.get("structured_content") if isinstance(artifact, Mapping) else None
        return (simplify_content(content) if structured is None else structured), artifact
    if artifact is None:
        return output
    try:
        return to_json_value(artifact), artifact
    except JsonConversionError:
        # Such as a picture in memory; what there is to say of it is in the content.
        return output


def simplify_content(content: object) -> object:
    """Return the content of an MCP result: a single text as it is, else its blocks without the ids LangChain made up.

    The ids are random, so that the same result would be another one each time.
    """
    if not isinstance(content, Sequence) or isinstance(content, str):
        return content
    if not all(isinstance(block, Mapping) for block in content):
        return content
    texts = [block.get("text") for block in content if block.get("type") == "text"]
    if len(texts) == len(content) == 1:
        return texts[0]
    return [
        {key: value for key, value in block.items() if key != "id" or not str(value).startswith("lc_")}
        for block in content
    ]


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
