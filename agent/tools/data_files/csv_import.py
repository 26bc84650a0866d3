"""The import of CSV files: read as text in full, then given the types that every value fits."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.errors import DataError
from agent.tools.data_files.column_types import ColumnReading, TypeInference
from agent.tools.data_files.csv_dialect import Dialect, detect_dialect
from agent.tools.data_files.notes import TableNotes, describe_totals
from agent.tools.data_files.read_options import ReadOptions
from agent.tools.data_files.text_encoding import (
    TextEncoding,
    detect_encoding,
    open_bytes,
    read_sample,
    require_text,
    write_as_utf8,
)
from agent.tools.sql.engines.attachment import quote_identifier, quote_literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_SAMPLE_BYTES: Final = 2**20
#: Bytes of a line, if one has more than the 2 MB that the engine takes unless it is told otherwise.
_MAX_LINE_BYTES: Final = 2**26
# Without a size of its own a buffer has room for 16 such lines.
_LONG_LINES: Final = f"max_line_size = {_MAX_LINE_BYTES}, buffer_size = {2 * _MAX_LINE_BYTES}, "
_LONG_LINE: Final = "LINE SIZE OVER MAXIMUM"
_REJECTS, _SCANS = "planwave_rejects", "planwave_scans"
_RAGGED: Final = frozenset({"TOO MANY COLUMNS", "MISSING COLUMNS"})
_DELIMITER_WORDS: Final[Mapping[str, str]] = {
    ",": "fields separated by commas",
    ";": "fields separated by semicolons",
    "\t": "fields separated by tabs",
    "|": "fields separated by |",
    "\x1f": "one column",
    "\x1e": "one column",
}


@dataclass(frozen=True, slots=True)
class TablePart:
    """A file with rows of a table; `values` are those of its hive partition, by column."""

    file: Path
    values: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class _ReadPart:
    """A part that was read."""

    part: TablePart
    #: The file as UTF-8, which may be a copy.
    text: Path
    dialect: Dialect
    encoding: TextEncoding
    rows: int
    notes: tuple[str, ...] = ()


def escape_glob(path: Path) -> str:
    """Return a path as the engine takes it, with no letter that stands for others."""
    return "".join(f"[{letter}]" if letter in "[*?" else letter for letter in os.fspath(path))


class CsvImporter:
    """Imports CSV files into tables on `connection`; copies of files go to `folder`."""

    def __init__(self, connection: "DuckDBPyConnection", folder: Path) -> None:
        self._connection = connection
        self._folder = folder
        self._numbers = count()

    def import_table(self, name: str, parts: Sequence[TablePart], *, options: ReadOptions) -> TableNotes:
        """Make the table `name` of the rows of `parts`. Raises `DataError` that names the file, line and column."""
        read: list[_ReadPart] = []
        raws: list[str] = []
        try:
            for part in parts:
                raw = f"planwave_raw_{next(self._numbers)}"
                found = self._read_part(part, raw, options=options)
                if found is not None:
                    read.append(found)
                    raws.append(raw)
            if not read:
                raise DataError(f"The file {parts[0].file.name!r} is empty.")
            table = self._unite(raws)
            return self._make_table(name, table, read, options=options)
        finally:
            for found in read:
                if found.text != found.part.file:
                    found.text.unlink(missing_ok=True)

    def _read_part(self, part: TablePart, raw: str, *, options: ReadOptions) -> _ReadPart | None:
        require_text(part.file)
        encoding = detect_encoding(part.file, given=options.encoding)
        skips_bad_bytes = encoding.is_utf8 and options.errors == "skip"
        text = part.file
        if not (encoding.is_utf8 and (options.encoding is None or skips_bad_bytes)):
            text = write_as_utf8(part.file, self._name_copy(), encoding=encoding)
        sample, is_whole = read_sample(text, size=_SAMPLE_BYTES)
        dialect = detect_dialect(sample, is_whole=is_whole, options=options)
        if not dialect.names:
            return None
        import duckdb  # noqa: PLC0415 - slow to import

        found = _ReadPart(part, text, dialect, encoding, 0)
        try:
            found = self._load(found, raw, options=options)
        except duckdb.Error as error:
            if "strict" not in str(error):
                raise DataError(_describe_engine_error(part.file, error)) from None
            # Line ends of several kinds, which the engine does not read as they are.
            even = write_as_utf8(text, self._name_copy(), encoding=TextEncoding("utf-8"), has_mixed_line_ends=True)
            try:
                found = self._load(replace(found, text=even), raw, options=options)
            except duckdb.Error as again:
                raise DataError(_describe_engine_error(part.file, again)) from None
        return found

    def _name_copy(self) -> Path:
        return self._folder / f"copy-{os.getpid()}-{next(self._numbers)}.csv"

    def _load(self, found: _ReadPart, raw: str, *, options: ReadOptions) -> _ReadPart:
        """Read a file into the table `raw`, as texts; ragged lines get empty fields or further columns."""
        names, notes = found.dialect.names, list[str]()
        rejected = self._read_rows(found, raw, names=names, is_padded=False)
        ragged = [each for each in rejected if each.kind in _RAGGED]
        if ragged and options.errors != "skip":
            names = _add_spare_names(names, max(each.fields for each in ragged))
            notes += _describe_ragged(ragged, found.part.file, names=names, width=len(found.dialect.names))
            rejected = self._read_rows(found, raw, names=names, is_padded=True)
        if rejected:
            notes.append(self._describe_rejected(rejected, found.part.file, names=names, options=options))
        notes += self._drop_repeated_headers(raw, found)
        names = self._drop_empty_columns(raw, names, found.dialect)
        if found.part.values:
            for column, value in found.part.values:
                if column.lower() in {name.lower() for name in names}:
                    # The file says it for each row.
                    continue
                literal = "NULL" if value is None else quote_literal(value)
                added = f"{quote_identifier(column)} VARCHAR DEFAULT {literal}"
                self._connection.execute(f"ALTER TABLE {quote_identifier(raw)} ADD COLUMN {added}")
        row = self._connection.execute(f"SELECT count(*) FROM {quote_identifier(raw)}").fetchone()
        return replace(found, rows=row[0] if row else 0, notes=tuple(notes))

    def _read_rows(
        self, found: _ReadPart, raw: str, *, names: Sequence[str], is_padded: bool, has_long_lines: bool = False
    ) -> list["_RejectedLine"]:
        dialect, execute = found.dialect, self._connection.execute
        for table in (_REJECTS, _SCANS):
            execute(f"DROP TABLE IF EXISTS temp.{table}")
        columns = ", ".join(f"{quote_literal(f'c{place}')}: 'VARCHAR'" for place in range(len(names)))
        listed = ", ".join(f"c{place} AS {quote_identifier(name)}" for place, name in enumerate(names))
        execute(
            f"CREATE OR REPLACE TABLE {quote_identifier(raw)} AS SELECT {listed} FROM "
            f"read_csv({quote_literal(escape_glob(found.text))}, auto_detect = false, columns = {{{columns}}}, "
            f"delim = {quote_literal(dialect.delimiter)}, quote = {quote_literal(dialect.quote)}, "
            f"escape = {quote_literal(dialect.escape)}, header = false, skip = {dialect.skip_records}, "
            f"{'null_padding = true, parallel = false, ' if is_padded else ''}"
            f"{_LONG_LINES if has_long_lines else ''}"
            f"store_rejects = true, rejects_table = '{_REJECTS}', rejects_scan = '{_SCANS}')"
        )
        rows = execute(
            f"SELECT line, column_idx, error_type, csv_line, error_message FROM {_REJECTS} ORDER BY line, column_idx"
        ).fetchall()
        if not has_long_lines and any(kind == _LONG_LINE for _, _, kind, *_ in rows):
            return self._read_rows(found, raw, names=names, is_padded=is_padded, has_long_lines=True)
        return [_RejectedLine.create(*row) for row in rows]

    def _describe_rejected(
        self, rejected: Sequence["_RejectedLine"], file: Path, *, names: Sequence[str], options: ReadOptions
    ) -> str:
        """Return that lines were left out, if they may be. Raises `DataError` otherwise."""
        first = rejected[0]
        column = names[first.column - 1] if 0 < first.column <= len(names) else names[-1]
        place = f"line {first.line}, column {column!r}"
        lines = len({each.line for each in rejected})
        if options.errors == "skip":
            said = f"{lines:,} line{'s' * (lines > 1)} that cannot be read left out"
            return f"{file.name}: {said}, the first is {place}."
        raise DataError(
            f"The file {file.name!r} cannot be read at {place}: {first.reason} ({first.text[:80]!r}). Remedy: correct "
            "the line, or write after the file's name ?quote=none if quotes are plain letters, or ?errors=skip to "
            "leave out such lines."
        )

    def _drop_repeated_headers(self, raw: str, found: _ReadPart) -> list[str]:
        """Drop the rows that are the header again, as in files that were joined, and return a sentence if there are."""
        names = found.dialect.names
        if found.dialect.header_line is None or len(names) < 2:
            return []
        repeats = " AND ".join(f"trim({quote_identifier(name)}) = {quote_literal(name)}" for name in names)
        table = quote_identifier(raw)
        row = self._connection.execute(f"SELECT count(*) FROM {table} WHERE {repeats}").fetchone()
        if row is None or not row[0]:
            return []
        self._connection.execute(
            f"CREATE OR REPLACE TABLE {table} AS SELECT * FROM {table} WHERE NOT coalesce({repeats}, false)"
        )
        what = "line repeats the header and is" if row[0] == 1 else "lines repeat the header and are"
        return [f"{found.part.file.name}: {row[0]:,} {what} left out."]

    def _drop_empty_columns(self, raw: str, names: Sequence[str], dialect: Dialect) -> tuple[str, ...]:
        """Drop the columns without a name in the header and without a value: the lines end with a delimiter."""
        unnamed = [name for place, name in enumerate(names) if name == f"column{place}"]
        if not unnamed or len(unnamed) == len(names) or dialect.header_line is None:
            return tuple(names)
        counts = self._connection.execute(
            f"SELECT {', '.join(f'count({quote_identifier(name)})' for name in unnamed)} FROM {quote_identifier(raw)}"
        ).fetchone()
        empty = {name for name, filled in zip(unnamed, counts or (), strict=True) if not filled}
        for name in empty:
            self._connection.execute(f"ALTER TABLE {quote_identifier(raw)} DROP COLUMN {quote_identifier(name)}")
        return tuple(name for name in names if name not in empty)

    def _unite(self, raws: Sequence[str]) -> str:
        if len(raws) == 1:
            return raws[0]
        united = f"planwave_raw_{next(self._numbers)}"
        parts = " UNION ALL BY NAME ".join(f"SELECT * FROM {quote_identifier(raw)}" for raw in raws)
        self._connection.execute(f"CREATE TABLE {united} AS {parts}")
        for raw in raws:
            self._connection.execute(f"DROP TABLE {quote_identifier(raw)}")
        return united

    def _make_table(self, name: str, table: str, read: Sequence[_ReadPart], *, options: ReadOptions) -> TableNotes:
        columns = [row[0] for row in self._connection.execute(f"DESCRIBE {quote_identifier(table)}").fetchall()]
        delimiter = read[0].dialect.delimiter
        inference = TypeInference(
            self._connection, table, options=options, prefers_comma=delimiter == ";", may_have_comma=delimiter != ","
        )
        readings = inference.infer_columns(columns)
        create_typed_table(self._connection, name, table, readings)
        file = read[0].part.file.name if len(read) == 1 else f"{len(read)} files of {name}"
        lines = _find_lines(read, [reading.misfit.row for reading in readings if reading.misfit is not None])
        guesses = [note for part in read for note in part.notes]
        guesses += [guess for part in read for guess in _describe_guesses(part, options=options)]
        more, notes = collect_column_notes(file, readings, find_place=lines.__getitem__)
        guesses += more
        guesses += describe_totals(self._connection, name, file=file)
        return TableNotes(name, f"{file}: {_describe_reading(read[0])}.", tuple(guesses), tuple(notes))


def collect_column_notes(
    file: str, readings: Sequence[ColumnReading], *, find_place: Callable[[int], str]
) -> tuple[list[str], list[tuple[str, str]]]:
    """Return what may be wrong of the columns of a file, and what a reader of each must know.

    `find_place` names the line of a row.
    """
    guesses, notes = list[str](), list[tuple[str, str]]()
    for reading in readings:
        said = list(reading.notes)
        if reading.guess:
            guesses.append(f"{file}, column {reading.name!r}: {reading.guess}.")
            said.append(f"Assumed: {reading.guess}.")
        if misfit := reading.misfit:
            more = f", and so have {misfit.count - 1:,} more" if misfit.count > 1 else ""
            why = f"text, because {find_place(misfit.row)} has {misfit.value!r}, which is no {misfit.kind}{more}"
            remedy = f"?nullstr={misfit.value} after the file's name reads that as no value"
            guesses.append(f"{file}, column {reading.name!r} is {why}; {remedy}.")
            said.append(f"It is {why}.")
        if said:
            notes.append((reading.name, " ".join(said)))
    return guesses, notes


def create_typed_table(
    connection: "DuckDBPyConnection",
    name: str,
    raw: str,
    readings: Sequence[ColumnReading],
    *,
    without_empty_rows: bool = False,
) -> None:
    """Make the table `name` of the texts in `raw`, which is dropped."""
    listed = ", ".join(f"{reading.expression} AS {quote_identifier(reading.name)}" for reading in readings)
    filled = ", ".join(quote_identifier(reading.name) for reading in readings)
    where = f" WHERE coalesce({filled}) IS NOT NULL" if without_empty_rows else ""
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"CREATE TABLE {quote_identifier(name)} AS SELECT {listed} FROM {quote_identifier(raw)}{where}")
    connection.execute(f"DROP TABLE {quote_identifier(raw)}")


@dataclass(frozen=True, slots=True)
class _RejectedLine:
    """A line that does not fit, as the engine reports it."""

    line: int
    column: int
    kind: str
    text: str
    reason: str
    #: The fields that it has, if their number is wrong.
    fields: int

    @classmethod
    def create(cls, line: int, column: int | None, kind: str, text: str | None, message: str | None) -> "_RejectedLine":
        fields = (message or "").rpartition("Found: ")[2].split("\n")[0].strip()
        reason = "the quotes are wrong" if kind == "UNQUOTED VALUE" else kind.lower().replace("_", " ")
        place = int(column or 0)
        return cls(int(line), place, kind, text or "", reason, int(fields) if fields.isdigit() else place)


def _add_spare_names(names: Sequence[str], width: int) -> tuple[str, ...]:
    taken = {name.lower() for name in names}
    more: list[str] = []
    for place in range(len(names), width):
        name = f"column{place}"
        while name.lower() in taken:
            name += "_"
        taken.add(name.lower())
        more.append(name)
    return (*names, *more)


def _describe_ragged(ragged: Sequence[_RejectedLine], file: Path, *, names: Sequence[str], width: int) -> Iterator[str]:
    many = {each.line: each for each in ragged if each.kind == "TOO MANY COLUMNS"}
    few = {each.line: each for each in reversed(ragged) if each.kind == "MISSING COLUMNS"}
    if many:
        line, first = next(iter(many.items()))
        yield (
            f"{file.name}: {_count(many, 'line has', 'lines have')} more than {width} fields, first line {line} "
            f"({first.text[:60]!r}); what is further is in {', '.join(map(repr, names[width:]))}. A delimiter in a "
            "value that is not quoted shifts the fields after it."
        )
    if few:
        line = min(few)
        yield (
            f"{file.name}: {_count(few, 'line has', 'lines have')} fewer than {width} fields, first line {line} "
            f"({few[line].text[:60]!r}); there is no value in column "
            f"{names[min(few[line].column, width - 1)]!r} and after it."
        )


def _count(things: Sized, one: str, many: str) -> str:
    return f"{len(things):,} {one if len(things) == 1 else many}"


def _describe_guesses(part: _ReadPart, *, options: ReadOptions) -> Iterator[str]:
    file = part.part.file.name
    if part.encoding.doubt:
        yield (
            f"{file} is read as {part.encoding.name}, which is a guess: {part.encoding.doubt}. "
            f"?encoding={part.encoding.name} after the file's name says it."
        )
    if part.dialect.preamble and options.skip is None:
        lines = part.dialect.preamble
        names = ", ".join(part.dialect.names[:4])
        yield (
            f"{file}: {_count(range(lines), 'line', 'lines')} before the table {'are' if lines > 1 else 'is'} skipped; "
            f"line {part.dialect.preamble + part.dialect.has_separator_line + 1} is the first of it ({names})."
        )
    if part.dialect.lacks_first:
        yield f"{file}: the header has one name less than the lines have fields, so the first column is 'column0'."
    if part.dialect.header_line is None and options.header is None:
        yield f"{file}: the first line is read as data, since it names no columns; ?header=true says that it does."


def _describe_reading(part: _ReadPart) -> str:
    dialect = part.dialect
    words = [
        _DELIMITER_WORDS.get(dialect.delimiter, f"fields separated by {dialect.delimiter!r}"),
        "no header" if dialect.header_line is None else f"header in line {dialect.header_line}",
        {"utf-8-sig": "UTF-8", "utf-8": "UTF-8"}.get(part.encoding.name, part.encoding.name),
    ]
    if dialect.preamble:
        words.append(f"{_count(range(dialect.preamble), 'line', 'lines')} before it skipped")
    if dialect.is_header_guessed:
        words.append("all of it text, so that the header is a guess")
    return ", ".join(words)


def _find_lines(read: Sequence[_ReadPart], rows: Sequence[int]) -> dict[int, str]:
    """Return the file and line of each row, counted from 0 over all parts."""
    found: dict[int, str] = {}
    start = 0
    for part in read:
        wanted = sorted({row - start for row in rows if start <= row < start + part.rows})
        if wanted:
            file = f" of {part.part.file.name}" if len(read) > 1 else ""
            lines = _find_record_lines(part, wanted)
            found.update({row + start: f"line {line}{file}" for row, line in lines.items()})
        start += part.rows
    return found


def _find_record_lines(part: _ReadPart, wanted: Sequence[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    dialect, last = part.dialect, wanted[-1]
    with open_bytes(part.text) as file:
        for _ in range(dialect.skip):
            file.readline()
        reader = dialect.read_records(line.decode("utf-8", "replace") for line in file)
        row, line = 0, dialect.skip + 1
        for cells in reader:
            is_header = len(cells) > 1 and tuple(cell.strip() for cell in cells) == dialect.names
            if (cells or len(dialect.names) == 1) and not is_header:
                if row in wanted:
                    found[row] = line
                if row >= last:
                    break
                row += 1
            line = dialect.skip + reader.line_num + 1
    return found | {row: row + dialect.skip + 1 for row in wanted if row not in found}


def _describe_engine_error(file: Path, error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = " ".join(lines[:3]).partition("Possible")[0].strip().rstrip(".*: ")
    return f"The file {file.name!r} cannot be read: {reason}. Remedy: correct it, or give options after its name."
