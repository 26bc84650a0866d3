"""What the cells of a sheet are to Excel: dates, times, durations and truth values are numbers with a format.

The engine's reader takes the type of a column from its first cell. Here each cell is looked at, so that a number among
dates stays a number, and a date among texts is written as a date.
"""

import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from agent.tools.sql.engines.attachment import quote_identifier

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: What a stored number stands for by its format: `moment` is a date with its time, `padded-5` a code of five digits.
CellKind = str
_PREFIX: Final = rb"(?:[A-Za-z_][\w.-]*:)?"
_CELL: Final = re.compile(rb"<" + _PREFIX + rb"c\b([^>]*?)(?:/>|>(.*?)</" + _PREFIX + rb"c>)", re.DOTALL)
_PLACE: Final = re.compile(rb'\br="([A-Z]+)([0-9]+)"')
_STYLE: Final = re.compile(rb'\bs="([0-9]+)"')
_TYPE: Final = re.compile(rb'\bt="([A-Za-z]+)"')
_FORMULA: Final = re.compile(rb"<" + _PREFIX + rb"f\b")
_VALUE: Final = re.compile(rb"<" + _PREFIX + rb"v>[^<]")
_MERGED: Final = re.compile(rb"<" + _PREFIX + rb'mergeCell\b[^>]*?\bref="([A-Z]+)([0-9]+):([A-Z]+)([0-9]+)"')
#: Formats that have a number instead of a code; those of East Asia are dates.
_BUILT_IN: Final[Mapping[int, CellKind]] = {
    **dict.fromkeys((14, 15, 16, 17, *range(27, 37), *range(50, 59)), "date"),
    **dict.fromkeys((18, 19, 20, 21, 45, 47), "time"),
    22: "moment",
    46: "duration",
}
_PADDED: Final = re.compile("0{2,}")


@dataclass(frozen=True, slots=True)
class SheetCells:
    """The cells of a sheet, by columns and rows counted from 1."""

    #: The range that is filled: first column, first row, last column, last row; None if no cell is.
    bounds: tuple[int, int, int, int] | None = None
    #: The rows of the cells whose stored number is not what is shown, by column and kind.
    formatted: Mapping[int, Mapping[CellKind, Sequence[int]]] = field(default_factory=dict)
    #: The ranges that are merged into one cell, in the form of `bounds`.
    merged: Sequence[tuple[int, int, int, int]] = ()
    #: The column and row of each formula of which no value is stored.
    uncomputed: Sequence[tuple[int, int]] = ()


def read_cell_kinds(archive: zipfile.ZipFile, main: str) -> list[CellKind | None]:
    """Return what a number stands for in each of a workbook's styles; `main` is the namespace of its XML, in braces."""
    if "xl/styles.xml" not in archive.namelist():
        return []
    styles = ET.fromstring(archive.read("xl/styles.xml"))  # noqa: S314 - a file that the user named
    codes = {int(each.get("numFmtId", 0)): str(each.get("formatCode")) for each in styles.iter(f"{main}numFmt")}
    found = styles.find(f"{main}cellXfs")
    numbers = [int(each.get("numFmtId", 0)) for each in found] if found is not None else []
    return [_classify_format(codes[each]) if each in codes else _BUILT_IN.get(each) for each in numbers]


def _classify_format(code: str) -> CellKind | None:
    first = re.sub(r'"[^"]*"|\\.|_.|\*.', "", code).partition(";")[0]
    if re.search(r"\[(h+|m+|s+)\]", first, re.IGNORECASE):
        return "duration"
    plain = re.sub(r"\[[^\]]*\]|AM/PM|A/P|General", "", first, flags=re.IGNORECASE).lower()
    has_time, has_date = bool(re.search("[hs]", plain)), bool(re.search("[yd]", plain))
    if has_time:
        return "moment" if has_date else "time"
    if has_date or "mmm" in plain:
        return "date"
    return f"padded-{len(plain)}" if _PADDED.fullmatch(plain) else None


def read_sheet_cells(content: bytes, *, kinds: Sequence[CellKind | None]) -> SheetCells:
    """Return the cells of a sheet's XML, of which `kinds` are the styles."""
    formatted: dict[int, dict[CellKind, list[int]]] = defaultdict(lambda: defaultdict(list))
    uncomputed: list[tuple[int, int]] = []
    columns, rows = set[int](), set[int]()
    numbers: dict[bytes, int] = {}
    for attributes, body in _CELL.findall(content):
        place = _PLACE.search(attributes)
        if place is None:
            continue
        letters, row = place[1], int(place[2])
        column = numbers.get(letters) or numbers.setdefault(letters, count_column(letters.decode()))
        columns.add(column)
        rows.add(row)
        kind = _find_kind(attributes, kinds)
        if body and kind is not None:
            formatted[column][kind].append(row)
        if body and _FORMULA.search(body) and not _VALUE.search(body) and b't="str"' not in attributes:
            uncomputed.append((column, row))
    merged = [
        (count_column(first.decode()), int(top), count_column(last.decode()), int(bottom))
        for first, top, last, bottom in _MERGED.findall(content)
    ]
    bounds = (min(columns), min(rows), max(columns), max(rows)) if columns else None
    return SheetCells(bounds, formatted, merged, uncomputed)


