"""The import of Excel files: each sheet is a table, from its header on; a cell keeps its digits, its date, its text."""

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from agent.errors import DataError
from agent.tools.data_files.column_types import TypeInference
from agent.tools.data_files.csv_dialect import find_header, find_table_start, name_columns
from agent.tools.data_files.csv_import import collect_column_notes, create_typed_table
from agent.tools.data_files.discovery import TableFiles
from agent.tools.data_files.notes import TableNotes
from agent.tools.data_files.read_options import ReadOptions
from agent.tools.sql.engines.attachment import quote_identifier, quote_literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MAIN: Final = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_RELATION: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_CELL: Final = re.compile(rb'<c\b[^>]*?\br="([A-Z]+)([0-9]+)"')
_RANGE: Final = re.compile(r"([A-Z]+)([0-9]+):([A-Z]+)([0-9]+)")
_RAW: Final = "planwave_raw_sheet"
_SAMPLE_ROWS: Final = 500
#: Types whose cells are numbers that only their format tells from others.
_FORMATTED: Final = frozenset({"DATE", "TIMESTAMP", "TIME", "BOOLEAN"})


@dataclass(frozen=True, slots=True)
class _Sheet:
    name: str
    is_hidden: bool
    #: The cells that are filled, as columns and rows counted from 1: first column, first row, last column, last row.
    cells: tuple[int, int, int, int] | None


def import_excel(connection: "DuckDBPyConnection", table: TableFiles, *, options: ReadOptions) -> Sequence[TableNotes]:
    """Make a table of each sheet that has cells; one sheet alone is called like its file. Raises `DataError`."""
    file = table.parts[0].file
    sheets = [sheet for sheet in _list_sheets(file) if sheet.cells is not None]
    chosen = [sheet for sheet in sheets if sheet.name == options.sheet if options.sheet] or [
        sheet for sheet in sheets if not sheet.is_hidden
    ]
    names = ", ".join(repr(sheet.name) for sheet in sheets)
    if options.sheet is not None and options.sheet not in {sheet.name for sheet in sheets}:
        raise DataError(
            f"The file {file.name!r} has no sheet {options.sheet!r} with cells; there are {names or 'none'}."
        )
    if not chosen:
        raise DataError(f"The file {file.name!r} has no sheet with cells that is shown; hidden are {names or 'none'}.")
    notes = []
    for sheet in chosen:
        name = table.name if len(chosen) == 1 else f"{table.name}_{sheet.name}"
        notes.append(_SheetImport(connection, file, sheet, options).make_table(name))
    hidden = [sheet.name for sheet in sheets if sheet.is_hidden and sheet not in chosen]
    if hidden:
        said = f"{file.name}: hidden sheets are left out ({', '.join(hidden)}); ?sheet=NAME reads one."
        first = notes[0]
        notes[0] = TableNotes(first.table, first.reading, (*first.guesses, said), first.columns)
    return notes


def _list_sheets(file: Path) -> list[_Sheet]:
    try:
        with zipfile.ZipFile(file) as archive:
            book = ET.fromstring(archive.read("xl/workbook.xml"))  # noqa: S314 - a file that the user named
            relations = ET.fromstring(archive.read("xl/_rels/workbook.xml.rels"))  # noqa: S314 - as above
            targets = {relation.get("Id"): str(relation.get("Target")) for relation in relations}
            return [
                _Sheet(
                    str(sheet.get("name")),
                    sheet.get("state", "visible") != "visible",
                    _find_filled(archive, targets.get(sheet.get(_RELATION), "")),
                )
                for sheet in book.iter(f"{_MAIN}sheet")
            ]
    except (zipfile.BadZipFile, KeyError, ET.ParseError):
        raise DataError(
            f"The file {file.name!r} cannot be opened: it is no Excel file, or a damaged or a protected one. Remedy: "
            "save it again as .xlsx without a password."
        ) from None


def _find_filled(archive: zipfile.ZipFile, target: str) -> tuple[int, int, int, int] | None:
    """Return the range of the cells of a sheet; what the sheet itself says of it is often wrong."""
    path = target.removeprefix("/") if target.startswith("/") else f"xl/{target}"
    found = [(_count_column(letters.decode()), int(row)) for letters, row in _CELL.findall(archive.read(path))]
    if not found:
        return None
    columns, rows = [column for column, _ in found], [row for _, row in found]
    return min(columns), min(rows), max(columns), max(rows)


def _count_column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def _name_letters(number: int) -> str:
    letters = ""
    while number:
        number, place = divmod(number - 1, 26)
        letters = chr(ord("A") + place) + letters
    return letters


