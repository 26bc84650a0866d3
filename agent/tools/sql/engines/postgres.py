"""PostgreSQL databases: how they are attached, bounded and cancelled, and which values DuckDB's reader gets wrong."""

import importlib
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.errors import DataError, describe_extra
from agent.tools.sql.engines.attachment import (
    CATALOG,
    FrontViews,
    TableReading,
    collect_notes,
    find_table_names,
    quote_identifier,
    quote_literal,
)
from agent.tools.sql.source_location import SourceLocation

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: How long a statement waits on the server for a table that somebody else has locked.
_LOCK_TIMEOUT_MS = 5_000
#: The numbers of a table are looked at only if it has at most so many rows.
_MAX_CHECKED_ROWS = 5_000_000
#: Seconds after which the numbers of a table are looked at again.
_FRESH_SECONDS = 60.0
_MAX_DIGITS = 38
_DEFAULT_SCHEMA = "public"
#: What a domain may be of -> DuckDB type; a text stays one.
_BASE_TYPES: Mapping[str, str] = {
    "int2": "SMALLINT",
    "int4": "INTEGER",
    "int8": "BIGINT",
    "float4": "FLOAT",
    "float8": "DOUBLE",
    "bool": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMPTZ",
}
#: Digits that a float keeps.
_FLOAT_DIGITS = 15


@dataclass(frozen=True, slots=True)
class PostgresSession:
    """How the sessions of one data source are known and bounded on the server."""

    #: The application name, by which its queries are cancelled.
    name: str
    statement_timeout_ms: int
    lock_timeout_ms: int

    @classmethod
    def create(cls, seconds: float) -> "PostgresSession":
        """Return a session whose statements may take `seconds`."""
        return cls(f"planwave-{secrets.token_hex(8)}", max(1, int(seconds * 1000)), _LOCK_TIMEOUT_MS)


def attach_postgres(
    connection: "DuckDBPyConnection",
    location: SourceLocation,
    *,
    session: PostgresSession | None,
    catalog: str = CATALOG,
) -> None:
    """Attach the database, with the password as a DuckDB secret: SQL can read the address of attached databases."""
    import duckdb  # noqa: PLC0415 - slow to import

    settings = parse_postgres_url(location)
    password = settings.pop("password", None)
    # Also without a password: otherwise DuckDB would use a secret that the user has stored for something else.
    option = f", PASSWORD {quote_literal(str(password))}" if password else ""
    connection.execute(f"CREATE SECRET entry_of_{catalog} (TYPE postgres{option})")
    settings.setdefault("connect_timeout", "10")
    if session is None:
        _attach_address(connection, settings, catalog=catalog)
        return
    settings["application_name"] = session.name
    bounds = f"-c statement_timeout={session.statement_timeout_ms} -c lock_timeout={session.lock_timeout_ms}"
    try:
        bounded = {**settings, "options": f"{settings.get('options') or ''} {bounds}".strip()}
        _attach_address(connection, bounded, catalog=catalog)
    except duckdb.Error as error:
        # Some poolers let no options through; then the cancellation by name is the only bound.
        if "startup parameter" not in str(error):
            raise
        _attach_address(connection, settings, catalog=catalog)


def _attach_address(connection: "DuckDBPyConnection", settings: Mapping[str, object], *, catalog: str) -> None:
    address = " ".join(f"{key}={_quote_libpq_value(str(value))}" for key, value in settings.items())
    connection.execute(
        f"ATTACH {quote_literal(address)} AS {catalog} (TYPE postgres, READ_ONLY, SECRET entry_of_{catalog})"
    )


def cancel_on_server(url: str, name: str) -> None:
    """Cancel on the server what the sessions called `name` run: the engine's own interrupt does not reach it."""
    psycopg = importlib.import_module("psycopg")
    with suppress(psycopg.Error), psycopg.connect(url, connect_timeout=3, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = %s AND state = 'active'",
            (name,),
        )


def parse_postgres_url(location: SourceLocation) -> dict[str, object]:
    """Return the parts of the URL by libpq's names. Raises `DataError`."""
    try:
        psycopg = importlib.import_module("psycopg")
        conninfo = importlib.import_module("psycopg.conninfo")
    except ImportError as error:
        raise DataError(f"PostgreSQL needs {describe_extra('postgres')}.") from error
    try:
        settings: dict[str, object] = conninfo.conninfo_to_dict(location.address)
    except psycopg.ProgrammingError:
        # libpq's own message may contain the URL with its password.
        raise DataError(
            f"{location.label!r} is not a PostgreSQL URL; write postgresql://user@host:5432/database."
        ) from None
    return settings


