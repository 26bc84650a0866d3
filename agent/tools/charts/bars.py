"""Bar charts: vertical or horizontal, grouped, stacked, in panels, and over time."""

from dataclasses import replace
from typing import Literal

import altair as alt

from agent.tools.charts import theme as look
from agent.tools.charts.data.columns import format_as_text
from agent.tools.charts.data.frame import MAX_TIME_BARS, Frame
from agent.tools.charts.data.labels import measure_width
from agent.tools.charts.encodings import (
    AltairChart,
    ChartText,
    SizedChart,
    baseline,
    encode_series_color,
    encode_time,
    list_labels,
    make_base_chart,
    make_value_axis,
    tooltip,
)

MAX_VERTICAL_LABEL = 12  # letters; longer labels under vertical bars would have to be rotated
MAX_LABELED_BARS = 24
MIN_LABELED_PART = 0.07  # of a stack; a lower part has no room for a label
_HEIGHT = 320
#: Orange, pink and light blue are too pale for white text.
_PART_COLOR = f"indexof([1, 3, 4], datum.rank) >= 0 ? '{look.TEXT_COLOR}' : 'white'"
HORIZONTAL_WIDTH = 460
CATEGORY_LABEL_WIDTH = 120  # about what the names beside horizontal bars take


def draw_bars(frame: Frame, *, titles: ChartText) -> SizedChart:
    """Draw bars in the form that suits the categories and the series."""
    if frame.panels:
        return _draw_panels(frame, titles=titles)
    if frame.x.kind == "time" and len(frame.list_categories()) > MAX_TIME_BARS and frame.kind != "horizontal_bar":
        return _draw_over_time(frame, titles=titles)
    return _draw_categories(_use_text_categories(frame), titles=titles)


def _use_text_categories(frame: Frame) -> Frame:
    """Return the frame with its categories as texts, in the same order."""
    if frame.x.kind == "text":
        return frame
    column = format_as_text(replace(frame.x, values=tuple(row["x"] for row in frame.rows)))
    rows = [{**row, "x": text} for row, text in zip(frame.rows, column.values, strict=True)]
    return replace(frame, rows=rows, x=column)


def _draw_categories(frame: Frame, *, titles: ChartText) -> SizedChart:
    """Draw a band for each category; in a grouped chart, one bar per series side by side in the band."""
    categories, series = list_labels(frame), frame.list_series()
    horizontal = _is_horizontal(frame)
    # With one bar per category nothing stands side by side: a slot for each series would only move the bars away from
    # their labels.
    stack = get_stack(frame)
    grouped = len(frame.rows) > len(categories) and stack is None
    labelled = stack is None and len(frame.rows) <= MAX_LABELED_BARS
    band, value, offset = (alt.Y, alt.X, alt.YOffset) if horizontal else (alt.X, alt.Y, alt.XOffset)
    repeated = frame.x.title.lower() in (titles.subtitle or titles.title).lower()
    axis = alt.Axis(title=None if horizontal or repeated else titles.x_title, labelAngle=0)
    # The labels of bars below zero need room on the side where the category names are.
    scale = alt.Scale(padding=64 if horizontal else 20) if labelled and frame.has_negative_values() else alt.Scale()
    base = make_base_chart(frame, titles=titles).encode(
        band("x", type="ordinal", sort=categories, axis=axis),
        value(
            "y",
            type="quantitative",
            stack=stack,
            axis=None if labelled else make_value_axis(frame, titles=titles),
            scale=scale,
        ),
    )
    if grouped:
        base = base.encode(offset("series:N", sort=series))
    if horizontal:
        width = HORIZONTAL_WIDTH
        step = 15 if grouped else 26 if len(categories) <= 20 else 19
        size = {"width": width, "height": alt.Step(step, **({"for": "offset"} if grouped else {}))}
    else:
        width = min(max(len(categories) * (34 * len(series) + 16 if grouped else 64), 320), 760)
        size = {"width": width, "height": _HEIGHT}
    layers = [_draw_marks(base, frame, titles=titles, width=width)]
    if labelled:
        layers.append(_label_bars(base, horizontal=horizontal))
    if stack == "normalize" and len(frame.rows) <= 4 * MAX_LABELED_BARS:
        layers.append(_label_parts(base, value="x" if horizontal else "y"))
    layers.append(baseline(along="x" if horizontal else "y"))
    return alt.layer(*layers).properties(**size), width + (CATEGORY_LABEL_WIDTH if horizontal else 0)


