"""Bar charts: upright or lying, grouped, stacked, in panels, and over time."""

from dataclasses import replace
from typing import Literal

import altair as alt

from agent.tools.charts import theme as look
from agent.tools.charts.columns import spoken
from agent.tools.charts.data_prep import Frame
from agent.tools.charts.encodings import (
    Drawn,
    Placed,
    Words,
    baseline,
    series_color,
    time_channel,
    tooltip,
    value_axis,
    with_data,
)

LONG_LABEL = 12  # letters; beyond it, labels under upright bars would have to be turned
LABELLED_BARS = 24
MANY_MOMENTS = 24
HEIGHT = 320
LYING = 460


def bars(frame: Frame, *, words: Words) -> Placed:
    """Draw bars in the form that suits its categories and series."""
    if frame.panels:
        return _panels(frame, words=words)
    if frame.x.kind == "time" and len(frame.categories()) > MANY_MOMENTS and frame.kind != "horizontal_bar":
        return _over_time(frame, words=words)
    frame = _as_text(frame)
    # With one bar to a category there is nothing to stand beside it: a place for each series would only part the bars
    # from their labels.
    grouped = len(frame.rows) > len(frame.categories()) and frame.kind != "stacked_bar"
    return (_lying if _is_lying(frame) else _upright)(frame, words=words, grouped=grouped)


def _as_text(frame: Frame) -> Frame:
    """Take the categories as texts, in the order they have."""
    if frame.x.kind == "text":
        return frame
    column = spoken(replace(frame.x, values=tuple(row["x"] for row in frame.rows)))
    rows = [{**row, "x": text} for row, text in zip(frame.rows, column.values, strict=True)]
    return replace(frame, rows=rows, x=column)


def _is_lying(frame: Frame) -> bool:
    categories = frame.categories()
    longest = max((len(str(value)) for value in categories), default=0)
    # One or two upright columns would be as broad as they are high.
    crowded = not 2 < len(categories) <= 12 or longest * len(categories) > 96
    return frame.kind == "horizontal_bar" or longest > LONG_LABEL or crowded


def _is_labelled(frame: Frame) -> bool:
    return frame.kind != "stacked_bar" and len(frame.rows) <= LABELLED_BARS


def _marked(base: alt.Chart, frame: Frame, *, words: Words, width: float) -> alt.Chart:
    chart: alt.Chart = base.mark_bar().encode(tooltip=tooltip(frame, words=words), **series_color(frame, width=width))
    if frame.kind == "stacked_bar":
        # Stacks pile up in the order of the legend, not of the alphabet.
        chart = chart.encode(order=alt.Order("rank", type="quantitative"))
    return chart


def _lying(frame: Frame, *, words: Words, grouped: bool) -> Placed:
    labelled = _is_labelled(frame)
    step = 15 if grouped else 26 if len(frame.categories()) <= 20 else 19
    axis = alt.Axis(title=None, ticks=False, domain=False, labelPadding=6, grid=False)
    base = with_data(frame, words=words).encode(
        y=alt.Y("x", type="ordinal", sort=_texts(frame), axis=axis, scale=_spacing(grouped=grouped)),
        x=alt.X(
            "y",
            type="quantitative",
            stack=_stack(frame),
            axis=None if labelled else value_axis(frame, words=words),
            scale=_room(frame, pixels=64),
        ),
    )
    if grouped:
        base = base.encode(yOffset=alt.YOffset("series:N", sort=frame.names()))
    layers: list[alt.Chart] = [_marked(base, frame, words=words, width=LYING)]
    if labelled:
        layers.append(_lying_labels(base))
    layers.append(baseline(along="x"))
    height = alt.Step(step, **({"for": "offset"} if grouped else {}))
    return alt.layer(*layers).properties(width=LYING, height=height), LYING + 120


