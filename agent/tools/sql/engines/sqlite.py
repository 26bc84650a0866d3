"""SQLite files: values keep SQLite's own types, and views are run by SQLite itself.

A column of SQLite has a type for each value, DuckDB's reader one for all: it gives columns without a declared type as
bytes, and refuses a column with one value of another type. It also runs the text of a view by DuckDB's rules, where
`7 / 2` is 3.5 and LIKE heeds case. So the values of a table are looked at before it is first used; where the reader
would differ, a view stands in front of the table, which SQLite runs and whose columns have the types of their values.
"""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import ToolFailure
from agent.tools.sql.engines.attachment import (
    CATALOG,
    FrontViews,
    TableReading,
    collect_notes,
    find_table_names,
    quote_identifier,
    quote_literal,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duckdb import DuckDBPyConnection

#: The share of the values that must have a type for the column to have it, if that type is declared and if none is;
#: the other values are then read as NULL.
_DECLARED_SHARE, _UNDECLARED_SHARE = 0.5, 0.9
#: Seconds that another program's lock is waited for.
_LOCK_SECONDS = 5.0
_MAX_EXAMPLES = 3
_SCHEMA = "main"
#: Steps of SQLite's machine between two looks at the clock.
_STEPS = 100_000


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    #: The DuckDB type in which the reader has it; None if it has none and the values decide.
    expected: str | None
    #: Whether that is what the declaration says; what it does not know, such as MONEY, the reader takes for text.
    is_declared: bool = True


@dataclass(frozen=True, slots=True)
class _Counts:
    """How many values of a column have each type of SQLite, and how many texts are dates and times."""

    integers: int
    reals: int
    texts: int
    blobs: int
    dates: int
    times: int
    #: Those of the times that have an offset from UTC, or Z.
    zoned: int

    @property
    def total(self) -> int:
        return self.integers + self.reals + self.texts + self.blobs


def attach_sqlite(connection: "DuckDBPyConnection", file: str, *, catalog: str = CATALOG) -> None:
    """Attach the file read only; wait a little for a lock of another program. Raises `duckdb.Error`."""
    import duckdb  # noqa: PLC0415 - slow to import

    stops_at = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            connection.execute(f"ATTACH {quote_literal(file)} AS {catalog} (TYPE sqlite, READ_ONLY)")
            # The file is opened at the first look into it.
            connection.execute(f"SELECT count(*) FROM duckdb_columns() WHERE database_name = '{catalog}'")  # noqa: S608 - a name of ours
        except duckdb.Error as error:
            connection.execute(f"DETACH DATABASE IF EXISTS {catalog}")
            if "locked" not in str(error) or time.monotonic() > stops_at:
                raise
            time.sleep(0.1)
        else:
            return


class SqliteTables:
    """How the tables and views of one file are read; looked at again when another program has changed the file."""

    def __init__(self, file: Path, *, catalog: str = CATALOG) -> None:
        """Look at nothing yet; the file is attached as `catalog`."""
        self._file = file
        self._catalog = catalog
        self._views = FrontViews(_SCHEMA)
        self._readings: dict[str, TableReading] = {}
        self._kinds: dict[str, tuple[str, str]] = {}
        self._seen: object = None

    def forget(self) -> None:
        """Look at the values again: a query has found others."""
        self._seen = None

    def prepare_tables(self, sql: str, connection: "DuckDBPyConnection") -> list[str]:
        """Prepare the tables of `sql`; return sentences on values that are read as NULL. Raises `ToolFailure`."""
        readings = []
        self._views.use(connection)
        self._refresh()
        for _, name in find_table_names(sql, connection, known=self._kinds):
            reading = self.read_relation(name, connection, seconds=float("inf"))
            if reading.problem:
                raise ToolFailure(f"The view {name!r} cannot be read, not by SQLite either: {reading.problem}")
            readings.append(reading)
        return collect_notes(sql, readings)

    def read_relation(self, name: str, connection: "DuckDBPyConnection", *, seconds: float) -> TableReading:
        """Return how the table or view is read, looking at its values for at most `seconds`; 0: not at all."""
        self._views.use(connection)
        self._refresh()
        key = name.lower()
        if key not in self._kinds:
            return TableReading()
        if key not in self._readings:
            real_name, kind = self._kinds[key]
            try:
                found = self._look(real_name, kind, connection, seconds=seconds)
            except _TimeUp:
                # Not kept: a query looks at it without this limit.
                return TableReading(columns=self._declare_columns(real_name) if kind == "view" else None)
            self._readings[key] = self._views.put(_SCHEMA, real_name, found, connection)
        return self._readings[key]

    def list_views(self) -> list[str]:
        """Return all views, which DuckDB's catalogue tells only if it can run every one of them."""
        self._refresh()
        return [name for name, kind in self._kinds.values() if kind == "view"]

    def find_reading(self, schema: str, name: str, connection: "DuckDBPyConnection") -> TableReading:
        """Return how a table or view is to be read, without putting a view in front of it."""
        del schema
        self._refresh()
        real_name, kind = self._kinds.get(name.lower(), (name, "table"))
        return self._look(real_name, kind, connection, seconds=float("inf"))

    def _refresh(self) -> None:
        """Forget what was seen if the file has changed since."""
        wal = Path(f"{self._file}-wal")
        seen = tuple((file.stat().st_mtime_ns, file.stat().st_size) for file in (self._file, wal) if file.exists())
        if seen == self._seen:
            return
        with self._open() as database:
            rows = database.execute("SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view')").fetchall()
        self._kinds = {name.lower(): (name, kind) for name, kind in rows}
        self._readings.clear()
        self._seen = seen

    @contextmanager
    def _open(self) -> "Iterator[sqlite3.Connection]":
        try:
            with closing(connect_sqlite_file(self._file)) as database:
                yield database
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            raise ToolFailure("The values could not be looked at: database is locked.") from None

    def _look(self, name: str, kind: str, connection: "DuckDBPyConnection", *, seconds: float) -> TableReading:
        """Return how a table or view is read. Raises `_TimeUp`."""
        if seconds <= 0:
            raise _TimeUp
        try:
            with self._open() as database, _stop_after(seconds, database):
                columns, is_changed = _list_columns(database, name, kind, self._catalog, connection)
                if not is_changed and not _has_misfits(database, name, columns):
                    return TableReading()
                return _build_reading(database, name, columns, catalog=self._catalog)
        except sqlite3.Error as error:
            if "interrupted" in str(error):
                raise _TimeUp from None
            # A virtual table of a module that only DuckDB's SQLite has is read as DuckDB reads it.
            return TableReading(problem=f"{error}.") if kind == "view" else TableReading()

    def _declare_columns(self, name: str) -> tuple[tuple[str, str], ...]:
        """Return a view's columns by their declarations, which need no row; none if SQLite cannot run it."""
        try:
            with self._open() as database:
                return tuple((column.name, column.expected or "VARCHAR") for column in _list_declared(database, name))
        except sqlite3.Error:
            return ()


def explain_sqlite_failure(file: Path, sentence: str) -> str | None:
    """Return what is wrong with the file and what can be done, if that is why a query failed."""
    if "database disk image is malformed" in sentence or "file is not a database" in sentence:
        return f"{file.name} is damaged: restore it from a copy, or try sqlite3's .recover."
    if "database is locked" in sentence:
        return f"{file.name} is locked by another program that writes to it: try again when that has finished."
    return None


class _TimeUp(Exception):  # noqa: N818 - says what happened
    """The values were not looked at, or not all of them."""


def connect_sqlite_file(file: Path) -> sqlite3.Connection:
    """Open the file read only by Python's own SQLite, for what DuckDB does not tell."""
    return sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=_LOCK_SECONDS, check_same_thread=False)


