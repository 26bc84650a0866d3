"""The timeline of a run as a picture: when each task waited, was asked about and ran; long pauses are drawn short."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final, Literal

from agent.report.model import RunReport, TaskReport
from agent.report.timing import Interval, merge_intervals

WIDTH: Final = 1000
ROW_HEIGHT: Final = 24
#: With more tasks that ran than this, several share a line.
_MAX_OWN_ROWS: Final = 60
#: A pause in which nothing ran is drawn this wide if it is longer than a share of the rest.
_PAUSE_WIDTH: Final = 56.0
_LONG_PAUSE_SHARE: Final = 0.12
_MIN_BAR_WIDTH: Final = 3.0
_TICKS: Final = 6

#: `tried`: an attempt that failed and was made again; `between`: until the next one.
BarKind = Literal["run", "wait", "asked", "tried", "between"]


@dataclass(frozen=True, slots=True)
class TimelineBar:
    """A span of a task's time; `x`, `width` in pixels, `row` from 0."""

    task: TaskReport
    kind: BarKind
    row: int
    x: float
    width: float
    seconds: float


@dataclass(frozen=True, slots=True)
class TimelinePause:
    """A pause that is drawn shorter than it was."""

    x: float
    width: float
    seconds: float


@dataclass(frozen=True, slots=True)
class TimelineMark:
    """A moment, such as a new revision of the plan."""

    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """The picture; one row for each task, or, if `is_packed`, as many rows as tasks ran at the same time."""

    bars: tuple[TimelineBar, ...]
    #: Those of the critical path once more, for a line of their own.
    critical: tuple[TimelineBar, ...]
    pauses: tuple[TimelinePause, ...]
    marks: tuple[TimelineMark, ...]
    ticks: tuple[TimelineMark, ...]
    rows: int
    is_packed: bool


class _Axis:
    """Maps seconds to pixels; what is in no busy span is a pause, and long pauses are drawn short."""

    def __init__(self, busy: Sequence[Interval]) -> None:
        total = sum(span.end - span.start for span in busy)
        gaps = [Interval(one.end, other.start) for one, other in pairwise(busy)]
        self._long = [gap for gap in gaps if gap.end - gap.start > max(_LONG_PAUSE_SHARE * total, 1e-3)]
        length = busy[-1].end - busy[0].start - sum(gap.end - gap.start for gap in self._long)
        self._start = busy[0].start
        self._scale = (WIDTH - _PAUSE_WIDTH * len(self._long)) / length if length > 0 else 0.0

    def place(self, moment: float) -> float:
        """Return the position of a moment."""
        hidden = drawn = 0.0
        for gap in self._long:
            if moment >= gap.end:
                hidden, drawn = hidden + gap.end - gap.start, drawn + _PAUSE_WIDTH
            elif moment > gap.start:
                share = (moment - gap.start) / (gap.end - gap.start)
                hidden, drawn = hidden + moment - gap.start, drawn + share * _PAUSE_WIDTH
        return (moment - self._start - hidden) * self._scale + drawn

    def list_pauses(self) -> tuple[TimelinePause, ...]:
        return tuple(TimelinePause(self.place(gap.start), _PAUSE_WIDTH, gap.end - gap.start) for gap in self._long)


