"""What a report shows of values: the beginning of an output as text or table, arguments, a task before and after."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from agent.core.engine.call_preparation import diff_plans
from agent.core.engine.outcomes import Artifact
from agent.core.plan.document import Plan, Task
from agent.report.model import ChangedTask, ShownResult
from agent.results.markdown import extract_rows

_MAX_COLUMNS = 16
_MAX_CELL_LENGTH = 200
_MAX_LINE_LENGTH = 88
_MAX_DIFF_LINES = 80
#: Tasks of a revision whose definitions are written out.
_MAX_WRITTEN_CHANGES = 60


@dataclass(frozen=True, slots=True)
class Room:
    """How much is shown of each task."""

    rows: int
    characters: int


def choose_room(tasks: int) -> Room:
    """Return how much is shown of each of that many tasks: a page of a thousand tasks stays a few megabytes."""
    if tasks <= 60:
        return Room(rows=50, characters=6_000)
    return Room(rows=10, characters=1_500) if tasks <= 300 else Room(rows=4, characters=500)


def show_output(output: JsonValue, *, room: Room, artifact: Artifact | None = None) -> ShownResult:
    """Return the beginning of an output: rows as a table, a text as it is, anything else as JSON.

    `artifact` stands for an output that was not loaded.
    """
    if output is None:
        if artifact is None:
            return ShownResult()
        return ShownResult(form="text", text=artifact.preview, left_out=f"The output has {artifact.size:,} bytes.")
    rows = extract_rows(output)
    if rows:
        return _show_rows(rows, room=room, truncated=isinstance(output, dict) and output.get("truncated") is True)
    text = output if isinstance(output, str) else to_json_text(_drop_warnings(output))
    return ShownResult(form="text", text=text[: room.characters], left_out=_count_rest(text, room))


def to_json_text(value: JsonValue) -> str:
    """Return a value as indented JSON, in which what is short stays on one line, such as a row of a table."""
    return _write_json(value, indent=0)


def _write_json(value: JsonValue, *, indent: int) -> str:
    line = json.dumps(value, ensure_ascii=False)
    if not value or not isinstance(value, dict | list) or (indent and indent + len(line) <= _MAX_LINE_LENGTH):
        return line
    if isinstance(value, dict):
        parts = [
            f"{json.dumps(name, ensure_ascii=False)}: {_write_json(each, indent=indent + 2)}"
            for name, each in value.items()
        ]
    else:
        parts = [_write_json(each, indent=indent + 2) for each in value]
    first, last = "{}" if isinstance(value, dict) else "[]"
    inside = ",\n".join(f"{' ' * (indent + 2)}{part}" for part in parts)
    return f"{first}\n{inside}\n{' ' * indent}{last}"


def truncate_text(text: str, *, room: Room) -> str:
    """Return `text`, cut to what there is room for."""
    return f"{text[: room.characters]}{_count_rest(text, room) and ' ...'}"


def _drop_warnings(output: JsonValue) -> JsonValue:
    return {name: value for name, value in output.items() if name != "warnings"} if isinstance(output, dict) else output


def _count_rest(text: str, room: Room) -> str:
    more = len(text) - room.characters
    return f"{more:,} more characters are not shown." if more > 0 else ""


def _show_rows(rows: Sequence[Mapping[str, JsonValue]], *, room: Room, truncated: bool) -> ShownResult:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns, shown = names[:_MAX_COLUMNS], rows[: room.rows]
    hidden = [f"{len(rows) - len(shown):,} more rows"] if len(rows) > len(shown) else []
    hidden += [f"{len(names) - len(columns):,} more columns"] if len(names) > len(columns) else []
    left_out = f"{' and '.join(hidden)} are not shown." if hidden else ""
    return ShownResult(
        form="table",
        columns=tuple(columns),
        numeric=tuple(all(_is_number(row.get(name)) for row in rows) for name in columns),
        rows=tuple(tuple(_show_cell(row.get(name)) for name in columns) for row in shown),
        left_out=" ".join(filter(None, (left_out, "The query had more rows than it may return." if truncated else ""))),
    )


def _is_number(value: JsonValue) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _show_cell(value: JsonValue) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_CELL_LENGTH else f"{text[:_MAX_CELL_LENGTH]}..."


def describe_plan_changes(before: Plan, after: Plan) -> tuple[tuple[str, ...], tuple[ChangedTask, ...]]:
    """Return the ids of the tasks that a revision kept, and what it changed in the others."""
    difference = diff_plans(before, after)
    old, new = {task.id: task for task in before.tasks}, {task.id: task for task in after.tasks}
    listed = [(task, "changed") for task in difference.changed]
    listed += [(task, "new") for task in difference.new] + [(task, "dropped") for task in difference.dropped]
    changes = [
        ChangedTask.model_validate(
            {
                "task": task,
                "change": change,
                "lines": _diff_definitions(old.get(task), new.get(task)) if place < _MAX_WRITTEN_CHANGES else (),
            }
        )
        for place, (task, change) in enumerate(listed)
    ]
    return difference.kept, tuple(changes)


def _diff_definitions(before: Task | None, after: Task | None) -> tuple[str, ...]:
    lines = list(difflib.unified_diff(_list_lines(before), _list_lines(after), lineterm="", n=2))[2:]
    shown = [line for line in lines if not line.startswith("@@")][:_MAX_DIFF_LINES]
    return (*shown, *((" ...",) if len(lines) > _MAX_DIFF_LINES else ()))


def _list_lines(task: Task | None) -> list[str]:
    if task is None:
        return []
    # Each value on a line of its own, so that a difference shows little else.
    return json.dumps(task.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False, indent=2).splitlines()


def describe_terms(task: Task) -> tuple[str, ...]:
    """Return under which conditions the plan runs a task, each as a short text."""
    terms = (
        (task.for_each is not None, "runs once for each item of a list"),
        (task.condition is not None, f"only if {task.condition}"),
        (task.run_if == "any", "runs even if some of what it waits for is missing"),
        (task.requires_approval, "the plan asks for an approval"),
        (task.rollback is not None, f"undone by {task.rollback.tool if task.rollback else ''}"),
        (task.on_failure != "replan", f"on failure: {task.on_failure}"),
        (task.priority != 0, f"priority {task.priority}"),
    )
    return tuple(text for holds, text in terms if holds)
