"""References inside arguments: finding them, leaving them open, filling them in.

Three objects are not literal: `{"output_of": id, "path": [...]}` is part of an earlier output, its type kept;
`{"template": text, "values": {...}}` is a text with `{name}` fields; `{"item": [...]}` is part of the item that
`for_each` is at. In a path a text names a key, a number counts into a list from 0, and `"*"` at a list takes the
rest of the path from every item of it.
"""

import json
import string
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, JsonValue

PathStep = str | int
Place = tuple[PathStep, ...]


class OutputOf(NamedTuple):
    """A part of a task's output."""

    task: str
    path: Place = ()


class Template(NamedTuple):
    """A text with named fields."""

    text: str
    values: Mapping[str, JsonValue]


class Item(NamedTuple):
    """A part of the current item of `for_each`."""

    path: Place


class Misfit(NamedTuple):
    """An object that looks like a reference and is none; `reason` completes the sentence "This ..."."""

    reason: str


Special = OutputOf | Template | Item | Misfit


class Unresolved(Exception):  # noqa: N818 - carries a sentence from a pure function to the executor, which makes it a value
    """A reference has nothing to point at; the message is a sentence."""


def special(value: JsonValue) -> Special | None:
    """Read `value` as one of the three objects; None for a literal."""
    if not isinstance(value, dict):
        return None
    keys = value.keys()
    if "output_of" in keys and keys <= {"output_of", "path"}:
        task, path = value["output_of"], _path(value.get("path", []))
        if not isinstance(task, str) or not task:
            return Misfit(f"reference names no task: 'output_of' is {task!r}")
        return (
            OutputOf(task, path)
            if path is not None
            else Misfit("reference has a path that is no list of keys and numbers")
        )
    if "output_of" in keys:
        extra = sorted(keys - {"output_of", "path"})
        return Misfit(f"reference has more than 'output_of' and 'path': {', '.join(map(repr, extra))}")
    if keys == {"template", "values"}:
        return _template(value["template"], value["values"])
    if keys == {"item"} and isinstance(value["item"], list):
        path = _path(value["item"])
        return (
            Item(path) if path is not None else Misfit("item reference has a path that is no list of keys and numbers")
        )
    return None


def _template(text: JsonValue, values: JsonValue) -> Template | Misfit | None:
    if not isinstance(text, str) or not isinstance(values, dict):
        return None
    try:
        fields = {
            name
            for _, name, spec, conversion in string.Formatter().parse(text)
            if name is not None and _plain(name, spec, conversion)
        }
    except ValueError as error:
        return Misfit(f"template cannot be read ({error}); write a literal brace twice")
    missing = sorted(fields - values.keys())
    if missing:
        return Misfit(f"template has no value for {', '.join(map(repr, missing))}")
    return Template(text, values)


def _plain(name: str, spec: str | None, conversion: str | None) -> bool:
    if not name.isidentifier() or spec or conversion:
        raise ValueError(f"the field {{{name}}} must be a plain name")
    return True


def _path(value: JsonValue) -> Place | None:
    if not isinstance(value, list):
        return None
    steps: list[PathStep] = []
    for step in value:
        if isinstance(step, bool) or not isinstance(step, str | int):
            return None
        steps.append(step)
    return tuple(steps)


