"""The types of columns that were read as text: each is checked against every value, so that none is lost or rounded."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from agent.tools.charts.data.name_hints import names_dotted_identifier, names_identifier
from agent.tools.data_files.read_options import ReadOptions
from agent.tools.data_files.value_shapes import (
    COMMA_STYLE,
    CURRENCY,
    DATE_SHAPES,
    DECIMAL,
    INTEGER,
    NULL_WORDS,
    POINT_STYLE,
    TIME,
    TRUTH,
    YEAR_FIRST,
    ZONED,
    DateShape,
    NumberStyle,
    build_datetime_formats,
    build_datetime_pattern,
    choose_integer_type,
    choose_number_type,
)
from agent.tools.sql.engines.attachment import quote_identifier, quote_literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_SAMPLE_ROWS: Final = 2_000
#: Columns that are checked in one query.
_BATCH: Final = 40
#: The share of values that must fit a type for the others to be worth a hint.
_HINT_SHARE: Final = 0.8
ISO_DATE: Final = "%Y-%m-%d"


@dataclass(frozen=True, slots=True)
class Misfit:
    """The first value that keeps a column from a type."""

    row: int
    value: str
    count: int
    #: The type that the other values have, as a noun.
    kind: str


@dataclass(frozen=True, slots=True)
class ColumnReading:
    """How one column is read: the SQL that makes its values, and what is to be said of it."""

    name: str
    expression: str
    #: What a reader of the column must know.
    notes: tuple[str, ...] = ()
    #: What was assumed and may be wrong.
    guess: str = ""
    misfit: Misfit | None = None
    #: Whether a comma is before its decimals, or the day before the month; None: it does not show.
    has_decimal_comma: bool | None = None
    is_day_first: bool | None = None


@dataclass(frozen=True, slots=True)
class _Value:
    """A column's values without the space around them, as SQL; a word for no value is one only where that is asked."""

    text: str
    nulls: tuple[str, ...]

    @property
    def given(self) -> str:
        """The values, empty where there is none."""
        words = ", ".join(map(quote_literal, self.nulls))
        return f"CASE WHEN {self.text} IN ({words}) THEN NULL ELSE {self.text} END"