def find_hidden_tables(database: sqlite3.Connection) -> set[str]:
    """Return the tables that SQLite or a full-text index keeps for itself."""
    try:
        rows = database.execute("SELECT name FROM pragma_table_list WHERE type = 'shadow'").fetchall()
    except sqlite3.OperationalError:
        # SQLite before 3.37 does not tell.
        rows = []
    return {name for (name,) in rows}


@contextmanager
def _stop_after(seconds: float, database: sqlite3.Connection) -> "Iterator[None]":
    """Interrupt what runs on `database` when the block has taken `seconds`."""
    stops_at = time.monotonic() + seconds
    database.set_progress_handler(lambda: time.monotonic() > stops_at, _STEPS)
    yield


def _list_columns(
    database: sqlite3.Connection, name: str, kind: str, catalog: str, connection: "DuckDBPyConnection"
) -> tuple[list[_Column], bool]:
    """Return the columns, and whether DuckDB's reader lacks some or is not to be used."""
    declared = _list_declared(database, name)
    if kind == "view":
        return declared, True
    read = dict(
        connection.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = $catalog AND table_name = $name",
            {"catalog": catalog, "name": name},
        ).fetchall()
    )
    columns = [
        column if read.get(column.name, "BLOB") == "BLOB" else replace(column, expected=read[column.name])
        for column in declared
    ]
    return columns, len(columns) > len(read) or any(column.expected is None for column in columns)


