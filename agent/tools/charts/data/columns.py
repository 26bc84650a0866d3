"""Columns of plain rows: the kind of their values, in the role that a chart gives them."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal

from pydantic import JsonValue

from agent.tools.charts.data.name_hints import (
    TimeUnit,
    find_named_unit,
    humanize_name,
    names_dotted_identifier,
    names_identifier,
    names_period,
)
from agent.tools.charts.data.number_text import has_fraction, parse_number_texts

JsonRow = Mapping[str, JsonValue]
ColumnKind = Literal["number", "time", "text"]
#: What a chart does with a column: name things with it ("label"), place lines along it ("abscissa"), or measure with it
#: ("number"). "any" is a column of which that is not known yet.
ColumnRole = Literal["label", "abscissa", "number", "any"]
Cell = float | int | str | None

NO_VALUE = "(none)"
EMPTY_TEXT = "(empty)"
MIN_IDENTIFIER_DIGITS = 16  # a float cannot tell all integers of that length apart

_TIME = re.compile(
    r"(?P<year>\d{4})(?P<month>-\d{2})?(?P<day>-\d{2})?"
    r"(?P<clock>[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?([Zz]| ?[+-]\d{2}(:?\d{2})?)?)?"
)
_LOCAL_DATE: Final = re.compile(r"(?P<first>\d{1,2})(?P<mark>[./])(?P<second>\d{1,2})(?P=mark)(?P<year>\d{4})")
_QUARTER = re.compile(r"(?P<year>\d{4})[- ]?Q(?P<quarter>[1-4])|Q(?P<first>[1-4])[- /]?(?P<last>\d{4})")
_IDENTIFIER = re.compile(rf"0\d+|\+\d{{7,}}|\d{{{MIN_IDENTIFIER_DIGITS},}}")
_UNITS: Final = ("year", "quarter", "month", "day", "instant")  # from coarse to fine
_NOT_PRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]+")


@dataclass(frozen=True)
class ChartColumn:
    """One column of the rows, with values that can be drawn."""

    name: str
    kind: ColumnKind
    #: In the order of the rows: numbers, ISO instants, or texts; None for a missing value.
    values: tuple[Cell, ...]
    #: The unit of time that the values have; None unless `kind` is "time".
    unit: TimeUnit | None = None
    #: Whether the values name things although they look like numbers: postcodes, account numbers, SKUs.
    is_identifier: bool = False
    #: The currency or "%" that is written with the numbers.
    symbol: str | None = None
    #: Sentences about how the values were read.
    notes: tuple[str, ...] = ()
    #: A sentence that says why texts are no numbers, where that is not plain.
    fault: str | None = None

    @property
    def title(self) -> str:
        """The name as words: "total_revenue" is "Total revenue"."""
        return humanize_name(clean_text(self.name))

    def distinct(self) -> list[Cell]:
        """Return the distinct values in the order of their first appearance."""
        return list(dict.fromkeys(self.values))


@dataclass(frozen=True)
class _Moment:
    """A point in time as it is written, its offset from UTC, and the unit that the writing has."""

    wall: datetime
    offset: timedelta | None
    unit: TimeUnit


def column_names(rows: Iterable[JsonRow]) -> list[str]:
    """Return every key that occurs in a row, in the order of first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def clean_text(text: str) -> str:
    """Return `text` without characters that no font, XML or Vega expression takes: controls, line separators."""
    return _NOT_PRINTABLE.sub(" ", text)


def read_column(rows: Sequence[JsonRow], *, name: str, role: ColumnRole = "any") -> ChartColumn:
    """Read one column; a row without the key has no value in it.

    Identifiers (by their name, a leading zero, or 16 digits) are texts, except that a `role` of "number" keeps those
    that JSON has as numbers. ISO 8601 dates, months ("2023-01"), quarters and date-times count as time, at the clock
    time that is written. Numbers written as text count as numbers, but not where they are labels.
    """
    cells = [row.get(name) for row in rows]
    known = [cell for cell in cells if cell is not None]
    if known and all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in known):
        return _read_numbers(cells, name=name, role=role)
    texts = [cell for cell in known if isinstance(cell, str)]
    if known and len(texts) == len(known):
        if _are_identifiers(texts, name=name):
            return ChartColumn(
                name, "text", _label_cells(cells), is_identifier=True, fault="It has codes, not amounts."
            )
        if (moments := _parse_moments(_write_iso_dates(texts), name=name, role=role)) is not None:
            return _build_time_column(cells, moments, name=name)
        if role != "label" and not (role == "abscissa" and not any(map(has_fraction, texts))):
            return _read_number_texts(cells, name=name)
    mixed = len({type(cell) for cell in known} - {bool}) > 1
    title = humanize_name(clean_text(name))
    notes = (f"{title} has texts and numbers mixed; all are drawn as names.",) if mixed else ()
    if role == "abscissa" and texts and all(map(_LOCAL_DATE.fullmatch, texts)):
        notes = (
            f"{title} has dates of which day and month cannot be told ({texts[0]}): drawn in the order of the rows.",
        )
    fault = "It has texts and numbers mixed." if mixed else None
    return ChartColumn(name, "text", _label_cells(cells), notes=notes, fault=fault)


