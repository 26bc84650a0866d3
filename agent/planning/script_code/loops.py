"""Loops of a script: each call in one becomes a task with `for_each`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from agent.core.plan.references import (
    ItemReference,
    JsonPath,
    OutputReference,
    Template,
    find_references,
    parse_reference,
)
from agent.planning.script_code.statements import ScriptError


@dataclass
class ScriptLoop:
    """A loop that is being read."""

    variable: str
    #: A reference to a list, or a list.
    items: JsonValue
    #: The tasks that were made of its calls; inside the loop each stands for one output, outside for the list of them.
    tasks: set[str] = field(default_factory=set)

    def spread(self, args: Mapping[str, JsonValue]) -> tuple[JsonValue, dict[str, JsonValue]]:
        """Return the list that a call in the loop runs over, and its arguments as those of one item.

        Raises `ScriptError` for a call that takes something of two lists at once.
        """
        used = {
            found.task
            for value in args.values()
            for _, found in find_references(value)
            if isinstance(found, OutputReference) and found.task in self.tasks
        }
        takes_item = any(
            isinstance(found, ItemReference) for each in args.values() for _, found in find_references(each)
        )
        if len(used) + takes_item > 1:
            names = ", ".join(map(repr, sorted(used)))
            raise ScriptError(
                f"A call in the loop uses {self.variable!r} and {names} at once; use the outputs of one line only, "
                "in a loop over that."
            )
        if not used:
            return self.items, dict(args)
        [task] = used
        return {"output_of": task, "path": []}, {name: _refer_to_item(value, task) for name, value in args.items()}


def _refer_to_item(value: JsonValue, task: str) -> JsonValue:
    match parse_reference(value):
        case OutputReference(found, path) if found == task:
            return {"item": list(path)}
    if isinstance(value, dict):
        return {key: _refer_to_item(inner, task) for key, inner in value.items()}
    return [_refer_to_item(inner, task) for inner in value] if isinstance(value, list) else value


def refer_to_all_items(value: JsonValue, items: JsonValue) -> JsonValue:
    """Return what `value`, written for one item, is for all of them, as parts of the list.

    A single field gives the list of that field; a text with several gives the items as they are.
    """
    paths = _find_item_paths(value)
    if not paths:
        return value
    template = parse_reference(value)
    if len(paths) > 1 and isinstance(template, Template):
        kept = {name: part for name, part in template.values.items() if not _find_item_paths(part)}
        return {"template": "".join(f"{{{name}}}" for name in [*kept, "all"]), "values": {**kept, "all": items}}
    match value:
        case {"item": list() as path, **rest} if not rest:
            return _refer_to_field(items, path)
        case dict():
            return {key: refer_to_all_items(inner, items) for key, inner in value.items()}
        case list():
            return [refer_to_all_items(inner, items) for inner in value]
        case _:
            return value


def _find_item_paths(value: JsonValue) -> set[JsonPath]:
    return {found.path for _, found in find_references(value) if isinstance(found, ItemReference)}


def _refer_to_field(items: JsonValue, path: list[JsonValue]) -> JsonValue:
    if not isinstance(items, dict):
        return items
    whole = items.get("path", [])
    return {**items, "path": [*(whole if isinstance(whole, list) else []), *(["*", *path] if path else [])]}
