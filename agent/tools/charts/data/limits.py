"""The order of what is drawn, and what is folded or left out because it is too much for one chart."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any, Literal

from agent.errors import ToolFailure
from agent.tools.charts.data.columns import NO_VALUE, Cell
from agent.tools.charts.data.frame import (
    BAR_KINDS,
    MAX_CATEGORIES,
    MAX_PANELS,
    MAX_SERIES,
    MAX_TIME_BARS,
    OTHER_LABEL,
    ChartSort,
    Frame,
    MarkRow,
    describe_part,
    to_number,
)


def sort_rows(frame: Frame, *, sort: ChartSort | None) -> Frame:
    """Sort as `sort` says, or by time; else the order of the rows is kept, since ranked rows come best first."""
    natural = frame.x.kind == "time" or (frame.kind in ("line", "area") and frame.x.kind == "number")
    if natural and frame.kind in ("line", "area"):
        said = (f"A {frame.kind} chart keeps the order of its axis; sort {sort!r} is not applied.",) if sort else ()
        return _order_by(frame, key=_order_value).add_notes(*said)
    match sort:
        case None:
            return _order_by(frame, key=_order_value) if natural else frame
        case "name":
            return _order_by(frame, key=_order_value)
        case "ascending" | "descending":
            return _order_by(frame, key=_rank_sizes(frame, role="x", field="y", sort=sort))


def sort_cells(frame: Frame, *, sort: ChartSort | None) -> Frame:
    """Sort the columns and rows of a heatmap by name, or by the sum of their values."""
    if sort == "name":
        return _order_by(_order_by(frame, key=_order_value, role="y"), key=_order_value)
    if sort is None:
        return frame
    for role, column in (("y", frame.y), ("x", frame.x)):
        if column.kind != "text":
            frame = frame.add_notes(f"{column.title} keeps its own order; sort {sort!r} is not applied to it.")
            continue
        frame = _order_by(frame, key=_rank_sizes(frame, role=role, field="value", sort=sort), role=role)
    return frame


def _rank_sizes(frame: Frame, *, role: str, field: str, sort: ChartSort) -> Callable[[Cell], tuple[float]]:
    """Return a key that sorts categories by their sum, or by their median in a box plot."""
    found: dict[Cell, list[float]] = {}
    for row in frame.rows:
        found.setdefault(row[role], []).append(to_number(row[field]))
    sign = 1 if sort == "ascending" else -1
    sizes = {value: sign * (median(each) if frame.kind == "box" else sum(each)) for value, each in found.items()}
    return lambda value: (sizes[value],)


def _order_by(frame: Frame, *, key: Callable[[Cell], Any], role: str = "x") -> Frame:
    values = sorted(dict.fromkeys(row[role] for row in frame.rows), key=key)
    place = {value: number for number, value in enumerate(values)}
    return replace(frame, rows=sorted(frame.rows, key=lambda row: place[row[role]]))


def choose_kind(frame: Frame) -> Frame:
    """Return the frame with a kind that has room for it, and a note if that is another than was asked for."""
    count, series = len(frame.list_categories()), len(frame.list_series())
    if frame.x.kind != "time" or frame.kind not in ("bar", "grouped_bar", "horizontal_bar") or series > MAX_SERIES:
        return frame
    if frame.kind == "horizontal_bar" and count > MAX_CATEGORIES:
        note = f"Drawn upright: there is no room for {count:,} bars one below the other."
        frame = replace(frame, kind="bar").add_notes(note)
    if frame.kind == "horizontal_bar" or series < 2 or count <= MAX_TIME_BARS:
        return frame
    if frame.is_additive() and not frame.has_negative_values():
        return replace(frame, kind="stacked_bar").add_notes("Stacked, for there is no room for the bars side by side.")
    return replace(frame, kind="line").add_notes("Drawn as lines, for there is no room for the bars side by side.")


def _order_value(value: Cell) -> tuple[object, ...]:
    """Return a key that sorts numbers by value and texts with "2" before "10"; the missing value comes last."""
    if isinstance(value, int | float):
        return (0, float(value), "")
    text = str(value)
    parts = re.split(r"(\d+)", text.casefold())
    return (1, text == NO_VALUE, [int(part) if part.isdecimal() else part for part in parts], text)


def apply_limits(frame: Frame) -> Frame:
    """Fold, split into panels or cut what is too much for one chart, and add a note."""
    crowded = len(frame.list_series()) > MAX_SERIES
    match frame.kind:
        case "pie" | "donut":
            return _prepare_slices(frame)
        case "percent_stacked_bar":
            frame = _prepare_shares(_fold_small_series(frame) if crowded else frame)
        case "area" | "stacked_bar" if crowded:
            frame = _fold_small_series(frame) if frame.is_additive() else replace(frame, panels=True)
        case "line" | "bar" | "horizontal_bar" | "grouped_bar" if crowded:
            frame = replace(frame, panels=True)
        case _:
            pass
    _check_stack(frame)
    if frame.panels:
        role: Literal["x", "series"] = "x" if frame.kind in BAR_KINDS else "series"
        return _keep_first(frame, role=role, limit=MAX_PANELS)
    return keep_categories(frame) if frame.kind in BAR_KINDS else frame


def _check_stack(frame: Frame) -> None:
    if frame.kind == "area" and len(frame.list_series()) > 1 and not frame.panels and frame.has_negative_values():
        raise ToolFailure(f"An area chart cannot stack negative values of {frame.y.name!r}; use kind 'line'.")


def keep_categories(frame: Frame) -> Frame:
    """Keep the first categories, as many as can be read."""
    return _keep_first(frame, role="x", limit=MAX_CATEGORIES)


def _keep_first(frame: Frame, *, role: Literal["x", "series"], limit: int) -> Frame:
    """Keep the first values of a role, in the given order, since ranked rows come best first."""
    values = list(dict.fromkeys(row[role] for row in frame.rows))
    if len(values) <= limit or (role == "x" and frame.x.kind == "time" and not frame.panels):
        return frame
    kept = set(values[:limit])
    note = f"The first {limit} of {len(values):,} are shown"
    if frame.is_additive() and not frame.has_negative_values() and frame.kind not in ("percent_stacked_bar", "box"):
        rest = [to_number(row["y"]) for row in frame.rows if row[role] not in kept]
        whole = [to_number(row["y"]) for row in frame.rows]
        part = describe_part(rest, whole, unit=frame.unit)
        note += f"; the other {len(values) - limit:,} add up to {part}"
    return replace(frame, rows=[row for row in frame.rows if row[role] in kept]).add_notes(f"{note}.")


def _fold_small_series(frame: Frame) -> Frame:
    """Keep the largest series and sum the rest into one."""
    sizes: dict[Cell, float] = {}
    for row in frame.rows:
        sizes[row["series"]] = sizes.get(row["series"], 0.0) + abs(to_number(row["y"]))
    kept = set(sorted(sizes, key=lambda name: -sizes[name])[: MAX_SERIES - 1])
    other = _name_rest({str(name) for name in kept})
    totals: dict[tuple[Cell, Cell], Cell] = {}
    for row in frame.rows:
        place = (row["x"], row["series"] if row["series"] in kept else other)
        before, value = totals.get(place), row["y"]
        if isinstance(before, int | float) and isinstance(value, int | float):
            totals[place] = before + value
        else:
            totals[place] = before if value is None else value
    rows: list[MarkRow] = [{"x": x, "y": y, "series": series} for (x, series), y in totals.items()]
    part = describe_part([size for name, size in sizes.items() if name not in kept], sizes.values(), unit=frame.unit)
    note = f"{other} adds up the {len(sizes) - len(kept)} smallest: {part}."
    return replace(frame, rows=sorted(rows, key=lambda row: row["series"] == other)).add_notes(note)


def _name_rest(names: set[str]) -> str:
    """Return a name for the rest that no other category has."""
    return OTHER_LABEL if OTHER_LABEL not in names else "The rest"


def _prepare_shares(frame: Frame) -> Frame:
    """Return each row with its `share` of the whole of its category."""
    if frame.has_negative_values():
        raise ToolFailure(f"A {frame.kind} cannot show negative values of {frame.y.name!r}; use kind 'stacked_bar'.")
    totals: dict[Cell, float] = {}
    for row in frame.rows:
        totals[row["x"]] = totals.get(row["x"], 0.0) + to_number(row["y"])
    empty = sum(total == 0 for total in totals.values())
    rows: list[MarkRow] = [
        {**row, "share": to_number(row["y"]) / totals[row["x"]] if totals[row["x"]] else 0.0} for row in frame.rows
    ]
    notes = (f"{empty:,} without any {frame.y.title} have no shares.",) if empty else ()
    return replace(frame, rows=rows).add_notes(*notes)


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
    if len(shown) < len(frame.rows):
        names = [str(row["x"]) for row in frame.rows if not row["y"]]
        listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        frame = frame.add_notes(f"Without a slice, because zero or missing: {listed}.")
    frame = replace(frame, rows=shown)
    if len(shown) <= MAX_SERIES:
        return frame
    if not frame.is_additive() and not frame.is_part_of_whole():
        raise ToolFailure(
            f"A {frame.kind} of more than {MAX_SERIES} slices adds up the smallest, but {frame.y.name!r} cannot be "
            "added up; use kind 'bar'."
        )
    largest = sorted(shown, key=lambda row: -to_number(row["y"]))
    rest = largest[MAX_SERIES - 1 :]
    amounts = [to_number(row["y"]) for row in rest]
    other = _name_rest({str(row["x"]) for row in largest[: MAX_SERIES - 1]})
    rows: list[MarkRow] = [*largest[: MAX_SERIES - 1], {"x": other, "y": sum(amounts), "series": None}]
    part = describe_part(amounts, [to_number(row["y"]) for row in shown], unit=frame.unit)
    return replace(frame, rows=rows).add_notes(f"{other} adds up the {len(rest)} smallest: {part}.")


def fold_rare_series(frame: Frame) -> Frame:
    """Give the points of rare series one colour, unless each point has a name of its own."""
    names = Counter(row["series"] for row in frame.rows)
    if frame.series is None or len(names) <= MAX_SERIES or len(names) == len(frame.rows):
        return frame
    kept = {name for name, _ in names.most_common(MAX_SERIES - 1)}
    other = _name_rest({str(name) for name in kept})
    rows = [{**row, "series": row["series"] if row["series"] in kept else other} for row in frame.rows]
    points = sum(count for name, count in names.items() if name not in kept)
    note = f"{other} has the {points:,} points of {len(names) - len(kept)} further values of {frame.series.title}."
    return replace(frame, rows=sorted(rows, key=lambda row: row["series"] == other)).add_notes(note)
