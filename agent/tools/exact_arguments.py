"""Calls of tools whose arguments have names that LangChain uses itself: the function gets what was approved."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, Tool
from pydantic import BaseModel

from agent.errors import ToolError
from agent.tools.function_signatures import find_hints

#: Names under which LangChain passes values of its own, in place of an argument of that name.
_LANGCHAIN_NAMES: Final = frozenset({"config", "run_manager", "callbacks", "self"})
#: LangChain leaves these out of a schema that it infers, and fills them in.
_FILTERED_NAMES: Final = ("run_manager", "callbacks")
#: The one argument that passes through LangChain and holds all others.
_PACKED: Final = "planwave_arguments"


def keep_arguments(tool: BaseTool, names: Iterable[str], *, injected: Iterable[str]) -> BaseTool:
    """Return `tool` so that its function gets all its arguments, which it calls `names`; `injected` are filled in.

    Raises `ToolError` for an argument that LangChain would drop or replace whatever is done.
    """
    if isinstance(tool, StructuredTool):
        function = tool.coroutine or tool.func
        _check_names(tool, names, injected)
        _check_filtered_names(tool, function)
        return _pack_arguments(tool) if _is_open(tool) or _LANGCHAIN_NAMES.intersection(names) else tool
    if isinstance(tool, Tool):
        # Its one argument is passed by position.
        return tool
    for method in (tool._run, tool._arun):  # noqa: SLF001 - what a tool overrides
        hints, parameters = find_hints(method), inspect.signature(method).parameters
        taken = {"self"} | {name for name, hint in hints.items() if hint is RunnableConfig}
        _check_names(tool, names, taken | {*injected} | ({"run_manager"} & parameters.keys()))
        if type(tool)._run is method:  # noqa: SLF001 - as above
            _check_filtered_names(tool, method)
    return tool


def _is_open(tool: BaseTool) -> bool:
    """Whether a call may give arguments that the schema does not name."""
    schema = tool.args_schema
    return isinstance(schema, dict) or (
        isinstance(schema, type) and issubclass(schema, BaseModel) and schema.model_config.get("extra") == "allow"
    )


def _check_names(tool: BaseTool, names: Iterable[str], taken: Iterable[str]) -> None:
    found = sorted(set(names).intersection(taken))
    if found:
        raise ToolError(
            f"Tool {tool.name!r} has an argument {found[0]!r}, in whose place LangChain passes a value of its own, so "
            "another call would be made than was approved; rename the argument."
        )


def _check_filtered_names(tool: BaseTool, function: Callable[..., Any] | None) -> None:
    """Raise `ToolError` for a parameter that no call can give: its name is LangChain's, its type is not."""
    if function is None:
        return
    hints = find_hints(function)
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in _FILTERED_NAMES or isinstance(tool.args_schema, dict):
            continue
        is_langchains = "Callback" in str(hints.get(name, parameter.annotation))
        if not is_langchains and (name in hints or parameter.default is parameter.empty):
            _check_names(tool, [name], [name])


def _pack_arguments(tool: StructuredTool) -> StructuredTool:
    """Return `tool` with its arguments wrapped into one on their way through LangChain."""
    unpacked = tool._to_args_and_kwargs  # noqa: SLF001 - LangChain has no other place between a call and its function
    copy = tool.model_copy()

    def pack(tool_input: str | dict[str, Any], tool_call_id: str | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = unpacked(tool_input, tool_call_id)
        return args, {_PACKED: kwargs}

    def run(*args: Any, config: RunnableConfig, run_manager: Any = None, **packed: Any) -> Any:  # noqa: ANN401 - a tool's
        function = tool.func
        if function is None:
            raise NotImplementedError(f"{tool.name!r} has no function to call without an event loop.")
        return function(*args, **_unpack(function, packed[_PACKED], config, run_manager))

    async def arun(*args: Any, config: RunnableConfig, run_manager: Any = None, **packed: Any) -> Any:  # noqa: ANN401 - a tool's
        function = tool.coroutine
        if function is None:
            raise NotImplementedError(f"{tool.name!r} has no coroutine.")
        return await function(*args, **_unpack(function, packed[_PACKED], config, run_manager))

    # Set around pydantic, whose fields do not include them; LangChain looks them up by name.
    for name, replacement in (("_to_args_and_kwargs", pack), ("_run", run), ("_arun", arun)):
        object.__setattr__(copy, name, replacement)
    return copy


def _unpack(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    config: RunnableConfig,
    run_manager: Any,  # noqa: ANN401 - LangChain's, of a call with or without a loop
) -> dict[str, Any]:
    """Return the approved arguments, and beside them what LangChain would add."""
    hints = find_hints(function)
    added: dict[str, Any] = {name: config for name, hint in hints.items() if hint is RunnableConfig}
    if run_manager is not None and "callbacks" in inspect.signature(function).parameters:
        added["callbacks"] = run_manager.get_child()
    return {**added, **arguments}
