"""Functions that LangChain calls otherwise than they are written: `**kwargs`, `*args`, `a, /`, a parameter `args`.

LangChain offers `*args` and `**kwargs` as two arguments of these names, passes all by keyword, and calls a parameter
that is named `args` something else. A tool of such a function gets a schema of its own, and its arguments are passed
as the signature wants them.
"""

import inspect
import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final, get_type_hints

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.tools.base import FILTERED_ARGS
from pydantic import BaseModel, ConfigDict, PydanticUserError, create_model

from agent.tools.async_tools import has_coroutine

_Parameter = inspect.Parameter
_POSITIONAL: Final = frozenset({_Parameter.POSITIONAL_ONLY, _Parameter.POSITIONAL_OR_KEYWORD})
_VARIABLE: Final = frozenset({_Parameter.VAR_POSITIONAL, _Parameter.VAR_KEYWORD})
#: Names that pydantic's model of a function keeps for itself.
_RENAMED: Final = frozenset({"args", "kwargs"})
_RENAMED_PREFIX: Final = "v__"


def find_function(tool: BaseTool) -> Callable[..., Any]:
    """Return the function that a call of `tool` ends in."""
    if has_coroutine(tool):
        return getattr(tool, "coroutine", None) or tool._arun  # noqa: SLF001 - what a tool overrides
    return getattr(tool, "func", None) or tool._run  # noqa: SLF001 - as above


def find_hints(function: Callable[..., Any] | None) -> dict[str, Any]:
    """Return the annotations of a function as types; none if one of them names what is not there at run time."""
    try:
        return get_type_hints(function, include_extras=True) if function is not None else {}
    except Exception:  # noqa: BLE001 - whatever the evaluation of an annotation raises
        return {}


def adapt_signature(tool: BaseTool) -> BaseTool:
    """Return `tool` so that each parameter of its function is an argument of that name, and gets it.

    `**kwargs` is any other argument, and `*args` a list. A tool with a schema of its own is returned as it is.
    """
    function = find_function(tool)
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return tool
    if not any(_is_odd(each) for each in parameters.values()) or not _has_inferred_schema(tool, parameters):
        return tool
    schema = _build_model(tool, function, parameters)
    if schema is None:
        return tool
    copy = tool.model_copy(update={"args_schema": schema})
    # Set around pydantic, whose fields do not include the methods; LangChain looks all of them up by name.
    for name in ("func", "coroutine") if isinstance(tool, StructuredTool) else ("_run", "_arun"):
        call = getattr(tool, name)
        if call is not None and (name != "_arun" or has_coroutine(tool)):
            object.__setattr__(copy, name, _bind(call))
    return copy


def _bind(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return `call` so that it takes all its arguments by name."""
    parameters = inspect.signature(call).parameters

    if inspect.iscoroutinefunction(call):

        @wraps(call)
        async def run_in_loop(**arguments: Any) -> Any:  # noqa: ANN401 - a tool's
            positional, named = _split(parameters, arguments)
            return await call(*positional, **named)

        return run_in_loop

    @wraps(call)
    def run(**arguments: Any) -> Any:  # noqa: ANN401 - a tool's
        positional, named = _split(parameters, arguments)
        return call(*positional, **named)

    return run


def _is_odd(parameter: inspect.Parameter) -> bool:
    return parameter.kind in _VARIABLE or parameter.kind is _Parameter.POSITIONAL_ONLY or parameter.name in _RENAMED


def _has_inferred_schema(tool: BaseTool, parameters: Mapping[str, inspect.Parameter]) -> bool:
    """Whether LangChain read the schema of `tool` from its function."""
    if tool.args_schema is None:
        return not isinstance(tool, StructuredTool) and type(tool).__module__.partition(".")[0] != "langchain_core"
    schema = tool.args_schema
    if not isinstance(schema, type) or not issubclass(schema, BaseModel):
        return False
    fields = schema.model_fields
    return schema.__module__.startswith("langchain_core.") and all(
        name in fields or f"{_RENAMED_PREFIX}{name}" in fields
        for name, parameter in parameters.items()
        if _is_odd(parameter)
    )


def _build_model(
    tool: BaseTool, function: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]
) -> type[BaseModel] | None:
    """Return the schema of the arguments of `function`; None if pydantic has none for them."""
    inferred: Any = tool.args_schema
    known = inferred.model_fields if inferred is not None else {}
    hints = find_hints(function)
    fields: dict[str, Any] = {}
    extra: Any = None
    for name, parameter in parameters.items():
        hint = hints.get(name, Any)
        if name in FILTERED_ARGS or hint is RunnableConfig:
            continue
        if parameter.kind is _Parameter.VAR_KEYWORD:
            extra = hint
        elif parameter.kind is _Parameter.VAR_POSITIONAL:
            fields[name] = (list[hint], [])  # type: ignore[valid-type]  # known at run time only
        elif name in known and name not in _RENAMED:
            fields[name] = (known[name].annotation, known[name])
        else:
            fields[name] = (hint, ... if parameter.default is parameter.empty else parameter.default)
    config = ConfigDict(arbitrary_types_allowed=True, extra="ignore" if extra is None else "allow")
    # Written out as a class, the type of the other arguments would have to be known beforehand.
    annotations: dict[str, Any] = {"__pydantic_extra__": dict.__class_getitem__((str, extra))}
    base: type[BaseModel] = type(
        "Arguments",
        (BaseModel,),
        {"__annotations__": annotations, "__module__": __name__, "model_config": config},
    )
    try:
        with warnings.catch_warnings():
            # A parameter may have the name of a method of pydantic's models.
            warnings.simplefilter("ignore", UserWarning)
            return create_model(tool.name, __base__=base, __doc__=tool.description, **fields)
    except (PydanticUserError, NameError, TypeError):
        return None


def _split(
    parameters: Mapping[str, inspect.Parameter], arguments: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments that are passed by position, and those that are passed by name."""
    named, positional = dict(arguments), []
    variable = next((each.name for each in parameters.values() if each.kind is _Parameter.VAR_POSITIONAL), None)
    has_more = variable is not None and bool(named.get(variable))
    for name, parameter in parameters.items():
        if parameter.kind is _Parameter.VAR_POSITIONAL:
            positional += named.pop(name, ())
        elif parameter.kind is _Parameter.POSITIONAL_ONLY or (has_more and parameter.kind in _POSITIONAL):
            if name not in named and parameter.default is parameter.empty:
                # The function says what is missing.
                break
            positional.append(named.pop(name, parameter.default))
    return positional, named