def _find_kind(attributes: bytes, kinds: Sequence[CellKind | None]) -> CellKind | None:
    kind = _TYPE.search(attributes)
    if kind is not None and kind[1] != b"n":
        return "truth" if kind[1] == b"b" else None
    style = _STYLE.search(attributes)
    number = int(style[1]) if style is not None else 0
    return kinds[number] if number < len(kinds) else None


def count_column(letters: str) -> int:
    """Return the number of a column: A is 1, AA is 27."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def name_column_letters(number: int) -> str:
    """Return the letters of a column: 1 is A, 27 is AA."""
    letters = ""
    while number:
        number, place = divmod(number - 1, 26)
        letters = chr(ord("A") + place) + letters
    return letters


def write_out_values(
    connection: "DuckDBPyConnection", table: str, cells: SheetCells, *, first_row: int, is_1904: bool
) -> None:
    """Write the formatted numbers in `table` as texts that say what they are: ISO dates, times, `true`, `01067`.

    Its columns are called by their letters, and its first row is `first_row` of the sheet. Dates count from 1904 if
    `is_1904` is set, as in files of old Macs, else from 1900.
    """
    name = quote_identifier(table)
    listed = connection.execute(f"SELECT * FROM {name} LIMIT 0").description
    for letters, *_ in listed or []:
        for kind, rows in cells.formatted.get(count_column(str(letters)), {}).items():
            places = [row - first_row for row in rows if row >= first_row]
            column = quote_identifier(str(letters))
            text = _build_text(kind, f"TRY_CAST({column} AS DOUBLE)", is_1904=is_1904)
            connection.execute(
                f"UPDATE {name} SET {column} = coalesce({text}, {column}) "
                f"FROM (SELECT unnest($places) AS place) AS given WHERE {name}.rowid = place",
                {"places": places},
            )


def _build_text(kind: CellKind, number: str, *, is_1904: bool) -> str:
    """Return SQL for the text of a stored number; it is NULL for a number that Excel would not show either."""
    milliseconds = f"CAST(round({number} * 86400000) AS BIGINT)"
    fraction = f"CASE WHEN {milliseconds} % 1000 <> 0 THEN printf('.%03d', {milliseconds} % 1000) ELSE '' END"
    # Excel has a 29th of February in 1900, so that the days before it have another start.
    start = "DATE '1904-01-01'" if is_1904 else f"(DATE '1899-12-30' + CASE WHEN {number} < 60 THEN 1 ELSE 0 END)"
    moment = f"(CAST({start} AS TIMESTAMP) + to_milliseconds({milliseconds}))"
    dated = f"strftime({moment}, '%Y-%m-%d')"
    timed = f"strftime({moment}, '%Y-%m-%d %H:%M:%S') || {fraction}"
    seconds = f"({milliseconds} // 1000)"
    clock = f"printf('%02d:%02d:%02d', {seconds} // 3600, {seconds} // 60 % 60, {seconds} % 60) || {fraction}"
    is_date = f"{number} BETWEEN {0 if is_1904 else 1} AND 2958465.99999"
    match kind:
        case "truth":
            return f"CASE {number} WHEN 1 THEN 'true' WHEN 0 THEN 'false' END"
        case "date":
            return f"CASE WHEN {is_date} THEN CASE WHEN {milliseconds} % 86400000 = 0 THEN {dated} ELSE {timed} END END"
        case "moment":
            return f"CASE WHEN {is_date} THEN {timed} WHEN {number} BETWEEN 0 AND 1 THEN {clock} END"
        case "time":
            return f"CASE WHEN {number} >= 0 AND {number} < 1 THEN {clock} WHEN {is_date} THEN {timed} END"
        case "duration":
            return f"CASE WHEN {number} >= 0 THEN {clock} END"
        case _:
            width = kind.removeprefix("padded-")
            return f"CASE WHEN {number} BETWEEN 0 AND 1e15 THEN printf('%0{width}d', CAST({number} AS BIGINT)) END"


def describe_cells(cells: SheetCells, *, first_row: int, columns: Mapping[int, str]) -> Iterator[str]:
    """Yield a sentence for what a table cannot show of the cells from `first_row` on: merged ones, and empty formulas.

    `columns` are the names of the columns by their numbers.
    """
    tall = [each for each in cells.merged if each[3] > each[1] >= first_row and each[0] in columns]
    if tall:
        column, row, _, last = tall[0]
        place = f"{name_column_letters(column)}{row}:{name_column_letters(column)}{last}"
        named = ", ".join(dict.fromkeys(repr(columns[each[0]]) for each in tall))
        yield (
            f"{len(tall):,} merged cell{'s span' if len(tall) > 1 else ' spans'} several rows in {named}, "
            f"first {place}; only the first row of each has the value"
        )
    empty = [place for place in cells.uncomputed if place[1] >= first_row and place[0] in columns]
    if empty:
        column, row = empty[0]
        yield (
            f"{len(empty):,} formula{'s have' if len(empty) > 1 else ' has'} no stored value, first "
            f"{name_column_letters(column)}{row}, and {'are' if len(empty) > 1 else 'is'} read as no value; open the "
            "file in a spreadsheet program and save it"
        )
