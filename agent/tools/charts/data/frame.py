"""The rows of one chart, with the roles of their columns decided."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from agent.tools.charts.data.columns import Cell, ChartColumn
from agent.tools.charts.data.name_hints import names_additive, names_fraction, names_percent
from agent.tools.charts.data.number_text import CURRENCY_SYMBOLS

ChartKind = Literal[
    "bar",
    "horizontal_bar",
    "grouped_bar",
    "stacked_bar",
    "line",
    "area",
    "scatter",
    "pie",
    "donut",
    "heatmap",
    "percent_stacked_bar",
    "histogram",
    "box",
]
ChartSort = Literal["ascending", "descending", "name"]
BAR_KINDS = ("bar", "horizontal_bar", "grouped_bar", "stacked_bar", "percent_stacked_bar")
#: Kinds that draw each row as it is.
SPREAD_KINDS = ("scatter", "histogram", "box")
#: Kinds that put the values of several rows on top of each other.
STACKED_KINDS = ("stacked_bar", "percent_stacked_bar", "area", "pie", "donut")

MAX_SERIES = 8  # colours that a reader can tell apart
MAX_CATEGORIES = 60
MAX_PANELS = 24
MAX_TIME_BARS = 24  # more than that stand on a time axis, without a name each
OTHER_LABEL = "Other"

MarkRow = dict[str, Cell]


@dataclass(frozen=True)
class Frame:
    """The rows of one chart, with the roles of their columns decided."""

    kind: ChartKind
    #: A row per mark, with the keys `x` (category or abscissa), `y` (ordinate) and `series`; for a heatmap `x`, `y` and
    #: `value`.
    rows: list[MarkRow]
    x: ChartColumn
    y: ChartColumn
    series: ChartColumn | None
    #: Whether each series gets a panel of its own, because there are more series than colours.
    panels: bool = False
    #: The unit of the numbers, as given or as written in the data.
    unit: str | None = None
    #: Sentences for the reader: rows summed, categories left out, values that are missing.
    notes: tuple[str, ...] = ()

    @property
    def measure(self) -> ChartColumn:
        """The column whose numbers are drawn."""
        return self.series if self.kind == "heatmap" and self.series else self.y

    def is_additive(self) -> bool:
        """Whether the values may be added up: averages, rates, extremes and distinct counts may not."""
        return self.unit != "%" and names_additive(self.measure.name)

    def is_part_of_whole(self) -> bool:
        """Whether the values are percent or shares, which a stack or a pie puts together."""
        return self.unit == "%" or names_percent(self.measure.name) or names_fraction(self.measure.name)

    def add_notes(self, *notes: str) -> "Frame":
        """Return the frame with further sentences for the reader; none is said twice."""
        return replace(self, notes=tuple(dict.fromkeys((*self.notes, *notes))))

    def has_negative_values(self) -> bool:
        """Whether any `y` is below zero."""
        return any(isinstance(row["y"], int | float) and row["y"] < 0 for row in self.rows)

    def list_categories(self) -> list[Cell]:
        """Return the distinct values of `x`, in order."""
        return list(dict.fromkeys(row["x"] for row in self.rows))

    def list_series(self) -> list[str]:
        """Return the distinct series, in order."""
        if self.series is None:
            return []
        return list(dict.fromkeys(str(row["series"]) for row in self.rows if "series" in row))


def to_number(value: Cell) -> float:
    """Return a value as a float; a missing one is zero."""
    return float(value or 0)


def format_amount(value: float, *, unit: str | None = None) -> str:
    """Return a number for a sentence: "1,234", "45.3%", "$12.50"."""
    whole = float(value).is_integer() or abs(value) >= 1000
    text = f"{abs(value):,.0f}" if whole else f"{abs(value):,.2f}" if abs(value) >= 10 else f"{abs(value):.4g}"
    symbol = CURRENCY_SYMBOLS.get((unit or "").upper(), unit or "")
    placed = (
        f"{symbol}{text}"
        if symbol in CURRENCY_SYMBOLS.values()
        else f"{text}{symbol if symbol == '%' else ' ' + symbol if symbol else ''}"
    )
    return f"\u2212{placed}" if value < 0 else placed


def describe_part(rest: Iterable[float], whole: Iterable[float], *, unit: str | None) -> str:
    """Return how much values left out are of all: "1,234 of 5,000 (24.7%)"."""
    part, total = sum(rest), sum(whole)
    share = f" ({part / total:.1%})" if total > 0 and 0 <= part <= total else ""
    return f"{format_amount(part, unit=unit)} of {format_amount(total, unit=unit)}{share}"


def join_names(names: Iterable[str]) -> str:
    """Return names for a sentence, in quotes."""
    return ", ".join(repr(name) for name in names) or "(there are none)"
