"""Read-only data sources, all queried through DuckDB: DuckDB, SQLite and data files, PostgreSQL and MySQL databases."""

import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, assert_never

from agent.errors import DataError
from agent.tools.data_files.file_import import import_files
from agent.tools.data_files.notes import FileNotes, load_notes, merge_notes
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
from agent.tools.sql.source_location import SourceKind, SourceLocation, locate_sources
from agent.tools.sql.sources.several import make_overview, name_part_catalog

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
            if self._location.parts:
                # A table that only one source has is found without its name.
                schemas = ",".join(f"{CATALOG}.{name}" for name in self._location.parts)
                cursor.execute(f"SET search_path = {quote_literal(schemas)}")
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
        #: Where data files are imported to.
        self._folder = (
            tempfile.TemporaryDirectory(prefix="planwave-", ignore_cleanup_errors=True)
            if location.kind in {"files", "several"}
            else None
        )
        servers = [part.address for part in (location, *location.parts.values()) if part.kind == "postgres"]
        session = PostgresSession.create(limits.seconds) if servers else None
        opening = {
            **location.to_message(),
            "folder": self._folder.name if self._folder else None,
            "session": session and asdict(session),
        }
        on_stop = partial(_cancel_on_servers, servers, session.name) if session else None
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

    @cached_property
    def notes(self) -> FileNotes:
        """What was assumed of the files that were read, and what of it may be wrong; empty for a database."""
        if self._folder is None:
            return FileNotes()
        folder = Path(self._folder.name)
        if not self._location.parts:
            return load_notes(folder)
        return merge_notes({name: load_notes(folder / name) for name in self._location.parts})

    def close(self) -> None:
        """Close the source; queries in flight end with an error."""
        self.processes.close()
        if self._attached is not None:
            self._attached.close()
        if self._folder is not None:
            self._folder.cleanup()


def open_data_source(
    location: str | Path | Sequence[str | Path],
    *,
    limits: QueryLimits | None = None,
    reading: Mapping[str, Any] | None = None,
) -> DataSource:
    """Open `location` read only: DuckDB itself refuses to write, to attach and to open any other file.

    Several locations are one source, in which each is a schema: `NAME=PLACE`, or a place whose file gives the name.
    Data files are imported once, into a temporary database that is deleted with the source, as the options in
    `reading` say, and those in `location` before them; `DataSource.notes` tells what was assumed.
    Raises `DataError` for a location that does not exist, is of no known kind, or cannot be opened.
    """
    return DataSource(locate_sources(location, defaults=reading), limits=limits or QueryLimits())


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
    place = Path(folder or "")
    try:
        for name, part in source.parts.items():
            catalog = name_part_catalog(name)
            _attach(root, part, catalog=catalog, folder=place / name, session=session, limits=limits)
        if source.parts:
            readers = {name: _make_reader(part, catalog=name_part_catalog(name)) for name, part in source.parts.items()}
            make_overview(root, readers, folder=place, catalog=CATALOG)
        else:
            _attach(root, source, catalog=CATALOG, folder=place, session=session, limits=limits)
    except BaseException:
        root.close()
        raise
    lock_down(root, time_zone=limits.time_zone)
    return AttachedSource(source, root=root)


def _attach(
    root: "DuckDBPyConnection",
    source: SourceLocation,
    *,
    catalog: str,
    folder: Path,
    session: Mapping[str, Any] | None,
    limits: EngineLimits,
) -> None:
    """Attach one source as `catalog`. Raises `DataError`."""
    try:
        match source.kind:
            case "duckdb":
                root.execute(f"ATTACH {quote_literal(source.address)} AS {catalog} (READ_ONLY)")
            case "sqlite":
                load_extension(root, "sqlite_scanner")
                attach_sqlite(root, source.address, catalog=catalog)
            case "files":
                folder.mkdir(exist_ok=True)
                database = import_files(
                    Path(source.address),
                    folder,
                    options=source.options,
                    config=_build_limit_config(limits),
                    load_extension=load_extension,
                )
                root.execute(f"ATTACH {quote_literal(os.fspath(database))} AS {catalog} (READ_ONLY)")
            case "postgres":
                load_extension(root, "postgres_scanner")
                bounds = PostgresSession(**session) if session else None
                attach_postgres(root, source, session=bounds, catalog=catalog)
            case "mysql":
                load_extension(root, "mysql_scanner")
                attach_mysql(root, source, catalog=catalog)
            case "several":
                raise AssertionError("the parts of several sources are single ones")
            case _:
                assert_never(source.kind)
    except _get_duckdb_error() as error:
        raise DataError(_describe_open_error(source, error)) from None


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


def _make_reader(location: SourceLocation, *, catalog: str = CATALOG) -> TableReader | None:
    match location.kind:
        case "sqlite":
            return SqliteTables(Path(location.address), catalog=catalog)
        case "postgres":
            return PostgresTables(catalog=catalog)
        case "duckdb" | "files" | "mysql" | "several":
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


def _cancel_on_servers(urls: Iterable[str], name: str) -> None:
    for url in urls:
        cancel_on_server(url, name)


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
        case "duckdb" | "sqlite" | "files" | "several":
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
