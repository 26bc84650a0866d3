"""Bar charts: upright or lying, grouped, stacked, in panels, and over time."""

from dataclasses import replace
from typing import Literal

import altair as alt

from agent.tools.charts import theme as look
from agent.tools.charts.columns import format_as_text
from agent.tools.charts.data_prep import Frame
from agent.tools.charts.encodings import (
    AltairChart,
    ChartText,
    SizedChart,
    baseline,
    encode_series_color,
    encode_time,
    make_base_chart,
    make_value_axis,
    tooltip,
)

MAX_UPRIGHT_LABEL = 12  # letters; beyond it, labels under upright bars would have to be turned
MAX_LABELED_BARS = 24
MAX_TIME_BARS = 24
HEIGHT = 320
HORIZONTAL_WIDTH = 460


def draw_bars(frame: Frame, *, words: ChartText) -> SizedChart:
    """Draw bars in the form that suits its categories and series."""
    if frame.panels:
        return _draw_panels(frame, words=words)
    if frame.x.kind == "time" and len(frame.list_categories()) > MAX_TIME_BARS and frame.kind != "horizontal_bar":
        return _draw_over_time(frame, words=words)
    frame = _use_text_categories(frame)
    # With one bar to a category there is nothing to stand beside it: a place for each series would only part the bars
    # from their labels.
    grouped = len(frame.rows) > len(frame.list_categories()) and frame.kind != "stacked_bar"
    return (_draw_horizontal if _is_horizontal(frame) else _draw_vertical)(frame, words=words, grouped=grouped)


def _use_text_categories(frame: Frame) -> Frame:
    """Take the categories as texts, in the order they have."""
    if frame.x.kind == "text":
        return frame
    column = format_as_text(replace(frame.x, values=tuple(row["x"] for row in frame.rows)))
    rows = [{**row, "x": text} for row, text in zip(frame.rows, column.values, strict=True)]
    return replace(frame, rows=rows, x=column)


def _is_horizontal(frame: Frame) -> bool:
    categories = frame.list_categories()
    longest = max((len(str(value)) for value in categories), default=0)
    # One or two upright columns would be as broad as they are high.
    crowded = not 2 < len(categories) <= 12 or longest * len(categories) > 96
    return frame.kind == "horizontal_bar" or longest > MAX_UPRIGHT_LABEL or crowded


def _has_value_labels(frame: Frame) -> bool:
    return frame.kind != "stacked_bar" and len(frame.rows) <= MAX_LABELED_BARS


def _draw_marks(base: alt.Chart, frame: Frame, *, words: ChartText, width: float) -> alt.Chart:
    chart: alt.Chart = base.mark_bar().encode(
        tooltip=tooltip(frame, words=words), **encode_series_color(frame, width=width)
    )
    if frame.kind == "stacked_bar":
        # Stacks pile up in the order of the legend, not of the alphabet.
        chart = chart.encode(order=alt.Order("rank", type="quantitative"))
    return chart


def _draw_horizontal(frame: Frame, *, words: ChartText, grouped: bool) -> SizedChart:
    labelled = _has_value_labels(frame)
    step = 15 if grouped else 26 if len(frame.list_categories()) <= 20 else 19
    axis = alt.Axis(title=None, ticks=False, domain=False, labelPadding=6, grid=False)
    base = make_base_chart(frame, words=words).encode(
        y=alt.Y(
            "x", type="ordinal", sort=_list_category_labels(frame), axis=axis, scale=_make_band_scale(grouped=grouped)
        ),
        x=alt.X(
            "y",
            type="quantitative",
            stack=_stack(frame),
            axis=None if labelled else make_value_axis(frame, words=words),
            scale=_make_value_scale(frame, pixels=64),
        ),
    )
    if grouped:
        base = base.encode(yOffset=alt.YOffset("series:N", sort=frame.list_series()))
    layers: list[alt.Chart] = [_draw_marks(base, frame, words=words, width=HORIZONTAL_WIDTH)]
    if labelled:
        layers.append(_label_horizontal_bars(base))
    layers.append(baseline(along="x"))
    height = alt.Step(step, **({"for": "offset"} if grouped else {}))
    return alt.layer(*layers).properties(width=HORIZONTAL_WIDTH, height=height), HORIZONTAL_WIDTH + 120


