"""Cells of Excel whose format says what their number is: each is read for itself, and what a table lacks is said."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest
import xlsxwriter

from agent.tools.sql.data_source import open_data_source

DATE, CLOCK, DURATION, CODE, MONTH = "dd.mm.yyyy", "hh:mm", "[h]:mm", "00000", "[$-407]mmm yy"
#: The cells of one column below its header, each a value or a value with its format, and what is read.
COLUMNS: dict[str, tuple[list[object], list[object]]] = {
    "a number below a date": ([(45293, DATE), 5, 7.5], ["2024-01-02", "5", "7.5"]),
    "a date below a number": ([5, (45293, DATE)], ["5", "2024-01-02"]),
    "a date below a text": (["unknown", (45293, DATE)], ["unknown", "2024-01-02"]),
    "dates, some of them typed in as text": (["2024-01-05", (45293, DATE)], [dt.date(2024, 1, 5), dt.date(2024, 1, 2)]),
    "dates with a time in some": (
        [(45293, DATE), (45293.4375, "yyyy-mm-dd hh:mm")],
        [dt.datetime.fromisoformat("2024-01-02T00:00:00"), dt.datetime.fromisoformat("2024-01-02T10:30:00")],
    ),
    "months": ([(45292, MONTH), (45323, MONTH)], [dt.date(2024, 1, 1), dt.date(2024, 2, 1)]),
    "the first days of 1900": (
        [(1, DATE), (59, DATE), (61, DATE)],
        [dt.date(1900, 1, 1), dt.date(1900, 2, 28), dt.date(1900, 3, 1)],
    ),
    "times of day": ([(0.5, CLOCK), (0.75, CLOCK)], [dt.time(12), dt.time(18)]),
    "durations of more than a day": ([(1.25, DURATION), (0.5, DURATION)], ["30:00:00", "12:00:00"]),
    "codes with leading zeros": ([(1067, CODE), (10115, CODE)], ["01067", "10115"]),
    "amounts": ([(1234.5, '#,##0.00 "days"'), (-2, "0.00;[Red]-0.00")], [1234.5, -2.0]),
    "truth values among texts": ([True, "x"], ["true", "x"]),
}


@pytest.fixture
def write_book(tmp_path: Path) -> Callable[..., Path]:
    """Write columns, each with a header, into one sheet."""

    def write(*columns: list[object], header: tuple[object, ...] = (), **options: object) -> Path:
        book = xlsxwriter.Workbook(str(tmp_path / "book.xlsx"), options)
        sheet = book.add_worksheet()
        for column, cells in enumerate(columns):
            for row, cell in enumerate([header[column] if header else f"c{column}", *cells]):
                value, form = cell if isinstance(cell, tuple) else (cell, "General")
                write = sheet.write_string if isinstance(value, str) else sheet.write
                write(row, column, value, book.add_format({"num_format": form}))
        book.close()
        return tmp_path / "book.xlsx"

    return write


def read(file: Path, sql: str) -> tuple[list[tuple[object, ...]], tuple[str, ...]]:
    source = open_data_source(file)
    with source.get_connection() as connection:
        found = connection.execute(sql).fetchall()
    notes = source.notes
    source.close()
    return found, tuple(notes.guesses)


@pytest.mark.parametrize("case", COLUMNS)
def test_a_cell_is_what_it_is_shown_as(write_book, case):
    cells, expected = COLUMNS[case]
    found, _ = read(write_book(cells, ["x"] * len(cells)), "SELECT c0 FROM book")
    assert [value for (value,) in found] == expected


def test_days_of_an_old_mac_count_from_1904(write_book):
    file = write_book([(dt.datetime.fromisoformat("2024-01-01T00:00:00"), DATE)], date_1904=True)
    assert read(file, "SELECT c0 FROM book")[0] == [(dt.date(2024, 1, 1),)]


def test_months_that_name_columns_are_read_as_dates(write_book):
    header = ("region", (45292, MONTH), (45323, MONTH))
    file = write_book(["N", "S"], [1, 2], [3, 4], header=header)
    found, _ = read(file, 'SELECT region, "2024-01-01", "2024-02-01" FROM book')
    assert found == [("N", 1, 3), ("S", 2, 4)]


def test_merged_cells_and_formulas_without_a_value_are_said(tmp_path):
    book = xlsxwriter.Workbook(str(tmp_path / "book.xlsx"))
    sheet = book.add_worksheet("S")
    sheet.write_row(0, 0, ["region", "amount", "doubled"])
    sheet.merge_range(1, 0, 2, 0, "North")
    for row in (1, 2, 3):
        sheet.write(row, 1, row)
        sheet.write_formula(row, 2, f"=B{row + 1}*2", None, "" if row == 3 else row * 2)
    sheet.write(3, 0, "South")
    book.close()
    found, guesses = read(tmp_path / "book.xlsx", "SELECT region, amount, doubled FROM book ORDER BY amount")
    assert found == [("North", 1, 2), (None, 2, 4), ("South", 3, None)]
    assert (
        "book.xlsx, sheet 'S': 1 merged cell spans several rows in 'region', first A2:A3; only the first row of each "
        "has the value."
    ) in guesses
    assert any("1 formula has no stored value, first C4" in guess for guess in guesses)
