"""The import of JSON files, whole documents or a document a line; no whole number of them is rounded."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.errors import DataError
from agent.tools.data_files.column_types import ColumnReading, TypeInference
from agent.tools.data_files.csv_import import collect_column_notes, create_typed_table, escape_glob
from agent.tools.data_files.discovery import TableFiles
from agent.tools.data_files.notes import TableNotes
from agent.tools.data_files.read_options import ReadOptions
from agent.tools.data_files.text_encoding import detect_encoding, write_as_utf8
from agent.tools.sql.engines.attachment import quote_identifier, quote_literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_RAW: Final = "planwave_raw_json"
#: Types that the engine infers -> how their values are read. An id may have more digits than a DOUBLE; of dates the
#: engine infers forms that it cannot read, takes 24-01-05 for one of the year 24, and drops the zone of a time.
_READ_AS: Final = {
    "DOUBLE": "JSON",
    **dict.fromkeys(("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIME"), "VARCHAR"),
}


def import_json(
    connection: "DuckDBPyConnection", table: TableFiles, *, folder: Path, options: ReadOptions
) -> TableNotes:
    """Make a table of the objects in JSON files; copies of files go to `folder`. Raises `DataError`."""
    guesses, notes = list[str](), list[tuple[str, str]]()
    copies: list[Path] = []
    files = [part.file for part in table.parts]
    try:
        for place, file in enumerate(files):
            encoding = detect_encoding(file, given=options.encoding)
            if encoding.name != "utf-8":
                target = folder / f"copy-{os.getpid()}-{place}.json"
                copies.append(target)
                files[place] = write_as_utf8(file, target, encoding=encoding)
            if encoding.doubt:
                guesses.append(f"{file.name} is read as {encoding.name}, which is a guess: {encoding.doubt}.")
        guesses += _make_table(connection, table, files, notes)
    finally:
        for copy in copies:
            copy.unlink(missing_ok=True)
    named = table.parts[0].file.name if len(table.parts) == 1 else f"{len(table.parts)} files of {table.name}"
    return TableNotes(table.name, f"{named}: JSON.", tuple(guesses), tuple(notes))


def _make_table(
    connection: "DuckDBPyConnection", table: TableFiles, files: Sequence[Path], notes: list[tuple[str, str]]
) -> Iterator[str]:
    """Make the table, and yield what of it may be taken for something else; `notes` gets those of its columns."""
    name = table.parts[0].file.name
    paths = ", ".join(quote_literal(escape_glob(file)) for file in files)
    reading = f"[{paths}], sample_size = -1, union_by_name = true, hive_partitioning = false"
    columns = _describe_columns(connection, reading)
    if list(columns) == ["json"] and columns["json"].startswith("MAP"):
        # Objects that have few keys in common are taken for one value of many keys.
        reading += ", map_inference_threshold = -1"
        columns = _describe_columns(connection, reading)
    if list(columns) == ["json"]:
        raise DataError(
            f"The file {name!r} holds no objects, so it has no columns; a list of objects or an object a line is a "
            "table."
        )
    clashing = _find_clashing(connection, columns, paths)
    if clashing:
        listed = ", ".join(f"{column!r} for {key!r}" for column, key in clashing.items())
        yield f"{name}: keys that differ by case alone are columns with a number ({listed})."
    types = columns if clashing else {column: _READ_AS.get(kind, kind) for column, kind in columns.items()}
    schema = ", ".join(f"{quote_literal(column)}: {quote_literal(kind)}" for column, kind in types.items())
    listed = ", ".join(
        f"({quote_identifier(column)} ->> '$') AS {quote_identifier(column)}"
        if kind == "JSON"
        else quote_identifier(column)
        for column, kind in types.items()
    )
    # By the names of columns the second of two keys that differ by case would not be found.
    source = f"read_json({reading}{'' if clashing else f', columns = {{{schema}}}'})"
    connection.execute(f"CREATE OR REPLACE TABLE {_RAW} AS SELECT {listed} FROM {source}")
    numbers = [column for column, kind in types.items() if kind == "JSON" and columns[column] == "DOUBLE"]
    times = [column for column, kind in types.items() if kind == "VARCHAR" and columns[column] != "VARCHAR"]
    inference = TypeInference(connection, _RAW, options=ReadOptions(decimal="."), prefers_comma=False)
    found = {each.name: _choose_number(each) for each in (inference.infer_columns(numbers) if numbers else [])}
    found |= {each.name: each for each in (inference.infer_columns(times) if times else [])}
    readings = [found.get(each, inference.keep_column(each)) for each in columns]
    create_typed_table(connection, table.name, _RAW, readings)
    guesses, said = collect_column_notes(name, readings, find_place=lambda row: f"object {row + 1}")
    notes += said
    yield from guesses
    lists = [column for column, kind in columns.items() if kind.startswith("STRUCT(") and kind.endswith("[]")]
    if len(lists) == 1:
        column = quote_identifier(lists[0])
        row = connection.execute(f"SELECT count(*), max(len({column})) FROM {quote_identifier(table.name)}").fetchone()
        if row is not None and row[0] == 1 and row[1]:
            yield (
                f"{name} is one object, so one row; its {lists[0]!r} is a list of {row[1]:,} objects, which "
                f"unnest({column}) makes rows."
            )


def _describe_columns(connection: "DuckDBPyConnection", reading: str) -> dict[str, str]:
    described = connection.execute(f"DESCRIBE SELECT * FROM read_json({reading})").fetchall()
    return {name: kind for name, kind, *_ in described}


def _find_clashing(connection: "DuckDBPyConnection", columns: Iterable[str], paths: str) -> dict[str, str]:
    """Return the columns that the engine has renamed, with their keys: they differ from another's by case alone."""
    names = {column.lower(): column for column in columns}
    numbered = {
        column: found[1]
        for column in names.values()
        if (found := re.fullmatch(r"(.+)_[0-9]+", column)) and found[1].lower() in names
    }
    if not numbered:
        return {}
    held = ", ".join(
        f"count(*) FILTER (list_contains(json_keys(json), {quote_literal(column)}))" for column in numbered
    )
    counts = connection.execute(f"SELECT {held} FROM read_json_objects([{paths}])").fetchone() or ()
    return {column: key for (column, key), count in zip(numbered.items(), counts, strict=True) if not count}


def _choose_number(reading: ColumnReading) -> ColumnReading:
    """Return how a column of JSON numbers is read; those that are written otherwise than in CSV, such as 1e5, too."""
    column = quote_identifier(reading.name)
    return ColumnReading(reading.name, f"CAST({column} AS DOUBLE)") if reading.expression == column else reading