def _is_horizontal(frame: Frame) -> bool:
    categories = list_labels(frame)
    longest = max(map(measure_width, categories), default=0)
    # One or two vertical bars would be as wide as they are high.
    crowded = not 2 < len(categories) <= 12 or longest * len(categories) > 96
    return frame.kind == "horizontal_bar" or longest > MAX_VERTICAL_LABEL or crowded


def _draw_marks(base: alt.Chart, frame: Frame, *, titles: ChartText, width: float) -> alt.Chart:
    chart: alt.Chart = base.mark_bar().encode(
        tooltip=tooltip(frame, titles=titles), **encode_series_color(frame, width=width)
    )
    if get_stack(frame):
        # Stack in the order of the legend, not of the alphabet.
        chart = chart.encode(order=alt.Order("rank", type="quantitative"))
    return chart


def get_stack(frame: Frame) -> Literal["zero", "normalize"] | None:
    """Return Vega-Lite's way of stacking for the kind of bars."""
    match frame.kind:
        case "stacked_bar":
            return "zero"
        case "percent_stacked_bar":
            return "normalize"
        case _:
            return None


def _label_parts(base: alt.Chart, *, value: Literal["x", "y"]) -> alt.Chart:
    """Write its share into each part of a stack that has room for it."""
    channel = alt.X if value == "x" else alt.Y
    place = channel("y", type="quantitative", stack="normalize", bandPosition=0.5)
    shown = base.transform_calculate(part=f"datum.share >= {MIN_LABELED_PART} ? format(datum.share, '.0%') : ''")
    text = shown.mark_text(fontSize=11, fontWeight="bold", color=alt.expr(_PART_COLOR))
    labels: alt.Chart = text.encode(
        **{value: place}, text="part:N", detail="series:N", order=alt.Order("rank", type="quantitative")
    )
    return labels


def _label_bars(base: alt.Chart, *, horizontal: bool) -> alt.Chart:
    """Write each value at the end of its bar."""
    if horizontal:
        side = alt.expr("datum.y < 0 ? 'right' : 'left'")
        text = base.mark_text(align=side, dx=alt.expr("datum.y < 0 ? -4 : 4"))
        labels: alt.Chart = text.encode(text="label:N", x=alt.X("place:Q", axis=None))
    else:
        side = alt.expr("datum.y < 0 ? 'top' : 'bottom'")
        text = base.mark_text(baseline=side, dy=alt.expr("datum.y < 0 ? 4 : -4"))
        labels = text.encode(text="label:N", y=alt.Y("place:Q", axis=None))
    return labels


def _draw_over_time(frame: Frame, *, titles: ChartText) -> SizedChart:
    """Draw bars on a time scale: a month without a row is a gap."""
    width = 720
    stacked = get_stack(frame)
    base = make_base_chart(frame, titles=titles).encode(
        x=alt.X("x", **encode_time(frame.x)),
        y=alt.Y("y", type="quantitative", stack=stacked, axis=make_value_axis(frame, titles=titles)),
    )
    marks = _draw_marks(base, frame, titles=titles, width=width)
    return alt.layer(marks, baseline(along="y")).properties(width=width, height=_HEIGHT), width


def _draw_panels(frame: Frame, *, titles: ChartText) -> SizedChart:
    """Draw a small bar chart per category: among many series, names beside the bars can be read, colours cannot."""
    frame = _use_text_categories(frame)
    base = make_base_chart(frame, titles=titles).encode(
        y=alt.Y("series", type="ordinal", sort=None, axis=alt.Axis(title=None)),
        x=alt.X("y", type="quantitative", axis=None),
    )
    marks = base.mark_bar().encode(tooltip=tooltip(frame, titles=titles))
    layer = alt.layer(marks, _label_bars(base, horizontal=True)).properties(width=HORIZONTAL_WIDTH, height=alt.Step(22))
    facet: AltairChart = layer.facet(
        row=alt.Row("x", type="ordinal", sort=list_labels(frame), title=None), spacing=26
    ).resolve_scale(y="independent")
    return facet, HORIZONTAL_WIDTH + CATEGORY_LABEL_WIDTH
