"""The look of all charts: fonts, colours, number formats and time axes, as Vega-Lite configuration and expressions."""

import json
import math
import textwrap
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

from agent.tools.charts.data.columns import Cell, ChartColumn
from agent.tools.charts.data.number_text import CURRENCY_SYMBOLS

# Keyword arguments of Altair's classes, which have too many types to repeat here.
AltairOptions: TypeAlias = dict[str, Any]

FONT: Final = "Arimo, Liberation Sans, Helvetica, Arial, sans-serif"
TEXT_COLOR: Final = "#222222"
MUTED_COLOR: Final = "#666666"
GRID_COLOR: Final = "#dddddd"
TITLE_SIZE: Final = 18
SUBTITLE_SIZE: Final = 13
_LABELS: Final = {"labelFontSize": 12, "labelColor": TEXT_COLOR, "labelLimit": 0}

# Okabe and Ito, "Color Universal Design" (2008), ordered by contrast on white. Their yellow is too pale on white, so it
# is olive here.
PALETTE: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C00", "#7A7A7A")

#: The look that all charts share, as Vega-Lite configuration. It is written into each specification instead of being
#: registered with `alt.theme`: enabling a theme changes the whole process, also the charts of the user and those that
#: other threads draw at that moment.
CHART_CONFIG: Final = {
    "background": "white",
    "padding": 16,
    "font": FONT,
    "view": {"stroke": None},
    "range": {"category": list(PALETTE)},
    "scale": {"barBandPaddingInner": 0.28, "bandWithNestedOffsetPaddingOuter": 0.12},
    "mark": {"color": PALETTE[0]},
    "rule": {"color": TEXT_COLOR},
    "text": {"color": TEXT_COLOR, "fontSize": 12},
    "title": {
        "anchor": "start",
        "frame": "bounds",
        "fontSize": TITLE_SIZE,
        "fontWeight": "bold",
        "color": TEXT_COLOR,
        "subtitleFontSize": SUBTITLE_SIZE,
        "subtitleColor": MUTED_COLOR,
        "subtitlePadding": 6,
        "offset": 16,
    },
    "axis": {
        **_LABELS,
        "labelPadding": 6,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titleColor": MUTED_COLOR,
        "titlePadding": 8,
        "domainColor": "#999999",
        "gridColor": GRID_COLOR,
        "tickColor": "#999999",
    },
    "axisX": {"grid": False},
    "axisBand": {"domain": False, "ticks": False},
    "axisTemporal": {"title": None},
    "legend": {
        **_LABELS,
        "orient": "top",
        "direction": "horizontal",
        "title": None,
        "symbolType": "square",
        "offset": 18,
    },
    "header": {
        "labelFontSize": 13,
        "labelFontWeight": "bold",
        "labelColor": TEXT_COLOR,
        "labelAnchor": "start",
        "title": None,
    },
    "headerRow": {"labelOrient": "top", "labelAngle": 0, "labelPadding": -4},
}


_ABBREVIATED: Final = ".3~s"


def wrap_text(text: str, *, pixels: float, size: int) -> list[str]:
    """Return `text` as lines of about `pixels` at a font size; a letter is about 0.55 of the size wide."""
    return textwrap.wrap(text, width=max(24, int(pixels / (size * 0.55)))) or [""]


def build_number_expression(field: str, *, values: Iterable[Cell], unit: str | None, exact: bool = False) -> str:
    """Return the Vega expression that formats `field` with thousands separators, SI suffixes and its unit.

    `values` decide the number of digits; `exact` writes the number out instead of abbreviating it.
    """
    number_format = _choose_number_format([value for value in values if value is not None], exact=exact)
    body = f"format(abs({field}), '{number_format}')"
    if number_format == _ABBREVIATED:
        # Beside millions, what is smaller is written out: "1.25M" and "1,340", not "1.34k".
        smaller = f"abs({field}) >= 100 ? format(abs({field}), ',.0f') : format(abs({field}), ',.3~r')"
        body = f"(abs({field}) >= 100000 ? {body} : {smaller})"
    before, after = _place_unit(unit)
    # d3-format abbreviates a billion as G, for giga.
    return f"({field} < 0 ? '\u2212' : '') + {_quote(before)} + replace({body}, 'G', 'B') + {_quote(after)}"


