"""Encodings that all kinds of charts share: data, tooltips, axes and colours."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import altair as alt

from agent.tools.charts import theme as look
from agent.tools.charts.data.columns import ChartColumn, looks_like_years
from agent.tools.charts.data.frame import Frame
from agent.tools.charts.data.labels import measure_width

AltairChart: TypeAlias = alt.Chart | alt.LayerChart | alt.FacetChart
SizedChart: TypeAlias = tuple[AltairChart, float]
"""A chart and its width in pixels, at which its titles are wrapped."""


@dataclass(frozen=True)
class ChartText:
    """The texts around the marks, and the unit of the numbers."""

    title: str
    subtitle: str | None
    x_title: str
    y_title: str
    unit: str | None


def make_base_chart(frame: Frame, *, titles: ChartText) -> alt.Chart:
    """Return a chart with the rows as its data and no marks.

    Computed fields: the value as text (`label` is short, `exact` is written out), the `place` of that label, and for
    several series the `rank` of the series.
    """
    ranks = {name: rank for rank, name in enumerate(frame.list_series())}
    rows = [
        {**row, "rank": ranks.get(str(row["series"]), 0)} if ranks and "series" in row else row for row in frame.rows
    ]
    field = "value" if frame.kind == "heatmap" else "y"
    values = [row[field] for row in frame.rows]
    short = look.build_number_expression(f"datum.{field}", values=values, unit=titles.unit)
    exact = look.build_number_expression(f"datum.{field}", values=values, unit=titles.unit, exact=True)
    known = f"isValid(datum.{field})"
    return alt.Chart(alt.InlineData(values=rows)).transform_calculate(
        label=f"{known} ? {short} : 'no data'",
        exact=f"{known} ? {exact} : 'no data'",
        place=f"{known} ? datum.{field} : 0",
    )


def tooltip(frame: Frame, *, titles: ChartText) -> list[alt.Tooltip]:
    """Return the lines of a mark's tooltip: the category, the series, the exact value."""
    tips = [alt.Tooltip(find_full_name(frame, "x"), title=titles.x_title, **encode_type(frame.x))]
    if frame.series:
        tips.append(alt.Tooltip(find_full_name(frame, "series"), type="nominal", title=frame.series.title))
    tips.append(alt.Tooltip("exact", type="nominal", title=titles.y_title))
    if frame.kind == "percent_stacked_bar":
        tips.append(alt.Tooltip("share", type="quantitative", format=".1%", title="Share"))
    return tips


def find_full_name(frame: Frame, role: str) -> str:
    """Return the field with the whole names of a role, where the names on the axis are shortened."""
    full = f"{role}_full"
    return full if frame.rows and full in frame.rows[0] else role


def list_labels(frame: Frame) -> list[str]:
    """Return the names of the categories, in order."""
    return [str(category) for category in frame.list_categories()]


def encode_type(column: ChartColumn) -> look.AltairOptions:
    """Return Vega-Lite's `type` for a column, with the time unit that keeps instants in UTC."""
    match column.kind:
        case "time":
            return {"type": "temporal", "timeUnit": look.get_time_unit(column) or "utcyearmonthdatehoursminutesseconds"}
        case "number":
            return {"type": "quantitative"} | ({"format": "d"} if looks_like_years(column.values) else {})
        case "text":
            return {"type": "nominal"}


def encode_time(column: ChartColumn) -> look.AltairOptions:
    """Return the options of a position channel that shows time."""
    unit = look.get_time_unit(column)
    fixed = {"timeUnit": unit} if unit else {"scale": alt.Scale(type="utc")}
    return {"type": "temporal", "axis": alt.Axis(**look.make_time_axis(column)), **fixed}


def make_value_axis(frame: Frame, *, titles: ChartText) -> alt.Axis:
    """Return an axis of grid lines and short numbers; it has no title, because the subtitle names the measure."""
    if frame.kind == "percent_stacked_bar":
        return alt.Axis(title=None, format=".0%", domain=False, ticks=False, tickCount=5, grid=True)
    largest = max((abs(float(row["y"] or 0)) for row in frame.rows), default=0.0)
    expr = look.build_axis_expression(unit=titles.unit, largest=largest)
    return alt.Axis(title=None, labelExpr=expr, domain=False, ticks=False, tickCount=6, grid=True)


def encode_series_color(frame: Frame, *, width: float) -> look.AltairOptions:
    """Return the colour channel and its legend; empty for a single series, which has the theme's colour."""
    names = frame.list_series()
    if len(names) < 2:
        return {}
    longest = max(measure_width(name) for name in names)
    columns = max(1, min(len(names), int(width / (longest * 6.6 + 34))))
    stroke: look.AltairOptions = {"symbolType": "stroke", "symbolStrokeWidth": 3} if frame.kind == "line" else {}
    legend = alt.Legend(columns=columns, **stroke)
    return {"color": alt.Color("series", type="nominal", scale=alt.Scale(domain=names), legend=legend)}


def baseline(*, along: Literal["x", "y"]) -> alt.Chart:
    """Draw a line at zero."""
    rule = alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule()
    line: alt.Chart = rule.encode(x="zero:Q") if along == "x" else rule.encode(y="zero:Q")
    return line