def _quote_libpq_value(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    kind: str
    #: The precision of a numeric column; None if it has none.
    precision: int | None
    #: The labels of an enum, in their order, and the name of the type that a domain is of; None if it is neither.
    labels: tuple[str, ...] | None = None
    base: str | None = None

    @property
    def duckdb_type(self) -> str | None:
        """The type that DuckDB's reader, which gives a domain and at times an enum as text, is to be corrected to."""
        if self.labels is not None:
            return f"ENUM({', '.join(map(quote_literal, self.labels))})"
        return _BASE_TYPES.get(self.base or "")


@dataclass(frozen=True, slots=True)
class _Numbers:
    """What the values of a numeric column are like."""

    has_special: bool = False
    #: Digits before and after the point; None if the type of the column says them.
    digits: tuple[int, int] | None = None

    @property
    def kind(self) -> str | None:
        """The DuckDB type that keeps the values as they are, or best; None: that of DuckDB's reader."""
        if self.has_special or (self.digits is not None and sum(self.digits) > _MAX_DIGITS):
            return "DOUBLE"
        if self.digits is None:
            return None
        return f"DECIMAL({18 if sum(self.digits) <= _FLOAT_DIGITS else _MAX_DIGITS}, {self.digits[1]})"

    @property
    def needs_text(self) -> bool:
        """Whether the values must come as text, because DuckDB's reader changes them."""
        return self.has_special or (self.digits is not None and sum(self.digits) > _FLOAT_DIGITS)


class PostgresTables:
    """How tables are read: views stand in front of those with values that DuckDB's reader gets wrong.

    It reads NaN and infinity in a numeric column as 0, a numeric column without precision as float, a domain as text,
    and gives an address of one host (inet) a mask. Which numbers a table has is asked of the server, which is quicker
    than reading.
    """

    def __init__(self, *, catalog: str = CATALOG) -> None:
        """Look at nothing yet; the database is attached as `catalog`."""
        self._catalog = catalog
        self._views = FrontViews(_DEFAULT_SCHEMA)
        self._numbers: dict[tuple[str, str, str], tuple[float, _Numbers]] = {}

    def forget(self) -> None:
        """Look at the values again: a query has found others."""
        self._numbers.clear()

    def prepare_tables(self, sql: str, connection: "DuckDBPyConnection") -> list[str]:
        """Prepare the tables of `sql`; return sentences on numbers that are not read as they are."""
        self._views.use(connection)
        readings = [
            self._read(schema or _DEFAULT_SCHEMA, name, connection, sql=sql.lower())
            for schema, name in find_table_names(sql, connection)
        ]
        return collect_notes(sql, readings)

    def read_relation(self, name: str, connection: "DuckDBPyConnection", *, seconds: float) -> TableReading:
        """Return how the table or view is read; its numbers are looked at only when a query names them."""
        if seconds <= 0:
            return TableReading()
        self._views.use(connection)
        found = self._read(_DEFAULT_SCHEMA, name, connection, sql="")
        for point in re.finditer(r"\.", name) if found.is_unknown else ():
            # The name of a table may have points of its own.
            found = self._read(name[: point.start()], name[point.end() :], connection, sql="")
            if not found.is_unknown:
                break
        return found

    def list_views(self) -> list[str]:
        """Return nothing: DuckDB's catalogue has them."""
        return []

    def find_reading(self, schema: str, name: str, connection: "DuckDBPyConnection") -> TableReading:
        """Return how a table or view is to be read, without putting a view in front of it."""
        return self._look(schema, name, connection, sql="*")

    def _read(self, schema: str, name: str, connection: "DuckDBPyConnection", *, sql: str) -> TableReading:
        found = self._look(schema, name, connection, sql=sql)
        return found if found.is_unknown else self._views.put(schema, name, found, connection)

    def _look(self, schema: str, name: str, connection: "DuckDBPyConnection", *, sql: str) -> TableReading:
        rows, columns = _list_columns(schema, name, connection, catalog=self._catalog)
        if not columns:
            return TableReading(is_unknown=True)
        used = [
            column
            for column in columns
            if column.kind == "numeric" and sql and ("*" in sql or column.name.lower() in sql)
        ]
        numbers = self._look_at_numbers(schema, name, used, connection) if rows <= _MAX_CHECKED_ROWS else {}
        notes = {column: note for column, found in numbers.items() if (note := _describe_numbers(name, column, found))}
        if rows > _MAX_CHECKED_ROWS:
            notes |= {
                column.name: f"{name} has about {rows:,} rows, so whether {name}.{column.name} has NaN or infinity, "
                "which would be read as 0, was not looked at."
                for column in used
            }
        return TableReading(view=_build_view(schema, name, columns, numbers, catalog=self._catalog), notes=notes)

    def _look_at_numbers(
        self, schema: str, name: str, columns: Sequence[_Column], connection: "DuckDBPyConnection"
    ) -> dict[str, _Numbers]:
        now = time.monotonic()
        found = {}
        for column in columns:
            key = (schema, name, column.name)
            at, numbers = self._numbers.get(key, (float("-inf"), _Numbers()))
            if now - at > _FRESH_SECONDS:
                numbers = _look_at_numbers(schema, name, column, connection, catalog=self._catalog)
                self._numbers[key] = (now, numbers)
            found[column.name] = numbers
        return found


def _query_server(sql: str, connection: "DuckDBPyConnection", *, catalog: str) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT * FROM postgres_query($catalog, $sql)", {"catalog": catalog, "sql": sql}
    ).fetchall()


