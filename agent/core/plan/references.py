"""References inside arguments: parsing, finding and resolving them.

Three objects are not literal: `{"output_of": id, "path": [...]}` is part of an earlier output, with its type kept;
`{"template": text, "values": {...}}` is a text with `{name}` fields; `{"item": [...]}` is part of the current item of
`for_each`. In a path a text is a key, a number is an index into a list from 0, and `"*"` at a list applies the rest of
the path to every item of it.
"""

import json
import string
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, JsonValue

PathStep = str | int
JsonPath = tuple[PathStep, ...]


class OutputReference(NamedTuple):
    """A part of the output of a task."""

    task: str
    path: JsonPath = ()


class Template(NamedTuple):
    """A text with named fields."""

    text: str
    values: Mapping[str, JsonValue]


class ItemReference(NamedTuple):
    """A part of the current item of `for_each`."""

    path: JsonPath


class InvalidReference(NamedTuple):
    """An object that looks like a reference and is not valid; `reason` completes the sentence "This ..."."""

    reason: str


Reference = OutputReference | Template | ItemReference | InvalidReference


class UnresolvedReference(Exception):  # noqa: N818 - carries a sentence from a pure function to the executor, which makes it a value
    """A reference points at nothing; the message is a sentence."""


def parse_reference(value: JsonValue) -> Reference | None:
    """Read `value` as one of the three objects; None for a literal."""
    if not isinstance(value, dict):
        return None
    keys = value.keys()
    if "output_of" in keys and keys <= {"output_of", "path"}:
        task, path = value["output_of"], _parse_path(value.get("path", []))
        if not isinstance(task, str) or not task:
            return InvalidReference(f"reference names no task: 'output_of' is {task!r}")
        return (
            OutputReference(task, path)
            if path is not None
            else InvalidReference("reference has a path that is not a list of keys and numbers")
        )
    if "output_of" in keys:
        extra = sorted(keys - {"output_of", "path"})
        return InvalidReference(f"reference has more than 'output_of' and 'path': {', '.join(map(repr, extra))}")
    if keys == {"template", "values"}:
        return _parse_template(value["template"], value["values"])
    if keys == {"item"} and isinstance(value["item"], list):
        path = _parse_path(value["item"])
        return (
            ItemReference(path)
            if path is not None
            else InvalidReference("item reference has a path that is not a list of keys and numbers")
        )
    return None


def is_input_reference(value: JsonValue) -> bool:
    """Whether `value` refers to an input, in a plan that declares inputs; in any other plan it is a literal."""
    if not isinstance(value, dict) or not isinstance(value.get("input"), str) or value.keys() - {"input", "path"}:
        return False
    return _parse_path(value.get("path", [])) is not None


def _parse_template(text: JsonValue, values: JsonValue) -> Template | InvalidReference | None:
    if not isinstance(text, str) or not isinstance(values, dict):
        return None
    try:
        fields = {
            name
            for _, name, spec, conversion in string.Formatter().parse(text)
            if name is not None and _is_plain_field(name, spec, conversion)
        }
    except ValueError as error:
        return InvalidReference(f"template cannot be read ({error}); write a literal brace twice")
    missing = sorted(fields - values.keys())
    if missing:
        return InvalidReference(f"template has no value for {', '.join(map(repr, missing))}")
    return Template(text, values)


def _is_plain_field(name: str, spec: str | None, conversion: str | None) -> bool:
    if not name.isidentifier() or spec or conversion:
        raise ValueError(f"the field {{{name}}} must be a plain name")
    return True


def _parse_path(value: JsonValue) -> JsonPath | None:
    if not isinstance(value, list):
        return None
    steps: list[PathStep] = []
    for step in value:
        if isinstance(step, bool) or not isinstance(step, str | int):
            return None
        steps.append(step)
    return tuple(steps)


