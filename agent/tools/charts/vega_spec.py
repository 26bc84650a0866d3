"""Vega-Lite specifications of arranged rows, built with Altair's classes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

import altair as alt

from agent.core.plan.tool_spec import JsonSchema
from agent.tools.charts import theme as look
from agent.tools.charts.bars import draw_bars
from agent.tools.charts.columns import JsonRow, humanize_name
from agent.tools.charts.data_prep import ChartKind, Frame, build_frame
from agent.tools.charts.encodings import AltairChart, ChartText, SizedChart
from agent.tools.charts.lines_points_pies import draw_heatmap, draw_lines, draw_points, draw_slices

MIN_TITLE_WIDTH = 420  # pixels
EMPTY_WIDTH = 520


@dataclass(frozen=True)
class ChartRequest:
    """What the chart is to show, in the words of the one who asked."""

    kind: ChartKind
    x: str
    y: str
    color: str | None = None
    title: str | None = None
    x_title: str | None = None
    y_title: str | None = None
    unit: str | None = None


def build_vega_spec(rows: Sequence[JsonRow], *, brief: ChartRequest) -> tuple[JsonSchema, str]:
    """Specify the chart, complete with its data; return its title too. Altair checks it against Vega-Lite's schema.

    Rows without a single value still make a chart: it says so. Raises `ToolFailure` if a column does not exist or
    does not suit the kind of chart.
    """
    if not rows:
        words = _make_chart_text(brief, x=humanize_name(brief.x), y=humanize_name(brief.y), series=None)
        return _finish_spec(_draw_message("No rows"), words=words, notes=(), width=EMPTY_WIDTH), words.title
    frame = build_frame(rows, kind=brief.kind, x=brief.x, y=brief.y, color=brief.color)
    # People may have named the axes the other way round.
    swapped = frame.x.name == brief.y
    if swapped:
        brief = replace(brief, x_title=brief.y_title, y_title=brief.x_title)
    series = frame.series.title if frame.series else None
    words = _make_chart_text(brief, x=frame.x.title, y=frame.y.title, series=series)
    if all(row.get("value", row["y"]) is None for row in frame.rows):
        return _finish_spec(_draw_message("No values"), words=words, notes=frame.notes, width=EMPTY_WIDTH), words.title
    chart, width = _draw_frame(frame, words=words)
    return _finish_spec(chart, words=words, notes=frame.notes, width=width), words.title


def _make_chart_text(brief: ChartRequest, *, x: str, y: str, series: str | None) -> ChartText:
    """Titles as given, else made from the names of the columns; a subtitle only if it adds to the title."""
    x, y = brief.x_title or x, brief.y_title or y
    if brief.kind == "heatmap":
        told = f"{series or 'Values'} by {_lowercase_title(y)} and {_lowercase_title(x)}"
    elif brief.kind == "scatter":
        told = f"{y} and {_lowercase_title(x)}"
    else:
        told = f"{y} by {_lowercase_title(x)}" + (f" and {_lowercase_title(series)}" if series else "")
    title = brief.title or told
    adds = brief.kind != "scatter" and title.casefold() != told.casefold()
    return ChartText(title=title, subtitle=told if adds else None, x_title=x, y_title=y, unit=brief.unit)


def _lowercase_title(title: str) -> str:
    """Put a column's title inside a sentence: abbreviations keep their capitals."""
    return title if title[:2].isupper() else title[:1].lower() + title[1:]


def _draw_message(text: str) -> alt.Chart:
    chart = alt.Chart(alt.InlineData(values=[{"text": text}]), width=EMPTY_WIDTH, height=160)
    sentence: alt.Chart = chart.mark_text(fontSize=16, color=look.MUTED_COLOR).encode(text="text:N")
    return sentence


def _draw_frame(frame: Frame, *, words: ChartText) -> SizedChart:
    match frame.kind:
        case "bar" | "horizontal_bar" | "grouped_bar" | "stacked_bar":
            return draw_bars(frame, words=words)
        case "line" | "area":
            return draw_lines(frame, words=words)
        case "scatter":
            return draw_points(frame, words=words)
        case "pie" | "donut":
            return draw_slices(frame, words=words)
        case "heatmap":
            return draw_heatmap(frame, words=words)
        case _:
            assert_never(frame.kind)


def _finish_spec(chart: AltairChart, *, words: ChartText, notes: tuple[str, ...], width: float) -> JsonSchema:
    pixels = max(width, MIN_TITLE_WIDTH)
    lines_below = [*([words.subtitle] if words.subtitle else []), *notes]
    title = alt.TitleParams(text=look.wrap_text(words.title, pixels=pixels, size=18))
    if lines_below:
        title["subtitle"] = [part for line in lines_below for part in look.wrap_text(line, pixels=pixels, size=13)]
    spec: JsonSchema = chart.properties(title=title).to_dict()
    # Altair's own defaults would otherwise decide the look.
    spec["config"] = look.CONFIG
    return spec
