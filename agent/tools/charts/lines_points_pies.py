"""Charts without bars: line, area, scatter, pie, donut and heatmap."""

from typing import Literal

import altair as alt

from agent.tools.charts import theme as look
from agent.tools.charts.data.columns import Cell, ChartColumn, looks_like_years
from agent.tools.charts.data.frame import Frame
from agent.tools.charts.data.labels import measure_width
from agent.tools.charts.encodings import (
    AltairChart,
    ChartText,
    SizedChart,
    baseline,
    encode_series_color,
    encode_time,
    encode_type,
    find_full_name,
    list_labels,
    make_base_chart,
    make_value_axis,
    tooltip,
)

MAX_LINE_MARKERS = 36
MAX_LABELED_POINTS = 30
MAX_LABELED_CELLS = 150
MIN_LABELED_SHARE = 0.04  # of the whole; a narrower slice has no room for a label beside it
_WIDTH, _HEIGHT = 680, 340


def draw_lines(frame: Frame, *, titles: ChartText) -> SizedChart:
    """Draw lines or stacked areas over time, numbers or ordered texts; with more series than colours, a panel each."""
    stack: Literal["zero"] | None = "zero" if frame.kind == "area" else None
    base = make_base_chart(frame, titles=titles).encode(
        x=_encode_x(frame, titles=titles),
        y=alt.Y(
            "y",
            type="quantitative",
            stack=stack,
            axis=make_value_axis(frame, titles=titles),
            scale=_make_y_scale(frame),
        ),
        tooltip=tooltip(frame, titles=titles),
    )
    dotted = len(frame.list_categories()) <= MAX_LINE_MARKERS
    if frame.panels:
        panel = base.mark_line().properties(width=220, height=130)
        facet = alt.Facet("series", type="nominal", sort=frame.list_series(), title=None)
        return panel.facet(facet, columns=3), 3 * 240
    if frame.kind == "area":
        marks = base.mark_area(opacity=0.85, line=len(frame.list_series()) < 2).encode(order="rank:Q")
    else:
        marks = base.mark_line(point={"size": 40} if dotted else False, strokeWidth=2.5)
    color = encode_series_color(frame, width=_WIDTH)
    layers = [marks.encode(**color)]
    if any(row.get("lone") for row in frame.rows) and not (dotted and frame.kind == "line"):
        # No line leads to a point between two gaps.
        layers.append(base.transform_filter("datum.lone == 1").mark_circle(size=30, opacity=1).encode(**color))
    if frame.has_negative_values():
        layers.append(baseline(along="y"))
    chart = alt.layer(*layers)
    return chart.properties(width=_WIDTH, height=_HEIGHT), _WIDTH


def _encode_x(frame: Frame, *, titles: ChartText) -> alt.X:
    if frame.x.kind == "time":
        return alt.X("x", **encode_time(frame.x))
    if frame.x.kind == "text":
        labels = list_labels(frame)
        rotated = max(map(measure_width, labels), default=0) * len(labels) > 90
        axis = alt.Axis(
            title=titles.x_title, labelAngle=-40 if rotated else 0, labelOverlap="greedy" if len(labels) > 40 else False
        )
        return alt.X("x", type="ordinal", sort=labels, axis=axis)
    return alt.X(
        "x", type="quantitative", scale=alt.Scale(zero=False, nice=False), axis=_make_number_axis(frame.x, titles)
    )


def _make_number_axis(column: ChartColumn, titles: ChartText) -> alt.Axis:
    whole = all(value is None or float(value).is_integer() for value in column.values)
    pattern = "d" if looks_like_years(column.values) else ",.6~r"
    step: look.AltairOptions = {"tickMinStep": 1} if whole else {}
    return alt.Axis(title=titles.x_title, labelExpr=f"format(datum.value, '{pattern}')", **step)


def _make_y_scale(frame: Frame) -> alt.Scale:
    """Return a scale that may leave out zero for lines whose values are far from it, but never for areas."""
    known = [float(row["y"]) for row in frame.rows if row["y"] is not None]
    near = not known or min(known) < 0.6 * max(known)
    return alt.Scale(zero=near or frame.kind == "area", nice=True)


def draw_points(frame: Frame, *, titles: ChartText) -> SizedChart:
    """Draw points; if each point has a name of its own, write it beside the point."""
    width, height = 600, 400
    place = (
        alt.X("x", **encode_time(frame.x))
        if frame.x.kind == "time"
        else alt.X("x", type="quantitative", scale=alt.Scale(zero=False), axis=_make_number_axis(frame.x, titles))
    )
    axis = make_value_axis(frame, titles=titles)
    axis["title"] = titles.y_title
    base = make_base_chart(frame, titles=titles).encode(
        x=place,
        y=alt.Y("y", type="quantitative", scale=alt.Scale(zero=False), axis=axis),
        tooltip=tooltip(frame, titles=titles),
    )
    names = frame.list_series()
    marks = base.mark_circle(size=70 if len(frame.rows) <= 200 else 30, opacity=0.75)
    named = len(names) > 1 and len(names) == len(frame.rows)
    chart: AltairChart = marks if named else marks.encode(**encode_series_color(frame, width=width))
    if named and len(names) <= MAX_LABELED_POINTS:
        chart = alt.layer(marks, base.mark_text(align="left", dx=8, fontSize=11).encode(text="series:N"))
    return chart.properties(width=width, height=height), width