def find_references(value: JsonValue, place: JsonPath = ()) -> Iterator[tuple[JsonPath, Reference]]:
    """Yield every reference inside `value` with its place, those in the values of templates included."""
    found = parse_reference(value)
    if found is not None:
        yield place, found
        if isinstance(found, Template):
            for name, inner in found.values.items():
                yield from find_references(inner, (*place, "values", name))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from find_references(inner, (*place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from find_references(inner, (*place, index))


def find_producers(value: JsonValue) -> Iterator[str]:
    """Yield the id of every task whose output `value` uses, as often as it uses it."""
    for _, found in find_references(value):
        if isinstance(found, OutputReference):
            yield found.task


def find_argument_references(args: Mapping[str, JsonValue]) -> Iterator[tuple[JsonPath, Reference]]:
    """Yield what `find_references` finds in each argument.

    A tool may have an argument named `item`, or `template` and `values`; so the object of all arguments is never a
    reference itself, whatever its keys are.
    """
    for name, value in args.items():
        yield from find_references(value, (name,))


def find_argument_producers(args: Mapping[str, JsonValue]) -> Iterator[str]:
    """Yield the id of every task whose output the arguments use, as often as they use it."""
    for value in args.values():
        yield from find_producers(value)


def has_item_reference(args: Mapping[str, JsonValue]) -> bool:
    """Whether the arguments refer to the item of a `for_each`."""
    return any(isinstance(found, ItemReference) for _, found in find_argument_references(args))


class _Missing(BaseModel):
    model_config = ConfigDict(frozen=True)


_MISSING = _Missing()


def resolve(value: JsonValue, *, outputs: Mapping[str, JsonValue], item: JsonValue | _Missing = _MISSING) -> JsonValue:
    """Return `value` with every reference replaced by its part of `outputs` or `item`; types are kept.

    Raises `UnresolvedReference` with a sentence if a reference points at nothing.
    """
    match parse_reference(value):
        case OutputReference(task, path):
            if task not in outputs:
                raise UnresolvedReference(f"Task {task!r} has no output to refer to.")
            return follow_path(outputs[task], path, of=f"the output of {task!r}")
        case ItemReference(path):
            if isinstance(item, _Missing):
                raise UnresolvedReference("An 'item' reference is used outside of a 'for_each' task.")
            return follow_path(item, path, of="the item")
        case Template(text, values):
            filled = {name: _as_text(resolve(inner, outputs=outputs, item=item)) for name, inner in values.items()}
            return text.format_map(filled)
        case InvalidReference(reason):
            raise UnresolvedReference(f"This {reason}.")
        case None:
            pass
    if isinstance(value, dict):
        return {key: resolve(inner, outputs=outputs, item=item) for key, inner in value.items()}
    if isinstance(value, list):
        return [resolve(inner, outputs=outputs, item=item) for inner in value]
    return value


def resolve_args(
    args: Mapping[str, JsonValue], *, outputs: Mapping[str, JsonValue], item: JsonValue | _Missing = _MISSING
) -> dict[str, JsonValue]:
    """Resolve each argument of a call. Raises `UnresolvedReference`."""
    return {name: resolve(value, outputs=outputs, item=item) for name, value in args.items()}


def follow_path(value: JsonValue, path: JsonPath, *, of: str) -> JsonValue:
    """Return the part of `value` at `path`. Raises `UnresolvedReference`, which names the step that leads nowhere."""
    for position, step in enumerate(path):
        if step == "*" and isinstance(value, list):
            return [
                follow_path(inner, path[position + 1 :], of=f"{of} at {index}") for index, inner in enumerate(value)
            ]
        if isinstance(value, dict) and isinstance(step, str):
            if step not in value:
                raise UnresolvedReference(f"There is no {step!r} in {of}; it has {_list_keys(value)}.")
            value = value[step]
        elif isinstance(value, list) and isinstance(step, int):
            if not -len(value) <= step < len(value):
                raise UnresolvedReference(f"There is no item {step} in {of}; the list has {len(value)}.")
            value = value[step]
        else:
            raise UnresolvedReference(f"The step {step!r} does not lead into {of}, which is {describe_type(value)}.")
        of = f"{of} at {step!r}"
    return value


def _list_keys(value: Mapping[str, Any]) -> str:
    names = [repr(name) for name in value]
    return "nothing" if not names else ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")


def _as_text(value: JsonValue) -> str:
    """Return a template value as text: texts as they are, whole floats without a fraction, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, dict | list | bool) or value is None:
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def describe_type(value: JsonValue) -> str:
    """Return the JSON type of `value` in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "an object"


def split_open_value(value: JsonValue) -> tuple[JsonValue, list[JsonPath]]:
    """Return `value` without its references, and the places left out: whole object keys, or the whole value.

    A list that contains a reference is left out as a whole, since its other items would change position.
    """
    if parse_reference(value) is not None:
        return None, [()]
    if isinstance(value, dict):
        return split_open_args(value)
    if isinstance(value, list):
        parts = [split_open_value(inner) for inner in value]
        if any(out for _, out in parts):
            return None, [()]
        return [kept for kept, _ in parts], []
    return value, []


def split_open_args(args: Mapping[str, JsonValue]) -> tuple[dict[str, JsonValue], list[JsonPath]]:
    """Return `args` without their references, argument by argument, and the places left out."""
    known: dict[str, JsonValue] = {}
    left: list[JsonPath] = []
    for name, value in args.items():
        kept, out = split_open_value(value)
        if () in out:
            left.append((name,))
        else:
            known[name] = kept
            left.extend((name, *place) for place in out)
    return known, left
