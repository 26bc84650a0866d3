"""Rows as the tables that other programs open: CSV and TSV, Excel, Parquet, Markdown."""

import csv
import io
import json
import math
import re
import tempfile
from collections.abc import Sequence
from contextlib import closing
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import JsonValue

from agent.errors import ToolFailure
from agent.tools.charts.data.columns import JsonRow, column_names

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from xlsxwriter.format import Format
    from xlsxwriter.worksheet import Worksheet

#: A number as text: signed, with separators of thousands and decimals, a currency, a percent sign. Nothing in it is a
#: formula, since it has one run of digits and separators.
_NUMBER: Final = re.compile(r"[+-]?[$€£¥]?\d[\d.,'\u00a0\u202f]*([eE][+-]?\d+)?\s?[%€]?")
#: What spreadsheets begin a formula with, in their full-width forms too.
_FORMULA_STARTS: Final = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_DELIMITERS: Final = ",;\t|"
_ISO_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_ISO_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?")
#: Excel counts days from 1900, and has a day too many in February of that year.
_FIRST_EXCEL_DAY: Final = date(1900, 3, 1)
#: Excel keeps 15 digits of a number.
_MAX_EXCEL_INTEGER: Final = 10**15
_MAX_EXCEL_ROWS, _MAX_EXCEL_COLUMNS, _MAX_EXCEL_TEXT = 1_048_576, 16_384, 32_767


def rows_to_csv(rows: Sequence[JsonRow], *, delimiter: str = ",") -> bytes:
    """Return rows as CSV (RFC 4180) in UTF-8; with a tab as `delimiter` it is TSV.

    Spreadsheets evaluate text that begins with =, +, -, @, tab or a line break as a formula, so such text gets an
    apostrophe in front (OWASP, "CSV Injection"). Numbers, also as text, are unchanged.
    """
    names = column_names(rows)
    table = [names, *([format_cell(row.get(name)) for name in names] for row in rows)] if names else [[] for _ in rows]
    return _write_csv(table, delimiter=delimiter)


def _write_csv(table: Sequence[Sequence[str]], *, delimiter: str) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter).writerows([[_escape_formula(cell) for cell in row] for row in table])
    return buffer.getvalue().encode("utf-8", errors="replace")


def escape_csv_text(text: str, *, delimiter: str | None = None) -> bytes:
    """Return a text that is CSV already, as it is unless a cell of it is a formula; None: find the delimiter."""
    found = delimiter or max(_DELIMITERS, key=text.partition("\n")[0].count)
    try:
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=found, strict=True))
    except csv.Error:
        # Not CSV by the rules; a spreadsheet splits it at some delimiter all the same.
        table = [re.split(f"[{re.escape(_DELIMITERS)}]", line) for line in text.splitlines()]
    if all(_escape_formula(cell) == cell for row in table for cell in row):
        return text.encode("utf-8", errors="replace")
    return _write_csv(table, delimiter=found)


def rows_to_markdown(rows: Sequence[JsonRow]) -> bytes:
    """Return rows as a Markdown table, with numbers aligned right."""
    names = column_names(rows)
    if not names:
        return b"No rows.\n"
    lines = [
        [_escape_markdown(name) for name in names],
        ["---:" if _is_numeric(rows, name=name) else "---" for name in names],
        *([_escape_markdown(format_cell(row.get(name))) for name in names] for row in rows),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines).encode("utf-8", errors="replace")


def rows_to_xlsx(rows: Sequence[JsonRow], *, notes: Sequence[str] = (), path: str) -> bytes:
    """Return rows as an Excel workbook; the `notes` are on a sheet of their own.

    Text is text, whatever it begins with. A column of ISO dates has dates; whole numbers of more than 15 digits, which
    Excel rounds, are text. The same rows give the same bytes. Raises `ToolFailure` for what a sheet cannot hold.
    """
    import xlsxwriter  # noqa: PLC0415 - slow to import, and part of an extra

    names = column_names(rows)
    if len(rows) >= _MAX_EXCEL_ROWS or len(names) > _MAX_EXCEL_COLUMNS:
        raise ToolFailure(
            f"{path!r} would have {len(rows):,} rows and {len(names):,} columns, and a sheet holds "
            f"{_MAX_EXCEL_ROWS - 1:,} and {_MAX_EXCEL_COLUMNS:,}; save fewer, or as '.csv' or '.parquet'."
        )
    buffer = io.BytesIO()
    book = xlsxwriter.Workbook(buffer, {"in_memory": True})
    # The time of writing would make the same rows another file.
    book.set_properties({"created": datetime(2000, 1, 1)})  # noqa: DTZ001 - a time without a zone, as Excel has it
    bold = book.add_format({"bold": True})
    formats = {date: book.add_format({"num_format": "yyyy-mm-dd"})}
    formats[datetime] = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
    sheet = book.add_worksheet("Data")
    for column, name in enumerate(names):
        sheet.write_string(0, column, _limit_excel_text(name, path), bold)
        cells = _to_excel_cells([row.get(name) for row in rows])
        for number, cell in enumerate(cells, start=1):
            _write_excel_cell(sheet, number, column, cell, formats=formats, path=path)
    if names:
        sheet.freeze_panes(1, 0)
        sheet.autofit()
    if notes:
        remarks = book.add_worksheet("Notes")
        for number, note in enumerate(notes):
            remarks.write_string(number, 0, _limit_excel_text(note, path))
    book.close()
    return buffer.getvalue()


