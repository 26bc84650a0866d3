"""The plan as a table."""

from collections.abc import Iterable, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from agent.core.engine.task_status import TaskStatus
from graphs.cli.terminal.run_view import RunTracker, TaskRow
from graphs.cli.terminal.screen import Screen, as_text, escape_controls, print_table
from graphs.cli.terminal.units import format_duration

STATUS_STYLES: Mapping[str, str] = {
    "waiting": "dim",
    "ready": "",
    "running": "bold cyan",
    "retrying": "bold cyan",
    "awaiting_approval": "bold yellow",
    "done": "green",
    "failed": "bold red",
    "skipped": "dim yellow",
    "rejected": "red",
    "cancelled": "dim red",
    "in_doubt": "bold yellow",
    "rolled_back": "dim green",
    "blocked": "dim",
}
#: Rows that must be left out for lack of space, the least interesting status first.
_STATUS_PRIORITY: Sequence[TaskStatus] = (
    "waiting",
    "done",
    "rolled_back",
    "ready",
    "blocked",
    "skipped",
    "cancelled",
    "rejected",
    "in_doubt",
    "failed",
    "awaiting_approval",
    "running",
    "retrying",
)
#: Below this width, in characters, descriptions and dependencies are left out.
_NARROW_WIDTH = 76


def build_plan_table(tracker: RunTracker, *, width: int | None, rows: int | None = None) -> Table:
    """Return the plan wave by wave; with `rows`, only the most interesting tasks, and a count of the others.

    Without a `width` each task is one line, as long as it needs to be.
    """
    width, note_mark = (_NARROW_WIDTH, ": ") if width is None else (width, "\n")
    shown, left_out = _select_rows(list(tracker.rows.values()), rows)
    table = Table(box=SIMPLE_HEAD, expand=True, pad_edge=False, collapse_padding=True)
    table.add_column("wave", justify="right", no_wrap=True)
    table.add_column("task", no_wrap=True, overflow="ellipsis", max_width=max(12, width // 4))
    table.add_column("tool", no_wrap=True, overflow="ellipsis", max_width=max(10, width // 5))
    if width >= _NARROW_WIDTH:
        table.add_column("what", ratio=1, overflow="fold")
        table.add_column("needs", overflow="ellipsis", max_width=max(8, width // 6))
    table.add_column("status", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    before = 0
    for row in shown:
        cells = _build_cells(tracker, row, wide=width >= _NARROW_WIDTH, first=row.wave != before, note_mark=note_mark)
        table.add_row(*cells)
        before = row.wave
    if left_out:
        table.caption = _summarize_rows(left_out)
    return table


def print_plan_table(tracker: RunTracker, *, screen: Screen) -> None:
    """Print the whole plan; elsewhere than on a terminal with one line for each task."""
    width = screen.console.width if screen.live else None
    print_table(build_plan_table(tracker, width=width), screen=screen)


def summarize_statuses(tracker: RunTracker) -> str:
    """Return one line about all tasks: `3 of 5 done, 1 running, 1 failed`."""
    parts = [f"{tracker.count('done')} of {len(tracker.rows)} done"]
    words: Sequence[TaskStatus] = (
        "running",
        "retrying",
        "awaiting_approval",
        "failed",
        "rejected",
        "in_doubt",
        "skipped",
        "cancelled",
        "rolled_back",
    )
    parts += [f"{count} {word.replace('_', ' ')}" for word in words if (count := tracker.count(word))]
    return ", ".join(parts)


def _build_cells(tracker: RunTracker, row: TaskRow, *, wide: bool, first: bool, note_mark: str) -> list[Text]:
    style = STATUS_STYLES[row.status]
    status = row.status.replace("_", " ") + _format_count(row)
    cells = [
        Text(str(row.wave) if first else ""),
        Text(escape_controls(row.task.id)),
        Text(escape_controls(row.task.tool)),
    ]
    if wide:
        about = Text(as_text(row.task.description, width=200))
        if row.note:
            about.append((note_mark if row.task.description else "") + as_text(row.note, width=300), style=style)
        cells += [about, Text(escape_controls(", ".join(row.needs)), style="dim")]
    return [*cells, Text(status, style=style), Text(format_duration(tracker.measure_duration(row)))]


def _format_count(row: TaskRow) -> str:
    if row.items is not None:
        return f" ({row.items[0]:,} of {row.items[1]:,})"
    # A `for_each` counts the attempts of all its items together, which would be misleading here.
    return f" ({row.attempts}x)" if row.attempts > 1 and row.task.for_each is None else ""


def _select_rows(rows: list[TaskRow], room: int | None) -> tuple[list[TaskRow], list[TaskRow]]:
    ordered = sorted(rows, key=lambda row: row.wave)
    if room is None or len(ordered) <= room:
        return ordered, []
    by_interest = sorted(ordered, key=lambda row: _STATUS_PRIORITY.index(row.status), reverse=True)[: max(1, room)]
    chosen = {row.task.id for row in by_interest}
    return [row for row in ordered if row.task.id in chosen], [row for row in ordered if row.task.id not in chosen]


def _summarize_rows(rows: Iterable[TaskRow]) -> str:
    statuses = [row.status for row in rows]
    counts = ", ".join(f"{statuses.count(word)} {word}" for word in dict.fromkeys(statuses))
    return f"and {len(statuses)} more: {counts}"