def _upright(frame: Frame, *, words: Words, grouped: bool) -> Placed:
    labelled = _is_labelled(frame)
    each = 34 * len(frame.names()) + 16 if grouped else 64
    width = min(max(len(frame.categories()) * each, 320), 760)
    title = words.x_title if frame.x.title.lower() not in (words.subtitle or words.title).lower() else None
    axis = alt.Axis(title=title, labelAngle=0, ticks=False, labelPadding=6, domain=False, grid=False)
    base = with_data(frame, words=words).encode(
        x=alt.X("x", type="ordinal", sort=_texts(frame), axis=axis, scale=_spacing(grouped=grouped)),
        y=alt.Y(
            "y",
            type="quantitative",
            stack=_stack(frame),
            axis=None if labelled else value_axis(frame, words=words),
            scale=_room(frame, pixels=20),
        ),
    )
    if grouped:
        base = base.encode(xOffset=alt.XOffset("series:N", sort=frame.names()))
    layers: list[alt.Chart] = [_marked(base, frame, words=words, width=width)]
    if labelled:
        below = alt.expr("datum.y < 0 ? 'top' : 'bottom'")
        text = base.mark_text(baseline=below, dy=alt.expr("datum.y < 0 ? 4 : -4"), fontSize=12, color=look.INK)
        layers.append(text.encode(text="label:N", y=alt.Y("place:Q", axis=None)))
    layers.append(baseline(along="y"))
    return alt.layer(*layers).properties(width=width, height=HEIGHT), width


def _lying_labels(base: alt.Chart) -> alt.Chart:
    side = alt.expr("datum.y < 0 ? 'right' : 'left'")
    text = base.mark_text(align=side, dx=alt.expr("datum.y < 0 ? -4 : 4"), fontSize=12, color=look.INK)
    labels: alt.Chart = text.encode(text="label:N", x=alt.X("place:Q", axis=None))
    return labels


def _stack(frame: Frame) -> Literal["zero"] | None:
    return "zero" if frame.kind == "stacked_bar" else None


def _room(frame: Frame, *, pixels: int) -> alt.Scale:
    """Leave space for the labels of bars that reach below zero, where the names of the categories stand."""
    below = _is_labelled(frame) and any(isinstance(row["y"], int | float) and row["y"] < 0 for row in frame.rows)
    return alt.Scale(padding=pixels) if below else alt.Scale()


def _texts(frame: Frame) -> list[str]:
    return [str(category) for category in frame.categories()]


def _spacing(*, grouped: bool) -> alt.Scale:
    return alt.Scale(paddingInner=0.2 if grouped else 0.28, paddingOuter=0.12)


def _over_time(frame: Frame, *, words: Words) -> Placed:
    """Bars on a time scale: a month without a row is a gap."""
    width = 720
    stacked: Literal["zero"] | None = "zero" if len(frame.names()) > 1 else None
    base = with_data(frame, words=words).encode(
        x=alt.X("x", **time_channel(frame.x)),
        y=alt.Y("y", type="quantitative", stack=stacked, axis=value_axis(frame, words=words)),
    )
    marks = _marked(base, frame, words=words, width=width)
    return alt.layer(marks, baseline(along="y")).properties(width=width, height=HEIGHT), width


def _panels(frame: Frame, *, words: Words) -> Placed:
    """One small list of bars per category: for many series, names beside the bars are read, colours are not."""
    frame = _as_text(frame)
    axis = alt.Axis(title=None, ticks=False, domain=False, labelPadding=6, grid=False)
    base = with_data(frame, words=words).encode(
        y=alt.Y("series", type="ordinal", sort=None, axis=axis, scale=_spacing(grouped=False)),
        x=alt.X("y", type="quantitative", axis=None),
    )
    marks = base.mark_bar(color=look.PALETTE[0]).encode(tooltip=tooltip(frame, words=words))
    header = alt.Header(labelOrient="top", labelAnchor="start", labelAngle=0, labelPadding=-4, title=None)
    layer = alt.layer(marks, _lying_labels(base)).properties(width=LYING, height=alt.Step(22))
    facet: Drawn = layer.facet(
        row=alt.Row("x", type="ordinal", sort=_texts(frame), header=header), spacing=26
    ).resolve_scale(y="independent")
    return facet, LYING + 120