def _list_declared(database: sqlite3.Connection, name: str) -> list[_Column]:
    """Return the columns by their declarations, with those that are computed and without hidden ones."""
    rows = database.execute("SELECT name, type FROM pragma_table_xinfo(?) WHERE hidden <> 1", (name,)).fetchall()
    found = [(column, _find_declared_type(kind or "")) for column, kind in rows]
    return [_Column(column, kind, is_declared=kind is not None) for column, kind in found]


#: Part of a declared type -> DuckDB type, the first that is found.
_DECLARED = (
    *(("INT", "BIGINT"), ("CHAR", "VARCHAR"), ("CLOB", "VARCHAR"), ("TEXT", "VARCHAR"), ("REAL", "DOUBLE")),
    *(("FLOA", "DOUBLE"), ("DOUB", "DOUBLE"), ("DEC", "DOUBLE"), ("DATETIME", "TIMESTAMP")),
    *(("TIMESTAMP", "TIMESTAMP"), ("DATE", "DATE"), ("BOOL", "BIGINT")),
)


def _find_declared_type(declared: str) -> str | None:
    return next((kind for sign, kind in _DECLARED if sign in declared.upper()), None)


_DATE = "{c} GLOB '[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9]{rest}' AND date(substr({c}, 1, 10)) IS substr({c}, 1, 10)"


def _is_date(column: str) -> str:
    return f"(typeof({column}) = 'text' AND {_DATE.format(c=column, rest='')})"


def _is_time(column: str) -> str:
    return f"(typeof({column}) = 'text' AND {_DATE.format(c=column, rest='*')} AND datetime({column}) IS NOT NULL)"


def _is_zoned(column: str) -> str:
    return f"({_is_time(column)} AND substr({column}, 12) GLOB '*[-+Zz]*')"


def _has_misfits(database: sqlite3.Connection, name: str, columns: Sequence[_Column]) -> bool:
    """Whether a value is not of the type that DuckDB's reader takes it for."""
    checks = []
    for each in columns:
        column = quote_identifier(each.name)
        match each.expected:
            case "BIGINT":
                checks.append(f"typeof({column}) NOT IN ('integer', 'null')")
            case "DOUBLE":
                checks.append(f"typeof({column}) NOT IN ('integer', 'real', 'null')")
            case "DATE":
                checks.append(f"{column} IS NOT NULL AND NOT {_is_date(column)}")
            case "TIMESTAMP":
                checks.append(f"{column} IS NOT NULL AND (NOT {_is_time(column)} OR {_is_zoned(column)})")
            case "VARCHAR":
                checks.append(f"typeof({column}) NOT IN ('text', 'null')")
            case _:
                checks.append(f"typeof({column}) = 'blob'")
    if not checks:
        return False
    # One EXISTS over all ends at the first misfit.
    sql = f"SELECT EXISTS (SELECT 1 FROM {quote_identifier(name)} WHERE {' OR '.join(f'({each})' for each in checks)})"  # noqa: S608 - quoted identifiers
    return bool(database.execute(sql).fetchone()[0])


def _build_reading(
    database: sqlite3.Connection, name: str, columns: Sequence[_Column], *, catalog: str
) -> TableReading:
    """Count the types of all values, and return the view that reads each column by them."""
    inner, outer, notes = [], [], {}
    for position, (column, counts) in enumerate(zip(columns, _count_types(database, name, columns), strict=True)):
        expected = column.expected if column.is_declared else None
        kind = _choose_type(expected, counts)
        quoted = quote_identifier(column.name)
        test, value = _read_as(kind, quoted)
        inner.append(f"CASE WHEN {test} THEN {value} END AS c{position}")
        outer.append(f"{_cast(kind, f'c{position}')} AS {quoted}")
        if odd := counts.total - _count_fitting(kind, counts):
            notes[column.name] = _describe_odd_values(database, name, column.name, test=test, kind=kind, odd=odd)
        elif kind == "VARCHAR" and expected not in {None, "VARCHAR"} and counts.total:
            held = "times with and without their zone" if counts.zoned else "texts"
            notes[column.name] = (
                f"{name}.{column.name} is declared as {expected}, but holds {held} and is read as text."
            )
    query = f"SELECT {', '.join(inner)} FROM {quote_identifier(name)}"  # noqa: S608 - quoted identifiers
    view = f"SELECT {', '.join(outer)} FROM sqlite_query({quote_literal(catalog)}, {quote_literal(query)})"  # noqa: S608 - quoted
    return TableReading(view=view, notes=notes)


