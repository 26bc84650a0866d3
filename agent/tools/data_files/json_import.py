"""The import of JSON files, whole documents or a document a line; no number of them is rounded."""

from typing import TYPE_CHECKING, Final

from agent.errors import DataError
from agent.tools.data_files.column_types import ColumnReading, TypeInference
from agent.tools.data_files.csv_import import create_typed_table, escape_glob
from agent.tools.data_files.discovery import TableFiles
from agent.tools.data_files.notes import TableNotes
from agent.tools.data_files.read_options import ReadOptions
from agent.tools.data_files.text_encoding import detect_encoding
from agent.tools.sql.engines.attachment import quote_identifier, quote_literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_RAW: Final = "planwave_raw_json"


def import_json(connection: "DuckDBPyConnection", table: TableFiles, *, options: ReadOptions) -> TableNotes:
    """Make a table of the objects in JSON files. Raises `DataError`."""
    for part in table.parts:
        encoding = detect_encoding(part.file, given=options.encoding)
        if not encoding.is_utf8:
            raise DataError(f"The file {part.file.name!r} is {encoding.name}, but JSON is UTF-8; save it as UTF-8.")
    paths = ", ".join(quote_literal(escape_glob(part.file)) for part in table.parts)
    reading = f"[{paths}], sample_size = -1, union_by_name = true, hive_partitioning = false"
    described = connection.execute(f"DESCRIBE SELECT * FROM read_json({reading})").fetchall()
    columns = {name: kind for name, kind, *_ in described}
    if list(columns) == ["json"]:
        raise DataError(
            f"The file {table.parts[0].file.name!r} holds no objects, so it has no columns; a list of objects or an "
            "object a line is a table."
        )
    # A DOUBLE may be an id with more digits than it can keep, so the digits are read as they are.
    types = {name: "JSON" if kind == "DOUBLE" else kind for name, kind in columns.items()}
    schema = ", ".join(f"{quote_literal(name)}: {quote_literal(kind)}" for name, kind in types.items())
    listed = ", ".join(
        f"({quote_identifier(name)} ->> '$') AS {quote_identifier(name)}" if kind == "JSON" else quote_identifier(name)
        for name, kind in types.items()
    )
    connection.execute(
        f"CREATE OR REPLACE TABLE {_RAW} AS SELECT {listed} FROM read_json({reading}, columns = {{{schema}}})"
    )
    numbers = [name for name, kind in columns.items() if kind == "DOUBLE"]
    inference = TypeInference(connection, _RAW, options=ReadOptions(decimal="."), prefers_comma=False)
    found = {each.name: each for each in (inference.infer_columns(numbers) if numbers else [])}
    readings = [_choose_number(found[name]) if name in found else inference.keep_column(name) for name in columns]
    create_typed_table(connection, table.name, _RAW, readings)
    file = table.parts[0].file.name if len(table.parts) == 1 else f"{len(table.parts)} files of {table.name}"
    return TableNotes(table.name, f"{file}: JSON.")


def _choose_number(reading: ColumnReading) -> ColumnReading:
    """Return how a column of JSON numbers is read; those that are written otherwise than in CSV, such as 1e5, too."""
    column = quote_identifier(reading.name)
    return ColumnReading(reading.name, f"CAST({column} AS DOUBLE)") if reading.expression == column else reading
