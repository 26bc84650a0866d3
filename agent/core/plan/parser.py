"""Untrusted JSON made into a plan, or every reason why it is none."""

import math
import sys
from collections.abc import Iterator

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from agent.core.plan.document import MAX_ID_LENGTH, Plan
from agent.core.plan.problems import Problem, collect_problems, format_path, format_value

_MAX_DEPTH = 64
#: Values in a document, texts and numbers counted; a plan refers to its data and does not hold it.
_MAX_VALUES = 500_000
#: The range of a double: beyond it other readers of JSON see infinity.
_MAX_NUMBER = sys.float_info.max
#: What pydantic says of these is about Python.
_EXPECTED_FORMS = {
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
        return (_build_malformed_problem("plan", what, 'Write {"tasks": [...]}.'),)
    tasks = document.get("tasks")
    if isinstance(tasks, list) and len(tasks) > max_tasks:
        return (build_too_many_tasks_problem(len(tasks), max_tasks),)
    unfit = collect_problems(_find_invalid_values(document))
    if unfit:
        return unfit
    try:
        return Plan.model_validate(document)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        return collect_problems(build_field_problem(detail, document) for detail in details)


def build_too_many_tasks_problem(count: int, bound: int) -> Problem:
    """Return the problem of a plan that is longer than the settings allow."""
    return Problem(
        kind="too_many_tasks",
        place="plan",
        what=f"it has {count} tasks and {bound} are allowed.",
        remedy="Join tasks, use 'for_each' for repeated calls, or raise 'max_tasks'.",
    )


def _find_invalid_values(document: dict[object, object]) -> Iterator[Problem]:
    """Find what no JSON store can keep, without recursion: the document may be nested without bound."""
    stack: list[tuple[object, tuple[str | int, ...]]] = [(document, ())]
    left = _MAX_VALUES
    while stack:
        value, place = stack.pop()
        left -= 1
        if left < 0:
            what = f"it holds more than {_MAX_VALUES} values."
            yield _build_malformed_problem("plan", what, "Keep data in files or databases, and let tools read it.")
            return
        if len(place) > _MAX_DEPTH:
            yield _build_malformed_problem(
                format_path(place[:4]), f"it is nested deeper than {_MAX_DEPTH} levels.", "Flatten it."
            )
            continue
        if isinstance(value, dict):
            for key, inner in value.items():
                if isinstance(key, str):
                    stack += [
                        (inner, (*place, ascii(key) if _has_lone_surrogate(key) else key)),
                        (key, (*place, ascii(key))),
                    ]
                else:
                    what = f"the key {format_value(key)} is no text."
                    yield _build_malformed_problem(format_path(place), what, "Keys of JSON objects are texts.")
        elif isinstance(value, list | tuple):
            stack += [(inner, (*place, index)) for index, inner in enumerate(value)]
        else:
            yield from _check_scalar(value, place)


def _check_scalar(value: object, place: tuple[str | int, ...]) -> Iterator[Problem]:
    match value:
        case None | bool():
            pass
        case str():
            if _has_lone_surrogate(value):
                what = f"the text {value[:40]!a} holds half of a surrogate pair."
                yield _build_malformed_problem(format_path(place), what, "Write valid Unicode.")
        case int():
            if abs(value) > _MAX_NUMBER:
                yield _build_malformed_problem(
                    format_path(place), f"{format_value(value)} is too large for a number.", "Write it as a text."
                )
        case float():
            if not math.isfinite(value):
                yield _build_malformed_problem(
                    format_path(place), f"{value!r} is no JSON number.", "Write a finite number or null."
                )
        case _:
            what = f"a {type(value).__name__} is no JSON value."
            yield _build_malformed_problem(
                format_path(place), what, "Use texts, numbers, true, false, null, lists and objects."
            )


def _has_lone_surrogate(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def build_field_problem(detail: ErrorDetails, document: dict[str, object]) -> Problem:
    """Return what pydantic found wrong with a field of `document` as a problem."""
    place = tuple(detail["loc"])
    task = _find_task_id(place, document)
    name = place[-1] if place else "plan"
    if detail["type"] == "missing":
        what, remedy = f"the field {name!r} is missing.", f"Give {name!r}."
    elif detail["type"] == "extra_forbidden":
        what = f"there is no field {format_value(name)} in the plan document."
        remedy = f"Remove it, or move it into 'args'; a task has {_FIELDS} and more."
    else:
        message = _EXPECTED_FORMS.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
        what = f"{format_value(detail['input'])} does not do here: {message[:1].lower()}{message[1:]}."
        remedy = f"Give {name!r} another value." if isinstance(name, str) else "Give another value."
    at = format_path(place) or "plan"
    return Problem(kind="malformed", place=f"task {task!r}, {at}" if task else at, what=what, remedy=remedy, task=task)


def _find_task_id(place: tuple[str | int, ...], document: dict[str, object]) -> str | None:
    tasks = document.get("tasks")
    if len(place) < 2 or place[0] != "tasks" or not isinstance(place[1], int) or not isinstance(tasks, list | tuple):
        return None
    task = tasks[place[1]]
    found = task.get("id") if isinstance(task, dict) else None
    return found if isinstance(found, str) and 0 < len(found) <= MAX_ID_LENGTH else None


def _build_malformed_problem(place: str, what: str, remedy: str) -> Problem:
    return Problem(kind="malformed", place=place or "plan", what=what, remedy=remedy)
