"""What may be done with the numbers of a chart: adding up, percent, and what their range hides."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Final

from agent.errors import ToolFailure
from agent.tools.charts.data.columns import Cell, ChartColumn, format_label
from agent.tools.charts.data.frame import STACKED_KINDS, Frame, MarkRow, format_amount, join_names, to_number
from agent.tools.charts.data.name_hints import names_fraction, names_percent, names_unit

_PERCENT_SPELLINGS: Final = frozenset({"%", "percent", "per cent", "pct", "percentage", "prozent"})
#: From these ratios on, a value leaves the others so flat that they cannot be compared.
_OUTLIER_TO_NEXT, _OUTLIER_TO_MEDIAN, _MAX_OUTLIERS = 8, 20, 3


def normalize_unit(unit: str | None) -> str | None:
    """Return the unit with one spelling of percent."""
    if unit is None or not unit.strip():
        return None
    return "%" if unit.strip().casefold() in _PERCENT_SPELLINGS else unit.strip()


def scale_percent(column: ChartColumn, *, unit: str | None) -> tuple[ChartColumn, tuple[str, ...]]:
    """Return the column in percent if the unit is "%": 0.453 is 45.3%, and 45.3 is so too.

    The range decides, then the name. Whatever stays doubtful is said in a sentence.
    """
    known = [float(value) for value in column.values if isinstance(value, int | float)]
    largest = max(map(abs, known), default=0.0)
    if unit != "%" or column.symbol == "%" or largest == 0:
        return column, ()
    fractional = any(not value.is_integer() for value in known)
    small = sum(abs(value) <= 1 for value in known) * 2 >= len(known)
    whole = fractional and min(known) >= 0 and abs(sum(known) - 1) < 0.01
    named = names_percent(column.name)
    if largest <= 1:
        scaled = whole or (fractional and not named)
        doubtful = not whole
    else:
        scaled = fractional and small and largest <= 3 and names_fraction(column.name) and not named
        doubtful = scaled or (fractional and small and largest <= 3)
    example = next((value for value in known if not value.is_integer()), largest)
    if not scaled:
        other = (
            f"{column.title} is read as percent: {example:g} is {example:g}%. If it is a fraction, multiply it by 100."
        )
        return column, (other,) if doubtful else ()
    values = tuple(round(value * 100, 10) if isinstance(value, int | float) else None for value in column.values)
    note = f"{column.title} is read as a fraction: {example:g} is {round(example * 100, 10):g}%."
    return replace(column, values=values), (note,) if doubtful else ()


def combine_duplicates(frame: Frame, *, units: Mapping[Cell, set[str]]) -> Frame:
    """Make one mark of the rows with the same `x` and series, and add a note.

    `units` has the currencies or units of the rows of each `x`. Raises `ToolFailure` if the rows differ and their
    values cannot be added up.
    """
    groups: dict[tuple[Cell, Cell], list[Cell]] = {}
    for row in frame.rows:
        groups.setdefault((row["x"], row["series"]), []).append(row["y"])
    if len(groups) == len(frame.rows):
        return frame
    equal = all(len(set(values)) == 1 for values in groups.values())
    shared, title = frame.x.title.lower(), frame.measure.title
    if not frame.is_additive():
        if not equal:
            raise ToolFailure(_describe_shared_rows(frame, groups=groups))
        rows: list[MarkRow] = [{"x": x, "y": values[0], "series": series} for (x, series), values in groups.items()]
        note = f"Rows with the same {shared} have the same {title}, which is drawn once."
        return replace(frame, rows=rows).add_notes(note)
    if mixed := next((names for names in units.values() if len(names) > 1), None):
        raise ToolFailure(
            f"Rows with the same {frame.x.name!r} have {frame.y.name!r} in several units ({', '.join(sorted(mixed))}), "
            "which cannot be added up; convert them in the query, or give the column of the units as color."
        )
    rows = [{"x": x, "y": _add_values(values), "series": series} for (x, series), values in groups.items()]
    note = f"{title} is summed where several rows have the same {shared}."
    return replace(frame, rows=rows).add_notes(note)


def _describe_shared_rows(frame: Frame, *, groups: Mapping[tuple[Cell, Cell], Sequence[Cell]]) -> str:
    (x, series), values = next(item for item in groups.items() if len(set(item[1])) > 1)
    place = format_label(x, column=frame.x) + (f", {series}" if frame.series else "")
    shown = ", ".join("none" if value is None else f"{value:g}" for value in values[:3] if not isinstance(value, str))
    by = join_names([frame.x.name, *([frame.series.name] if frame.series else [])])
    more = ", ..." if len(values) > 3 else ""
    return (
        f"Several rows have the same {by} ({place}: {shown}{more}), and {frame.y.name!r} must not be added up; return "
        f"one row for each {by} from the query (GROUP BY), give the column that tells them apart as color, or use kind "
        "'box' for their spread."
    )


def _add_values(values: Iterable[Cell]) -> Cell:
    known = [value for value in values if isinstance(value, int | float)]
    return sum(known) if known else None


def find_units(columns: Iterable[ChartColumn], *, drawn: Iterable[str], x: ChartColumn) -> dict[Cell, set[str]]:
    """Return the currencies or units of the rows by their `x`; empty unless a column that is not drawn has several."""
    used = set(drawn)
    for column in columns:
        if names_unit(column.name) and column.name not in used and len(set(column.values) - {None}) > 1:
            found: dict[Cell, set[str]] = {}
            for across, unit in zip(x.values, column.values, strict=True):
                if unit is not None:
                    found.setdefault(across, set()).add(str(unit))
            return found
    return {}


def describe_units(frame: Frame, *, units: Mapping[Cell, set[str]]) -> Frame:
    """Add a note if the marks have different currencies or units on one axis."""
    names = sorted({unit for found in units.values() for unit in found})
    if len(names) < 2:
        return frame
    listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    if frame.kind in ("pie", "donut", "percent_stacked_bar"):
        raise ToolFailure(
            f"{frame.y.name!r} is in several units ({listed}), which have no whole to be parts of; convert them in the "
            "query, or use kind 'bar' with the column of the units as color."
        )
    return frame.add_notes(f"{frame.measure.title} is in several units ({listed}) that share one axis.")


def describe_stack(frame: Frame) -> Frame:
    """Add a note if a stack is drawn of what has no sum."""
    if frame.panels or frame.kind not in STACKED_KINDS or not (frame.series or frame.kind in ("pie", "donut")):
        return frame
    if frame.kind == "stacked_bar" and frame.has_negative_values():
        frame = frame.add_notes("Negative values are stacked below zero, so the top of a bar is not its total.")
    if frame.is_additive() or frame.is_part_of_whole():
        return frame
    return frame.add_notes(f"{frame.y.title} cannot be added up: the height of a whole stack means nothing.")


def describe_outliers(frame: Frame) -> Frame:
    """Add a note if a few values are so large that the others cannot be compared."""
    if frame.kind in ("pie", "donut", "percent_stacked_bar", "histogram", "box"):
        return frame
    field = "value" if frame.kind == "heatmap" else "y"
    ranked = sorted(
        (row for row in frame.rows if isinstance(row[field], int | float)), key=lambda row: -abs(to_number(row[field]))
    )
    sizes = [abs(to_number(row[field])) for row in ranked]
    for count in range(1, min(_MAX_OUTLIERS, len(ranked) // 4) + 1):
        middle = median(sizes[count:])
        if middle > 0 and sizes[count - 1] >= max(_OUTLIER_TO_NEXT * sizes[count], _OUTLIER_TO_MEDIAN * middle):
            named = ", ".join(
                f"{_name_mark(row, frame=frame)} ({format_amount(to_number(row[field]), unit=frame.unit)})"
                for row in ranked[:count]
            )
            return frame.add_notes(
                f"Outlier: {named}. The median of the others is {format_amount(middle, unit=frame.unit)}, so their "
                "differences can hardly be seen."
            )
    return frame


def _name_mark(row: MarkRow, *, frame: Frame) -> str:
    across = format_label(row["x"], column=frame.x)
    if frame.kind == "heatmap":
        return f"{across}, {format_label(row['y'], column=frame.y)}"
    return f"{across}, {row['series']}" if frame.series and row.get("series") != row["x"] else across


def describe_missing(frame: Frame) -> Frame:
    """Add a note on marks without a value."""
    field = "value" if frame.kind == "heatmap" else "y"
    lost = sum(row[field] is None for row in frame.rows)
    if not lost or lost == len(frame.rows) or frame.kind in ("pie", "donut"):
        return frame
    have = "has" if lost == 1 else "have"
    return frame.add_notes(f"{lost:,} of {len(frame.rows):,} {have} no value of {frame.measure.title}.")