def _count_types(database: sqlite3.Connection, name: str, columns: Sequence[_Column]) -> list[_Counts]:
    sums: list[str] = []
    for each in columns:
        column = quote_identifier(each.name)
        sums += [f"total(typeof({column}) = '{kind}')" for kind in ("integer", "real", "text", "blob")]
        dated = each.expected in {"DATE", "TIMESTAMP"}
        tests = (_is_date(column), _is_time(column), _is_zoned(column))
        sums += [f"total({test})" if dated else "0" for test in tests]
    # SQLite has at most 2,000 columns in a result.
    found: list[int] = []
    for start in range(0, len(sums), 1_800):
        sql = f"SELECT {', '.join(sums[start : start + 1_800])} FROM {quote_identifier(name)}"  # noqa: S608 - quoted identifiers
        found += map(int, database.execute(sql).fetchone())
    return [_Counts(*found[start : start + 7]) for start in range(0, len(found), 7)]


def _choose_type(expected: str | None, counts: _Counts) -> str:
    """Return the DuckDB type in which a column is read: one that nearly all of its values have."""
    needed = counts.total * (_DECLARED_SHARE if expected else _UNDECLARED_SHARE)
    numbers = counts.integers + counts.reals
    if not counts.total:
        return expected or "VARCHAR"
    if expected == "DATE" and counts.dates >= needed:
        return "DATE"
    if expected in {"DATE", "TIMESTAMP"} and counts.times >= needed:
        return "VARCHAR" if 0 < counts.zoned < counts.times else "TIMESTAMPTZ" if counts.zoned else "TIMESTAMP"
    if numbers >= needed and (numbers == counts.total or expected != "VARCHAR"):
        return "DOUBLE" if counts.reals or expected == "DOUBLE" else "BIGINT"
    return "BLOB" if counts.blobs == counts.total else "VARCHAR"


def _count_fitting(kind: str, counts: _Counts) -> int:
    match kind:
        case "BIGINT":
            return counts.integers
        case "DOUBLE":
            return counts.integers + counts.reals
        case "DATE":
            return counts.dates
        case "TIMESTAMP" | "TIMESTAMPTZ":
            return counts.times
        case _:
            return counts.total


def _read_as(kind: str, column: str) -> tuple[str, str]:
    """Return SQLite's test of a value of this type, and its text, from which no digit is lost."""
    match kind:
        case "BIGINT":
            return f"typeof({column}) = 'integer'", column
        case "DOUBLE":
            real = f"CASE typeof({column}) WHEN 'real' THEN printf('%!.17g', {column}) ELSE {column} END"
            return f"typeof({column}) IN ('integer', 'real')", real
        case "DATE":
            return _is_date(column), column
        case "TIMESTAMP" | "TIMESTAMPTZ":
            return _is_time(column), column
        case "BLOB":
            return f"typeof({column}) = 'blob'", f"hex({column})"
        case _:
            text = f"CASE typeof({column}) WHEN 'blob' THEN quote({column}) ELSE CAST({column} AS TEXT) END"
            return f"{column} IS NOT NULL", text


def _cast(kind: str, column: str) -> str:
    return f"unhex({column})" if kind == "BLOB" else f"CAST({column} AS {kind})"


def _describe_odd_values(
    database: sqlite3.Connection, table: str, column: str, *, test: str, kind: str, odd: int
) -> str:
    quoted = quote_identifier(column)
    rows = database.execute(
        f"SELECT DISTINCT substr(quote({quoted}), 1, 40) FROM {quote_identifier(table)} "  # noqa: S608 - quoted identifiers
        f"WHERE {quoted} IS NOT NULL AND NOT ({test}) LIMIT {_MAX_EXAMPLES}"
    ).fetchall()
    values, verb = ("value", "is") if odd == 1 else ("values", "are")
    noun = {"BIGINT": "number", "DOUBLE": "number", "DATE": "date"}.get(kind, "point in time")
    shown = ", ".join(value for (value,) in rows)
    return f"{odd:,} {values} of {table}.{column} {verb} no {noun} and read as NULL: {shown}."
