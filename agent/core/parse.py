"""Untrusted JSON made into a plan, or every reason why it is none."""

import math
from typing import Any

from pydantic import ValidationError

from agent.core.plan import Plan
from agent.core.problem import Problem, dotted

_MAX_DEPTH = 64
_MAX_PROBLEMS = 200


def parse_plan(document: Any, *, max_tasks: int = 10_000) -> Plan | tuple[Problem, ...]:
    """Read a plan document: an object with `tasks`, or the list of tasks alone.

    Nothing about a document raises: what is not JSON, is nested deeper than 64 levels, holds a text that is no Unicode
    or a number that is not finite, comes back as problems with their places.
    """
    if isinstance(document, Plan):
        return document
    if isinstance(document, list):
        document = {"tasks": document}
    if not isinstance(document, dict):
        return (
            _malformed(
                "plan",
                f"a plan is an object with 'tasks', not {type(document).__name__}.",
                'Write {"tasks": [...]}.',
            ),
        )
    tasks = document.get("tasks")
    if isinstance(tasks, list) and len(tasks) > max_tasks:
        return (too_many(len(tasks), max_tasks),)
    unfit = _unfit(document)
    if unfit:
        return unfit
    try:
        return Plan.model_validate(document)
    except ValidationError as error:
        return tuple(
            _from_pydantic(detail, document)
            for detail in error.errors(include_url=False, include_context=False)[:_MAX_PROBLEMS]
        )


def too_many(count: int, bound: int) -> Problem:
    """Return the problem of a plan that is longer than the settings allow."""
    return Problem(
        kind="too_many_tasks",
        place="plan",
        what=f"it has {count} tasks and {bound} are allowed.",
        remedy="Join tasks, use 'for_each' for repeated calls, or raise 'max_tasks'.",
    )


def _unfit(document: dict[str, Any]) -> tuple[Problem, ...]:
    """Find what no JSON store can keep, without recursion: the document may be nested without bound."""
    problems: list[Problem] = []
    stack: list[tuple[Any, tuple[str | int, ...]]] = [(document, ())]
    while stack and len(problems) < _MAX_PROBLEMS:
        value, place = stack.pop()
        if len(place) > _MAX_DEPTH:
            problems.append(
                _malformed(dotted(place[:4]), f"it is nested deeper than {_MAX_DEPTH} levels.", "Flatten it.")
            )
            break
        if isinstance(value, dict):
            for key, inner in value.items():
                if not isinstance(key, str):
                    problems.append(
                        _malformed(dotted(place), f"the key {key!r} is no text.", "Keys of JSON objects are texts.")
                    )
                else:
                    stack.append((inner, (*place, key)))
                    stack.append((key, (*place, ascii(key))))
        elif isinstance(value, list | tuple):
            stack.extend((inner, (*place, index)) for index, inner in enumerate(value))
        elif isinstance(value, str):
            if not value.isascii() and not _unicode(value):
                problems.append(
                    _malformed(
                        dotted(place),
                        f"the text {value[:40]!a} holds half of a surrogate pair.",
                        "Write valid Unicode.",
                    )
                )
        elif isinstance(value, float):
            if not math.isfinite(value):
                problems.append(
                    _malformed(dotted(place), f"{value!r} is no JSON number.", "Write a finite number or null.")
                )
        elif value is not None and not isinstance(value, bool | int):
            problems.append(
                _malformed(
                    dotted(place),
                    f"a {type(value).__name__} is no JSON value.",
                    "Use texts, numbers, true, false, null, lists and objects.",
                )
            )
    return tuple(problems)


def _unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _from_pydantic(detail: Any, document: dict[str, Any]) -> Problem:
    place = tuple(detail["loc"])
    task = _task_at(place, document)
    name = place[-1] if place else "plan"
    if detail["type"] == "missing":
        what, remedy = f"the field {name!r} is missing.", f"Give {name!r}."
    elif detail["type"] == "extra_forbidden":
        what, remedy = (
            f"there is no field {name!r} in the plan document.",
            "Remove it, or move it into 'args'.",
        )
    else:
        message = detail["msg"].removeprefix("Value error, ")
        what, remedy = f"{_short(detail['input'])} does not do here: {message[:1].lower()}{message[1:]}.", ""
    at = dotted(place) or "plan"
    return Problem(kind="malformed", place=f"task {task!r}, {at}" if task else at, what=what, remedy=remedy, task=task)


def _task_at(place: tuple[str | int, ...], document: dict[str, Any]) -> str | None:
    if len(place) < 2 or place[0] != "tasks" or not isinstance(place[1], int):
        return None
    task = document["tasks"][place[1]]
    found = task.get("id") if isinstance(task, dict) else None
    return found if isinstance(found, str) and found else None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _malformed(place: str, what: str, remedy: str) -> Problem:
    return Problem(kind="malformed", place=place or "plan", what=what, remedy=remedy)
