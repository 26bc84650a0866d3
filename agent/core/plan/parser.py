"""Untrusted JSON made into a plan, or every reason why it is none."""

import math
import sys
from collections.abc import Iterator

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from agent.core.plan.document import LONGEST_ID, Plan
from agent.core.plan.problems import Problem, dotted, listed, shown

_MAX_DEPTH = 64
#: Values in a document, texts and numbers counted; a plan refers to its data and does not hold it.
_MAX_VALUES = 500_000
#: The range of a double: beyond it other readers of JSON see infinity.
_LARGEST = sys.float_info.max
#: What pydantic says of these is about Python.
_WANTED = {
    "tuple_type": "a list is wanted",
    "dict_type": "an object is wanted",
    "model_type": "an object is wanted",
    "string_type": "a text is wanted",
    "string_pattern_mismatch": "an id has no spaces and no control characters",
}
_FIELDS = ", ".join(map(repr, ("id", "tool", "args", "depends_on", "condition", "for_each")))


def parse_plan(document: object, *, max_tasks: int = 10_000) -> Plan | tuple[Problem, ...]:
    """Read a plan document: an object with `tasks`, or the list of tasks alone.

    Nothing about a document raises: what is not JSON, is nested deeper than 64 levels, holds a text that is no Unicode
    or a number that is not finite, comes back as problems with their places.
    """
    if isinstance(document, Plan):
        return document
    if isinstance(document, list):
        document = {"tasks": document}
    if not isinstance(document, dict):
        what = f"a plan is an object with 'tasks', not {type(document).__name__}."
        return (_malformed("plan", what, 'Write {"tasks": [...]}.'),)
    tasks = document.get("tasks")
    if isinstance(tasks, list) and len(tasks) > max_tasks:
        return (too_many(len(tasks), max_tasks),)
    unfit = listed(_unfit(document))
    if unfit:
        return unfit
    try:
        return Plan.model_validate(document)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        return listed(field_problem(detail, document) for detail in details)


def too_many(count: int, bound: int) -> Problem:
    """Return the problem of a plan that is longer than the settings allow."""
    return Problem(
        kind="too_many_tasks",
        place="plan",
        what=f"it has {count} tasks and {bound} are allowed.",
        remedy="Join tasks, use 'for_each' for repeated calls, or raise 'max_tasks'.",
    )


def _unfit(document: dict[object, object]) -> Iterator[Problem]:
    """Find what no JSON store can keep, without recursion: the document may be nested without bound."""
    stack: list[tuple[object, tuple[str | int, ...]]] = [(document, ())]
    left = _MAX_VALUES
    while stack:
        value, place = stack.pop()
        left -= 1
        if left < 0:
            what = f"it holds more than {_MAX_VALUES} values."
            yield _malformed("plan", what, "Keep data in files or databases, and let tools read it.")
            return
        if len(place) > _MAX_DEPTH:
            yield _malformed(dotted(place[:4]), f"it is nested deeper than {_MAX_DEPTH} levels.", "Flatten it.")
            continue
        if isinstance(value, dict):
            for key, inner in value.items():
                if isinstance(key, str):
                    stack += [(inner, (*place, ascii(key) if _broken(key) else key)), (key, (*place, ascii(key)))]
                else:
                    what = f"the key {shown(key)} is no text."
                    yield _malformed(dotted(place), what, "Keys of JSON objects are texts.")
        elif isinstance(value, list | tuple):
            stack += [(inner, (*place, index)) for index, inner in enumerate(value)]
        else:
            yield from _unfit_scalar(value, place)


def _unfit_scalar(value: object, place: tuple[str | int, ...]) -> Iterator[Problem]:
    match value:
        case None | bool():
            pass
        case str():
            if _broken(value):
                what = f"the text {value[:40]!a} holds half of a surrogate pair."
                yield _malformed(dotted(place), what, "Write valid Unicode.")
        case int():
            if abs(value) > _LARGEST:
                yield _malformed(dotted(place), f"{shown(value)} is too large for a number.", "Write it as a text.")
        case float():
            if not math.isfinite(value):
                yield _malformed(dotted(place), f"{value!r} is no JSON number.", "Write a finite number or null.")
        case _:
            what = f"a {type(value).__name__} is no JSON value."
            yield _malformed(dotted(place), what, "Use texts, numbers, true, false, null, lists and objects.")


def _broken(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def field_problem(detail: ErrorDetails, document: dict[str, object]) -> Problem:
    """Return what pydantic found wrong with a field of `document` as a problem."""
    place = tuple(detail["loc"])
    task = _task_at(place, document)
    name = place[-1] if place else "plan"
    if detail["type"] == "missing":
        what, remedy = f"the field {name!r} is missing.", f"Give {name!r}."
    elif detail["type"] == "extra_forbidden":
        what = f"there is no field {shown(name)} in the plan document."
        remedy = f"Remove it, or move it into 'args'; a task has {_FIELDS} and more."
    else:
        message = _WANTED.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
        what = f"{shown(detail['input'])} does not do here: {message[:1].lower()}{message[1:]}."
        remedy = f"Give {name!r} another value." if isinstance(name, str) else "Give another value."
    at = dotted(place) or "plan"
    return Problem(kind="malformed", place=f"task {task!r}, {at}" if task else at, what=what, remedy=remedy, task=task)


def _task_at(place: tuple[str | int, ...], document: dict[str, object]) -> str | None:
    tasks = document.get("tasks")
    if len(place) < 2 or place[0] != "tasks" or not isinstance(place[1], int) or not isinstance(tasks, list | tuple):
        return None
    task = tasks[place[1]]
    found = task.get("id") if isinstance(task, dict) else None
    return found if isinstance(found, str) and 0 < len(found) <= LONGEST_ID else None


def _malformed(place: str, what: str, remedy: str) -> Problem:
    return Problem(kind="malformed", place=place or "plan", what=what, remedy=remedy)
