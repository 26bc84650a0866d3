"""Vega-Lite specifications of prepared rows, built with Altair's classes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

import altair as alt

from agent.core.plan.tool_spec import JsonSchema
from agent.tools.charts import theme as look
from agent.tools.charts.bars import draw_bars
from agent.tools.charts.data.columns import JsonRow, clean_text
from agent.tools.charts.data.data_prep import build_frame
from agent.tools.charts.data.frame import ChartKind, ChartSort, Frame
from agent.tools.charts.data.labels import shorten_names
from agent.tools.charts.data.measures import normalize_unit
from agent.tools.charts.data.name_hints import humanize_name
from agent.tools.charts.distributions import describe_distribution, draw_boxes, draw_histogram
from agent.tools.charts.encodings import AltairChart, ChartText, SizedChart
from agent.tools.charts.fonts import describe_missing_glyphs
from agent.tools.charts.lines_points_pies import draw_heatmap, draw_lines, draw_points, draw_slices

MIN_TITLE_WIDTH = 420  # pixels
EMPTY_WIDTH = 520


@dataclass(frozen=True)
class ChartRequest:
    """The chart that was asked for."""

    kind: ChartKind
    x: str
    y: str
    color: str | None = None
    title: str | None = None
    x_title: str | None = None
    y_title: str | None = None
    unit: str | None = None
    sort: ChartSort | None = None
    #: Sentences about the rows that the reader of the chart must know.
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DrawnChart:
    """A Vega-Lite specification, data included, with its title and what its reader must know."""

    spec: JsonSchema
    title: str
    warnings: tuple[str, ...] = ()


def build_vega_spec(rows: Sequence[JsonRow], *, brief: ChartRequest) -> DrawnChart:
    """Return the Vega-Lite specification of the chart. Altair checks it against Vega-Lite's schema.

    Without rows, or without any value in them, the chart is a message that says so. Raises `ToolFailure` if a column
    does not exist or does not suit the kind of chart.
    """
    if not rows:
        titles = _make_chart_text(brief, x=humanize_name(brief.x), y=humanize_name(brief.y), series=None)
        return _finish_spec(_draw_message("No rows"), titles=titles, notes=brief.notes, width=EMPTY_WIDTH)
    frame = build_frame(
        rows,
        kind=brief.kind,
        x=brief.x,
        y=brief.y,
        color=brief.color,
        unit=brief.unit,
        sort=brief.sort,
    ).add_notes(*brief.notes)
    # The request may have named the axes the other way round.
    swapped = frame.x.name == brief.y and brief.x != brief.y and frame.kind != "histogram"
    if swapped:
        brief = replace(brief, x_title=brief.y_title, y_title=brief.x_title)
    series = frame.series.title if frame.series else None
    brief = replace(brief, kind=frame.kind, unit=frame.unit)
    titles = _make_chart_text(brief, x=frame.x.title, y=frame.y.title, series=series)
    if all(row.get("value", row["y"]) is None for row in frame.rows):
        return _finish_spec(_draw_message("No values"), titles=titles, notes=frame.notes, width=EMPTY_WIDTH)
    frame = describe_distribution(shorten_names(frame))
    frame = frame.add_notes(*describe_missing_glyphs(_list_texts(frame, titles=titles)))
    chart, width = _draw_frame(frame, titles=titles)
    return _finish_spec(chart, titles=titles, notes=frame.notes, width=width)


def _list_texts(frame: Frame, *, titles: ChartText) -> set[str]:
    """Return the texts that are drawn."""
    cells = {value for row in frame.rows for value in (row["x"], row["y"], row.get("series")) if isinstance(value, str)}
    heads = (titles.title, titles.subtitle, titles.x_title, titles.y_title, titles.unit)
    return cells | {text for text in heads if text}


def _make_chart_text(brief: ChartRequest, *, x: str, y: str, series: str | None) -> ChartText:
    """Return the titles as given, or else made from the columns; a subtitle only if it adds to the title."""
    x, y = clean_text(brief.x_title or x), clean_text(brief.y_title or y)
    if brief.kind == "heatmap":
        default = f"{series or 'Values'} by {_lowercase_title(y)} and {_lowercase_title(x)}"
    elif brief.kind == "histogram" or (brief.kind == "box" and x == y):
        default = f"Distribution of {_lowercase_title(y)}" + (f" by {_lowercase_title(series)}" if series else "")
    elif brief.kind == "scatter":
        default = f"{y} and {_lowercase_title(x)}"
    else:
        default = f"{y} by {_lowercase_title(x)}" + (f" and {_lowercase_title(series)}" if series else "")
    title = clean_text(brief.title or default)
    unit = normalize_unit(clean_text(brief.unit or ""))
    adds = brief.kind != "scatter" and title.casefold() != default.casefold()
    return ChartText(title=title, subtitle=default if adds else None, x_title=x, y_title=y, unit=unit)


def _lowercase_title(title: str) -> str:
    """Return a column's title as it is written inside a sentence; abbreviations keep their capitals."""
    return title if title[:2].isupper() else title[:1].lower() + title[1:]


def _draw_message(text: str) -> alt.Chart:
    chart = alt.Chart(alt.InlineData(values=[{"text": text}]), width=EMPTY_WIDTH, height=160)
    message: alt.Chart = chart.mark_text(fontSize=16, color=look.MUTED_COLOR).encode(text="text:N")
    return message


def _draw_frame(frame: Frame, *, titles: ChartText) -> SizedChart:
    match frame.kind:
        case "bar" | "horizontal_bar" | "grouped_bar" | "stacked_bar" | "percent_stacked_bar":
            return draw_bars(frame, titles=titles)
        case "line" | "area":
            return draw_lines(frame, titles=titles)
        case "scatter":
            return draw_points(frame, titles=titles)
        case "pie" | "donut":
            return draw_slices(frame, titles=titles)
        case "heatmap":
            return draw_heatmap(frame, titles=titles)
        case "histogram":
            return draw_histogram(frame, titles=titles)
        case "box":
            return draw_boxes(frame, titles=titles)
        case _:
            assert_never(frame.kind)


def _finish_spec(chart: AltairChart, *, titles: ChartText, notes: tuple[str, ...], width: float) -> DrawnChart:
    pixels = max(width, MIN_TITLE_WIDTH)
    lines_below = [*([titles.subtitle] if titles.subtitle else []), *notes]
    title = alt.TitleParams(text=look.wrap_text(titles.title, pixels=pixels, size=look.TITLE_SIZE))
    if lines_below:
        title["subtitle"] = [
            part for line in lines_below for part in look.wrap_text(line, pixels=pixels, size=look.SUBTITLE_SIZE)
        ]
    spec: JsonSchema = chart.properties(title=title).to_dict()
    # Replaces the configuration of Altair's active theme.
    spec["config"] = look.CHART_CONFIG
    return DrawnChart(spec, titles.title, notes)