def _draw_vertical(frame: Frame, *, words: ChartText, grouped: bool) -> SizedChart:
    labelled = _has_value_labels(frame)
    each = 34 * len(frame.list_series()) + 16 if grouped else 64
    width = min(max(len(frame.list_categories()) * each, 320), 760)
    title = words.x_title if frame.x.title.lower() not in (words.subtitle or words.title).lower() else None
    axis = alt.Axis(title=title, labelAngle=0, ticks=False, labelPadding=6, domain=False, grid=False)
    base = make_base_chart(frame, words=words).encode(
        x=alt.X(
            "x", type="ordinal", sort=_list_category_labels(frame), axis=axis, scale=_make_band_scale(grouped=grouped)
        ),
        y=alt.Y(
            "y",
            type="quantitative",
            stack=_stack(frame),
            axis=None if labelled else make_value_axis(frame, words=words),
            scale=_make_value_scale(frame, pixels=20),
        ),
    )
    if grouped:
        base = base.encode(xOffset=alt.XOffset("series:N", sort=frame.list_series()))
    layers: list[alt.Chart] = [_draw_marks(base, frame, words=words, width=width)]
    if labelled:
        below = alt.expr("datum.y < 0 ? 'top' : 'bottom'")
        text = base.mark_text(baseline=below, dy=alt.expr("datum.y < 0 ? 4 : -4"), fontSize=12, color=look.TEXT_COLOR)
        layers.append(text.encode(text="label:N", y=alt.Y("place:Q", axis=None)))
    layers.append(baseline(along="y"))
    return alt.layer(*layers).properties(width=width, height=HEIGHT), width


def _label_horizontal_bars(base: alt.Chart) -> alt.Chart:
    side = alt.expr("datum.y < 0 ? 'right' : 'left'")
    text = base.mark_text(align=side, dx=alt.expr("datum.y < 0 ? -4 : 4"), fontSize=12, color=look.TEXT_COLOR)
    labels: alt.Chart = text.encode(text="label:N", x=alt.X("place:Q", axis=None))
    return labels


def _stack(frame: Frame) -> Literal["zero"] | None:
    return "zero" if frame.kind == "stacked_bar" else None


def _make_value_scale(frame: Frame, *, pixels: int) -> alt.Scale:
    """Leave space for the labels of bars that reach below zero, where the names of the categories stand."""
    below = _has_value_labels(frame) and any(isinstance(row["y"], int | float) and row["y"] < 0 for row in frame.rows)
    return alt.Scale(padding=pixels) if below else alt.Scale()


def _list_category_labels(frame: Frame) -> list[str]:
    return [str(category) for category in frame.list_categories()]


def _make_band_scale(*, grouped: bool) -> alt.Scale:
    return alt.Scale(paddingInner=0.2 if grouped else 0.28, paddingOuter=0.12)


def _draw_over_time(frame: Frame, *, words: ChartText) -> SizedChart:
    """Bars on a time scale: a month without a row is a gap."""
    width = 720
    stacked: Literal["zero"] | None = "zero" if len(frame.list_series()) > 1 else None
    base = make_base_chart(frame, words=words).encode(
        x=alt.X("x", **encode_time(frame.x)),
        y=alt.Y("y", type="quantitative", stack=stacked, axis=make_value_axis(frame, words=words)),
    )
    marks = _draw_marks(base, frame, words=words, width=width)
    return alt.layer(marks, baseline(along="y")).properties(width=width, height=HEIGHT), width


def _draw_panels(frame: Frame, *, words: ChartText) -> SizedChart:
    """One small list of bars per category: for many series, names beside the bars are read, colours are not."""
    frame = _use_text_categories(frame)
    axis = alt.Axis(title=None, ticks=False, domain=False, labelPadding=6, grid=False)
    base = make_base_chart(frame, words=words).encode(
        y=alt.Y("series", type="ordinal", sort=None, axis=axis, scale=_make_band_scale(grouped=False)),
        x=alt.X("y", type="quantitative", axis=None),
    )
    marks = base.mark_bar(color=look.PALETTE[0]).encode(tooltip=tooltip(frame, words=words))
    header = alt.Header(labelOrient="top", labelAnchor="start", labelAngle=0, labelPadding=-4, title=None)
    layer = alt.layer(marks, _label_horizontal_bars(base)).properties(width=HORIZONTAL_WIDTH, height=alt.Step(22))
    facet: AltairChart = layer.facet(
        row=alt.Row("x", type="ordinal", sort=_list_category_labels(frame), header=header), spacing=26
    ).resolve_scale(y="independent")
    return facet, HORIZONTAL_WIDTH + 120
