"""Read-only data sources, queried through DuckDB: its own and SQLite's files, CSV, Parquet, PostgreSQL and MySQL."""

import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, assert_never

from agent.errors import DataError
from agent.tools.sql.engines.attachment import CATALOG, TableReader, load_extension, quote_literal
from agent.tools.sql.engines.mysql import attach_mysql, parse_mysql_url
from agent.tools.sql.engines.postgres import (
    PostgresSession,
    PostgresTables,
    attach_postgres,
    cancel_on_server,
    parse_postgres_url,
)
from agent.tools.sql.engines.sqlite import SqliteTables, attach_sqlite
from agent.tools.sql.query_process import QueryLimits, QueryProcesses
from agent.tools.sql.source_location import (
    SourceKind,
    SourceLocation,
    derive_table_name,
    find_table_files,
    locate_source,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: The time zone in which points in time are shown and cut into days, unless a setting says otherwise.
DEFAULT_TIME_ZONE = "UTC"


class Connectable(Protocol):
    """What has connections to a data source."""

    @property
    def kind(self) -> SourceKind:
        """The kind of source."""
        ...

    @property
    def file(self) -> Path:
        """The file behind a DuckDB or SQLite source."""
        ...

    @property
    def reader(self) -> TableReader | None:
        """What knows the tables that DuckDB does not read as their engine would."""
        ...

    def get_connection(self) -> AbstractContextManager["DuckDBPyConnection"]:
        """Yield a connection on which unqualified table names are those of the source."""
        ...


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """The limits of one engine, and where its temporary files are; None: the engine's own choice."""

    temp_folder: str | None = None
    memory_bytes: int | None = None
    temp_bytes: int | None = None
    time_zone: str = DEFAULT_TIME_ZONE


class AttachedSource:
    """A data source attached in this process; it is thread-safe, because each call gets a connection of its own."""

    def __init__(self, location: SourceLocation, *, root: "DuckDBPyConnection") -> None:
        """Own `root`, a locked connection with the data attached as `CATALOG`."""
        self._location = location
        self._root = root
        self._lock = threading.Lock()
        #: None where DuckDB reads every table as its engine would.
        self.reader: TableReader | None = _make_reader(location)

    @property
    def kind(self) -> SourceKind:
        """The kind of source."""
        return self._location.kind

    @property
    def file(self) -> Path:
        """The file behind a DuckDB or SQLite source."""
        return Path(self._location.address)

    @contextmanager
    def get_connection(self) -> Iterator["DuckDBPyConnection"]:
        """Yield a connection on which unqualified table names are those of the source; it is closed afterwards."""
        with self._lock:
            cursor = self._root.cursor()
        with closing(cursor):
            cursor.execute(f"USE {CATALOG}")
            yield cursor

    def close(self) -> None:
        """Close the source; queries in flight end with an error."""
        self._root.close()


class DataSource:
    """An open data source, whose queries run in `processes`; it is thread-safe."""

    def __init__(self, location: SourceLocation, *, limits: QueryLimits) -> None:
        """Start a process that opens `location`. Raises `DataError`."""
        self.kind: SourceKind = location.kind
        self.label = location.label
        self.limits = limits
        self._location = location
        #: Where CSV and Parquet files are imported to.
        self._folder = (
            tempfile.TemporaryDirectory(prefix="planwave-", ignore_cleanup_errors=True)
            if location.kind == "files"
            else None
        )
        session = PostgresSession.create(limits.seconds) if location.kind == "postgres" else None
        opening = {
            "kind": location.kind,
            "address": location.address,
            "label": location.label,
            "folder": self._folder.name if self._folder else None,
            "session": session and asdict(session),
        }
        on_stop = partial(cancel_on_server, location.address, session.name) if session else None
        self.processes = QueryProcesses(limits, opening, on_stop)
        self._attached: AttachedSource | None = None
        self._lock = threading.Lock()
        try:
            self.processes.open()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def get_connection(self) -> Iterator["DuckDBPyConnection"]:
        """Yield a connection in this process, which nothing stops or bounds: for SQL that is trusted."""
        with self._attach().get_connection() as connection:
            yield connection

    @property
    def reader(self) -> TableReader | None:
        """What knows, in this process, the tables that DuckDB does not read as their engine would."""
        return self._attach().reader

    def _attach(self) -> AttachedSource:
        with self._lock:
            if self._attached is None:
                folder, limits = (
                    self._folder.name if self._folder else None,
                    EngineLimits(time_zone=self.limits.time_zone),
                )
                self._attached = attach_source(self._location, folder=folder, limits=limits)
            return self._attached

    @property
    def file(self) -> Path:
        """The file behind a DuckDB or SQLite source."""
        return Path(self._location.address)

    def close(self) -> None:
        """Close the source; queries in flight end with an error."""
        self.processes.close()
        if self._attached is not None:
            self._attached.close()
        if self._folder is not None:
            self._folder.cleanup()


def open_data_source(location: str | Path, *, limits: QueryLimits | None = None) -> DataSource:
    """Open `location` read only: DuckDB itself refuses to write, to attach and to open any other file.

    CSV and Parquet files are imported once, into a temporary database that is deleted with the source.
    Raises `DataError` for a location that does not exist, is of no known kind, or cannot be opened.
    """
    return DataSource(locate_source(location), limits=limits or QueryLimits())


def attach_source(
    source: SourceLocation,
    *,
    folder: str | None,
    session: Mapping[str, Any] | None = None,
    limits: EngineLimits = EngineLimits(),
) -> AttachedSource:
    """Attach `source` in this process, read only; files are imported into `folder` unless they are there already.

    `session` are the fields of a `PostgresSession`. Raises `DataError`.
    """
    root = connect_in_memory(limits)
    try:
        match source.kind:
            case "duckdb":
                root.execute(f"ATTACH {quote_literal(source.address)} AS {CATALOG} (READ_ONLY)")
            case "sqlite":
                load_extension(root, "sqlite_scanner")
                attach_sqlite(root, source.address)
            case "files":
                database = _import_files(Path(source.address), Path(folder or ""), limits=limits)
                root.execute(f"ATTACH {quote_literal(os.fspath(database))} AS {CATALOG} (READ_ONLY)")
            case "postgres":
                load_extension(root, "postgres_scanner")
                attach_postgres(root, source, session=PostgresSession(**session) if session else None)
            case "mysql":
                load_extension(root, "mysql_scanner")
                attach_mysql(root, source)
            case _:
                assert_never(source.kind)
    except _get_duckdb_error() as error:
        root.close()
        raise DataError(_describe_open_error(source, error)) from None
    lock_down(root, time_zone=limits.time_zone)
    return AttachedSource(source, root=root)


def connect_in_memory(limits: EngineLimits = EngineLimits()) -> "DuckDBPyConnection":
    """Return an in-memory DuckDB that loads no extension by itself; call `lock_down` after adding the data."""
    import duckdb  # noqa: PLC0415 - slow to import

    return duckdb.connect(
        config={
            "python_enable_replacements": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_persistent_secrets": "false",
            **_build_limit_config(limits),
        }
    )


def _build_limit_config(limits: EngineLimits) -> dict[str, str | bool | int | float | list[str]]:
    folder = limits.temp_folder or os.fspath(Path(tempfile.gettempdir()) / f"planwave-{os.getpid()}")
    config: dict[str, str | bool | int | float | list[str]] = {"temp_directory": folder}
    if limits.memory_bytes is not None:
        config["memory_limit"] = f"{limits.memory_bytes}B"
    if limits.temp_bytes is not None:
        config["max_temp_directory_size"] = f"{limits.temp_bytes}B"
    return config


def _make_reader(location: SourceLocation) -> TableReader | None:
    match location.kind:
        case "sqlite":
            return SqliteTables(Path(location.address))
        case "postgres":
            return PostgresTables()
        case "duckdb" | "files" | "mysql":
            return None
        case _:
            assert_never(location.kind)


def lock_down(connection: "DuckDBPyConnection", *, time_zone: str = DEFAULT_TIME_ZONE) -> None:
    """Permanently deny SQL on this database access to files, networks, extensions and settings."""
    connection.execute(f"SET GLOBAL TimeZone = {quote_literal(time_zone)}")
    hide_progress_bar(connection)
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def hide_progress_bar(connection: "DuckDBPyConnection") -> None:
    """Switch off DuckDB's progress bar, which it shows in sessions that look interactive."""
    # In a notebook without ipywidgets there is no bar, and then DuckDB refuses to switch it off.
    if connection.execute("SELECT current_setting('enable_progress_bar')").fetchone() == (True,):
        connection.execute("SET enable_progress_bar = false")


def _import_files(path: Path, folder: Path, *, limits: EngineLimits) -> Path:
    """Import CSV or Parquet files into a DuckDB file in `folder`, one table each, and return that file."""
    import duckdb  # noqa: PLC0415 - slow to import

    imported = folder / "files.duckdb"
    if imported.exists():
        return imported
    tables = find_table_files(path) if path.is_dir() else {derive_table_name(path): (path,)}
    unfinished = folder / f"importing-{os.getpid()}.duckdb"
    with duckdb.connect(os.fspath(unfinished), config=_build_limit_config(limits)) as database:
        hide_progress_bar(database)
        for name, files in tables.items():
            paths = [os.fspath(file) for file in files]
            if paths[0].lower().endswith(".parquet"):
                database.from_parquet(paths, union_by_name=True, hive_partitioning=len(paths) > 1).create(name)
            else:
                database.read_csv(paths[0]).create(name)
    # Renamed when it is whole: a process that is started later takes what is there.
    return unfinished.replace(imported)


def _get_duckdb_error() -> type[Exception]:
    import duckdb  # noqa: PLC0415 - slow to import

    return duckdb.Error


#: Part of the engine's message -> what the user can do about it.
_REMEDIES: Mapping[str, str] = {
    "password authentication failed": "check the user and the password in the URL",
    "Access denied": "check the user and the password in the URL",
    "Unknown database": "check the name of the database in the URL",
    "Can't connect to": "check that the server runs and the host and port are right",
    "no password supplied": "put the password into the URL or into PGPASSWORD",
    "does not exist": "check the name of the database in the URL",
    "Connection refused": "check that the server runs and the host and port are right",
    "could not translate host name": "check the host in the URL",
    "Could not set lock": "another program has the file open for writing: close it, or copy the file",
    "not a valid DuckDB": "the file is damaged or of another DuckDB release",
    "checksum": "the file is damaged: restore it from a copy",
    "Corrupt": "the file is damaged: restore it from a copy",
    "malformed": "the file is damaged: restore it from a copy, or try sqlite3's .recover",
    "not a database": "the file is damaged: restore it from a copy",
    "is locked": "another program writes to the file: try again when that has finished, or copy the file",
}


def _find_password(location: SourceLocation) -> str | None:
    match location.kind:
        case "postgres":
            password = parse_postgres_url(location).get("password")
            return None if password is None else str(password)
        case "mysql":
            return parse_mysql_url(location).get("password")
        case "duckdb" | "sqlite" | "files":
            return None
        case _:
            assert_never(location.kind)


def _describe_open_error(location: SourceLocation, error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0] if lines else type(error).__name__
    if password := _find_password(location):
        reason = reason.replace(password, "***")
    remedy = next(
        (remedy for sign, remedy in _REMEDIES.items() if sign in str(error)), "check that it is the right source"
    )
    return f"The data source {location.label!r} cannot be opened: {reason.rstrip('.')}. Remedy: {remedy}."
