"""The import of the files of a source into one DuckDB file, a table each, with what was assumed as comments."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.errors import DataError
from agent.tools.data_files.csv_import import CsvImporter, escape_glob
from agent.tools.data_files.discovery import TableFiles, find_tables
from agent.tools.data_files.excel_import import import_excel
from agent.tools.data_files.json_import import import_json
from agent.tools.data_files.notes import FileNotes, TableNotes, save_notes
from agent.tools.data_files.read_options import ReadOptions, parse_options
from agent.tools.sql.engines.attachment import quote_identifier, quote_literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_DATABASE = "files.duckdb"


def import_files(
    path: Path,
    folder: Path,
    *,
    options: Mapping[str, Any],
    config: dict[str, str | bool | int | float | list[str]],
    load_extension: Callable[["DuckDBPyConnection", str], None],
) -> Path:
    """Import the data files at `path` into a DuckDB file in `folder`, unless they are there already, and return it.

    `options` are those of `ReadOptions`, by file name under `files` for one file only; `config` is the engine's, and
    `load_extension` gives it one that it lacks. Raises `DataError` that names the file, line and column.
    """
    import duckdb  # noqa: PLC0415 - slow to import

    imported = folder / _DATABASE
    if imported.exists():
        return imported
    found = find_tables(path)
    unfinished = folder / f"importing-{os.getpid()}.duckdb"
    notes: list[TableNotes] = []
    others = list(found.notes)
    with duckdb.connect(os.fspath(unfinished), config=config) as connection:
        connection.execute("SET enable_progress_bar = false" if _has_progress_bar(connection) else "SELECT 1")
        if any(table.format == "excel" for table in found.tables):
            load_extension(connection, "excel")
        for table in found.tables:
            try:
                made = _import_table(connection, table, folder=folder, options=options)
            except DataError as error:
                # The good tables of a folder are of use without the bad one.
                if len(found.tables) == 1:
                    raise
                others.append(f"{table.name!r} is left out. {error}")
                continue
            for each in made:
                _add_comments(connection, each)
            notes += made
    if not notes:
        raise DataError(others[-1] if others else f"There is no table in {path.name!r}.")
    save_notes(FileNotes(tuple(notes), tuple(others)), folder)
    # Renamed when it is whole: a process that is started later takes what is there.
    return unfinished.replace(imported)


def _has_progress_bar(connection: "DuckDBPyConnection") -> bool:
    return connection.execute("SELECT current_setting('enable_progress_bar')").fetchone() == (True,)


def _import_table(
    connection: "DuckDBPyConnection", table: TableFiles, *, folder: Path, options: Mapping[str, Any]
) -> Sequence[TableNotes]:
    import duckdb  # noqa: PLC0415 - slow to import

    chosen = _choose_options(table, options)
    try:
        match table.format:
            case "parquet":
                return [_import_parquet(connection, table)]
            case "json":
                return [import_json(connection, table, folder=folder, options=chosen)]
            case "excel":
                return import_excel(connection, table, options=chosen)
            case _:
                return [CsvImporter(connection, folder).import_table(table.name, table.parts, options=chosen)]
    except duckdb.Error as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise DataError(
            f"The file {table.parts[0].file.name!r} cannot be opened: {lines[0].rstrip('.') if lines else error}. "
            "Remedy: check that it is what its name says."
        ) from None


def _choose_options(table: TableFiles, options: Mapping[str, Any]) -> ReadOptions:
    """Return the options for a table: what is said of its file, then what is said of all."""
    general = {name: value for name, value in options.items() if name != "files"}
    own = options.get("files", {}).get(table.parts[0].file.name, {})
    return parse_options({**general, **own}, subject=f"the file {table.parts[0].file.name!r}")


def _import_parquet(connection: "DuckDBPyConnection", table: TableFiles) -> TableNotes:
    paths = ", ".join(quote_literal(escape_glob(part.file)) for part in table.parts)
    keys = list(dict.fromkeys(key for part in table.parts for key, _ in part.values))
    texts = [
        key
        for key in keys
        if not _are_numbers(value for part in table.parts for column, value in part.values if column == key)
    ]
    types = ", ".join(f"{quote_literal(key)}: VARCHAR" for key in texts)
    hive = (
        f", hive_partitioning = true{f', hive_types = {{{types}}}' if types else ''}"
        if keys
        else ", hive_partitioning = false"
    )
    read = f"read_parquet([{paths}], union_by_name = true{hive})"
    connection.execute(f"CREATE TABLE {quote_identifier(table.name)} AS SELECT * FROM {read}")
    file = table.parts[0].file.name if len(table.parts) == 1 else f"{len(table.parts)} files of {table.name}"
    said = f", partitioned by {', '.join(keys)}" if keys else ""
    return TableNotes(table.name, f"{file}: Parquet{said}.")


def _are_numbers(values: Iterable[str | None]) -> bool:
    """Whether the values of a partition are numbers that lose nothing as such: no leading zero."""
    given = [value for value in values if value is not None]
    return bool(given) and all(value.isascii() and value.isdigit() and str(int(value)) == value for value in given)


def _add_comments(connection: "DuckDBPyConnection", notes: TableNotes) -> None:
    table = quote_identifier(notes.table)
    connection.execute(f"COMMENT ON TABLE {table} IS {quote_literal(notes.reading)}")
    for column, note in notes.columns:
        connection.execute(f"COMMENT ON COLUMN {table}.{quote_identifier(column)} IS {quote_literal(note)}")