def specials(value: JsonValue, place: Place = ()) -> Iterator[tuple[Place, Special]]:
    """Yield every reference, template, item and misfit inside `value` with its place; values of templates included."""
    found = special(value)
    if found is not None:
        yield place, found
        if isinstance(found, Template):
            for name, inner in found.values.items():
                yield from specials(inner, (*place, "values", name))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from specials(inner, (*place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from specials(inner, (*place, index))


def producers(value: JsonValue) -> Iterator[str]:
    """Yield the id of every task whose output `value` uses, as often as it uses it."""
    for _, found in specials(value):
        if isinstance(found, OutputOf):
            yield found.task


def argument_specials(args: Mapping[str, JsonValue]) -> Iterator[tuple[Place, Special]]:
    """Yield what `specials` finds in each argument; the object of all arguments is never a reference itself."""
    for name, value in args.items():
        yield from specials(value, (name,))


def of_items(args: Mapping[str, JsonValue]) -> bool:
    """Whether arguments refer to the item of a `for_each`."""
    return any(isinstance(found, Item) for _, found in argument_specials(args))


class _Nothing(BaseModel):
    model_config = ConfigDict(frozen=True)


_NOTHING = _Nothing()


def resolve(value: JsonValue, *, outputs: Mapping[str, JsonValue], item: JsonValue | _Nothing = _NOTHING) -> JsonValue:
    """Return `value` with every reference filled in from `outputs` and `item`; types are kept.

    Raises `Unresolved` with a sentence where a reference points at nothing.
    """
    match special(value):
        case OutputOf(task, path):
            if task not in outputs:
                raise Unresolved(f"Task {task!r} has no output to refer to.")
            return follow(outputs[task], path, of=f"the output of {task!r}")
        case Item(path):
            if isinstance(item, _Nothing):
                raise Unresolved("An 'item' reference stands outside of a 'for_each' task.")
            return follow(item, path, of="the item")
        case Template(text, values):
            filled = {name: _text(resolve(inner, outputs=outputs, item=item)) for name, inner in values.items()}
            return text.format_map(filled)
        case Misfit(reason):
            raise Unresolved(f"This {reason}.")
        case None:
            pass
    if isinstance(value, dict):
        return {key: resolve(inner, outputs=outputs, item=item) for key, inner in value.items()}
    if isinstance(value, list):
        return [resolve(inner, outputs=outputs, item=item) for inner in value]
    return value


def resolve_args(
    args: Mapping[str, JsonValue], *, outputs: Mapping[str, JsonValue], item: JsonValue | _Nothing = _NOTHING
) -> dict[str, JsonValue]:
    """Resolve each argument of a call. Raises `Unresolved`.

    A tool may have an argument named `item`, or `template` and `values`; so the object of all arguments is none of
    the three special ones, whatever its keys are.
    """
    return {name: resolve(value, outputs=outputs, item=item) for name, value in args.items()}


def follow(value: JsonValue, path: Place, *, of: str) -> JsonValue:
    """Return the part of `value` at `path`; `Unresolved` names the step that leads nowhere."""
    for position, step in enumerate(path):
        if step == "*" and isinstance(value, list):
            return [follow(inner, path[position + 1 :], of=f"{of} at {index}") for index, inner in enumerate(value)]
        if isinstance(value, dict) and isinstance(step, str):
            if step not in value:
                raise Unresolved(f"There is no {step!r} in {of}; it has {_names(value)}.")
            value = value[step]
        elif isinstance(value, list) and isinstance(step, int):
            if not -len(value) <= step < len(value):
                raise Unresolved(f"There is no item {step} in {of}; the list has {len(value)}.")
            value = value[step]
        else:
            raise Unresolved(f"The step {step!r} does not lead into {of}, which is {kind_of(value)} there.")
        of = f"{of} at {step!r}"
    return value


def _names(value: Mapping[str, Any]) -> str:
    names = [repr(name) for name in value]
    return "nothing" if not names else ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")


def _text(value: JsonValue) -> str:
    """Text of a template's value: texts as they are, whole floats without a fraction, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, dict | list | bool) or value is None:
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def kind_of(value: JsonValue) -> str:
    """JSON's word for the type of `value`."""
    match value:
        case None:
            return "null"
        case bool():
            return "a truth value"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "an object"


def without_open(value: JsonValue) -> tuple[JsonValue, list[Place]]:
    """Return `value` without what is not yet known, and the places left out: whole object keys, or the whole value.

    A list that holds a reference is left out as a whole, since its other items would change places.
    """
    if special(value) is not None:
        return None, [()]
    if isinstance(value, dict):
        return known_args(value)
    if isinstance(value, list):
        parts = [without_open(inner) for inner in value]
        if any(out for _, out in parts):
            return None, [()]
        return [kept for kept, _ in parts], []
    return value, []


def known_args(args: Mapping[str, JsonValue]) -> tuple[dict[str, JsonValue], list[Place]]:
    """Return `args` without what is not yet known, argument by argument, and the places left out."""
    known: dict[str, JsonValue] = {}
    left: list[Place] = []
    for name, value in args.items():
        kept, out = without_open(value)
        if () in out:
            left.append((name,))
        else:
            known[name] = kept
            left.extend((name, *place) for place in out)
    return known, left