def draw_timeline(report: RunReport) -> Timeline | None:
    """Return the timeline of a run; None if nothing has run."""
    spans = {
        task.task: Interval(_to_seconds(task.started_at), _to_seconds(task.finished_at or report.made_at))
        for task in report.tasks
        if task.started_at and (task.finished_at or task.status in {"running", "retrying"})
    }
    if not spans:
        return None
    ran = sorted((task for task in report.tasks if task.task in spans), key=lambda task: spans[task.task])
    # A moment has no length, but a place on the axis.
    busy = merge_intervals(Interval(span.start, max(span.end, span.start + 1e-6)) for span in spans.values())
    axis, is_packed = _Axis(busy), len(ran) > _MAX_OWN_ROWS
    rows = _pack_rows([spans[task.task] for task in ran]) if is_packed else list(range(len(ran)))
    approved = {write.task: _to_seconds(write.approved_at) for write in report.writes if write.approved_at}
    bars: list[TimelineBar] = []
    for task, row in zip(ran, rows, strict=True):
        start, end = spans[task.task]
        ready = _to_seconds(task.ready_at) if task.ready_at else start
        asked_until = min(approved.get(task.task, ready), start)
        parts: list[tuple[BarKind, float, float]] = []
        if not is_packed:
            parts += [("asked", ready, asked_until), ("wait", max(ready, asked_until), start)]
        parts += [("run", start, end)]
        for attempt, begun in zip(task.failed_attempts, _list_next_starts(task), strict=True):
            failed = _to_seconds(attempt.finished_at)
            parts += [("tried", _to_seconds(attempt.started_at), failed), ("between", failed, min(begun, end))]
        bars += [
            bar
            for kind, since, until in parts
            if (bar := _build_bar(task, kind, row, (max(since, busy[0].start), until), axis)) is not None
        ]
    on_path = {bar.task.task: bar for bar in bars if bar.kind == "run"}
    made = [
        ("rollback" if one.author == "rollback" else f"plan {one.number}", one.at)
        for one in report.revisions
        if one.at and one.number > 1
    ]
    return Timeline(
        bars=tuple(bars),
        critical=tuple(on_path[task] for task in report.timing.critical_path if task in on_path),
        pauses=axis.list_pauses(),
        marks=tuple(
            TimelineMark(axis.place(moment), label)
            for label, at in made
            if busy[0].start <= (moment := _to_seconds(at)) <= busy[-1].end
        ),
        ticks=tuple(_list_ticks(axis, busy)),
        rows=max(rows) + 1,
        is_packed=is_packed,
    )


def _build_bar(task: TaskReport, kind: BarKind, row: int, span: tuple[float, float], axis: _Axis) -> TimelineBar | None:
    since, until = span
    if until <= since and kind != "run":
        return None
    x = axis.place(since)
    width = max(axis.place(until) - x, _MIN_BAR_WIDTH)
    return TimelineBar(task, kind, row, min(x, WIDTH - width), width, until - since)


def _list_next_starts(task: TaskReport) -> list[float]:
    """Return for each failed attempt when the next one began; after the last that is known, when it failed."""
    if any(each.item is not None for each in task.failed_attempts):
        return [_to_seconds(each.finished_at) for each in task.failed_attempts]  # items run side by side
    starts = [_to_seconds(each.started_at) for each in task.failed_attempts[1:]]
    return [*starts, *(_to_seconds(each.finished_at) for each in task.failed_attempts[-1:])]


def _pack_rows(spans: Sequence[Interval]) -> list[int]:
    """Return for each span, ordered by start, the first row in which nothing else is at that time."""
    free_at: list[float] = []
    rows: list[int] = []
    for span in spans:
        row = next((row for row, end in enumerate(free_at) if end <= span.start), len(free_at))
        free_at[row : row + 1] = [span.end]
        rows.append(row)
    return rows


def _list_ticks(axis: _Axis, busy: Sequence[Interval]) -> list[TimelineMark]:
    length = busy[-1].end - busy[0].start
    moments = [length * number / _TICKS for number in range(_TICKS + 1)]
    ticks: list[TimelineMark] = []
    for moment in moments:
        x = axis.place(busy[0].start + moment)
        # A pause has a label of its own in its middle.
        inside_pause = any(abs(pause.x + pause.width / 2 - x) < 80 for pause in axis.list_pauses())
        if not inside_pause and (not ticks or x - ticks[-1].x > 90):
            ticks.append(TimelineMark(x, format_seconds(moment)))
    return ticks


def format_seconds(seconds: float) -> str:
    """Return a length of time for humans, such as `350 ms`, `12.5 s`, `3 min 20 s` or `2 h 5 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _to_seconds(moment: str | None) -> float:
    return datetime.fromisoformat(moment).timestamp() if moment else 0.0
