"""The dialect of a CSV file, from its first lines: delimiter, quotes, lines before the table, and the header."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from agent.tools.data_files.read_options import ReadOptions
from agent.tools.data_files.value_shapes import NULL_WORDS, looks_typed

_DELIMITERS: Final = (",", ";", "\t", "|")
_MAX_RECORDS: Final = 2_000
#: Lines at the start in which a preamble is looked for.
_MAX_PREAMBLE: Final = 30
_SEPARATOR_LINE: Final = re.compile(r'"?sep=(.)"?\r?\n', re.IGNORECASE)
_BLANK = ("",)
_PERIOD: Final = re.compile("(19|20)[0-9]{2}(-[0-9]{2}(-[0-9]{2})?)?")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the lines of a file become rows."""

    delimiter: str
    quote: str
    escape: str
    #: Lines before the first row of data, the header among them.
    skip: int
    #: The same in records, as the engine counts: one with a line break in quotes is one.
    skip_records: int
    #: The names of the columns, made up if there is no header.
    names: tuple[str, ...]
    #: The line of the header; None if there is none.
    header_line: int | None
    #: Whether nothing but text told a header from data.
    is_header_guessed: bool = False
    #: Whether the header has no name for the first column.
    lacks_first: bool = False
    #: Whether the first line names the delimiter and does nothing else.
    has_separator_line: bool = False

    @property
    def preamble(self) -> int:
        """Lines before the header."""
        lines = self.skip if self.header_line is None else self.header_line - 1
        return lines - self.has_separator_line

    def read_records(self, lines: Iterable[str]) -> Any:  # noqa: ANN401 - the reader's type has no public name
        """Return a reader of the records in `lines`."""
        csv.field_size_limit(2**31 - 1)
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quotechar=self.quote or None,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            doublequote=self.escape in {"", self.quote},
            escapechar=self.escape if self.escape not in {"", self.quote} else None,
        )


@dataclass(frozen=True, slots=True)
class _Record:
    #: Its position among the records.
    place: int
    #: The line that it begins in, from 1.
    line: int
    #: The line after it.
    next_line: int
    cells: tuple[str, ...]

    @property
    def width(self) -> int:
        return len(self.cells)


def detect_dialect(sample: str, *, is_whole: bool, options: ReadOptions) -> Dialect:
    """Return the dialect of a file that begins with `sample`; what `options` say goes before what it looks like."""
    first = options.skip or 0
    lines = sample.splitlines(keepends=True)[first:] if first else None
    text = "".join(lines) if lines is not None else sample
    delimiter = options.delimiter
    if named := _SEPARATOR_LINE.match(text):
        # Excel's own line, which names the delimiter.
        delimiter = delimiter or named[1]
        text, first = text[named.end() :], first + 1
    quote = _detect_quote(text) if options.quote is None else options.quote
    escape = options.escape if options.escape is not None else _detect_escape(text, quote=quote)
    candidates = [
        _read_table(text, is_whole=is_whole, plain=Dialect(each, quote, escape, 0, 0, (), None), options=options)
        for each in ([delimiter] if delimiter else _DELIMITERS)
    ]
    best = max(candidates, key=lambda table: table.score)
    if delimiter is None and best.score <= 0:
        # One column: the delimiter must only not occur where it would split a value.
        unused = next((each for each in ("\x1f", "\x1e") if each not in sample), "\x1f")
        best = _read_table(
            text, is_whole=is_whole, plain=Dialect(unused, quote, escape, 0, 0, (), None), options=options
        )
    dialect = best.build_dialect(first_line=first, header=options.header)
    return replace(dialect, has_separator_line=named is not None)


def _detect_quote(text: str) -> str:
    if '"' in text:
        return '"'
    cells = re.split(r"[,;\t|\r\n]", text[:10_000])
    quoted = sum(len(cell) > 1 and cell.startswith("'") and cell.endswith("'") for cell in cells)
    return "'" if quoted * 2 > len(cells) else '"'


def _detect_escape(text: str, *, quote: str) -> str:
    if not quote:
        return ""
    before = rf"\\{quote}[^,;\t|\r\n]"
    doubled = rf"[^,;\t|\r\n]{quote}{quote}"
    return "\\" if re.search(before, text) and not re.search(doubled, text) else quote


