"""Charts of how numbers are spread: histograms and box plots."""

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import quantiles
from typing import Final

import altair as alt

from agent.tools.charts import theme as look
from agent.tools.charts.data.columns import format_as_text
from agent.tools.charts.data.frame import Frame, MarkRow, format_amount, to_number
from agent.tools.charts.encodings import (
    ChartText,
    SizedChart,
    encode_series_color,
    list_labels,
    make_value_axis,
)

MAX_BINS: Final = 40
MAX_WHOLE_BINS: Final = 24  # whole numbers of a shorter range have a bar each
MIN_BOX_ROWS: Final = 5
MIN_CROWDED_ROWS: Final = 20
_WIDTH, _HEIGHT = 640, 320


def draw_histogram(frame: Frame, *, titles: ChartText) -> SizedChart:
    """Draw how many rows have values in each of some ranges of equal width; several series are stacked."""
    rows, edges = _count_bins(frame)
    spread = look.build_axis_expression(unit=titles.unit, largest=max(map(abs, edges)))
    whole = edges[1] - edges[0] == 1 and all(to_number(row["y"]).is_integer() for row in frame.rows)
    # A bar of one whole number stands over it, so the axis must have no ticks between.
    ticks: look.AltairOptions = {"tickMinStep": 1} if whole else {"tickCount": 10}
    axis = alt.Axis(title=titles.y_title, labelExpr=spread, grid=False, **ticks)
    scale = alt.Scale(domain=[edges[0], edges[-1]], nice=False)
    tips = [alt.Tooltip("range", type="nominal", title=titles.y_title)]
    tips += [alt.Tooltip("series", type="nominal", title=frame.series.title)] if frame.series else []
    chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_bar(stroke="white", strokeWidth=0.6)
        .encode(
            x=alt.X("start", type="quantitative", bin="binned", axis=axis, scale=scale),
            x2="end",
            y=alt.Y(
                "count",
                type="quantitative",
                stack="zero",
                axis=alt.Axis(
                    title="Number of rows", domain=False, ticks=False, tickCount=6, tickMinStep=1, format=",d"
                ),
            ),
            order=alt.Order("rank", type="quantitative"),
            tooltip=[*tips, alt.Tooltip("count", type="quantitative", title="Rows", format=",")],
            **encode_series_color(frame, width=_WIDTH),
        )
    )
    return chart.properties(width=_WIDTH, height=_HEIGHT), _WIDTH


def _count_bins(frame: Frame) -> tuple[list[MarkRow], list[float]]:
    values = [to_number(row["y"]) for row in frame.rows]
    edges = find_bin_edges(values)
    step = edges[1] - edges[0]
    names = frame.list_series() or [""]
    counts = {name: [0] * (len(edges) - 1) for name in names}
    for row, value in zip(frame.rows, values, strict=True):
        place = min(int((value - edges[0]) / step + 1e-9), len(edges) - 2)
        counts[str(row["series"]) if frame.series else ""][place] += 1
    whole = step == 1 and all(value.is_integer() for value in values)
    rows: list[MarkRow] = []
    for rank, (name, found) in enumerate(counts.items()):
        for place, count in enumerate(found):
            start, end = edges[place], edges[place + 1]
            low, high = (format_amount(edge, unit=frame.unit) for edge in (start, end))
            label = format_amount(start + 0.5, unit=frame.unit) if whole else f"{low} to under {high}"
            rows.append({"start": start, "end": end, "count": count, "range": label, "series": name, "rank": rank})
    return rows, edges


def find_bin_edges(values: Sequence[float]) -> list[float]:
    """Return the edges of equal ranges: one for each integer, or of a round width near Freedman and Diaconis'."""
    low, high = min(values), max(values)
    if all(value.is_integer() for value in values) and high - low < MAX_WHOLE_BINS:
        return [low - 0.5 + place for place in range(int(high - low) + 2)]
    if low == high:
        return [low - 0.5, low + 0.5]
    first, _, third = quantiles(values, n=4, method="inclusive")
    width = 2 * (third - first) / len(values) ** (1 / 3)
    # Sturges' number of ranges, where half of the values are equal and the other rule has no width.
    width = width or (high - low) / (math.log2(len(values)) + 1)
    step = _round_step(max(width, (high - low) / MAX_BINS))
    start = math.floor(low / step)
    count = max(1, math.floor(high / step) - start + 1)
    return [round((start + place) * step, 12) for place in range(count + 1)]


def _round_step(width: float) -> float:
    size = 10.0 ** math.floor(math.log10(width))
    return next(each * size for each in (1, 2, 2.5, 5, 10) if each * size >= width * 0.999)


def describe_distribution(frame: Frame) -> Frame:
    """Add a note on how to read a box plot, on boxes of too few values, and on a histogram with one bar for all."""
    if frame.kind == "histogram" and len(frame.rows) >= MIN_CROWDED_ROWS:
        fullest = max((int(to_number(row["count"])), str(row["range"])) for row in _count_bins(frame)[0])
        if fullest[0] > 0.9 * len(frame.rows) and len({row["y"] for row in frame.rows}) > 2:
            values = sorted(to_number(row["y"]) for row in frame.rows)
            low, high = (format_amount(value, unit=frame.unit) for value in (values[0], values[-1]))
            return frame.add_notes(
                f"{fullest[0]:,} of {len(values):,} values are in one range ({fullest[1]}), because outliers widen the"
                f" whole to {low} to {high}."
            )
    if frame.kind != "box":
        return frame
    sizes = {category: sum(row["x"] == category for row in frame.rows) for category in frame.list_categories()}
    few = [f"{name} ({size})" for name, size in sizes.items() if size < MIN_BOX_ROWS]
    notes = ["Box: the middle half; line: median; whiskers: up to 1.5 boxes; points: values beyond."]
    if few:
        more = f" and {len(few) - 5} more" if len(few) > 5 else ""
        notes.append(f"Fewer than {MIN_BOX_ROWS} values are no distribution: {', '.join(few[:5])}{more}.")
    return frame.add_notes(*notes)


def draw_boxes(frame: Frame, *, titles: ChartText) -> SizedChart:
    """Draw a box for each category, or for each series of it."""
    column = format_as_text(replace(frame.x, values=tuple(row["x"] for row in frame.rows)))
    rows = [{**row, "x": name} for row, name in zip(frame.rows, column.values, strict=True)]
    frame = replace(frame, rows=rows, x=column)
    categories, series = list_labels(frame), frame.list_series()
    horizontal = max(map(len, categories)) > 12 or len(categories) > 12 or len(categories) < 3
    band, value, offset = (alt.Y, alt.X, alt.YOffset) if horizontal else (alt.X, alt.Y, alt.XOffset)
    grouped = len(series) > 1
    chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_boxplot(
            extent=1.5,
            median={"color": "white", "strokeWidth": 2},
            outliers={"size": 18, "opacity": 0.6},
            size=16 if grouped else 28,
            ticks={"size": 14},
        )
        .encode(
            band("x", type="ordinal", sort=categories, axis=alt.Axis(title=None, labelAngle=0)),
            value("y", type="quantitative", scale=alt.Scale(zero=False), axis=make_value_axis(frame, titles=titles)),
            **encode_series_color(frame, width=_WIDTH),
        )
    )
    if grouped:
        chart = chart.encode(offset("series:N", sort=series))
    if horizontal:
        step = 26 if grouped else 44
        size = {"width": 520, "height": alt.Step(step, **({"for": "offset"} if grouped else {}))}
    else:
        size = {"width": min(max(90 * len(categories), 360), 760), "height": _HEIGHT}
    return chart.properties(**size), 640