def format_as_text(column: ChartColumn) -> ChartColumn:
    """Return the column with instants and numbers as texts: "2023-01" is "Jan 2023", and 2023 is "2023"."""
    if column.kind == "text":
        return column
    values = tuple(None if value is None else format_label(value, column=column) for value in column.values)
    return ChartColumn(column.name, "text", values, is_identifier=column.is_identifier)


def format_label(value: Cell, *, column: ChartColumn) -> str:
    """Return a value of the column as it is written under a bar."""
    if column.kind == "number" and isinstance(value, int | float):
        return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else str(value)
    if column.kind != "time":
        return str(value)
    moment = datetime.fromisoformat(str(value))
    match column.unit:
        case "year":
            return moment.strftime("%Y")
        case "quarter":
            return f"Q{(moment.month + 2) // 3} {moment.year}"
        case "month":
            return moment.strftime("%b %Y")
        case "day":
            return moment.strftime("%-d %b %Y")
        case _:
            known = [datetime.fromisoformat(str(each)) for each in column.values if each is not None]
            clock = "%H:%M:%S" if any(each.second or each.microsecond for each in known) else "%H:%M"
            fraction = "." + moment.strftime("%f").rstrip("0") if any(each.microsecond for each in known) else ""
            return moment.strftime(f"%-d %b %Y {clock}") + fraction.rstrip(".")


def looks_like_years(values: Iterable[Cell]) -> bool:
    """Whether all values are whole numbers in the range of calendar years."""
    known = [value for value in values if value is not None]
    return bool(known) and all(
        isinstance(value, int | float) and float(value).is_integer() and 1800 <= value <= 2200 for value in known
    )


def _read_numbers(cells: Sequence[JsonValue], *, name: str, role: ColumnRole) -> ChartColumn:
    numbers = [cell if isinstance(cell, int | float) and math.isfinite(cell) else None for cell in cells]
    whole = all(float(number).is_integer() for number in numbers if number is not None)
    identifier = names_identifier(name) and (whole or names_dotted_identifier(name))
    lost = any(number is None and cell is not None for number, cell in zip(numbers, cells, strict=True))
    notes = (f"{humanize_name(clean_text(name))} has infinite values, which count as missing.",) if lost else ()
    column = ChartColumn(name, "number", tuple(numbers), is_identifier=identifier, notes=notes)
    return format_as_text(column) if identifier and role in ("label", "abscissa") else column


def _read_number_texts(cells: Sequence[JsonValue], *, name: str) -> ChartColumn:
    texts = [None if cell is None else str(cell) for cell in cells]
    match parse_number_texts(texts, title=humanize_name(clean_text(name))):
        case str() as fault:
            return ChartColumn(name, "text", _label_cells(cells), fault=fault)
        case found:
            return ChartColumn(name, "number", found.values, symbol=found.unit, notes=found.notes)


def _are_identifiers(texts: Sequence[str], *, name: str) -> bool:
    plain = [text.strip() for text in texts]
    if any(map(_IDENTIFIER.fullmatch, plain)) and all(re.fullmatch(r"\+?\d+", text) for text in plain):
        return True
    dotted = names_dotted_identifier(name)
    return names_identifier(name) and (dotted or not all(map(has_fraction, plain)))


def _label_cells(cells: Sequence[JsonValue]) -> tuple[Cell, ...]:
    """Return the cells as texts that can be told apart wherever the cells can."""
    raw = [None if cell is None else _cell_to_text(cell) for cell in cells]
    labels: dict[str, str] = {}
    taken = {NO_VALUE} if None in raw else set()
    for text in dict.fromkeys(each for each in raw if each is not None):
        label = " ".join(clean_text(text).split()) or EMPTY_TEXT
        if label in taken:
            label = json.dumps(text, ensure_ascii=not text.isprintable())
        taken.add(label)
        labels[text] = label
    return tuple(None if text is None else labels[text] for text in raw)


def _cell_to_text(cell: JsonValue) -> str:
    if isinstance(cell, bool):
        return "Yes" if cell else "No"
    if isinstance(cell, dict | list):
        return json.dumps(cell, ensure_ascii=False)
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15 else str(cell)


def _write_iso_dates(texts: Sequence[str]) -> Sequence[str]:
    """Return dates such as 31.01.2024 and 31/01/2024 in ISO 8601, unless day and month cannot be told apart."""
    found = [_LOCAL_DATE.fullmatch(text.strip()) for text in texts]
    marks = {match["mark"] for match in found if match is not None}
    if None in found or len(marks) != 1:
        return texts
    parts = [(int(match["first"]), int(match["second"]), match["year"]) for match in found if match is not None]
    is_day_first = marks == {"."} or any(first > 12 for first, _, _ in parts)
    is_month_first = any(second > 12 for _, second, _ in parts)
    if is_day_first == is_month_first:
        return texts
    return [
        f"{year}-{second:02}-{first:02}" if is_day_first else f"{year}-{first:02}-{second:02}"
        for first, second, year in parts
    ]


