"""Encodings that all kinds of charts share: data, tooltips, value axes and colours."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import altair as alt

from agent.tools.charts import theme as look
from agent.tools.charts.columns import ChartColumn, looks_like_years
from agent.tools.charts.data_prep import Frame

AltairChart: TypeAlias = alt.Chart | alt.LayerChart | alt.FacetChart
SizedChart: TypeAlias = tuple[AltairChart, float]
"""A chart and its width in pixels, to which titles are wrapped."""


@dataclass(frozen=True)
class ChartText:
    """What stands around the marks."""

    title: str
    subtitle: str | None
    x_title: str
    y_title: str
    unit: str | None


def make_base_chart(frame: Frame, *, words: ChartText) -> alt.Chart:
    """Start a chart from the rows.

    Each value comes also as text (`label` short, `exact` in full), with the `place` of its label; each series with
    its `rank`.
    """
    ranks = {name: rank for rank, name in enumerate(frame.list_series())}
    rows = [
        {**row, "rank": ranks.get(str(row["series"]), 0)} if ranks and "series" in row else row for row in frame.rows
    ]
    chart = alt.Chart(alt.InlineData(values=rows))
    value = frame.series if frame.kind == "heatmap" else frame.y
    field = "value" if frame.kind == "heatmap" else "y"
    if value is None or value.kind != "number":
        return chart
    values = [row[field] for row in frame.rows]
    short = look.build_number_expression(f"datum.{field}", values=values, unit=words.unit)
    exact = look.build_number_expression(f"datum.{field}", values=values, unit=words.unit, exact=True)
    known = f"isValid(datum.{field})"
    return chart.transform_calculate(
        label=f"{known} ? {short} : 'no data'",
        exact=f"{known} ? {exact} : 'no data'",
        place=f"{known} ? datum.{field} : 0",
    )


def tooltip(frame: Frame, *, words: ChartText) -> list[alt.Tooltip]:
    """Tell over a mark what a reader asks: the category, the series, the exact value."""
    tips = [alt.Tooltip("x", title=words.x_title, **encode_type(frame.x))]
    if frame.series:
        tips.append(alt.Tooltip("series", type="nominal", title=frame.series.title))
    return [*tips, alt.Tooltip("exact", type="nominal", title=words.y_title)]


def encode_type(column: ChartColumn) -> look.AltairOptions:
    """Vega-Lite's `type` of a column's values, and the time unit that keeps them in UTC."""
    match column.kind:
        case "time":
            return {"type": "temporal", "timeUnit": look.get_time_unit(column) or "utcyearmonthdatehoursminutesseconds"}
        case "number":
            return {"type": "quantitative"} | ({"format": "d"} if looks_like_years(column.values) else {})
        case "text":
            return {"type": "nominal"}


def encode_time(column: ChartColumn) -> look.AltairOptions:
    """Encode a position in time."""
    unit = look.get_time_unit(column)
    fixed = {"timeUnit": unit} if unit else {"scale": alt.Scale(type="utc")}
    return {"type": "temporal", "axis": alt.Axis(title=None, grid=False, **look.make_time_axis(column)), **fixed}


def make_value_axis(frame: Frame, *, words: ChartText) -> alt.Axis:
    """Thin lines and short numbers; what they measure is said in the subtitle."""
    largest = max((abs(float(row["y"] or 0)) for row in frame.rows), default=0.0)
    expr = look.build_axis_expression(unit=words.unit, largest=largest)
    return alt.Axis(title=None, labelExpr=expr, domain=False, ticks=False, tickCount=6, grid=True)


def encode_series_color(frame: Frame, *, width: float) -> look.AltairOptions:
    """Give each series a colour, with a legend only where there is more than one."""
    names = frame.list_series()
    if len(names) < 2:
        return {"color": alt.value(look.PALETTE[0])}
    longest = max(len(str(name)) for name in names)
    columns = max(1, min(len(names), int(width / (longest * 6.6 + 34))))
    scale = alt.Scale(domain=names, range=list(look.PALETTE[: len(names)]))
    stroke: look.AltairOptions = {"symbolType": "stroke", "symbolStrokeWidth": 3} if frame.kind == "line" else {}
    legend = alt.Legend(columns=columns, **stroke)
    return {"color": alt.Color("series", type="nominal", scale=scale, legend=legend)}


def baseline(*, along: Literal["x", "y"]) -> alt.Chart:
    """Draw a line at zero."""
    rule = alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule(color=look.TEXT_COLOR, strokeWidth=1)
    line: alt.Chart = rule.encode(x="zero:Q") if along == "x" else rule.encode(y="zero:Q")
    return line
