"""Arguments that no plan gives and a framework fills in: a call's id, the run's state, a store, LangGraph's runtime.

They are recognised by LangChain's marks, as LangGraph's `ToolNode` does. What cannot be filled in is refused by name
when the graph is built.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args, get_origin

from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId
from langchain_core.tools.base import get_all_basemodel_annotations
from pydantic import BaseModel

from agent.errors import ToolError, ToolFailure
from agent.tools.function_signatures import find_function, find_hints

#: What fills an argument in; "none": nothing does.
Source = Literal["call_id", "state", "store", "runtime", "none"]
#: LangGraph's marks by name: `agent` does not import it.
_MARKS: Final[Mapping[str, Source]] = {"InjectedState": "state", "InjectedStore": "store", "ToolRuntime": "runtime"}
#: The id of a call outside of a task, such as one before planning.
_NO_TASK: Final = "planwave"


@dataclass(frozen=True, slots=True)
class Injection:
    """One argument that is filled in."""

    source: Source
    is_required: bool
    #: The part of the state; None for all of it.
    field: str | None = None


@dataclass(frozen=True, slots=True)
class RunOffer:
    """What the runs of a graph can fill in."""

    state_fields: frozenset[str]
    has_store: bool


@dataclass(frozen=True, slots=True)
class CallValues:
    """What there is to be filled into the call that is being made."""

    call_id: str = _NO_TASK
    #: Reads the state of the run.
    read_state: Callable[[], Mapping[str, Any]] | None = None
    store: object = None
    #: Makes LangGraph's `ToolRuntime` for a call with this id.
    make_runtime: Callable[[str], object] | None = None


_NO_VALUES: Final = CallValues()
_current: ContextVar[CallValues] = ContextVar("planwave_call_values", default=_NO_VALUES)


@contextmanager
def use_call_values(values: CallValues) -> Iterator[None]:
    """Fill in `values` within the block."""
    token = _current.set(values)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def use_call_id(call_id: str) -> Iterator[None]:
    """Fill in `call_id` as the id of the calls made within the block."""
    with use_call_values(replace(_current.get(), call_id=call_id)):
        yield


def find_injections(tool: BaseTool) -> dict[str, Injection]:
    """Return the arguments of `tool` that are filled in, by name."""
    function = find_function(tool)
    hints = find_hints(function)
    if isinstance(tool.args_schema, dict):
        defaults = _find_defaults(function)
        return {
            name: found for name, hint in hints.items() if (found := _read_mark(hint, is_required=name not in defaults))
        }
    model = tool.get_input_schema()
    hints |= get_all_basemodel_annotations(model)
    fields = model.model_fields if issubclass(model, BaseModel) else {}
    found_by_name = {}
    for name, hint in hints.items():
        is_required = fields[name].is_required() if name in fields else name not in _find_defaults(function)
        if (found := _read_mark(hint, is_required=is_required)) is not None:
            found_by_name[name] = found
    return found_by_name


def _find_defaults(function: Callable[..., Any]) -> set[str]:
    parameters = inspect.signature(function).parameters
    return {name for name, parameter in parameters.items() if parameter.default is not parameter.empty}


def _read_mark(hint: object, *, is_required: bool) -> Injection | None:
    """Return how an annotation says that its argument is filled in; None if it does not."""
    for part in (hint, *get_args(hint)):
        if any(each.__name__ == "ToolRuntime" for each in _list_classes(get_origin(part) or part)):
            return Injection("runtime", is_required)
    for mark in getattr(hint, "__metadata__", ()):
        classes = _list_classes(mark if isinstance(mark, type) else type(mark))
        if InjectedToolCallId in classes:
            return Injection("call_id", is_required)
        if InjectedToolArg in classes:
            source: Source = next((_MARKS[each.__name__] for each in classes if each.__name__ in _MARKS), "none")
            return Injection(source, is_required, getattr(mark, "field", None))
    return None


def _list_classes(kind: object) -> tuple[type, ...]:
    return kind.__mro__ if isinstance(kind, type) else ()


def check_injections(tool: BaseTool, injections: Mapping[str, Injection], offer: RunOffer | None) -> None:
    """Raise `ToolError` for an argument that nothing fills in; None: not known what a run offers."""
    for name, each in injections.items():
        if each.source == "none" and each.is_required:
            raise ToolError(
                f"Tool {tool.name!r} has the required argument {name!r}, which is marked to be injected, and nothing "
                "here does; give it a default, or bind its value before the tool is made."
            )
        if offer is None or not each.is_required:
            continue
        if each.source == "store" and not offer.has_store:
            raise ToolError(
                f"Tool {tool.name!r} wants a store as {name!r}, and this graph has none; give `build_graph(store=...)`."
            )
        if each.field is not None and each.field not in offer.state_fields:
            raise ToolError(
                f"Tool {tool.name!r} wants {each.field!r} of the state as {name!r}, and the state of a run has no such "
                f"field; it has {', '.join(sorted(offer.state_fields))}."
            )


def fill_injected(tool: BaseTool, injections: Mapping[str, Injection]) -> BaseTool:
    """Return `tool` so that a call fills in its injected arguments, and nothing that a plan gives does."""
    if not injections:
        return tool
    copy = tool.model_copy()
    convert = tool._to_args_and_kwargs  # noqa: SLF001 - LangChain has no other place between a call and its function

    def fill(tool_input: str | dict[str, Any], tool_call_id: str | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        values = _current.get()
        if isinstance(tool_input, dict):
            forged = sorted(injections.keys() & tool_input.keys())
            if forged:
                raise ToolFailure(f"The argument {forged[0]!r} cannot be passed on; the call was not made.")
            filled = {name: _choose(values, name, each) for name, each in injections.items()}
            tool_input = {**tool_input, **{name: value for name, value in filled.items() if value is not None}}
        return convert(tool_input, tool_call_id or values.call_id)

    # Set around pydantic, whose fields do not include it; LangChain looks it up by name.
    object.__setattr__(copy, "_to_args_and_kwargs", fill)
    return copy


def _choose(values: CallValues, name: str, injection: Injection) -> object:
    """Return the value of an argument; None if it stays as its default is. Raises `ToolFailure`."""
    found: object = None
    match injection.source:
        case "call_id":
            found = values.call_id
        case "state" if values.read_state is not None:
            state = values.read_state()
            found = dict(state) if injection.field is None else state.get(injection.field)
        case "store":
            found = values.store
        case "runtime" if values.make_runtime is not None:
            found = values.make_runtime(values.call_id)
    if found is None and injection.is_required:
        raise ToolFailure(f"There is nothing to fill in for the argument {name!r}; the call was not made.")
    return found