class _SheetImport:
    """The import of one sheet."""

    def __init__(self, connection: "DuckDBPyConnection", file: Path, sheet: _Sheet, options: ReadOptions) -> None:
        self._connection = connection
        self._file = file
        self._sheet = sheet
        self._options = options
        if options.range is not None and (given := _RANGE.fullmatch(options.range.upper())):
            self._cells = (_count_column(given[1]), int(given[2]), _count_column(given[3]), int(given[4]))
        else:
            self._cells = sheet.cells or (1, 1, 1, 1)

    def make_table(self, name: str) -> TableNotes:
        first_column, first_row, last_column, last_row = self._cells
        width = last_column - first_column + 1
        sample = self._build_select(first_row, min(last_row, first_row + _SAMPLE_ROWS), texts=True)
        grid = self._connection.execute(sample).fetchall()
        rows = [tuple(cell or "" for cell in row) for row in grid]
        skipped = self._options.skip if self._options.skip is not None else 0
        if self._options.skip is None and self._options.range is None:
            skipped = find_table_start(rows)
        head, rest = rows[skipped] if skipped < len(rows) else ("",) * width, rows[skipped + 1 :]
        is_header = find_header(head, rest)[0] if self._options.header is None else self._options.header
        names = name_columns(head if is_header else [""] * width)
        start = first_row + skipped + is_header
        self._read_texts(names, start=start, end=last_row)
        inference = TypeInference(self._connection, _RAW, options=self._options, prefers_comma=False)
        readings = inference.infer_columns([each for each in names if self._has_values(each) or not _is_made_up(each)])
        create_typed_table(self._connection, name, _RAW, readings, without_empty_rows=True)
        sheet = f"{self._file.name}, sheet {self._sheet.name!r}"
        guesses, notes = collect_column_notes(sheet, readings, find_place=lambda row: f"row {row + start}")
        header = f"header in row {start - 1}" if is_header else "no header"
        if skipped and self._options.skip is None:
            guesses.insert(
                0, f"{sheet}: what is above row {first_row + skipped} is skipped; that row names the columns."
            )
        return TableNotes(name, f"{sheet}: Excel, {header}.", tuple(guesses), tuple(notes))

    def _has_values(self, column: str) -> bool:
        row = self._connection.execute(f"SELECT count({quote_identifier(column)}) FROM {_RAW}").fetchone()
        return bool(row and row[0])

    def _read_texts(self, names: Sequence[str], *, start: int, end: int) -> None:
        """Make the raw table of the texts of all cells, with dates and truth values, which are numbers to Excel."""
        first = self._cells[0]
        letters = [_name_letters(first + place) for place in range(len(names))]
        listed = ", ".join(
            f"{quote_identifier(letter)} AS {quote_identifier(name)}"
            for letter, name in zip(letters, names, strict=True)
        )
        if start > end:
            texts = ", ".join(f"CAST(NULL AS VARCHAR) AS {quote_identifier(name)}" for name in names)
            self._connection.execute(f"CREATE OR REPLACE TABLE {_RAW} AS SELECT {texts} LIMIT 0")
            return
        self._connection.execute(
            f"CREATE OR REPLACE TABLE {_RAW} AS {self._build_select(start, end, texts=True, listed=listed)}"
        )
        for place, row in self._find_formatted(names, start).items():
            column = first + place
            listed = f"{letters[place]} AS value, row_number() OVER () - 1 + {row} AS place"
            typed = self._build_select(start + row, end, texts=False, listed=listed, columns=(column, column))
            self._connection.execute(
                f"UPDATE {_RAW} SET {quote_identifier(names[place])} = CAST(typed.value AS VARCHAR) "
                f"FROM ({typed}) AS typed "
                f"WHERE {_RAW}.rowid = typed.place AND typed.value IS NOT NULL"
            )

    def _build_select(
        self, start: int, end: int, *, texts: bool, listed: str = "*", columns: tuple[int, int] | None = None
    ) -> str:
        """Return SQL for the cells of some rows, all as texts or each column by the type of its first cell."""
        first, last = columns or (self._cells[0], self._cells[2])
        return (
            f"SELECT {listed} FROM read_xlsx({quote_literal(str(self._file))}, "
            f"sheet = {quote_literal(self._sheet.name)}, "
            f"range = '{_name_letters(first)}{start}:{_name_letters(last)}{end}', header = false, "
            f"stop_at_empty = false, all_varchar = {texts}, ignore_errors = {not texts})"
        )

    def _find_formatted(self, names: Sequence[str], start: int) -> dict[int, int]:
        """Return the columns whose first cell is a date, a time or a truth value: by position, the row of that cell."""
        listed = ", ".join(f"min(rowid) FILTER ({quote_identifier(name)} IS NOT NULL)" for name in names)
        firsts = self._connection.execute(f"SELECT {listed} FROM {_RAW}").fetchone() or ()
        by_row: dict[int, list[int]] = {}
        for place, row in enumerate(firsts):
            if row is not None:
                by_row.setdefault(int(row), []).append(place)
        found: dict[int, int] = {}
        for row, places in by_row.items():
            self._connection.execute(self._build_select(start + row, start + row, texts=False))
            kinds = [str(column[1]) for column in self._connection.description or []]
            found.update({place: row for place in places if kinds[place] in _FORMATTED})
        return found


def _is_made_up(name: str) -> bool:
    return re.fullmatch(r"column[0-9]+", name) is not None