@dataclass(frozen=True, slots=True)
class _Table:
    """The records of a sample by one delimiter, from the first that belongs to the table."""

    plain: Dialect
    records: tuple[_Record, ...]
    score: float

    def build_dialect(self, *, first_line: int, header: bool | None) -> Dialect:
        if not self.records:
            return replace(self.plain, skip=first_line, skip_records=first_line)
        head, rest = self.records[0], self.records[1:]
        is_header, is_guessed = (
            (header, False) if header is not None else find_header(head.cells, [record.cells for record in rest])
        )
        width = max(head.width, 1)
        cells = head.cells if is_header else ("",) * width
        lacks_first = is_header and bool(rest) and all(record.width == width + 1 for record in rest)
        if lacks_first and any(record.cells[-1].strip() for record in rest):
            cells = ("", *cells)
        return Dialect(
            self.plain.delimiter,
            self.plain.quote,
            self.plain.escape,
            first_line + (head.next_line if is_header else head.line) - 1,
            first_line + head.place + is_header,
            name_columns(cells),
            first_line + head.line if is_header else None,
            is_guessed,
            lacks_first=len(cells) > width,
        )


def _read_table(text: str, *, is_whole: bool, plain: Dialect, options: ReadOptions) -> _Table:
    records = _parse_records(text, is_whole=is_whole, plain=plain)
    start = 0 if options.skip is not None else find_table_start([record.cells for record in records])
    kept = tuple(record for record in records[start:] if record.cells != _BLANK)
    if not kept:
        return _Table(plain, (), 0.0)
    widths = Counter(record.width for record in kept)
    width, count = max(widths.items(), key=lambda item: (item[1], item[0]))
    split = sum(number for wide, number in widths.items() if wide > 1)
    if kept[0].width < 2 or width < 2 or split * 2 < len(kept):
        # A delimiter in most lines but not in the first cannot be the table's.
        return _Table(plain, kept, 0.0)
    # Ragged lines count half; a skipped line must be worth it.
    agreeing = (count + split) / (2 * len(kept))
    return _Table(
        plain, kept, agreeing - 0.01 * min(start, 20) + 0.001 * min(width, 20) + (kept[0].width == width) * 0.05
    )


def _parse_records(text: str, *, is_whole: bool, plain: Dialect) -> list[_Record]:
    records: list[_Record] = []
    reader = plain.read_records(io.StringIO(text, newline=""))
    line = 1
    try:
        for cells in reader:
            records.append(_Record(len(records), line, reader.line_num + 1, tuple(cells) or _BLANK))
            line = reader.line_num + 1
            if len(records) >= _MAX_RECORDS:
                return records
    except csv.Error:
        return records
    # The last record of a part of the file is a part of a record.
    return records if is_whole else records[:-1]


def find_table_start(rows: Sequence[Sequence[str]]) -> int:
    """Return the position of the first row of the table: lines of notes, comments and titles may come before it."""
    start = _skip_comments(rows)
    filled = [(place, row) for place, row in enumerate(rows) if place >= start and not _is_empty(row)]
    if not filled:
        return start
    widths = Counter(_measure_width(row) for _, row in filled)
    usual = max(widths.items(), key=lambda item: (item[1], item[0]))[0]
    widest = max(widths)
    if usual < 2 and widths[1] * 2 > len(filled):
        return start
    after_gap = _find_start_after_gap(rows, start=start, usual=usual)
    if after_gap is not None:
        return after_gap
    for position, (place, row) in enumerate(filled[:_MAX_PREAMBLE]):
        width = _measure_width(row)
        following = [_measure_width(other) for _, other in filled[position + 1 : position + 4]]
        if width > 1 and (width in {usual, widest} or width in following[:1]):
            before = rows[place - 1] if place > start else ()
            names_rows = _measure_width(before) == width - 1 > 1 and _names_all_but_first(before, row)
            # Where the first column has the names of the rows, the header may leave it out.
            return place - 1 if names_rows and not find_header(row, rows[place + 1 :])[0] else place
        if width > 1 and position == 0 and following and following[0] < usual and len(filled) > 3:
            continue
        if width > 1 and following and max(following) <= width:
            return place
    return start


