"""Vega-Lite specifications of arranged rows, built with Altair's classes."""

from typing import assert_never

import altair as alt

from agent.core.tool import JsonSchema
from agent.tools import chart_look as look
from agent.tools.chart_bars import bars
from agent.tools.chart_frame import Frame
from agent.tools.chart_marks import Drawn, Placed, Words
from agent.tools.chart_plots import cells, lines, points, slices

NARROWEST_TITLE = 420  # pixels


def vega_lite(frame: Frame, *, words: Words) -> JsonSchema:
    """The specification of the chart, complete with its data; Altair checks it against Vega-Lite's schema."""
    chart, width = _drawn(frame, words=words)
    return _finished(chart, words=words, notes=frame.notes, width=width)


def empty(*, words: Words, sentence: str) -> JsonSchema:
    """A chart that says that there is nothing to show, in the place where it would be."""
    chart = alt.Chart(alt.InlineData(values=[{"text": sentence}]), width=520, height=160)
    text = chart.mark_text(fontSize=16, color=look.QUIET).encode(text="text:N")
    return _finished(text, words=words, notes=(), width=520)


def _drawn(frame: Frame, *, words: Words) -> Placed:
    match frame.kind:
        case "bar" | "horizontal_bar" | "grouped_bar" | "stacked_bar":
            return bars(frame, words=words)
        case "line" | "area":
            return lines(frame, words=words)
        case "scatter":
            return points(frame, words=words)
        case "pie" | "donut":
            return slices(frame, words=words)
        case "heatmap":
            return cells(frame, words=words)
        case _:
            assert_never(frame.kind)


def _finished(chart: Drawn, *, words: Words, notes: tuple[str, ...], width: float) -> JsonSchema:
    pixels = max(width, NARROWEST_TITLE)
    lines_below = [*([words.subtitle] if words.subtitle else []), *notes]
    title = alt.TitleParams(
        text=look.wrapped(words.title, pixels=pixels, size=18),
        subtitle=[part for line in lines_below for part in look.wrapped(line, pixels=pixels, size=13)],
    )
    spec: JsonSchema = chart.properties(title=title).to_dict()
    # Altair's own defaults would otherwise decide the look.
    spec["config"] = look.CONFIG
    return spec
