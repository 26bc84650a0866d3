"""A plan read from a file or from standard input."""

import json
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from agent.errors import UsageError

_FORMAT_HELP = (
    'A plan is an object with "tasks", as `planwave plan GOAL --json` prints it, or {"goal": ..., "plan": {...}}.'
)


class PlanFile(NamedTuple):
    """What a plan file holds; the plan itself is checked by the compiler, which names every problem."""

    document: dict[str, JsonValue]
    goal: str | None
    #: All that the file holds.
    file_content: dict[str, JsonValue]


def read_plan(place: str) -> PlanFile:
    """Read the plan in the file `place`; `-` is standard input.

    Raises `UsageError` where there is no file, no JSON, or no object that could be a plan.
    """
    name = "Standard input" if place == "-" else f"The plan file {place!r}"
    content = _read_content(place, name=name)
    try:
        found = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise UsageError(f"{name} is not UTF-8 text. {_FORMAT_HELP}") from None
    except ValueError as error:
        raise UsageError(f"{name} is not JSON: {error}. {_FORMAT_HELP}") from None
    except RecursionError:
        raise UsageError(f"{name} is nested too deeply to be a plan. {_FORMAT_HELP}") from None
    if isinstance(found, dict) and isinstance(found.get("plan"), dict):
        return PlanFile(_require_tasks(found["plan"], name=name), _parse_goal(found, name=name), found)
    if isinstance(found, dict):
        goal = _parse_goal(found, name=name)
        return PlanFile(_require_tasks({key: found[key] for key in found if key != "goal"}, name=name), goal, found)
    raise UsageError(f"{name} holds {_describe_value(found)}. {_FORMAT_HELP}")


def read_or_create_plan(place: str) -> PlanFile:
    """Return a plan without tasks where there is no file `place` yet, else the plan in it as `read_plan` does."""
    if place == "-" or Path(place).expanduser().exists():
        return read_plan(place)
    return PlanFile({"tasks": []}, None, {"tasks": []})


def write_plan(place: str, given: PlanFile, document: dict[str, JsonValue]) -> None:
    """Put `document` in the place of the plan that was read from the file `place`; all else in the file stays.

    Raises `UsageError` where the file cannot be written; then it is as it was.
    """
    inside = isinstance(given.file_content.get("plan"), dict)
    kept = (
        given.file_content
        if inside
        else {key: value for key, value in given.file_content.items() if key not in given.document}
    )
    write_json(Path(place).expanduser(), {**kept, "plan": document} if inside else {**kept, **document})


def write_json(file: Path, document: JsonValue) -> None:
    """Write `document` to `file`, whole or not at all. Raises `UsageError` where that cannot be done."""
    text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    try:
        with tempfile.NamedTemporaryFile("w", dir=file.parent, encoding="utf-8", delete=False) as beside:
            beside.write(text)
        Path(beside.name).chmod(file.stat().st_mode if file.exists() else 0o644)
        Path(beside.name).replace(file)
    except OSError as error:
        raise UsageError(f"The file {str(file)!r} cannot be written: {error.strerror}. Name another one.") from error


def _read_content(place: str, *, name: str) -> bytes:
    try:
        data = sys.stdin.buffer.read() if place == "-" else Path(place).expanduser().read_bytes()
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}. Name a JSON file, or `-`.") from error
    if not data.strip():
        raise UsageError(f"{name} is empty. {_FORMAT_HELP}")
    return data


def _require_tasks(document: dict[str, JsonValue], *, name: str) -> dict[str, JsonValue]:
    if not isinstance(document.get("tasks"), list):
        raise UsageError(f'{name} has no list of "tasks". {_FORMAT_HELP}')
    return document


def _parse_goal(found: dict[str, JsonValue], *, name: str) -> str | None:
    goal = found.get("goal")
    if goal is not None and not isinstance(goal, str):
        raise UsageError(f'{name}: "goal" is {goal!r}; write it as text, or leave it out.')
    return goal


def _describe_value(value: JsonValue) -> str:
    return "a list" if isinstance(value, list) else f"{value!r:.40}"