def _list_columns(
    schema: str, name: str, connection: "DuckDBPyConnection", *, catalog: str
) -> tuple[int, list[_Column]]:
    """Return about how many rows the table has (0: not known) and its columns; none if there is no such table."""
    found = _query_server(
        f"""SELECT greatest(c.reltuples, 0)::bigint, a.attname::text, t.typname::text,
            CASE WHEN a.atttypmod >= 4 THEN ((a.atttypmod - 4) >> 16) & 65535 END::int,
            (SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder)
                FROM pg_enum e WHERE e.enumtypid = t.oid) AS labels,
            (SELECT b.typname::text FROM pg_type b WHERE b.oid = t.typbasetype) AS base
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_type t ON t.oid = a.atttypid
        WHERE n.nspname = {quote_literal(schema)} AND c.relname = {quote_literal(name)}
            AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum""",  # noqa: S608 - quoted literals
        connection,
        catalog=catalog,
    )
    columns = [
        _Column(column, kind, precision, None if labels is None else tuple(labels), base)
        for _, column, kind, precision, labels, base in found
    ]
    return (found[0][0] if found else 0), columns


def _look_at_numbers(
    schema: str, name: str, column: _Column, connection: "DuckDBPyConnection", *, catalog: str
) -> _Numbers:
    """Ask the server what values a numeric column has."""
    quoted = quote_identifier(column.name)
    # NaN and the infinities are what a number minus itself is not 0 for.
    is_finite = f"{quoted} - {quoted} = 0"
    special, before, after = _query_server(
        f"SELECT coalesce(bool_or(NOT ({is_finite})), false) AS special, "  # noqa: S608 - quoted identifiers
        f"max(length(trunc(abs({quoted}))::text)) FILTER (WHERE {is_finite})::int AS before, "
        f"max(scale({quoted})) FILTER (WHERE {is_finite})::int AS after "
        f"FROM {quote_identifier(schema)}.{quote_identifier(name)}",
        connection,
        catalog=catalog,
    )[0]
    is_typed = column.precision is not None and column.precision <= _MAX_DIGITS
    return _Numbers(has_special=special, digits=None if is_typed or before is None else (before, after))


def _describe_numbers(table: str, column: str, numbers: _Numbers) -> str | None:
    if numbers.has_special:
        return (
            f"{table}.{column} has values that are NaN or infinite; "
            "they are shown as null, and so is a total over them."
        )
    if numbers.digits is not None and sum(numbers.digits) > _MAX_DIGITS:
        return (
            f"{table}.{column} has numbers of more than {_MAX_DIGITS} digits, of which only {_FLOAT_DIGITS} are kept."
        )
    return None


def _build_view(
    schema: str, name: str, columns: Sequence[_Column], numbers: Mapping[str, _Numbers], *, catalog: str
) -> str | None:
    """Return the SELECT of the view in front of a table; None if it needs none."""
    kinds = {name: found.kind for name, found in numbers.items() if found.kind}
    outer = {}
    for column in columns:
        quoted = quote_identifier(column.name)
        if column.kind == "inet":
            outer[column.name] = f"{_trim_mask(quoted)} AS {quoted}"
        elif kind := kinds.get(column.name) or (column.duckdb_type if column.base else None):
            outer[column.name] = f"CAST({quoted} AS {kind}) AS {quoted}"
    if not outer:
        return None
    if not any(found.needs_text for found in numbers.values()):
        table = f"{catalog}.{quote_identifier(schema)}.{quote_identifier(name)}"
        return f"SELECT * REPLACE ({', '.join(outer.values())}) FROM {table}"  # noqa: S608 - quoted identifiers
    quoted_names = {column.name: quote_identifier(column.name) for column in columns}
    inner = ", ".join(
        f"{quoted_names[column.name]}::text AS {quoted_names[column.name]}"
        if column.kind in {"inet", "cidr"} or column.name in kinds
        else quoted_names[column.name]
        for column in columns
    )
    for column in columns:
        if column.labels is not None:
            # The answer to a query has the labels as text, which has another order.
            quoted = quoted_names[column.name]
            outer[column.name] = f"CAST({quoted} AS {column.duckdb_type}) AS {quoted}"
    query = f"SELECT {inner} FROM {quote_identifier(schema)}.{quote_identifier(name)}"  # noqa: S608 - quoted identifiers
    shown = ", ".join(outer.get(column.name, quoted_names[column.name]) for column in columns)
    return f"SELECT {shown} FROM postgres_query({quote_literal(catalog)}, {quote_literal(query)})"  # noqa: S608 - quoted


def _trim_mask(column: str) -> str:
    """Return the address as PostgreSQL shows it: without a mask that leaves one host."""
    return f"regexp_replace({column}, '^([0-9.]+)/32$|^([0-9a-f:.]*:[0-9a-f:.]*)/128$', '\\1\\2')"
