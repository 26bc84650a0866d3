"""Columns of plain rows: the kind of their values, and their names as words."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal

from pydantic import JsonValue

JsonRow = Mapping[str, JsonValue]
ColumnKind = Literal["number", "time", "text"]
TimeUnit = Literal["year", "month", "day", "instant"]
Cell = float | int | str | None

NO_VALUE = "(none)"

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_TIME = re.compile(
    r"(?P<year>\d{4})(?P<month>-\d{2})?(?P<day>-\d{2})?"
    r"(?P<clock>[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?([Zz]|[+-]\d{2}(:?\d{2})?)?)?"
)
_WORD_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_\s]+")
_ACRONYMS = {"id": "ID", "url": "URL", "usd": "USD", "eur": "EUR", "gbp": "GBP", "vat": "VAT", "sku": "SKU"}


@dataclass(frozen=True)
class ChartColumn:
    """One column of the rows, with values that can be drawn."""

    name: str
    kind: ColumnKind
    #: In the order of the rows: numbers, ISO instants in UTC, or texts; None for a missing value.
    values: tuple[Cell, ...]
    #: The coarsest unit that loses nothing of the instants; None unless `kind` is "time".
    unit: TimeUnit | None = None

    @property
    def title(self) -> str:
        """The name as words: "total_revenue" is "Total revenue"."""
        return humanize_name(self.name)

    def distinct(self) -> list[Cell]:
        """Return the distinct values in the order of their first appearance."""
        return list(dict.fromkeys(self.values))


def column_names(rows: Iterable[JsonRow]) -> list[str]:
    """Return every key that occurs in a row, in the order of first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def read_column(rows: Sequence[JsonRow], *, name: str) -> ChartColumn:
    """Read one column; a row without the key has no value in it.

    Numbers written as text, as exact decimals often are, count as numbers. ISO 8601 dates, months ("2023-01") and
    date-times count as time; without an offset they are read as UTC.
    """
    cells = [row.get(name) for row in rows]
    known = [cell for cell in cells if cell is not None]
    numbers = tuple(cell if isinstance(cell, int | float) and not isinstance(cell, bool) else None for cell in cells)
    if known and len(known) == sum(number is not None for number in numbers):
        return ChartColumn(name, "number", numbers)
    instants = [_parse_instant(cell) for cell in known]
    if known and all(instants):
        moments = [instant for instant in instants if instant]
        remaining = iter(moments)
        values = tuple(None if cell is None else _format_instant(next(remaining)) for cell in cells)
        return ChartColumn(name, "time", values, unit=_find_time_unit(moments))
    if known and all(isinstance(cell, str) and _NUMBER.fullmatch(cell) for cell in known):
        return ChartColumn(name, "number", tuple(None if cell is None else float(str(cell)) for cell in cells))
    return ChartColumn(name, "text", tuple(None if cell is None else _cell_to_text(cell) for cell in cells))


def humanize_name(name: str) -> str:
    """Return a column's name as a heading; a name that already has spaces is returned unchanged."""
    if " " in name.strip():
        return name.strip()
    words = [word for word in _WORD_BREAK.split(name) if word]
    if not words:
        return name
    first, *rest = [_ACRONYMS.get(word.lower(), word if word.isupper() else word.lower()) for word in words]
    return " ".join([first[:1].upper() + first[1:], *rest])


def format_as_text(column: ChartColumn) -> ChartColumn:
    """Return the column with instants and numbers as texts: "2023-01" is "Jan 2023", and 2023 is "2023"."""
    if column.kind == "text":
        return column
    pattern = {"year": "%Y", "month": "%b %Y", "day": "%-d %b %Y"}.get(column.unit or "", "%-d %b %Y %H:%M:%S")

    def format_value(value: Cell) -> Cell:
        if value is None or column.kind == "number":
            return None if value is None else f"{value}"
        return datetime.fromisoformat(str(value)).strftime(pattern)

    return ChartColumn(column.name, "text", tuple(format_value(value) for value in column.values))


def looks_like_years(values: Iterable[Cell]) -> bool:
    """Whether all values are whole numbers in the range of calendar years."""
    known = [value for value in values if value is not None]
    return bool(known) and all(isinstance(value, int) and 1800 <= value <= 2200 for value in known)


def _cell_to_text(cell: JsonValue) -> str:
    if isinstance(cell, bool):
        return "Yes" if cell else "No"
    return str(cell).strip() or NO_VALUE


def _parse_instant(cell: JsonValue) -> datetime | None:
    match = _TIME.fullmatch(cell) if isinstance(cell, str) else None
    if match is None or (match["clock"] and not match["day"]):
        return None
    day = f"{match['year']}{match['month'] or '-01'}{match['day'] or '-01'}"
    try:
        if not match["clock"]:
            return datetime.combine(date.fromisoformat(day), datetime.min.time(), tzinfo=UTC)
        moment = datetime.fromisoformat(str(cell))
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _format_instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _find_time_unit(moments: Sequence[datetime]) -> TimeUnit:
    """Return the coarsest unit that loses nothing: databases write a truncated month as its first day."""
    if any((moment.hour, moment.minute, moment.second) != (0, 0, 0) for moment in moments):
        return "instant"
    if any(moment.day != 1 for moment in moments):
        return "day"
    if any(moment.month != 1 for moment in moments):
        return "month"
    return "year"
