"""Rows prepared for one chart: the roles of their columns, and what was summed or left out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from agent.errors import ToolFailure
from agent.tools.charts.columns import (
    NO_VALUE,
    Cell,
    ChartColumn,
    JsonRow,
    column_names,
    format_as_text,
    looks_like_years,
    read_column,
)

ChartKind = Literal[
    "bar", "horizontal_bar", "grouped_bar", "stacked_bar", "line", "area", "scatter", "pie", "donut", "heatmap"
]
BAR_KINDS = ("bar", "horizontal_bar", "grouped_bar", "stacked_bar")

MAX_SERIES = 8  # colours that a reader can tell apart
MAX_CATEGORIES = 60
MAX_PANELS = 24
OTHER_LABEL = "Other"


@dataclass(frozen=True)
class Frame:
    """The rows of one chart, with the roles of their columns decided."""

    kind: ChartKind
    #: A row per mark, with the keys `x` (category or abscissa), `y` (ordinate) and `series`; for a heatmap `x`, `y` and
    #: `value`.
    rows: list[dict[str, Cell]]
    x: ChartColumn
    y: ChartColumn
    series: ChartColumn | None
    #: Whether each series gets a panel of its own, because there are more series than colours.
    panels: bool = False
    #: Sentences for the reader: rows summed, categories left out.
    notes: tuple[str, ...] = ()

    def has_negative_values(self) -> bool:
        """Whether any `y` is below zero."""
        return any(isinstance(row["y"], int | float) and row["y"] < 0 for row in self.rows)

    def list_categories(self) -> list[Cell]:
        """Return the distinct values of `x`, in order."""
        return list(dict.fromkeys(row["x"] for row in self.rows))

    def list_series(self) -> list[str]:
        """Return the distinct series, in order."""
        if self.series is None:
            return []
        return list(dict.fromkeys(str(row["series"]) for row in self.rows if "series" in row))


def build_frame(rows: Sequence[JsonRow], *, kind: ChartKind, x: str, y: str, color: str | None) -> Frame:
    """Decide the roles of the columns, sum duplicates, sort, and fold or cut what is too much for one chart.

    Raises `ToolFailure` if a column does not exist or is of a kind that the chart cannot show.
    """
    names = column_names(rows)
    for role, name in (("x", x), ("y", y), ("color", color)):
        if name is not None and name not in names:
            raise ToolFailure(
                f"{role} names the column {name!r}, which is not in rows; use one of {_join_names(names)}."
            )
    columns = {name: read_column(rows, name=name) for name in names}
    if color and kind != "heatmap":
        columns[color] = format_as_text(columns[color]) if color not in (x, y) else columns[color]
    if kind == "heatmap":
        return _prepare_heatmap(columns, x=x, y=y, color=color)
    across, up = _put_numbers_on_y(columns, kind=kind, x=columns[x], y=columns[y])
    if kind == "scatter":
        return _prepare_scatter(across, up, series=columns[color] if color else None)
    series = columns[color] if color and color not in (across.name, up.name) else None
    if color is None:
        series = _find_series_column(columns, x=across, y=up)
    frame = _sum_duplicates(Frame(kind, _make_marks(across, up, series), across, up, series))
    return _apply_limits(_sort_by_x(frame))


def _put_numbers_on_y(
    columns: dict[str, ChartColumn], *, kind: ChartKind, x: ChartColumn, y: ChartColumn
) -> tuple[ChartColumn, ChartColumn]:
    """Return `x` and `y` with the numbers in `y`: the value of a horizontal bar is given as `x` as often as `y`."""
    if y.kind == "number" and not (kind == "horizontal_bar" and x.kind == "number" and looks_like_years(y.values)):
        return x, y
    if x.kind == "number" and kind != "scatter":
        return y, x
    if all(value is None for value in y.values):
        return x, replace(y, kind="number")
    numbers = [column.name for column in columns.values() if column.kind == "number"]
    remedy = f"use one of {_join_names(numbers)}" if numbers else "rows have no column of numbers; query one"
    raise ToolFailure(f"y names the column {y.name!r}, which has {y.kind} values, not numbers; {remedy}.")


def _make_marks(x: ChartColumn, y: ChartColumn, series: ChartColumn | None) -> list[dict[str, Cell]]:
    labels: Sequence[Cell] = series.values if series else [None] * len(x.values)
    return [
        {"x": NO_VALUE if across is None and x.kind == "text" else across, "y": up, "series": _format_series_name(name)}
        for across, up, name in zip(x.values, y.values, labels, strict=True)
        if across is not None or x.kind == "text"
    ]


def _format_series_name(value: Cell) -> str:
    return NO_VALUE if value is None else str(value)


def _find_series_column(columns: dict[str, ChartColumn], *, x: ChartColumn, y: ChartColumn) -> ChartColumn | None:
    """Return the text column that distinguishes rows with the same `x`; None if no rows share an `x`."""
    if len(x.distinct()) == len(x.values):
        return None
    for column in columns.values():
        if column.kind == "text" and column.name not in (x.name, y.name):
            pairs = set(zip(x.values, column.values, strict=True))
            if len(pairs) == len(x.values):
                return column
    return None


def _sum_duplicates(frame: Frame) -> Frame:
    """Sum the rows with the same `x` and series, and add a note."""
    totals: dict[tuple[Cell, Cell], Cell] = {}
    for row in frame.rows:
        place = (row["x"], row["series"])
        totals[place] = _add(totals.get(place), row["y"])
    if len(totals) == len(frame.rows):
        return frame
    rows = [{"x": x, "y": y, "series": series} for (x, series), y in totals.items()]
    note = f"{frame.y.title} is summed where several rows have the same {frame.x.title.lower()}."
    return replace(frame, rows=rows, notes=(*frame.notes, note))


def _add(left: Cell, right: Cell) -> Cell:
    if left is None or right is None:
        return right if left is None else left
    return float(left) + float(right) if isinstance(left, float) or isinstance(right, float) else int(left) + int(right)


def _sort_by_x(frame: Frame) -> Frame:
    ordered = frame.x.kind == "time" or (frame.kind in ("line", "area") and frame.x.kind == "number")
    if not ordered:
        return frame
    key = {value: place for place, value in enumerate(sorted(frame.list_categories(), key=_sort_key))}
    return replace(frame, rows=sorted(frame.rows, key=lambda row: key[row["x"]]))


def _sort_key(value: Cell) -> tuple[float, str]:
    return (float(value), "") if isinstance(value, int | float) else (0.0, str(value))


def _apply_limits(frame: Frame) -> Frame:
    """Fold, split into panels or cut what is too much for one chart, and add a note."""
    match frame.kind:
        case "pie" | "donut":
            return _prepare_slices(frame)
        case "area" | "stacked_bar" if len(frame.list_series()) > MAX_SERIES:
            frame = _fold_small_series(frame)
        case "line" | "bar" | "horizontal_bar" | "grouped_bar" if len(frame.list_series()) > MAX_SERIES:
            frame = replace(frame, panels=True)
        case _:
            pass
    if frame.panels:
        role: Literal["x", "series"] = "x" if frame.kind in BAR_KINDS else "series"
        return _keep_first(frame, role=role, limit=MAX_PANELS)
    return _keep_first(frame, role="x", limit=MAX_CATEGORIES) if frame.kind in BAR_KINDS else frame


def _keep_first(frame: Frame, *, role: Literal["x", "series"], limit: int) -> Frame:
    """Keep the first values of a role, in the given order, since ranked rows come best first."""
    values = list(dict.fromkeys(row[role] for row in frame.rows))
    if len(values) <= limit:
        return frame
    if role == "x" and frame.x.kind == "time":
        return frame
    kept = set(values[:limit])
    note = f"The first {limit} of {len(values):,} are shown."
    return replace(frame, rows=[row for row in frame.rows if row[role] in kept], notes=(*frame.notes, note))


def _fold_small_series(frame: Frame) -> Frame:
    """Keep the largest series and sum the rest into one."""
    sizes: dict[Cell, float] = {}
    for row in frame.rows:
        sizes[row["series"]] = sizes.get(row["series"], 0.0) + abs(float(row["y"] or 0))
    kept = set(sorted(sizes, key=lambda name: -sizes[name])[: MAX_SERIES - 1])
    rest = len(sizes) - len(kept)
    renamed = [{**row, "series": row["series"] if row["series"] in kept else OTHER_LABEL} for row in frame.rows]
    folded = replace(_sum_duplicates(replace(frame, rows=renamed)), notes=frame.notes)
    last = sorted(folded.rows, key=lambda row: row["series"] == OTHER_LABEL)
    return replace(folded, rows=last, notes=(*frame.notes, f"{OTHER_LABEL} adds up the {rest} smallest."))


def _prepare_slices(frame: Frame) -> Frame:
    if frame.has_negative_values():
        raise ToolFailure(f"A {frame.kind} cannot show negative values of {frame.y.name!r}; use kind 'bar'.")
    if frame.series:
        raise ToolFailure(
            f"A {frame.kind} has one slice per {frame.x.name!r}, but several rows share one; use kind 'stacked_bar'."
        )
    shown = [row for row in frame.rows if row["y"]]
    if not shown:
        raise ToolFailure(f"A {frame.kind} needs values above zero in {frame.y.name!r}; use kind 'bar'.")
    frame = replace(frame, rows=shown)
    if len(shown) <= MAX_SERIES:
        return frame
    largest = sorted(shown, key=lambda row: -float(row["y"] or 0))
    rest = largest[MAX_SERIES - 1 :]
    total = sum(float(row["y"] or 0) for row in rest)
    rows = [*largest[: MAX_SERIES - 1], {"x": OTHER_LABEL, "y": total, "series": None}]
    return replace(frame, rows=rows, notes=(*frame.notes, f"{OTHER_LABEL} adds up the {len(rest)} smallest."))


def _prepare_scatter(x: ChartColumn, y: ChartColumn, *, series: ChartColumn | None) -> Frame:
    if x.kind == "text":
        raise ToolFailure(f"A scatter chart needs numbers or dates in x, but {x.name!r} has text; use kind 'bar'.")
    rows = [row for row in _make_marks(x, y, series) if row["x"] is not None and row["y"] is not None]
    notes: tuple[str, ...] = ()
    if len(rows) < len(x.values):
        notes = (f"{len(x.values) - len(rows):,} rows without a value are left out.",)
    frame = Frame("scatter", rows, x, y, series, notes=notes)
    names = Counter(row["series"] for row in rows)
    if series is None or len(names) <= MAX_SERIES or len(names) == len(rows):
        return frame
    kept = {name for name, _ in names.most_common(MAX_SERIES - 1)}
    folded = [{**row, "series": row["series"] if row["series"] in kept else OTHER_LABEL} for row in rows]
    return replace(frame, rows=sorted(folded, key=lambda row: row["series"] == OTHER_LABEL))


def _prepare_heatmap(columns: dict[str, ChartColumn], *, x: str, y: str, color: str | None) -> Frame:
    others = [column for column in columns.values() if column.kind == "number" and column.name not in (x, y)]
    value = columns[color] if color else (others[0] if len(others) == 1 else None)
    if value is None or value.kind != "number":
        remedy = f"use one of {_join_names([column.name for column in others])}" if others else "query one"
        raise ToolFailure(f"A heatmap needs a column of numbers as color, not {color!r}; {remedy}.")
    across, down = columns[x], columns[y]
    cells = zip(across.values, down.values, value.values, strict=True)
    rows: list[dict[str, Cell]] = [{"x": left, "y": top, "value": number} for left, top, number in cells]
    notes = []
    for role in ("x", "y"):
        values = list(dict.fromkeys(row[role] for row in rows))
        if len(values) > MAX_CATEGORIES:
            rows = [row for row in rows if row[role] in set(values[:MAX_CATEGORIES])]
            notes.append(f"The first {MAX_CATEGORIES} of {len(values):,} in {columns[{'x': x, 'y': y}[role]].title}.")
    return Frame("heatmap", rows, across, down, value, notes=tuple(notes))


def _join_names(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names) or "(there are none)"