class TypeInference:
    """Finds the types of the columns of one table of texts."""

    def __init__(
        self,
        connection: "DuckDBPyConnection",
        table: str,
        *,
        options: ReadOptions,
        prefers_comma: bool,
        may_have_comma: bool = True,
    ) -> None:
        """Read `table` on `connection`; `prefers_comma`: where nothing else tells, numbers have a decimal comma."""
        self._connection = connection
        self._table = quote_identifier(table)
        self._options = options
        self._prefers_comma = prefers_comma
        self._may_have_comma = may_have_comma

    def infer_columns(self, names: Sequence[str]) -> list[ColumnReading]:
        """Return how each column is read."""
        samples = self._sample_values(names)
        readings = [
            reading
            for start in range(0, len(names), _BATCH)
            for reading in self._read_batch(names[start : start + _BATCH], samples)
        ]
        return self._settle_doubts(readings)

    @staticmethod
    def keep_column(name: str) -> ColumnReading:
        """Return a column as it is."""
        return ColumnReading(name, quote_identifier(name))

    def _sample_values(self, names: Sequence[str]) -> dict[str, list[str]]:
        listed = ", ".join(map(quote_identifier, names))
        rows = self._connection.execute(
            f"(SELECT {listed} FROM {self._table} LIMIT {_SAMPLE_ROWS}) UNION ALL "
            f"(SELECT {listed} FROM {self._table} USING SAMPLE reservoir({_SAMPLE_ROWS} ROWS) REPEATABLE (1))"
        ).fetchall()
        nulls = self._get_nulls()
        samples = {
            name: [text for value in column if value is not None and (text := value.strip()) and text not in nulls]
            for name, column in zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True)
        }
        for name in names:
            if not samples[name]:
                # Values so rare that the sample has none.
                value = self._get_value(name)
                found = self._connection.execute(
                    f"SELECT {value.given} FROM {self._table} WHERE {value.given} IS NOT NULL LIMIT 100"
                ).fetchall()
                samples[name] = [text for (text,) in found]
        return samples

    def _get_nulls(self) -> tuple[str, ...]:
        return ("", *(self._options.nullstr if self._options.nullstr is not None else NULL_WORDS))

    def _get_value(self, name: str) -> _Value:
        return _Value(f"trim({quote_identifier(name)}, ' \t\u00a0')", self._get_nulls())

    def _read_batch(self, names: Sequence[str], samples: dict[str, list[str]]) -> list[ColumnReading]:
        candidates = {name: list(self._list_candidates(name, samples[name])) for name in names}
        preferred = [(name, candidates[name][0]) for name in names if candidates[name]]
        counts = self._count_fitting(preferred)
        # Nearly all columns are what they are first taken for; the others cost another look at each value.
        counts |= self._count_fitting(
            [
                (name, other)
                for name, first in preferred
                for other in candidates[name][1:]
                if _needs_comparison(first, counts[name, first.key], candidates[name])
            ]
        )
        return [
            self._choose(
                name, [(each, counts[name, each.key]) for each in candidates[name] if (name, each.key) in counts]
            )
            for name in names
        ]

    def _list_candidates(self, name: str, values: Sequence[str]) -> Iterator["_Candidate"]:
        """Yield the types that most of the sampled values fit."""
        if not values or name in self._options.text:
            return
        # 1.10 is not 1.1 among versions, and 1-2-20 no day among codes.
        is_dotted = names_dotted_identifier(name)
        is_code = is_dotted or names_identifier(name)
        for candidate in _build_candidates(self._options):
            if (is_code and candidate.shape is not None) or (is_dotted and candidate.key != "integer"):
                continue
            fitting = sum(bool(candidate.compiled.fullmatch(value)) for value in values)
            if fitting * 2 > len(values):
                yield candidate

    def _count_fitting(self, checks: Sequence[tuple[str, "_Candidate"]]) -> dict[tuple[str, str], "_Counts"]:
        if not checks:
            return {}
        expressions: list[str] = []
        for name, candidate in checks:
            value = self._get_value(name)
            fits = candidate.build_test(value.given)
            digits = f"length(regexp_replace({value.given}, '[^0-9]', '', 'g'))"
            mark = re.escape(candidate.style.decimal if candidate.style else ".")
            fraction = f"length(regexp_extract({value.given}, '{mark}([0-9]*)[^0-9]*$', 1))"
            is_number = candidate.style is not None or candidate.key == "decimal"
            expressions += [
                f"count({value.given})",
                f"count(*) FILTER ({fits})",
                f"count(*) FILTER ({value.text} <> '' AND {value.given} IS NULL)",
                f"max({digits})" if is_number or candidate.key == "integer" else "0",
                f"max({fraction})" if is_number else "0",
                f"count(*) FILTER (contains({value.given}, ':'))" if candidate.shape else "0",
                f"count(*) FILTER ({value.given} SIMILAR TO '0[0-9]+')" if candidate.key == "integer" else "0",
            ]
        row = self._connection.execute(f"SELECT {', '.join(expressions)} FROM {self._table}").fetchone() or ()
        width = 7
        return {
            (name, candidate.key): _Counts(*(int(cell or 0) for cell in row[place * width : (place + 1) * width]))
            for place, (name, candidate) in enumerate(checks)
        }

    def _choose(self, name: str, counted: Sequence[tuple["_Candidate", "_Counts"]]) -> ColumnReading:
        fitting = [(candidate, counts) for candidate, counts in counted if counts.fitting == counts.given > 0]
        value = self._get_value(name)
        if not fitting:
            return self._keep_text(name, counted)
        candidate, counts = fitting[0]
        given = value.given if counts.null_words else f"nullif({value.text}, '')"
        reading = ColumnReading(name, candidate.build_cast(given, counts))
        if ("HUGEINT" in reading.expression or "DECIMAL(" in reading.expression) and not self._can_cast(
            reading.expression, value
        ):
            return ColumnReading(name, quote_identifier(name), ("Too many digits for a number: kept as text.",))
        others = {other.key for other, _ in fitting}
        if candidate.style is not None:
            reading = self._describe_number(reading, candidate, others, value)
        elif candidate.key == "decimal" and "comma" in others:
            # 1.234 alone may be a number with decimals or one of thousands.
            reading = replace(reading, guess="thousands")
        if candidate.shape is not None:
            reading = _describe_date(reading, candidate, others)
        if counts.null_words:
            words = self._list_null_words(value)
            reading = replace(reading, notes=(*reading.notes, f"Read as no value: {words}."))
        return reading

    def _can_cast(self, expression: str, value: _Value) -> bool:
        row = self._connection.execute(
            f"SELECT count({expression.replace('CAST(', 'TRY_CAST(')}), count({value.given}) FROM {self._table}"
        ).fetchone()
        return row is not None and row[0] == row[1]

    def _list_null_words(self, value: _Value) -> str:
        rows = self._connection.execute(
            f"SELECT {value.text} AS word, count(*) FROM {self._table} "
            f"WHERE {value.text} <> '' AND {value.given} IS NULL GROUP BY word ORDER BY word"
        ).fetchall()
        return ", ".join(f"{word!r} ({count:,} x)" for word, count in rows)

    def _describe_number(
        self, reading: ColumnReading, candidate: "_Candidate", others: set[str], value: _Value
    ) -> ColumnReading:
        row = self._connection.execute(
            f"SELECT list_sort(list(DISTINCT regexp_extract({value.given}, {quote_literal(CURRENCY.pattern)}))), "
            f"count(*) FILTER (contains({value.given}, '%')), count({value.given}), "
            f"count(*) FILTER (regexp_matches({value.given}, '[.,]')) FROM {self._table}"
        ).fetchone()
        if row is None:
            raise AssertionError("an aggregate has one row")
        found, percents, count, marked = row
        currencies = [currency for currency in found or () if currency]
        notes = []
        if len(currencies) > 1 or 0 < percents < count:
            mixed = " and ".join(
                [*currencies, *(["%", "none"] if percents and not currencies else ["%"] if percents else [])]
            )
            return ColumnReading(
                reading.name, quote_identifier(reading.name), (f"Amounts of several units ({mixed}): kept as text.",)
            )
        if currencies:
            notes.append(f"Amounts in {currencies[0]}.")
        if percents:
            notes.append("In percent: 45 is 45 %.")
        is_open = {"point", "comma"} <= others and self._options.decimal is None
        has_comma = None if is_open or not marked else candidate.key == "comma"
        guess = "number" if is_open and marked else ""
        return replace(reading, notes=tuple(notes), has_decimal_comma=has_comma, guess=guess)

    def _keep_text(self, name: str, counted: Sequence[tuple["_Candidate", "_Counts"]]) -> ColumnReading:
        """Return the column as text, with the first value that keeps it from being what nearly all of it is."""
        column = quote_identifier(name)
        near = [
            (counts.fitting / counts.given, candidate, counts)
            for candidate, counts in counted
            if counts.given and counts.fitting >= counts.given * _HINT_SHARE
        ]
        if not near:
            return ColumnReading(name, column)
        if any(counts.leading_zeros for *_, counts in near):
            return ColumnReading(name, column, ("Kept as text: it has leading zeros.",))
        _, candidate, counts = max(near, key=lambda item: item[0])
        value = self._get_value(name)
        row = self._connection.execute(
            f"SELECT min(rowid), arg_min({value.given}, rowid) FROM {self._table} "
            f"WHERE {value.given} IS NOT NULL AND NOT coalesce({candidate.build_test(value.given)}, false)"
        ).fetchone()
        if row is None or row[0] is None:
            return ColumnReading(name, column)
        misfit = Misfit(int(row[0]), str(row[1]), counts.given - counts.fitting, candidate.noun)
        return ColumnReading(name, column, misfit=misfit)

    def _settle_doubts(self, readings: Sequence[ColumnReading]) -> list[ColumnReading]:
        """Decide what a column alone does not show by the other columns of its file, and say that it is a guess."""
        commas = {reading.has_decimal_comma for reading in readings} - {None}
        orders = {reading.is_day_first for reading in readings} - {None}
        has_comma = True in commas if commas else self._prefers_comma
        is_day_first = True in orders if orders else True
        settled = []
        for reading in readings:
            if reading.guess == "thousands":
                # Only in a file that writes decimals with a comma elsewhere. Fields that commas separate have none.
                settled.append(
                    self._settle_number(reading, has_comma=True in commas, is_shown=bool(commas))
                    if True in commas or (self._may_have_comma and not commas)
                    else replace(reading, guess="")
                )
            elif reading.guess == "number":
                settled.append(self._settle_number(reading, has_comma=has_comma, is_shown=len(commas) == 1))
            elif reading.guess == "date":
                settled.append(self._settle_date(reading, is_day_first=is_day_first))
            else:
                settled.append(reading)
        return settled

    def _settle_number(self, reading: ColumnReading, *, has_comma: bool, is_shown: bool) -> ColumnReading:
        style = "comma" if has_comma else "point"
        candidate = next(each for each in _build_candidates(self._options) if each.key == style)
        counts = self._count_fitting([(reading.name, candidate)])[reading.name, style]
        value = self._get_value(reading.name)
        comma = "" if reading.guess == "thousands" else self._show_value(reading.name, like="%,%")
        shown, mark = (comma, ",") if comma else (self._show_value(reading.name, like="%.%"), ".")
        what = "decimals" if has_comma == (mark == ",") else "thousands"
        why = "as other columns of the file show" if is_shown else "which nothing else in the file shows"
        guess = f"{mark!r} is read as separating {what} in {shown!r}, {why}; ?decimal=, or ?decimal=. says which"
        return replace(reading, expression=candidate.build_cast(value.given, counts), guess=guess)

    def _settle_date(self, reading: ColumnReading, *, is_day_first: bool) -> ColumnReading:
        fitting = [
            each
            for each in _build_candidates(self._options)
            if each.shape is not None and each.date_format and f"'{each.date_format}'" in reading.expression
        ]
        shape = fitting[0].shape if fitting else None
        if shape is None:
            raise AssertionError("a doubt about a date is of a date")
        date_format = shape.formats[0 if is_day_first else 1]
        candidate = next(each for each in _build_candidates(self._options) if each.date_format == date_format)
        counts = self._count_fitting([(reading.name, candidate)])[reading.name, candidate.key]
        order = "day before month" if is_day_first else "month before day"
        shown = self._show_value(reading.name)
        guess = f"{shown!r} is read {order}, and no value shows which is first; ?dateformat={date_format} says it"
        expression = candidate.build_cast(self._get_value(reading.name).given, counts)
        return replace(reading, expression=expression, guess=guess, notes=(f"Dates were written {date_format}.",))

    def _show_value(self, name: str, *, like: str = "%") -> str:
        value = self._get_value(name)
        row = self._connection.execute(
            f"SELECT first({value.given} ORDER BY rowid) FROM {self._table} "
            f"WHERE {value.given} IS NOT NULL AND {value.given} LIKE {quote_literal(like)}"
        ).fetchone()
        return str(row[0]) if row and row[0] is not None else ""


