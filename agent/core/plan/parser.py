"""Parses untrusted JSON into a plan, or returns every reason why it is not one."""

import math
import sys
from collections.abc import Iterator

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from agent.core.plan.document import MAX_ID_LENGTH, Plan
from agent.core.plan.problems import Problem, collect_problems, format_path, format_value

_MAX_DEPTH = 64
#: Values in a document, counting every text and number; a plan refers to its data and does not contain it.
_MAX_VALUES = 500_000
#: An object with one of the first two keys counts as a message, one with the last replaces what was stored before.
_RESERVED_IDS = frozenset({"role", "type", "__overwrite__"})
#: The largest double: beyond it other JSON parsers read infinity.
_MAX_NUMBER = sys.float_info.max
#: Sentences for these errors; pydantic's own name Python types.
_EXPECTED_FORMS = {
    "tuple_type": "a list is expected",
    "dict_type": "an object is expected",
    "model_type": "an object is expected",
    "string_type": "a text is expected",
    "string_pattern_mismatch": "an id has no spaces and no control characters",
}
_FIELDS = ", ".join(map(repr, ("id", "tool", "args", "depends_on", "condition", "for_each")))


def parse_plan(document: object, *, max_tasks: int = 10_000) -> Plan | tuple[Problem, ...]:
    """Read a plan document: an object with `tasks`, or the list of tasks alone.

    No document makes this raise: a value that is not JSON, nesting deeper than 64 levels, invalid Unicode and numbers
    that are not finite come back as problems with their places.
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
    if invalid := collect_problems(_find_invalid_values(document)):
        return invalid
    try:
        plan = Plan.model_validate(document)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        return collect_problems(build_field_problem(detail, document) for detail in details)
    return collect_problems(_find_reserved_ids(plan)) or plan


def _find_reserved_ids(plan: Plan) -> Iterator[Problem]:
    """Find ids under which LangGraph takes the results, which it stores by task id, for something else."""
    for index, task in enumerate(plan.tasks):
        if task.id in _RESERVED_IDS:
            yield Problem(
                kind="malformed",
                place=format_path(("tasks", index, "id")),
                what=f"the id {task.id!r} is reserved.",
                remedy="Give the task another id.",
                task=task.id,
            )


def build_too_many_tasks_problem(count: int, bound: int) -> Problem:
    """Return the problem of a plan with more tasks than the settings allow."""
    return Problem(
        kind="too_many_tasks",
        place="plan",
        what=f"it has {count} tasks and {bound} are allowed.",
        remedy="Combine tasks, use 'for_each' for repeated calls, or raise 'max_tasks'.",
    )


def _find_invalid_values(document: dict[object, object]) -> Iterator[Problem]:
    """Find what no JSON store can keep; without recursion, since a document may be nested to any depth."""
    stack: list[tuple[object, tuple[str | int, ...]]] = [(document, ())]
    left = _MAX_VALUES
    while stack:
        value, place = stack.pop()
        left -= 1
        if left < 0:
            what = f"it contains more than {_MAX_VALUES} values."
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
                    what = f"the key {format_value(key)} is not a text."
                    yield _build_malformed_problem(format_path(place), what, "Write the key as a text.")
        elif isinstance(value, list | tuple):
            stack += [(inner, (*place, index)) for index, inner in enumerate(value)]
        else:
            yield from check_scalar(value, place)


def check_scalar(value: object, place: tuple[str | int, ...]) -> Iterator[Problem]:
    """Yield why a value that is no container cannot be kept as JSON, at most one problem."""
    match value:
        case None | bool():
            pass
        case str():
            if _has_lone_surrogate(value):
                what = f"the text {value[:40]!a} contains half of a surrogate pair."
                yield _build_malformed_problem(format_path(place), what, "Write valid Unicode.")
        case int():
            if abs(value) > _MAX_NUMBER:
                yield _build_malformed_problem(
                    format_path(place), f"{format_value(value)} is too large for a number.", "Write it as a text."
                )
        case float():
            if not math.isfinite(value):
                yield _build_malformed_problem(
                    format_path(place), f"{value!r} is not a JSON number.", "Write a finite number or null."
                )
        case _:
            what = f"a {type(value).__name__} is not a JSON value."
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
    """Return an error that pydantic found in `document` as a problem."""
    place = tuple(detail["loc"])
    task = _find_task_id(place, document)
    name = place[-1] if place else "plan"
    if detail["type"] == "missing":
        what, remedy = f"the field {name!r} is missing.", f"Give {name!r}."
    elif detail["type"] == "extra_forbidden":
        what = f"there is no field {format_value(name)} in the plan document."
        remedy = f"Remove it, or move it into 'args'; a task has the fields {_FIELDS} and others."
    else:
        message = _EXPECTED_FORMS.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
        what = f"{format_value(detail['input'])} is not valid here: {message[:1].lower()}{message[1:]}."
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
