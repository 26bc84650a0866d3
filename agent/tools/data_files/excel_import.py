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
from agent.tools.data_files.excel_cells import (
    SheetCells,
    count_column,
    describe_cells,
    name_column_letters,
    read_cell_kinds,
    read_sheet_cells,
    write_out_values,
)
from agent.tools.data_files.notes import TableNotes, describe_totals
from agent.tools.data_files.read_options import ReadOptions
from agent.tools.sql.engines.attachment import quote_identifier, quote_literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MAIN: Final = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_RELATION: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_RANGE: Final = re.compile(r"([A-Z]+)([0-9]+):([A-Z]+)([0-9]+)")
_RAW: Final = "planwave_raw_sheet"
#: All cells, the header and what is above it among them, in columns that are called by their letters.
_CELLS: Final = "planwave_raw_cells"
_SAMPLE_ROWS: Final = 500


@dataclass(frozen=True, slots=True)
class _Sheet:
    name: str
    is_hidden: bool
    cells: SheetCells
    #: Whether the days of the workbook count from 1904.
    is_1904: bool


def import_excel(connection: "DuckDBPyConnection", table: TableFiles, *, options: ReadOptions) -> Sequence[TableNotes]:
    """Make a table of each sheet that has cells; one sheet alone is called like its file. Raises `DataError`."""
    file = table.parts[0].file
    sheets = [sheet for sheet in _list_sheets(file) if sheet.cells.bounds is not None]
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
            properties = book.find(f"{_MAIN}workbookPr")
            is_1904 = properties is not None and properties.get("date1904") in {"1", "true"}
            kinds = read_cell_kinds(archive, _MAIN)
            return [
                _Sheet(
                    str(sheet.get("name")),
                    sheet.get("state", "visible") != "visible",
                    read_sheet_cells(_read_sheet(archive, targets.get(sheet.get(_RELATION), "")), kinds=kinds),
                    is_1904,
                )
                for sheet in book.iter(f"{_MAIN}sheet")
            ]
    except (zipfile.BadZipFile, KeyError, ET.ParseError):
        raise DataError(
            f"The file {file.name!r} cannot be opened: it is no Excel file, or a damaged or a protected one. Remedy: "
            "save it again as .xlsx without a password."
        ) from None


def _read_sheet(archive: zipfile.ZipFile, target: str) -> bytes:
    return archive.read(target.removeprefix("/") if target.startswith("/") else f"xl/{target}")


class _SheetImport:
    """The import of one sheet."""

    def __init__(self, connection: "DuckDBPyConnection", file: Path, sheet: _Sheet, options: ReadOptions) -> None:
        self._connection = connection
        self._file = file
        self._sheet = sheet
        self._options = options
        if options.range is not None and (given := _RANGE.fullmatch(options.range.upper())):
            self._bounds = (count_column(given[1]), int(given[2]), count_column(given[3]), int(given[4]))
        else:
            # What the sheet itself says of its range is often wrong.
            self._bounds = sheet.cells.bounds or (1, 1, 1, 1)

    def make_table(self, name: str) -> TableNotes:
        first_column, first_row, last_column, _ = self._bounds
        self._read_cells()
        grid = self._connection.execute(f"SELECT * FROM {_CELLS} ORDER BY rowid LIMIT {_SAMPLE_ROWS + 1}").fetchall()
        rows = [tuple(cell or "" for cell in row) for row in grid]
        skipped = self._options.skip if self._options.skip is not None else 0
        if self._options.skip is None and self._options.range is None:
            skipped = find_table_start(rows)
        head = rows[skipped] if skipped < len(rows) else ("",) * (last_column - first_column + 1)
        rest = rows[skipped + 1 :]
        is_header = find_header(head, rest)[0] if self._options.header is None else self._options.header
        names = name_columns(head if is_header else [""] * len(head))
        start = first_row + skipped + is_header
        self._name_columns(names, skipped=skipped + is_header)
        inference = TypeInference(self._connection, _RAW, options=self._options, prefers_comma=False)
        kept = [each for each in names if self._has_values(each) or not _is_made_up(each)]
        readings = inference.infer_columns(kept)
        create_typed_table(self._connection, name, _RAW, readings, without_empty_rows=True)
        sheet = f"{self._file.name}, sheet {self._sheet.name!r}"
        guesses, notes = collect_column_notes(sheet, readings, find_place=lambda row: f"row {row + start}")
        header = f"header in row {start - 1}" if is_header else "no header"
        if skipped and self._options.skip is None:
            guesses.insert(
                0, f"{sheet}: what is above row {first_row + skipped} is skipped; that row names the columns."
            )
        by_number = {first_column + place: each for place, each in enumerate(names) if each in kept}
        described = describe_cells(self._sheet.cells, first_row=start, columns=by_number)
        guesses += [f"{sheet}: {each}." for each in described]
        guesses += describe_totals(self._connection, name, file=sheet)
        return TableNotes(name, f"{sheet}: Excel, {header}.", tuple(guesses), tuple(notes))

    def _has_values(self, column: str) -> bool:
        row = self._connection.execute(f"SELECT count({quote_identifier(column)}) FROM {_RAW}").fetchone()
        return bool(row and row[0])

    def _read_cells(self) -> None:
        """Make the table of the texts of all cells."""
        first_column, first_row, last_column, last_row = self._bounds
        letters = [name_column_letters(number) for number in range(first_column, last_column + 1)]
        self._connection.execute(
            f"CREATE OR REPLACE TABLE {_CELLS} AS SELECT {', '.join(map(quote_identifier, letters))} FROM "
            f"read_xlsx({quote_literal(str(self._file))}, sheet = {quote_literal(self._sheet.name)}, "
            f"range = '{letters[0]}{first_row}:{letters[-1]}{last_row}', header = false, stop_at_empty = false, "
            "all_varchar = true)"
        )
        write_out_values(self._connection, _CELLS, self._sheet.cells, first_row=first_row, is_1904=self._sheet.is_1904)

    def _name_columns(self, names: Sequence[str], *, skipped: int) -> None:
        """Make the raw table of the rows after the first ones, with `names` instead of letters."""
        first = self._bounds[0]
        listed = ", ".join(
            f"{quote_identifier(name_column_letters(first + place))} AS {quote_identifier(name)}"
            for place, name in enumerate(names)
        )
        self._connection.execute(
            f"CREATE OR REPLACE TABLE {_RAW} AS SELECT {listed} FROM {_CELLS} WHERE rowid >= {skipped} ORDER BY rowid"
        )
        self._connection.execute(f"DROP TABLE {_CELLS}")


def _is_made_up(name: str) -> bool:
    return re.fullmatch(r"column[0-9]+", name) is not None