def _parse_moments(texts: Sequence[str], *, name: str, role: ColumnRole) -> list[_Moment] | None:
    moments = []
    for text in texts:
        moment = _parse_moment(text.strip())
        if moment is None:
            return None
        moments.append(moment)
    # Four digits may be the number of a shop. They are years if the name says so, or if a line is to run along them.
    bare = all(len(text.strip()) == 4 for text in texts)
    plausible = all(1800 <= moment.wall.year <= 2200 for moment in moments)
    if bare and not (plausible and (names_period(name) or role == "abscissa")):
        return None
    return moments


def _parse_moment(text: str) -> _Moment | None:
    if match := _QUARTER.fullmatch(text):
        year, quarter = int(match["year"] or match["last"]), int(match["quarter"] or match["first"])
        return _Moment(datetime(year, 3 * quarter - 2, 1, tzinfo=UTC), None, "quarter") if year >= 1000 else None
    match = _TIME.fullmatch(text)
    if match is None or int(match["year"]) < 1000 or (match["clock"] and not match["day"]):
        return None
    try:
        if match["clock"]:
            moment = datetime.fromisoformat(text.replace(" +", "+").replace(" -", "-"))
            offset = moment.utcoffset()
            return _Moment(moment.replace(tzinfo=UTC), offset, "instant")
        day = date.fromisoformat(f"{match['year']}{match['month'] or '-01'}{match['day'] or '-01'}")
    except ValueError:
        return None
    unit: TimeUnit = "day" if match["day"] else "month" if match["month"] else "year"
    return _Moment(datetime(day.year, day.month, day.day, tzinfo=UTC), None, unit)


def _build_time_column(cells: Sequence[JsonValue], moments: Sequence[_Moment], *, name: str) -> ChartColumn:
    title, notes = humanize_name(clean_text(name)), []
    offsets = sorted({moment.offset for moment in moments if moment.offset is not None})
    shifted = bool(offsets) and (
        offsets[-1] - offsets[0] > timedelta(hours=1) or any(moment.offset is None for moment in moments)
    )
    if shifted:
        notes.append(f"The times of {title} have different offsets from UTC, so all are drawn in UTC.")
    elif offsets != [timedelta(0)] and offsets:
        zones = " and ".join(_format_offset(offset) for offset in offsets)
        notes.append(f"{title}: drawn at the clock time of the data ({zones}).")
    walls = [moment.wall - (moment.offset or timedelta(0)) if shifted else moment.wall for moment in moments]
    if len(offsets) > 1 and not shifted and not all(map(_is_midnight, walls)):
        # Where the clocks change, an hour would be missing or there twice.
        walls = [moment.wall - (moment.offset or offsets[0]) + offsets[0] for moment in moments]
        notes = [f"{title}: drawn at {_format_offset(offsets[0])} throughout, without summer time."]
    remaining = iter(walls)
    values = tuple(None if cell is None else _format_instant(next(remaining)) for cell in cells)
    unit = _find_time_unit(walls, written={moment.unit for moment in moments}, named=find_named_unit(name))
    return ChartColumn(name, "time", values, unit=unit, notes=tuple(notes))


def _is_midnight(moment: datetime) -> bool:
    return (moment.hour, moment.minute, moment.second, moment.microsecond) == (0, 0, 0, 0)


def _format_offset(offset: timedelta) -> str:
    minutes = int(offset.total_seconds() // 60)
    return f"UTC{'+' if minutes >= 0 else '-'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def _format_instant(moment: datetime) -> str:
    fraction = f".{moment.microsecond:06d}" if moment.microsecond else ""
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"


def _find_time_unit(moments: Sequence[datetime], *, written: set[TimeUnit], named: TimeUnit | None) -> TimeUnit:
    """Return the unit of the values: as it is written, but databases write a truncated month as its first day.

    Of full dates only the name, or several of them, can say that the day means nothing.
    """
    if not all(map(_is_midnight, moments)):
        return "instant"
    finest = max(written, key=_UNITS.index)
    if finest in ("year", "quarter", "month"):
        return finest
    months = {moment.month for moment in moments}
    if any(moment.day != 1 for moment in moments):
        return "day"
    fits: dict[TimeUnit, bool] = {"year": months == {1}, "quarter": months <= {1, 4, 7, 10}, "month": True}
    if named is not None and fits.get(named):
        return named
    if len(set(moments)) < (3 if named in ("day", "instant") else 2):
        return "day"
    return "year" if fits["year"] and named is None else "month"
