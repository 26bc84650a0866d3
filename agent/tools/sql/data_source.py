"""Read-only data sources, all queried through DuckDB: DuckDB, SQLite and data files, PostgreSQL databases."""

import importlib
import os
import secrets
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, assert_never

from agent.errors import DataError, describe_extra
from agent.tools.data_files.file_import import import_files
from agent.tools.data_files.notes import FileNotes, load_notes, merge_notes
from agent.tools.sql.query_process import QueryLimits, QueryProcesses
from agent.tools.sql.source_location import SourceKind, SourceLocation, locate_sources
from agent.tools.sql.sources.several import make_overview, name_part_catalog

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: The name of the attached data in DuckDB.
CATALOG = "source"
#: How long a statement waits on the server for a table that somebody else has locked.
_LOCK_TIMEOUT_MS = 5_000


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

    def get_connection(self) -> AbstractContextManager["DuckDBPyConnection"]:
        """Yield a connection on which unqualified table names are those of the source."""
        ...


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """The limits of one engine, and where its temporary files are; None: the engine's own choice."""

    temp_folder: str | None = None
    memory_bytes: int | None = None
    temp_bytes: int | None = None


class AttachedSource:
    """A data source attached in this process; it is thread-safe, because each call gets a connection of its own."""

    def __init__(self, location: SourceLocation, *, root: "DuckDBPyConnection") -> None:
        """Own `root`, a locked connection with the data attached as `CATALOG`."""
        self._location = location
        self._root = root
        self._lock = threading.Lock()

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
        with self._lock:
            if self._attached is None:
                self._attached = attach_source(self._location, folder=self._folder.name if self._folder else None)
        with self._attached.get_connection() as connection:
            yield connection

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
            make_overview(root, list(source.parts), folder=place, catalog=CATALOG)
        else:
            _attach(root, source, catalog=CATALOG, folder=place, session=session, limits=limits)
    except BaseException:
        root.close()
        raise
    lock_down(root)
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
                root.execute(f"ATTACH {quote_literal(source.address)} AS {catalog} (TYPE sqlite, READ_ONLY)")
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
                _attach_postgres(root, source, session=bounds, catalog=catalog)
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


def lock_down(connection: "DuckDBPyConnection") -> None:
    """Permanently deny SQL on this database access to files, networks, extensions and settings."""
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    hide_progress_bar(connection)
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def hide_progress_bar(connection: "DuckDBPyConnection") -> None:
    """Switch off DuckDB's progress bar, which it shows in sessions that look interactive."""
    # In a notebook without ipywidgets there is no bar, and then DuckDB refuses to switch it off.
    if connection.execute("SELECT current_setting('enable_progress_bar')").fetchone() == (True,):
        connection.execute("SET enable_progress_bar = false")


def quote_literal(text: str) -> str:
    """Return `text` as an SQL string literal, for statements that take no parameters."""
    return "'" + text.replace("'", "''") + "'"


def load_extension(connection: "DuckDBPyConnection", extension: str) -> None:
    """Load a DuckDB extension from the Python package that contains it; nothing is downloaded."""
    import duckdb  # noqa: PLC0415 - slow to import

    try:
        package = importlib.import_module(f"duckdb_extension_{extension}")
    except ImportError as error:
        raise DataError(f"DuckDB's {extension} is missing; it comes with {describe_extra('analytics')}.") from error
    file = (
        Path(str(package.__file__)).parent / "extensions" / f"v{duckdb.__version__}" / f"{extension}.duckdb_extension"
    )
    if not file.exists():
        raise DataError(
            f"DuckDB is {duckdb.__version__}, but its {extension} is not; install the same release of both."
        )
    connection.execute(f"LOAD {quote_literal(os.fspath(file))}")


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


def _attach_postgres(
    connection: "DuckDBPyConnection", location: SourceLocation, *, session: PostgresSession | None, catalog: str
) -> None:
    """Attach the database, with the password as a DuckDB secret: SQL can read the address of attached databases."""
    settings = _parse_postgres_url(location)
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
    except _get_duckdb_error() as error:
        # Some poolers let no options through; then the cancellation by name is the only bound.
        if "startup parameter" not in str(error):
            raise
        _attach_address(connection, settings, catalog=catalog)


def _attach_address(connection: "DuckDBPyConnection", settings: Mapping[str, object], *, catalog: str) -> None:
    address = " ".join(f"{key}={_quote_libpq_value(str(value))}" for key, value in settings.items())
    connection.execute(
        f"ATTACH {quote_literal(address)} AS {catalog} (TYPE postgres, READ_ONLY, SECRET entry_of_{catalog})"
    )


def _cancel_on_servers(urls: Iterable[str], name: str) -> None:
    for url in urls:
        cancel_on_server(url, name)


def cancel_on_server(url: str, name: str) -> None:
    """Cancel on the server what the sessions called `name` run: the engine's own interrupt does not reach it."""
    psycopg = importlib.import_module("psycopg")
    with suppress(psycopg.Error), psycopg.connect(url, connect_timeout=3, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = %s AND state = 'active'",
            (name,),
        )


def _parse_postgres_url(location: SourceLocation) -> dict[str, object]:
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


def _get_duckdb_error() -> type[Exception]:
    import duckdb  # noqa: PLC0415 - slow to import

    return duckdb.Error


#: Part of the engine's message -> what the user can do about it.
_REMEDIES: Mapping[str, str] = {
    "password authentication failed": "check the user and the password in the URL",
    "no password supplied": "put the password into the URL or into PGPASSWORD",
    "does not exist": "check the name of the database in the URL",
    "Connection refused": "check that the server runs and the host and port are right",
    "could not translate host name": "check the host in the URL",
    "Could not set lock": "another program has the file open for writing: close it, or copy the file",
    "not a valid DuckDB": "the file is damaged or of another DuckDB release",
}


def _describe_open_error(location: SourceLocation, error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0] if lines else type(error).__name__
    if location.kind == "postgres" and (password := _parse_postgres_url(location).get("password")):
        reason = reason.replace(str(password), "***")
    remedy = next(
        (remedy for sign, remedy in _REMEDIES.items() if sign in str(error)), "check that it is the right source"
    )
    return f"The data source {location.label!r} cannot be opened: {reason.rstrip('.')}. Remedy: {remedy}."
