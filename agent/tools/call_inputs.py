"""What a tool may know of the values that its call has from earlier results, beyond the values."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from pydantic import JsonValue

from agent.core.cut_results import find_cuts_behind
from agent.core.engine.outcomes import Cut, Done, Outcome
from agent.core.plan.document import Task
from agent.core.plan.references import (
    ItemReference,
    JsonPath,
    OutputReference,
    UnresolvedReference,
    find_argument_references,
    follow_path,
    parse_reference,
)
from prompts import render


@dataclass(frozen=True, slots=True)
class CallInput:
    """A value in the arguments of a call that is part of an earlier result."""

    #: Where it is in the arguments.
    place: JsonPath
    #: The object that the value is a part of, such as the whole output of a query; None if it is not known.
    holder: Mapping[str, JsonValue] | None
    #: What was cut off in it.
    cuts: tuple[Cut, ...]


_current_inputs: ContextVar[tuple[CallInput, ...]] = ContextVar("planwave_call_inputs", default=())


def get_call_inputs() -> tuple[CallInput, ...]:
    """Return the inputs of the call that is being made here; none outside of a run."""
    return _current_inputs.get()


def describe_cut_inputs(inputs: Sequence[CallInput] | None = None) -> tuple[str, ...]:
    """Return a sentence for each thing that was cut off in `inputs`; None: in those of the present call."""
    given = get_call_inputs() if inputs is None else inputs
    return tuple(str(cut) for cut in dict.fromkeys(cut for each in given for cut in each.cuts))


def render_cut_inputs() -> str:
    """Return what a model is told that writes from the inputs of the present call; "" if nothing in them is cut off."""
    cuts = describe_cut_inputs()
    return "\n" + render("cut_inputs.v1", cuts=cuts) if cuts else ""


@contextmanager
def use_call_inputs(inputs: tuple[CallInput, ...]) -> Iterator[None]:
    """Let the tool that is called within the block see its `inputs`."""
    token = _current_inputs.set(inputs)
    try:
        yield
    finally:
        _current_inputs.reset(token)


def find_call_inputs(task: Task, outcomes: Mapping[str, Outcome]) -> tuple[CallInput, ...]:
    """Return what the calls of `task` have from earlier results."""
    items = parse_reference(task.for_each)
    inputs: list[CallInput] = []
    for place, found in find_argument_references(task.args):
        match found:
            case OutputReference():
                inputs.append(CallInput(place, _find_holder(found, outcomes), tuple(find_cuts_behind(found, outcomes))))
            case ItemReference() if isinstance(items, OutputReference):
                # An item of a list that is cut off is whole; one of several results may itself be cut.
                producer = outcomes.get(items.task)
                several = isinstance(producer, Done) and isinstance(producer.output, list)
                inputs.append(CallInput(place, None, tuple(find_cuts_behind(items, outcomes)) if several else ()))
    return tuple(inputs)


def _find_holder(reference: OutputReference, outcomes: Mapping[str, Outcome]) -> Mapping[str, JsonValue] | None:
    outcome = outcomes.get(reference.task)
    if not isinstance(outcome, Done) or "*" in reference.path:
        return None
    try:
        holder = follow_path(outcome.output, reference.path[:-1], of="the output")
    except UnresolvedReference:
        return None
    return holder if isinstance(holder, dict) else None