@dataclass(frozen=True, slots=True)
class _Counts:
    """What was counted of one column for one candidate."""

    given: int
    fitting: int
    null_words: int
    digits: int
    fraction: int
    timed: int
    leading_zeros: int


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A type that a column may have."""

    key: str
    noun: str
    pattern: str
    compiled: "re.Pattern[str]"
    style: NumberStyle | None = None
    shape: DateShape | None = None
    date_format: str = ""

    def build_test(self, value: str) -> str:
        """Return SQL that is true for a value of this type."""
        fits = f"regexp_full_match({value}, {quote_literal(self.pattern)})"
        if self.date_format == ISO_DATE and self.pattern:
            return f"{fits} AND TRY_CAST({value} AS TIMESTAMP) IS NOT NULL"
        if self.shape is not None:
            test = f"try_strptime({value}, {self._list_formats()}) IS NOT NULL"
            return f"{fits} AND {test}" if self.pattern else test
        kinds = {"zoned": "TIMESTAMPTZ", "time": "TIME"}
        return f"{fits} AND TRY_CAST({value} AS {kinds[self.key]}) IS NOT NULL" if self.key in kinds else fits

    def _list_formats(self) -> str:
        return f"[{', '.join(map(quote_literal, build_datetime_formats(self.date_format)))}]"

    def build_cast(self, value: str, counts: _Counts) -> str:
        """Return SQL for the value in its type, which loses no digit."""
        if self.shape is not None:
            kind = "TIMESTAMP" if counts.timed or "%H" in self.date_format or "%I" in self.date_format else "DATE"
            if self.date_format == ISO_DATE and self.pattern:
                return f"CAST({value} AS {kind})"
            return f"CAST(try_strptime({value}, {self._list_formats()}) AS {kind})"
        match self.key:
            case "truth":
                return f"CAST({value} AS BOOLEAN)"
            case "time":
                return f"CAST({value} AS TIME)"
            case "zoned":
                return f"CAST({value} AS TIMESTAMPTZ)"
            case "integer":
                return f"CAST({value} AS {choose_integer_type(counts.digits)})"
            case "decimal":
                return f"CAST({value} AS {choose_number_type(counts.digits, counts.fraction)})"
            case _:
                style = self.style or POINT_STYLE
                digits, fraction = counts.digits, counts.fraction
                kind = choose_number_type(digits, fraction) if fraction else choose_integer_type(digits)
                return f"CAST({style.build_plain_number(value)} AS {kind})"


def _needs_comparison(first: _Candidate, counts: _Counts, candidates: Sequence[_Candidate]) -> bool:
    """Whether a column that fits the type which is preferred for it may mean another."""
    if counts.fitting < counts.given or first.style is not None:
        return True
    is_ambiguous = first.shape is not None and first.shape.is_ambiguous
    return is_ambiguous or (first.key == "decimal" and any(other.key == "comma" for other in candidates))


def _build_candidates(options: ReadOptions) -> Iterator[_Candidate]:
    """Yield the types in the order in which they are preferred."""

    def make(key: str, noun: str, pattern: str, **more: object) -> _Candidate:
        return _Candidate(key, noun, pattern, re.compile(pattern or ".*"), **more)  # type: ignore[arg-type]

    if options.dateformat or options.timestampformat:
        for number, given in enumerate(filter(None, (options.timestampformat, options.dateformat))):
            yield make(f"given{number}", "date", "", shape=DateShape("", (given,)), date_format=given)
    yield make("truth", "truth value", TRUTH)
    if options.decimal is None and options.thousands is None:
        yield make("integer", "whole number", INTEGER)
        yield make("decimal", "number", DECIMAL)
        yield make("point", "number", POINT_STYLE.pattern, style=POINT_STYLE)
        yield make("comma", "number", COMMA_STYLE.pattern, style=COMMA_STYLE)
    else:
        decimal = options.decimal or ("." if options.thousands != "." else ",")
        default = COMMA_STYLE if decimal == "," else POINT_STYLE
        style = NumberStyle(default.thousands if options.thousands is None else options.thousands, decimal)
        yield make("integer", "whole number", INTEGER)
        yield make("comma" if decimal == "," else "point", "number", style.pattern, style=style)
    for shape in DATE_SHAPES:
        for date_format in shape.formats:
            pattern = build_datetime_pattern(shape)
            yield make(date_format, "date", pattern, shape=shape, date_format=date_format)
    yield make("zoned", "time with its zone", ZONED)
    yield make("time", "time of day", TIME)


def _describe_date(reading: ColumnReading, candidate: _Candidate, others: set[str]) -> ColumnReading:
    shape = candidate.shape
    if shape is None or not shape.pattern:
        return reading
    notes = () if candidate.date_format == ISO_DATE else (f"Dates were written {candidate.date_format}.",)
    if not shape.is_ambiguous:
        return replace(reading, notes=notes)
    if set(shape.formats) <= others:
        return replace(reading, notes=notes, guess="date")
    guess = f"its dates are read as {candidate.date_format} and could be {YEAR_FIRST}; ?dateformat= says which"
    may_be_year = YEAR_FIRST in others
    return replace(
        reading,
        notes=notes,
        guess=guess if may_be_year else "",
        is_day_first=None if may_be_year else candidate.date_format == shape.formats[0],
    )