def build_axis_expression(*, unit: str | None, largest: float) -> str:
    """Return the Vega expression that formats the tick labels of a value axis."""
    before, after = _place_unit(unit)
    pattern = "~s" if largest >= 1_000_000 else ",~r" if largest < 1 else ","
    return (
        f"(datum.value < 0 ? '\u2212' : '') + {_quote(before)} + "
        f"replace(format(abs(datum.value), '{pattern}'), 'G', 'B') + {_quote(after)}"
    )


def _choose_number_format(values: Sequence[Cell], *, exact: bool) -> str:
    numbers = [abs(float(value)) for value in values if isinstance(value, int | float)]
    largest = max(numbers, default=0.0)
    whole = all(number.is_integer() for number in numbers)
    if exact:
        smallest = min((number for number in numbers if number), default=1.0)
        if not whole and smallest < (0.01 if largest >= 10 else 0.001):
            # Three digits of the smallest: what is not zero is not written as 0.
            return f",.{min(20, 2 - math.floor(math.log10(smallest)))}~f"
        return ",d" if whole else ",.2f" if largest >= 10 else ",.4~f"
    if largest >= 1_000_000:
        return _ABBREVIATED
    if whole or largest >= 1000:
        return ",.0f"
    if largest >= 10:
        return ",.1f"
    return ".2f" if largest >= 1 else ".3~r"


def _place_unit(unit: str | None) -> tuple[str, str]:
    """Return what to write before and after a number."""
    if not unit:
        return "", ""
    symbol = CURRENCY_SYMBOLS.get(unit.upper(), unit)
    if symbol in CURRENCY_SYMBOLS.values():
        return symbol, ""
    return "", symbol if symbol == "%" else f" {symbol}"


def _quote(text: str) -> str:
    """Return `text` as a string literal of Vega's expression language."""
    return json.dumps(text)


def get_time_unit(column: ChartColumn) -> str | None:
    """Return Vega-Lite's time unit for the column; in UTC, so that the viewer's time zone cannot shift a date."""
    units = {"year": "utcyear", "quarter": "utcyearquarter", "month": "utcyearmonth", "day": "utcyearmonthdate"}
    return units.get(column.unit or "")


def make_time_axis(column: ChartColumn) -> AltairOptions:
    """Return axis settings for instants: ticks at calendar boundaries, the year only where it changes."""
    known = sorted(datetime.fromisoformat(str(value)) for value in column.values if value is not None)
    days = (known[-1] - known[0]).days if known else 0
    if column.unit == "year" or days > 6 * 366:
        step = max(1, round(days / 366 / 12))
        return {"format": "%Y", "tickCount": {"interval": "year", "step": step}}
    if column.unit == "quarter":
        step = 3 if days <= 1300 else 6 if days <= 2300 else 12
        return {
            "labelExpr": "['Q' + utcquarter(datum.value), "
            "datum.index == 0 || utcquarter(datum.value) == 1 ? utcFormat(datum.value, '%Y') : '']",
            "tickCount": {"interval": "month", "step": step},
        }
    year = "(datum.index == 0 || utcmonth(datum.value) == 0 ? utcFormat(datum.value, '%Y') : '')"
    if column.unit == "month" or days > 150:
        step = 1 if days <= 430 else 3 if days <= 1300 else 6
        return {
            "labelExpr": f"[utcFormat(datum.value, '%b'), {year}]",
            "tickCount": {"interval": "month", "step": step},
        }
    if column.unit == "day":
        count: AltairOptions | int = {"interval": "day", "step": 1} if days <= 10 else 8
        changes = "(datum.index == 0 ? utcFormat(datum.value, '%Y') : '')"
        return {"labelExpr": f"[utcFormat(datum.value, '%-d %b'), {changes}]", "tickCount": count}
    date = "'%-d %b %Y'"
    if days > 8:
        changes = "(datum.index == 0 ? utcFormat(datum.value, '%Y') : '')"
        return {"labelExpr": f"[utcFormat(datum.value, '%-d %b'), {changes}]", "tickCount": 8}
    midnight = "utchours(datum.value) == 0 && utcminutes(datum.value) == 0 && utcseconds(datum.value) == 0"
    clock = "'%H:%M'" if known and (known[-1] - known[0]).total_seconds() > 600 else "'%H:%M:%S'"
    changes = f"(datum.index == 0 || ({midnight}) ? utcFormat(datum.value, {date}) : '')"
    return {"labelExpr": f"[utcFormat(datum.value, {clock}), {changes}]", "tickCount": 8}