def _to_excel_cells(values: list[JsonValue]) -> Sequence[JsonValue | date]:
    """Return the values of a column, as dates or times if all are ISO dates or times that Excel has."""
    known = [value for value in values if value is not None]
    for pattern, parse in ((_ISO_DATE, date.fromisoformat), (_ISO_TIME, datetime.fromisoformat)):
        if known and all(isinstance(value, str) and pattern.fullmatch(value) for value in known):
            try:
                parsed = [None if value is None else parse(str(value)) for value in values]
            except ValueError:
                return values
            days = [each.date() if isinstance(each, datetime) else each for each in parsed if each is not None]
            return parsed if min(days) >= _FIRST_EXCEL_DAY else values
    return values


def _write_excel_cell(
    sheet: "Worksheet",
    row: int,
    column: int,
    cell: JsonValue | date,
    *,
    formats: "dict[type[date], Format]",
    path: str,
) -> None:
    match cell:
        case None:
            pass
        case bool():
            sheet.write_boolean(row, column, cell)
        case int() if abs(cell) < _MAX_EXCEL_INTEGER:
            sheet.write_number(row, column, cell)
        case float() if math.isfinite(cell):
            sheet.write_number(row, column, cell)
        case date():
            sheet.write_datetime(row, column, cell, formats[type(cell)])
        case _:
            sheet.write_string(row, column, _limit_excel_text(format_cell(cell), path))


def _limit_excel_text(text: str, path: str) -> str:
    if len(text) > _MAX_EXCEL_TEXT:
        raise ToolFailure(
            f"A cell of {path!r} would have {len(text):,} characters, and Excel holds {_MAX_EXCEL_TEXT:,}; shorten it, "
            "or save as '.csv' or '.parquet'."
        )
    # Half of a surrogate pair is no text that a file can have.
    return text.encode("utf-8", errors="replace").decode()


def rows_to_parquet(rows: Sequence[JsonRow], *, columns: JsonValue, path: str) -> bytes:
    """Return rows as a Parquet file; `columns` are the columns of the query that they are from, null if not known.

    The types are those of the query, or else inferred. The same rows give the same bytes. Raises `ToolFailure` for
    rows without columns.
    """
    from agent.tools.sql.data_source import EngineLimits, connect_in_memory  # noqa: PLC0415 - part of an extra
    from agent.tools.sql.engines.attachment import quote_identifier  # noqa: PLC0415 - as above
    from agent.tools.sql.row_tables import create_row_tables  # noqa: PLC0415 - as above

    if not column_names(rows) and not columns:
        raise ToolFailure(f"{path!r} would have no columns, which a Parquet file needs; save as '.json' or '.csv'.")
    table: dict[str, JsonValue] = {"rows": [dict(row) for row in rows], "columns": columns}
    with (
        tempfile.TemporaryDirectory(prefix="planwave-") as folder,
        closing(connect_in_memory(EngineLimits())) as engine,
    ):
        file = Path(folder) / "rows.parquet"
        # Several threads would write groups of rows in any order.
        engine.execute("SET threads = 1")
        create_row_tables({"rows": table}, connection=engine)
        made = engine.table("rows")
        exact = ", ".join(
            f"{_keep_digits(engine, quote_identifier(name), str(kind))} AS {quote_identifier(name)}"
            for name, kind in zip(made.columns, made.types, strict=True)
        )
        made.project(exact).write_parquet(str(file))
        return file.read_bytes()


def _keep_digits(engine: "DuckDBPyConnection", column: str, kind: str) -> str:
    """Return SQL for a column of `rows` in a type that Parquet has: of an integer of 128 bits DuckDB writes a float."""
    if kind not in {"HUGEINT", "UHUGEINT"}:
        return column
    for exact in ("BIGINT", "DECIMAL(38, 0)"):
        fits = f"count(TRY_CAST({column} AS {exact})) = count({column})"
        row = engine.table("rows").aggregate(fits).fetchone()
        if row is not None and row[0]:
            return f"CAST({column} AS {exact})"
    return f"CAST({column} AS VARCHAR)"


def format_cell(value: JsonValue) -> str:
    """Return a value as the text of a cell: texts as they are, null as nothing, lists and objects as JSON."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case _:
            return json.dumps(value, ensure_ascii=False)


def _escape_formula(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(text) else text


def _escape_markdown(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split())


def _is_numeric(rows: Sequence[JsonRow], *, name: str) -> bool:
    known = [value for row in rows if (value := row.get(name)) is not None]
    return bool(known) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)