def _names_all_but_first(head: Sequence[str], row: Sequence[str]) -> bool:
    names = [cell.strip() for cell in head[: _measure_width(head)]]
    return len(set(names)) == len(names) and not any(map(looks_typed, names)) and all(names) and len(row) > len(names)


def _skip_comments(rows: Sequence[Sequence[str]]) -> int:
    start = 0
    while start < len(rows) and start < _MAX_PREAMBLE and rows[start] and rows[start][0].lstrip().startswith("#"):
        start += 1
    if start == 0 or start == len(rows):
        return 0
    last, following = rows[start - 1], rows[start]
    # A header may begin with # itself: then no other one follows.
    is_header = len(last) > 1 and len(last) == len(following) and not find_header(following, rows[start + 1 :])[0]
    return start - 1 if is_header else start


def _find_start_after_gap(rows: Sequence[Sequence[str]], *, start: int, usual: int) -> int | None:
    """Return the place after the last empty line near the start, if what comes before it is no table of its own."""
    gaps = [place for place in range(start, min(len(rows), _MAX_PREAMBLE)) if _is_empty(rows[place])]
    for gap in reversed(gaps):
        after = [row for row in rows[gap + 1 :] if not _is_empty(row)]
        before = [row for row in rows[start:gap] if not _is_empty(row)]
        if not after or not before or _measure_width(after[0]) != usual:
            continue
        is_uneven = any(_measure_width(row) != usual for row in before)
        is_header, is_guessed = find_header(after[0], after[1:])
        if is_header and (is_uneven or (not is_guessed and len(before) <= 3)):
            return next(place for place in range(gap + 1, len(rows)) if not _is_empty(rows[place]))
    return None


def _is_empty(row: Sequence[str]) -> bool:
    return not any(cell.strip() for cell in row)


def _measure_width(row: Sequence[str]) -> int:
    """Return the number of fields up to the last that is filled."""
    return max((place for place, cell in enumerate(row, start=1) if cell.strip()), default=0)


def find_header(head: Sequence[str], rest: Sequence[Sequence[str]]) -> tuple[bool, bool]:
    """Return whether `head` names the columns of the rows in `rest`, and whether that is only a guess."""
    cells = [cell.strip() for cell in head]
    if not any(cells):
        return False, False
    columns = [
        [value for row in rest[:200] if place < len(row) and (value := row[place].strip()) and value not in NULL_WORDS]
        for place in range(len(cells))
    ]
    typed = [place for place, values in enumerate(columns) if values and _is_mostly_typed(values)]
    named = [place for place in typed if cells[place] and not looks_typed(cells[place])]
    valued = [place for place in typed if looks_typed(cells[place])]
    if typed:
        years = [cells[place] for place in valued]
        if valued and all(map(_PERIOD.fullmatch, years)) and len(set(years)) == len(years):
            # Years and dates name columns if the values below them are none.
            values = [value for place in valued for value in columns[place][:20]]
            if not all(map(_PERIOD.fullmatch, values)) and len(cells) > len(valued):
                return True, False
        is_header = len(named) >= len(valued) and bool(named)
        return is_header, is_header and bool(valued)
    if any(looks_typed(cell) for cell in cells if cell):
        return False, True
    is_distinct = len({cell.lower() for cell in cells if cell}) == len([cell for cell in cells if cell])
    repeated = any(cells[place] in values for place, values in enumerate(columns) if cells[place])
    return is_distinct and not repeated, bool(rest)


def _is_mostly_typed(values: Sequence[str]) -> bool:
    return sum(map(looks_typed, values)) * 10 >= len(values) * 8


def name_columns(cells: Sequence[str]) -> tuple[str, ...]:
    """Return a name for each column, none twice: an empty one is called by its position."""
    names: list[str] = []
    taken: set[str] = set()
    for place, cell in enumerate(cells):
        wanted = " ".join(cell.split()).lstrip("\ufeff") or f"column{place}"
        name, number = wanted, 0
        while name.lower() in taken:
            number += 1
            name = f"{wanted}_{number}"
        taken.add(name.lower())
        names.append(name)
    return tuple(names)
