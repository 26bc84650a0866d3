"""The kind and the axes of a chart by rule, from the columns of its rows and the words of the goal."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import JsonValue

from agent.core.plan.tool_spec import JsonSchema
from agent.tools.charts.data.frame import ChartKind
from agent.tools.charts.data.name_hints import names_identifier, names_period, split_words
from agent.tools.charts.preflight import infer_column_kind

#: Words of a goal that name a kind; the first that matches is meant.
_KINDS_BY_WORDS: Final[Sequence[tuple[str, ChartKind]]] = (
    ("horizontal bars?", "horizontal_bar"),
    ("grouped bars?", "grouped_bar"),
    ("stacked bars?", "stacked_bar"),
    ("lines?( chart| graph| plot)|trend", "line"),
    ("area (chart|graph|plot)", "area"),
    ("scatter", "scatter"),
    ("pie", "pie"),
    ("donut|doughnut", "donut"),
    ("bars?|columns? chart", "bar"),
)
_KIND_PATTERNS: Final = [(re.compile(rf"\b({words})\b", re.IGNORECASE), kind) for words, kind in _KINDS_BY_WORDS]
#: Kinds whose axes the columns do not decide.
_OTHER_KINDS: Final = re.compile(r"\b(heat ?map|histogram|box ?plot|boxes|distribution|percent)\b", re.IGNORECASE)
_WORD: Final = re.compile(r"[a-z]+")
#: Last words of names of numbers that are points in time.
_NUMBERED_PERIODS: Final = [["year"], ["quarter"], ["month"], ["week"], ["weekday"], ["hour"]]
_MAX_CATEGORIES: Final = 2


def choose_axes(columns: Mapping[str, JsonSchema], *, goal: str) -> dict[str, JsonValue] | None:
    """Return `kind`, `x`, `y` and, for a second category, `color`; None if the columns do not decide them.

    A period is x of a line, else the first category is x of bars, and a second category is the colour. y is the only
    number, or the only one that the goal has a word of. An id is an axis only if there is nothing else.
    """
    if _OTHER_KINDS.search(goal):
        return None
    kinds = {name: infer_column_kind(schema) for name, schema in columns.items()}
    periods = [name for name, schema in columns.items() if _is_period(name, kinds[name], schema)]
    numbers = [
        name for name in columns if kinds[name] == "number" and name not in periods and not names_identifier(name)
    ]
    texts = [name for name in columns if kinds[name] == "text" and name not in periods]
    categories = [name for name in texts if not names_identifier(name)] or texts
    measure = _choose_measure(numbers, goal=goal)
    named = next((kind for pattern, kind in _KIND_PATTERNS if pattern.search(goal)), None)
    if named == "scatter" and len(numbers) == 2 and not periods:
        return {"kind": "scatter", "x": numbers[0], "y": numbers[1]}
    if measure is None or "other" in kinds.values() or len(periods) > 1 or len(categories) > _MAX_CATEGORIES:
        return None
    axes = [*periods, *categories]
    if not 1 <= len(axes) <= _MAX_CATEGORIES or named == "scatter":
        return None
    x, *rest = axes
    kind = named or ("line" if periods else "grouped_bar" if rest else "bar")
    if rest and kind in {"pie", "donut"}:
        return None
    if rest and kind == "bar":
        kind = "grouped_bar"
    return {"kind": kind, "x": x, "y": measure, **({"color": rest[0]} if rest else {})}


def _is_period(name: str, kind: str, schema: JsonSchema) -> bool:
    """Whether a column has points in time; a number only if its name is nothing but one: `days` are an amount."""
    if kind == "number":
        return split_words(name)[-1:] in _NUMBERED_PERIODS
    return schema.get("format") in {"date", "date-time"} or names_period(name)


def _choose_measure(numbers: Sequence[str], *, goal: str) -> str | None:
    if len(numbers) == 1:
        return numbers[0]
    words = set(_WORD.findall(goal.lower()))
    named = [name for name in numbers if words & set(_WORD.findall(name.lower().replace("_", " ")))]
    return named[0] if len(named) == 1 else None
