"""Vega-Lite specifications of arranged rows, built with Altair's classes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

import altair as alt

from agent.core.plan.tool_spec import JsonSchema
from agent.tools.charts import theme as look
from agent.tools.charts.bars import bars
from agent.tools.charts.columns import Row, title_of
from agent.tools.charts.data_prep import ChartKind, Frame, arrange
from agent.tools.charts.encodings import Drawn, Placed, Words
from agent.tools.charts.lines_points_pies import cells, lines, points, slices

NARROWEST_TITLE = 420  # pixels
EMPTY_WIDTH = 520


@dataclass(frozen=True)
class Brief:
    """What the chart is to show, in the words of the one who asked."""

    kind: ChartKind
    x: str
    y: str
    color: str | None = None
    title: str | None = None
    x_title: str | None = None
    y_title: str | None = None
    unit: str | None = None


def vega_lite(rows: Sequence[Row], *, brief: Brief) -> tuple[JsonSchema, str]:
    """Specify the chart, complete with its data; return its title too. Altair checks it against Vega-Lite's schema.

    Rows without a single value still make a chart: it says so. Raises `ToolFailure` if a column does not exist or
    does not suit the kind of chart.
    """
    if not rows:
        words = _words(brief, x=title_of(brief.x), y=title_of(brief.y), series=None)
        return _finished(_sentence("No rows"), words=words, notes=(), width=EMPTY_WIDTH), words.title
    frame = arrange(rows, kind=brief.kind, x=brief.x, y=brief.y, color=brief.color)
    # People may have named the axes the other way round.
    swapped = frame.x.name == brief.y
    if swapped:
        brief = replace(brief, x_title=brief.y_title, y_title=brief.x_title)
    series = frame.series.title if frame.series else None
    words = _words(brief, x=frame.x.title, y=frame.y.title, series=series)
    if all(row.get("value", row["y"]) is None for row in frame.rows):
        return _finished(_sentence("No values"), words=words, notes=frame.notes, width=EMPTY_WIDTH), words.title
    chart, width = _drawn(frame, words=words)
    return _finished(chart, words=words, notes=frame.notes, width=width), words.title


def _words(brief: Brief, *, x: str, y: str, series: str | None) -> Words:
    """Titles as given, else made from the names of the columns; a subtitle only if it adds to the title."""
    x, y = brief.x_title or x, brief.y_title or y
    if brief.kind == "heatmap":
        told = f"{series or 'Values'} by {_inside(y)} and {_inside(x)}"
    elif brief.kind == "scatter":
        told = f"{y} and {_inside(x)}"
    else:
        told = f"{y} by {_inside(x)}" + (f" and {_inside(series)}" if series else "")
    title = brief.title or told
    adds = brief.kind != "scatter" and title.casefold() != told.casefold()
    return Words(title=title, subtitle=told if adds else None, x_title=x, y_title=y, unit=brief.unit)


def _inside(title: str) -> str:
    """Put a column's title inside a sentence: abbreviations keep their capitals."""
    return title if title[:2].isupper() else title[:1].lower() + title[1:]


def _sentence(text: str) -> alt.Chart:
    chart = alt.Chart(alt.InlineData(values=[{"text": text}]), width=EMPTY_WIDTH, height=160)
    sentence: alt.Chart = chart.mark_text(fontSize=16, color=look.QUIET).encode(text="text:N")
    return sentence


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
    title = alt.TitleParams(text=look.wrapped(words.title, pixels=pixels, size=18))
    if lines_below:
        title["subtitle"] = [part for line in lines_below for part in look.wrapped(line, pixels=pixels, size=13)]
    spec: JsonSchema = chart.properties(title=title).to_dict()
    # Altair's own defaults would otherwise decide the look.
    spec["config"] = look.CONFIG
    return spec
