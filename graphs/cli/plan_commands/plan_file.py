"""Plan files: read from a file or from standard input, and written."""

import json
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from agent.core.compiler.program_inputs import get_inputs_schema
from agent.core.plan.json_schema import as_schema, find_allowed_types, get_json_type
from agent.errors import UsageError

_FORMAT_HELP = (
    'A plan is an object with "tasks", as `planwave plan GOAL --json` prints it, or {"goal": ..., "plan": {...}}.'
)


class PlanFile(NamedTuple):
    """The content of a plan file; the plan itself is checked by the compiler, which names every problem."""

    document: dict[str, JsonValue]
    goal: str | None
    #: The whole JSON object of the file.
    file_content: dict[str, JsonValue]


def read_plan(place: str) -> PlanFile:
    """Read the plan in the file `place`; `-` is standard input.

    Raises `UsageError` if there is no file, no JSON, or no object that could be a plan.
    """
    name = "Standard input" if place == "-" else f"The plan file {place!r}"
    content = _read_content(place, name=name)
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise UsageError(f"{name} is not UTF-8 text. {_FORMAT_HELP}") from None
    except ValueError as error:
        raise UsageError(f"{name} is not JSON: {error}. {_FORMAT_HELP}") from None
    except RecursionError:
        raise UsageError(f"{name} is nested too deeply to be a plan. {_FORMAT_HELP}") from None
    if isinstance(value, dict) and isinstance(value.get("plan"), dict):
        return PlanFile(_require_tasks(value["plan"], name=name), _parse_goal(value, name=name), value)
    if isinstance(value, dict):
        goal = _parse_goal(value, name=name)
        return PlanFile(_require_tasks({key: value[key] for key in value if key != "goal"}, name=name), goal, value)
    raise UsageError(f"{name} contains {_describe_value(value)}. {_FORMAT_HELP}")


def parse_inputs(given: Iterable[str], document: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the values of a plan's inputs, given as `NAME=VALUE`.

    A value is JSON if it reads as JSON of a type that the input takes, else a text. Raises `UsageError`.
    """
    declared = document.get("inputs")
    schema = get_inputs_schema(declared) if isinstance(declared, dict) else {}
    values: dict[str, JsonValue] = {}
    for pair in given:
        name, equals, text = pair.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--input {pair!r} is not NAME=VALUE; write for example --input year=2024.")
        if name.strip() in values:
            raise UsageError(f"--input {name.strip()} is given twice; give it once.")
        own = schema.get("properties", {}).get(name.strip())
        values[name.strip()] = _parse_value(text, find_allowed_types(as_schema(own), schema))
    return values


def _parse_value(text: str, types: frozenset[str] | None) -> JsonValue:
    try:
        value: JsonValue = json.loads(text)
    except ValueError:
        return text
    is_number = types is not None and "number" in types and isinstance(value, int)
    return value if types is None or get_json_type(value) in types or is_number or "string" not in types else text


def read_or_create_plan(place: str) -> PlanFile:
    """Return the plan in the file `place` as `read_plan` does, or one without tasks if there is no such file yet."""
    if place == "-" or Path(place).expanduser().exists():
        return read_plan(place)
    return PlanFile({"tasks": []}, None, {"tasks": []})


def write_plan(place: str, given: PlanFile, document: dict[str, JsonValue]) -> None:
    """Replace the plan that was read from the file `place` by `document`; everything else in the file stays.

    Raises `UsageError` if the file cannot be written; then it is unchanged.
    """
    if isinstance(given.file_content.get("plan"), dict):
        content = {**given.file_content, "plan": document}
    else:
        others = {key: value for key, value in given.file_content.items() if key not in given.document}
        content = {**others, **document}
    write_json(Path(place).expanduser(), content)


def write_json(file: Path, document: JsonValue) -> None:
    """Write `document` to `file` atomically. Raises `UsageError` if it cannot be written."""
    text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    try:
        with tempfile.NamedTemporaryFile("w", dir=file.parent, encoding="utf-8", delete=False) as temporary:
            temporary.write(text)
        Path(temporary.name).chmod(file.stat().st_mode if file.exists() else 0o644)
        Path(temporary.name).replace(file)
    except OSError as error:
        raise UsageError(f"The file {str(file)!r} cannot be written: {error.strerror}. Name another file.") from error


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


def _parse_goal(content: dict[str, JsonValue], *, name: str) -> str | None:
    goal = content.get("goal")
    if goal is not None and not isinstance(goal, str):
        raise UsageError(f'{name}: "goal" is {goal!r}; write it as text, or leave it out.')
    return goal


def _describe_value(value: JsonValue) -> str:
    return "a list" if isinstance(value, list) else f"{value!r:.40}"
