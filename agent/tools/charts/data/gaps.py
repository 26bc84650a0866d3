"""Points in time that have no row: drawn as gaps, so that no line runs across them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from agent.tools.charts.data.columns import Cell, ChartColumn, format_label, looks_like_years
from agent.tools.charts.data.frame import BAR_KINDS, MAX_TIME_BARS, Frame, MarkRow
from agent.tools.charts.data.name_hints import find_named_unit, names_period, split_words

MAX_FILLED = 5_000  # rows without a value that are added
_MAX_NAMED_GAPS = 3
_SATURDAY = 5


def fill_gaps(frame: Frame, *, in_order: bool = True) -> Frame:
    """Add rows without a value where the steps of the time axis leave a point out, and a note that names the gaps.

    Without a step that most points keep to, nothing is a gap. Weekends are none if the data has no weekend at all. Bars
    that are sorted by value, so not `in_order`, have no place for a gap: it is only said.
    """
    years = frame.x.kind == "number" and looks_like_years(frame.x.values)
    timed = frame.x.kind == "time" or years or _counts_periods(frame.x)
    if not timed or frame.panels or frame.kind not in (*BAR_KINDS, "line", "area"):
        return frame
    to_index, from_index = _make_index(frame.x)
    places = {to_index(value): value for value in frame.list_categories()}
    grid = _make_grid(sorted(places), is_daily=frame.x.unit == "day")
    missing = [index for index in grid if index not in places]
    filled = places | {index: from_index(index) for index in missing}
    if missing:
        runs = _describe_runs(missing, grid=grid, values=filled, column=frame.x)
        named: str | None = frame.x.unit
        if frame.x.kind == "number":
            counted = next((word for word in ("week", "hour") if word in split_words(frame.x.name)), None)
            named = "year" if years else counted or find_named_unit(frame.x.name)
        unit = "point" if named in (None, "instant") else named
        some = f"No rows for {len(missing):,} of {len(grid):,} {unit}s"
        sorted_bars = frame.kind in BAR_KINDS and not in_order
        frame = frame.add_notes(f"{some}{'' if sorted_bars else ', shown as gaps'}: {runs}.")
    if frame.kind in BAR_KINDS and not in_order:
        return frame
    if frame.kind in BAR_KINDS:
        return _add_empty_bars(frame, order=[filled[index] for index in grid], missing=[filled[i] for i in missing])
    return _break_lines(frame, order=[filled[index] for index in grid] or frame.list_categories(), partial=bool(grid))


def _counts_periods(column: ChartColumn) -> bool:
    """Whether a column numbers the months, weeks or hours."""
    known = [value for value in column.values if isinstance(value, int | float)]
    return column.kind == "number" and names_period(column.name) and all(float(value).is_integer() for value in known)


def _make_index(column: ChartColumn) -> tuple[Callable[[Cell], int], Callable[[int], Cell]]:
    """Return how values of the column become whole numbers with a step of one unit, and back."""
    if column.kind == "number":
        return lambda value: int(float(value or 0)), lambda index: index

    def read(value: Cell) -> datetime:
        return datetime.fromisoformat(str(value))

    def write(moment: datetime) -> str:
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    match column.unit:
        case "year":
            return lambda value: read(value).year, lambda index: write(datetime(index, 1, 1, tzinfo=UTC))
        case "quarter" | "month":
            size = 3 if column.unit == "quarter" else 1
            return (
                lambda value: (read(value).year * 12 + read(value).month - 1) // size,
                lambda index: write(datetime(index * size // 12, index * size % 12 + 1, 1, tzinfo=UTC)),
            )
        case "day":
            return lambda value: (read(value) - epoch).days, lambda index: write(epoch + timedelta(days=index))
        case _:
            return (
                lambda value: round((read(value) - epoch).total_seconds()),
                lambda index: write(epoch + timedelta(seconds=index)),
            )


def _make_grid(indices: Sequence[int], *, is_daily: bool) -> list[int]:
    """Return every place that the data could have a row at; empty if it keeps to no step."""
    steps = Counter(right - left for left, right in pairwise(indices))
    if len(indices) < 3 or not steps:
        return []
    step, often = min(steps.items(), key=lambda item: (-item[1], item[0]))
    if often * 2 < sum(steps.values()) or any(each % step for each in steps):
        return []
    if (indices[-1] - indices[0]) // step + 1 - len(indices) > MAX_FILLED:
        return []
    grid = list(range(indices[0], indices[-1] + 1, step))
    # Day 0 of the index is a Thursday.
    if is_daily and step == 1 and not any((index + 3) % 7 >= _SATURDAY for index in indices):
        grid = [index for index in grid if (index + 3) % 7 < _SATURDAY]
    return grid


def _describe_runs(
    missing: Sequence[int], *, grid: Sequence[int], values: Mapping[int, Cell], column: ChartColumn
) -> str:
    places = {index: place for place, index in enumerate(grid)}
    runs: list[list[int]] = []
    for index in missing:
        if runs and places[index] == places[runs[-1][-1]] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    ends = [[format_label(values[each], column=column) for each in (run[0], run[-1])] for run in runs[:_MAX_NAMED_GAPS]]
    named = [first if first == last else f"{first} to {last}" for first, last in ends]
    return ", ".join(named) + (f" and {len(runs) - len(named)} more gaps" if len(runs) > len(named) else "")


def _add_empty_bars(frame: Frame, *, order: Sequence[Cell], missing: Sequence[Cell]) -> Frame:
    if not missing or len(order) > MAX_TIME_BARS:
        return frame
    first = frame.rows[0]["series"]
    place = {value: number for number, value in enumerate(order)}
    empty: list[MarkRow] = [{"x": value, "y": None, "series": first} for value in missing]
    return replace(frame, rows=sorted([*frame.rows, *empty], key=lambda row: place[row["x"]]))


def _break_lines(frame: Frame, *, order: Sequence[Cell], partial: bool) -> Frame:
    """Break each line where it has no row, and mark the points that are left without a line to them."""
    rows: list[MarkRow] = []
    short: list[str] = []
    everywhere = set(frame.list_categories())
    for series in dict.fromkeys(row["series"] for row in frame.rows):
        own = {row["x"]: row for row in frame.rows if row["series"] == series}
        places = [place for place, value in enumerate(order) if value in own]
        span = order[places[0] : places[-1] + 1] if places and partial else list(own)
        if partial and len(places) < len(span) and any(value in everywhere and value not in own for value in span):
            short.append(str(series))
        line: list[MarkRow] = [own.get(value) or {"x": value, "y": None, "series": series} for value in span]
        rows.extend(_mark_lone_points(line))
    if short and frame.series:
        named = ", ".join(short[:5]) + (f" and {len(short) - 5} more" if len(short) > 5 else "")
        frame = frame.add_notes(f"Gaps in {named}: no row where others have one.")
    return replace(frame, rows=rows)


def _mark_lone_points(line: Sequence[MarkRow]) -> list[MarkRow]:
    known = [False, *(row["y"] is not None for row in line), False]
    return [
        {**row, "lone": int(known[place + 1] and not known[place] and not known[place + 2])}
        for place, row in enumerate(line)
    ]