def draw_slices(frame: Frame, *, titles: ChartText) -> SizedChart:
    """Draw a pie or a donut; names and shares are beside the slices, or in a legend if a slice is too narrow."""
    rows = _make_slice_rows(frame)
    beside = min(float(row["share"] or 0) for row in rows) >= MIN_LABELED_SHARE
    names = [row["name"] for row in rows]
    legend = None if beside else alt.Legend(orient="right", direction="vertical", columns=1)
    base = (
        make_base_chart(frame, titles=titles)
        .properties(data=alt.InlineData(values=rows))
        .encode(
            theta=alt.Theta("y", type="quantitative", stack=True),
            order=alt.Order("rank", type="quantitative"),
            color=alt.Color("name", type="nominal", scale=alt.Scale(domain=names), legend=legend),
            tooltip=tooltip(frame, titles=titles),
        )
    )
    inner = 80 if frame.kind == "donut" else 0
    layers = [base.mark_arc(outerRadius=140, innerRadius=inner, stroke="white", strokeWidth=2)]
    if beside:
        side = alt.expr("datum.right ? 'left' : 'right'")
        text = base.mark_text(radius=152, align=side, baseline="middle")
        layers.append(text.encode(text="name:N", color=alt.value(look.TEXT_COLOR)))
    return alt.layer(*layers).properties(width=560 if beside else 300, height=330), 560


def _make_slice_rows(frame: Frame) -> list[dict[str, Cell | bool]]:
    """Return each slice with its share of the whole, its label, and the side of the circle that it is on."""
    total = sum(float(row["y"] or 0) for row in frame.rows)
    rows: list[dict[str, Cell | bool]] = []
    before = 0.0
    for rank, row in enumerate(frame.rows):
        share = float(row["y"] or 0) / total
        name = f"{row['x']} {share:.0%}" if share >= 0.01 else f"{row['x']} <1%"
        rows.append({**row, "rank": rank, "share": share, "name": name, "right": before + share / 2 < 0.5})
        before += share
    return rows


def draw_heatmap(frame: Frame, *, titles: ChartText) -> SizedChart:
    """Draw a heatmap, light to dark; with values on both sides of zero, in two diverging colours."""
    known = [float(row["value"]) for row in frame.rows if row["value"] is not None]
    if known and min(known) < 0 < max(known):
        scale = alt.Scale(scheme="blueorange", domainMid=0)
    else:
        scale = alt.Scale(scheme="blues")
    wide, high = len({row["x"] for row in frame.rows}), len({row["y"] for row in frame.rows})
    step = min(64, max(14, 760 // max(wide, 1)))
    angle = 0 if max((measure_width(str(row["x"])) for row in frame.rows), default=0) * 7 < step else -40
    base = make_base_chart(frame, titles=titles).encode(
        x=alt.X(
            "x",
            **_encode_band(frame.x),
            axis=alt.Axis(title=titles.x_title, labelAngle=angle),
        ),
        y=alt.Y("y", **_encode_band(frame.y), axis=alt.Axis(title=None)),
    )
    tips = [
        alt.Tooltip(find_full_name(frame, "x"), title=titles.x_title, **encode_type(frame.x)),
        alt.Tooltip(find_full_name(frame, "y"), title=titles.y_title, **encode_type(frame.y)),
    ]
    title = frame.series.title if frame.series else ""
    labelled = len(frame.rows) <= MAX_LABELED_CELLS and step >= 40
    legend = None if labelled else alt.Legend(orient="right", direction="vertical")
    marks = base.mark_rect(stroke="white").encode(
        color=alt.Color("value", type="quantitative", scale=scale, legend=legend),
        tooltip=[*tips, alt.Tooltip("exact", type="nominal", title=title)],
    )
    layers = [marks]
    if labelled:
        highest, lowest = 0.6 * max(known, default=0.0), 0.6 * min(known, default=0.0)
        # Cells far from zero are dark; without values on both sides of it, only those near the maximum are.
        deep = f"datum.value < {lowest}" if lowest < 0 < highest else "false"
        dark = f"isValid(datum.value) && (datum.value > {highest} || {deep}) ? 'white' : '{look.TEXT_COLOR}'"
        layers.append(base.mark_text(fontSize=11, color=alt.expr(dark)).encode(text="label:N"))
    size = {"width": alt.Step(step), "height": alt.Step(min(step, 32))}
    return alt.layer(*layers).properties(**size), max(wide * step, 420 if high else 0)


def _encode_band(column: ChartColumn) -> look.AltairOptions:
    if column.kind == "time":
        return {"type": "ordinal", "timeUnit": look.get_time_unit(column) or "utcyearmonthdatehoursminutes"}
    return {"type": "ordinal", "sort": None if column.kind == "text" else "ascending"}
