"""What a goal over tools asks for and no task of a plan does, as far as words and schemas tell."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pydantic import JsonValue

from agent.core.plan.document import Task
from agent.core.plan.json_schema import find_allowed_types, get_subschema, iterate_properties
from agent.core.plan.tool_spec import ToolSpec

_CONDITION: Final = re.compile(
    r"\b(if|unless|only when|only if|provided that|in case)\b(?! any\b| possible)", re.IGNORECASE
)
_REPETITION: Final = re.compile(r"\b(every|each|all)\s+(?:of\s+the\s+|the\s+)?(?:\w+\s+)?([a-z]+)", re.IGNORECASE)
#: A text that ends where results were to follow, or has a place for them.
_UNFINISHED: Final = re.compile(r"[:=]\s*$|\[[^\]]*\]|<[a-z][^>]*>|\{[^}]*\}|\.\.\.\s*$", re.IGNORECASE)
#: What nobody can guess: addresses, links, and numbers that name something.
_GIVEN: Final = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+|https?://\S+|\+?\d[\d -]{6,}\d")
_WORD: Final = re.compile(r"[a-z]+")
_MIN_STEM: Final = 3


def find_uncovered(goal: str, tasks: Sequence[Task], specs: Mapping[str, ToolSpec]) -> tuple[str, ...]:
    """Return a sentence for each part of `goal` that no task does, and each argument that nothing gives."""
    found = [
        *_find_missing_condition(goal, tasks),
        *_find_uncalled_tools(goal, tasks, specs),
        *_find_missing_repetition(goal, tasks, specs),
    ]
    for task in tasks:
        for name, value in task.args.items():
            found += _find_invented(goal, task, name, value)
            found += _find_unfinished(task, name, value, is_write=not specs[task.tool].policy.read_only)
    return tuple(dict.fromkeys(found))


def _find_missing_condition(goal: str, tasks: Sequence[Task]) -> Iterator[str]:
    word = _CONDITION.search(goal)
    if word is not None and not any(task.condition for task in tasks):
        said = " ".join(goal[word.start() :].split()[:6])
        yield f"The goal has a condition ({said!r}), and no task has one: they run in any case."


def _find_uncalled_tools(goal: str, tasks: Sequence[Task], specs: Mapping[str, ToolSpec]) -> Iterator[str]:
    """Yield a sentence for each tool all of whose name the goal says, and that no task calls."""
    called = {task.tool for task in tasks}
    words = _WORD.findall(goal.lower())
    for name, spec in specs.items():
        parts = [part for part in name.lower().split("_") if len(part) >= _MIN_STEM]
        if name in called or not parts or spec.policy.read_only:
            continue
        if all(any(_is_same_word(part, word) for word in words) for part in parts):
            yield f"The goal says {' '.join(parts)!r}, and no task calls {name!r}."


def _find_missing_repetition(goal: str, tasks: Sequence[Task], specs: Mapping[str, ToolSpec]) -> Iterator[str]:
    """Yield a sentence if the goal wants something for each of several, a list is there, and a write runs once."""
    said = _REPETITION.search(goal)
    if said is None or any(task.for_each for task in tasks):
        return
    has_list = any(_gives_list(specs[task.tool]) for task in tasks)
    writes = [task for task in tasks if not specs[task.tool].policy.read_only]
    if has_list and writes and not any(_takes_list(specs[task.tool]) for task in writes):
        yield f"The goal says {said[0]!r}, and {writes[0].tool!r} is called once, not for each."


def _gives_list(spec: ToolSpec) -> bool:
    schema = spec.output_schema or {}
    kinds = [find_allowed_types(schema, schema)]
    kinds += [
        find_allowed_types(get_subschema(schema, (name,), root=schema), schema)
        for name, _ in iterate_properties(schema)
    ]
    return any(kind is not None and "array" in kind for kind in kinds)


def _takes_list(spec: ToolSpec) -> bool:
    root = spec.args_schema
    kinds = [find_allowed_types(schema, root) for _, schema in iterate_properties(root)]
    return any(kind is None or "array" in kind for kind in kinds)


def _find_invented(goal: str, task: Task, name: str, value: JsonValue) -> Iterator[str]:
    """Yield a sentence for each address or the like in an argument that the goal does not have."""
    for given in _GIVEN.findall(value) if isinstance(value, str) else ():
        if given.lower() not in goal.lower():
            yield f"{name!r} of {task.id!r} is {given!r}, which neither the goal nor a result says."


def _find_unfinished(task: Task, name: str, value: JsonValue, *, is_write: bool) -> Iterator[str]:
    if is_write and isinstance(value, str) and _UNFINISHED.search(value):
        yield f"{name!r} of {task.id!r} is {value!r}, which has no result in it."


def _is_same_word(part: str, word: str) -> bool:
    """Whether two words are the same but for an ending: "close" and "closed", "ticket" and "tickets"."""
    stem = part.removesuffix("e").removesuffix("s")
    return word.startswith(stem) and len(word) <= len(part) + 3 and len(stem) >= _MIN_STEM
