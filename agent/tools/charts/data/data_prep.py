"""Rows prepared for one chart: the roles of their columns decided, and what the reader must know about them said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from agent.errors import ToolFailure
from agent.tools.charts.data.columns import (
    NO_VALUE,
    Cell,
    ChartColumn,
    ColumnRole,
    JsonRow,
    column_names,
    format_as_text,
    looks_like_years,
    read_column,
)
from agent.tools.charts.data.frame import (
    MAX_CATEGORIES,
    SPREAD_KINDS,
    ChartKind,
    ChartSort,
    Frame,
    MarkRow,
    describe_part,
    join_names,
    to_number,
)
from agent.tools.charts.data.gaps import fill_gaps
from agent.tools.charts.data.limits import (
    apply_limits,
    choose_kind,
    fold_rare_series,
    keep_categories,
    sort_cells,
    sort_rows,
)
from agent.tools.charts.data.measures import (
    combine_duplicates,
    describe_missing,
    describe_outliers,
    describe_stack,
    describe_units,
    find_units,
    normalize_unit,
    scale_percent,
)
from agent.tools.charts.data.name_hints import names_period
from agent.tools.charts.data.number_text import CURRENCY_SYMBOLS


@dataclass(frozen=True)
class _Axes:
    """The columns of a chart in their roles, and what is to be said of them."""

    x: ChartColumn
    y: ChartColumn
    notes: tuple[str, ...] = ()


def build_frame(
    rows: Sequence[JsonRow],
    *,
    kind: ChartKind,
    x: str,
    y: str,
    color: str | None,
    unit: str | None = None,
    sort: ChartSort | None = None,
) -> Frame:
    """Decide the roles of the columns, combine duplicates, sort, and fold or cut what is too much for one chart.

    Raises `ToolFailure` if a column does not exist, is of a kind that the chart cannot show, or has values that would
    have to be added up but must not be.
    """
    names = column_names(rows)
    if kind == "histogram":
        x = y if x not in names else x
        y = x if y not in names else y
    for role, name in (("x", x), ("y", y), ("color", color)):
        if name is not None and name not in names:
            raise ToolFailure(
                f"{role} names the column {name!r}, which is not in rows; use one of {join_names(names)}."
            )
    roles = _assign_roles(kind, x=x, y=y, color=color)
    columns = {name: read_column(rows, name=name, role=roles.get(name, "label")) for name in names}
    frame = _assign_columns(columns, rows=rows, kind=kind, x=x, y=y, color=color, unit=normalize_unit(unit))
    units = find_units(columns.values(), drawn=_list_drawn(frame), x=frame.x)
    if kind == "heatmap":
        frame = _finish_heatmap(frame, sort=sort)
    elif kind == "box":
        frame = keep_categories(sort_rows(frame, sort=sort))
    elif kind not in SPREAD_KINDS:
        frame = describe_missing(combine_duplicates(frame, units=units))
        frame = choose_kind(sort_rows(frame, sort=sort))
        frame = describe_stack(apply_limits(fill_gaps(frame, in_order=sort in (None, "name"))))
    return describe_outliers(describe_units(frame, units=units))


def _assign_roles(kind: ChartKind, *, x: str, y: str, color: str | None) -> dict[str, ColumnRole]:
    """Return how each column is to be read; the columns of names come last, so that y stays one of numbers."""
    across: ColumnRole = (
        "number" if kind in ("scatter", "histogram") else "abscissa" if kind in ("line", "area") else "label"
    )
    up: ColumnRole = "label" if kind == "heatmap" else "number"
    hue: ColumnRole = "number" if kind == "heatmap" else "label"
    return ({color: hue} if color else {}) | {x: across} | {y: up}


def _assign_columns(
    columns: dict[str, ChartColumn],
    *,
    rows: Sequence[JsonRow],
    kind: ChartKind,
    x: str,
    y: str,
    color: str | None,
    unit: str | None,
) -> Frame:
    if kind == "heatmap":
        return _prepare_heatmap(columns, x=x, y=y, color=color, unit=unit)
    axes = _put_numbers_on_y(columns, rows=rows, kind=kind, x=columns[x], y=columns[y])
    measure, notes = scale_percent(axes.y, unit=unit or axes.y.symbol)
    used = (axes.x.name, measure.name)
    series = format_as_text(columns[color]) if color and color not in used else None
    if color is None and kind not in SPREAD_KINDS:
        series = _find_series_column(columns, x=axes.x, y=measure)
    said = (*axes.notes, *axes.x.notes, *measure.notes, *(series.notes if series else ()), *notes)
    across = measure if kind == "histogram" else axes.x
    if kind == "box" and across.name == measure.name:
        # One box of the whole column.
        across = ChartColumn(measure.name, "text", (measure.title,) * len(measure.values))
    frame = Frame(kind, [], across, measure, series, unit=unit or measure.symbol, notes=said)
    if (
        unit
        and measure.symbol
        and CURRENCY_SYMBOLS.get(unit.upper(), unit) != CURRENCY_SYMBOLS.get(measure.symbol, measure.symbol)
    ):
        frame = frame.add_notes(f"The unit was given as {unit}, but {measure.title} is written with {measure.symbol}.")
    return _add_marks(frame)


def _list_drawn(frame: Frame) -> list[str]:
    return [column.name for column in (frame.x, frame.y, frame.series) if column]


def _put_numbers_on_y(
    columns: Mapping[str, ChartColumn], *, rows: Sequence[JsonRow], kind: ChartKind, x: ChartColumn, y: ChartColumn
) -> _Axes:
    """Return `x` and `y` with the numbers in `y`.

    The value of a horizontal bar is given as `x` as often as `y`. In other kinds it is a slip, which is said.
    """
    # As a label x is a text even if it is written in digits; what matters here is whether it could measure something.
    other = read_column(rows, name=x.name, role="number")
    measures = other.kind == "number" and not other.is_identifier and not _has_years(other)
    if kind == "horizontal_bar" and measures and (y.is_identifier or looks_like_years(y.values)):
        return _Axes(read_column(rows, name=y.name, role="label"), other)
    if kind == "histogram":
        found = next((column for column in (y, x) if column.kind == "number" and not column.is_identifier), None)
        return _Axes(found, found) if found else _fail_on_y(columns, y=y)
    if y.kind == "number" and y.is_identifier:
        return _accept_identifiers(columns, x=x, y=y)
    if y.kind == "number":
        _check_scatter(kind, x=x)
        return _Axes(x, y)
    if all(value is None for value in y.values):
        return _Axes(x, replace(y, kind="number"))
    if measures and kind not in ("scatter", "box"):
        across = read_column(rows, name=y.name, role="abscissa" if kind in ("line", "area") else "label")
        swapped = f"x and y are exchanged: {other.title} has the numbers, {across.title} has none."
        return _Axes(across, other, () if kind == "horizontal_bar" else (swapped,))
    return _fail_on_y(columns, y=y)


def _accept_identifiers(columns: Mapping[str, ChartColumn], *, x: ChartColumn, y: ChartColumn) -> _Axes:
    """Return the axes although only the name of `y` says that its numbers measure nothing; refuse if others do."""
    numbers = _list_measures(columns, without={x.name, y.name})
    if numbers:
        raise ToolFailure(
            f"y names the column {y.name!r}, which has identifiers, not amounts; use one of {join_names(numbers)}."
        )
    return _Axes(x, y, (f"{y.title} is named like an identifier, and is drawn as an amount.",))


def _fail_on_y(columns: Mapping[str, ChartColumn], *, y: ChartColumn) -> _Axes:
    numbers = _list_measures(columns, without={y.name})
    remedy = f"use one of {join_names(numbers)}" if numbers else "rows have no column of numbers; query one"
    why = f" {y.fault}" if y.fault else ""
    what = "identifiers, not amounts" if y.kind == "number" else f"{y.kind} values, not numbers"
    raise ToolFailure(f"y names the column {y.name!r}, which has {what}; {remedy}.{why}")


def _check_scatter(kind: ChartKind, *, x: ChartColumn) -> None:
    if kind == "scatter" and x.kind == "text":
        what = "identifiers" if x.is_identifier else "text"
        raise ToolFailure(f"A scatter chart needs numbers or dates in x, but {x.name!r} has {what}; use kind 'bar'.")


def _list_measures(columns: Mapping[str, ChartColumn], *, without: set[str]) -> list[str]:
    return [
        column.name
        for column in columns.values()
        if column.kind == "number"
        and not column.is_identifier
        and column.name not in without
        and not _has_years(column)
    ]


def _has_years(column: ChartColumn) -> bool:
    return looks_like_years(column.values) and names_period(column.name)


def _add_marks(frame: Frame) -> Frame:
    """Add a row for each mark; rows without a place are left out, and it is said."""
    x, y = frame.x, frame.y
    labels: Sequence[Cell] = frame.series.values if frame.series else [None] * len(x.values)
    rows: list[MarkRow] = [
        {"x": NO_VALUE if across is None and x.kind == "text" else across, "y": up, "series": _format_series_name(name)}
        for across, up, name in zip(x.values, y.values, labels, strict=True)
    ]
    placed = [row for row in rows if row["x"] is not None]
    if frame.kind in SPREAD_KINDS:
        shown = [row for row in placed if row["y"] is not None]
        lost = len(rows) - len(shown)
        notes = (f"{lost:,} of {len(rows):,} rows without a value are left out.",) if lost else ()
        return fold_rare_series(replace(frame, rows=shown).add_notes(*notes))
    if not (lost := len(rows) - len(placed)):
        return replace(frame, rows=rows)
    part = ""
    if frame.is_additive() and not frame.has_negative_values():
        gone = [to_number(row["y"]) for row in rows if row["x"] is None]
        part = f": {describe_part(gone, [to_number(row['y']) for row in rows], unit=frame.unit)}"
    return replace(frame, rows=placed).add_notes(
        f"{lost:,} of {len(rows):,} rows without {x.title} are left out{part}."
    )


def _format_series_name(value: Cell) -> str:
    return NO_VALUE if value is None else str(value)


def _find_series_column(columns: Mapping[str, ChartColumn], *, x: ChartColumn, y: ChartColumn) -> ChartColumn | None:
    """Return the column of names or times that distinguishes rows with the same `x`; None if no rows share an `x`."""
    if len(x.distinct()) == len(x.values):
        return None
    for column in columns.values():
        names = column.kind != "number" or column.is_identifier or looks_like_years(column.values)
        if names and column.name not in (x.name, y.name):
            pairs = set(zip(x.values, column.values, strict=True))
            if len(pairs) == len(x.values):
                return format_as_text(column)
    return None


def _prepare_heatmap(
    columns: Mapping[str, ChartColumn], *, x: str, y: str, color: str | None, unit: str | None
) -> Frame:
    others = _list_measures(columns, without={x, y})
    value = columns[color] if color else (columns[others[0]] if len(others) == 1 else None)
    if value is None or value.kind != "number":
        remedy = f"use one of {join_names(others)}" if others else "query one"
        raise ToolFailure(f"A heatmap needs a column of numbers as color, not {color!r}; {remedy}.")
    value, notes = scale_percent(value, unit=unit or value.symbol)
    across, down = columns[x], columns[y]
    cells = zip(across.values, down.values, value.values, strict=True)
    rows: list[MarkRow] = [
        {"x": _place_cell(left, column=across), "y": _place_cell(top, column=down), "value": number}
        for left, top, number in cells
    ]
    placed = [row for row in rows if row["x"] is not None and row["y"] is not None]
    lost = len(rows) - len(placed)
    said = (*across.notes, *down.notes, *value.notes, *notes)
    frame = Frame("heatmap", placed, across, down, value, unit=unit or value.symbol, notes=said)
    return frame.add_notes(f"{lost:,} rows without a place are left out.") if lost else frame


def _place_cell(value: Cell, *, column: ChartColumn) -> Cell:
    return NO_VALUE if value is None and column.kind == "text" else value


def _finish_heatmap(frame: Frame, *, sort: ChartSort | None) -> Frame:
    """Combine cells with the same place, sort, and cut what is too much."""
    if len({(row["x"], row["y"]) for row in frame.rows}) < len(frame.rows):
        marks: list[MarkRow] = [{"x": row["x"], "y": row["value"], "series": row["y"]} for row in frame.rows]
        combined = combine_duplicates(replace(frame, rows=marks), units={})
        rows: list[MarkRow] = [{"x": row["x"], "y": row["series"], "value": row["y"]} for row in combined.rows]
        frame = replace(combined, rows=rows)
    frame = sort_cells(frame, sort=sort)
    for role, column in (("x", frame.x), ("y", frame.y)):
        values = list(dict.fromkeys(row[role] for row in frame.rows))
        if len(values) > MAX_CATEGORIES:
            kept = set(values[:MAX_CATEGORIES])
            note = f"The first {MAX_CATEGORIES} of {len(values):,} in {column.title}"
            if frame.is_additive() and all(to_number(row["value"]) >= 0 for row in frame.rows):
                rest = [to_number(row["value"]) for row in frame.rows if row[role] not in kept]
                part = describe_part(rest, [to_number(row["value"]) for row in frame.rows], unit=frame.unit)
                note += f"; the others add up to {part}"
            frame = replace(frame, rows=[row for row in frame.rows if row[role] in kept]).add_notes(f"{note}.")
    return describe_missing(frame)
