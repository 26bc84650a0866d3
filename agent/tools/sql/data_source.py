"""Read-only data sources, all queried through DuckDB: DuckDB, SQLite, CSV and Parquet files, PostgreSQL databases."""

import importlib
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from agent.errors import DataError, describe_extra
from agent.tools.sql.source_location import (
    SourceKind,
    SourceLocation,
    derive_table_name,
    find_table_files,
    locate_source,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: The name of the attached data in DuckDB.
CATALOG = "source"


class DataSource:
    """An open data source; it is thread-safe, because each call gets a connection of its own."""

    def __init__(self, location: SourceLocation, *, root: "DuckDBPyConnection", keep: object = None) -> None:
        """Own `root`, a locked connection with the data attached as `CATALOG`, and keep a reference to `keep`."""
        self.kind: SourceKind = location.kind
        self.label = location.label
        self._address = location.address
        self._root = root
        self._keep = keep
        self._lock = threading.Lock()

    @contextmanager
    def get_connection(self) -> Iterator["DuckDBPyConnection"]:
        """Yield a connection on which unqualified table names are those of the source; it is closed afterwards."""
        with self._lock:
            cursor = self._root.cursor()
        with closing(cursor):
            cursor.execute(f"USE {CATALOG}")
            yield cursor

    @property
    def file(self) -> Path:
        """The file behind a DuckDB or SQLite source."""
        return Path(self._address)

    def close(self) -> None:
        """Close the source; queries in flight end with an error."""
        self._root.close()


def open_data_source(location: str | Path) -> DataSource:
    """Open `location` read only: DuckDB itself refuses to write, to attach and to open any other file.

    CSV and Parquet files are imported once, into a temporary database that is deleted with the source.
    Raises `DataError` for a location that does not exist, is of no known kind, or cannot be opened.
    """
    source = locate_source(location)
    root = connect_in_memory()
    keep: object = None
    try:
        match source.kind:
            case "duckdb":
                root.execute(f"ATTACH {quote_literal(source.address)} AS {CATALOG} (READ_ONLY)")
            case "sqlite":
                _load_extension(root, "sqlite_scanner")
                root.execute(f"ATTACH {quote_literal(source.address)} AS {CATALOG} (TYPE sqlite, READ_ONLY)")
            case "files":
                keep = _import_files(Path(source.address))
                database = Path(keep.name) / "files.duckdb"
                root.execute(f"ATTACH {quote_literal(os.fspath(database))} AS {CATALOG} (READ_ONLY)")
            case "postgres":
                _load_extension(root, "postgres_scanner")
                _attach_postgres(root, source)
            case _:
                assert_never(source.kind)
    except _get_duckdb_error() as error:
        root.close()
        raise DataError(_describe_open_error(source, error)) from None
    lock_down(root)
    return DataSource(source, root=root, keep=keep)


def connect_in_memory() -> "DuckDBPyConnection":
    """Return an in-memory DuckDB that loads no extension by itself; call `lock_down` after adding the data."""
    import duckdb  # noqa: PLC0415 - slow to import

    return duckdb.connect(
        config={
            "python_enable_replacements": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_persistent_secrets": "false",
            "temp_directory": os.fspath(Path(tempfile.gettempdir()) / f"planwave-{os.getpid()}"),
        }
    )


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


def _import_files(path: Path) -> "tempfile.TemporaryDirectory[str]":
    """Import CSV or Parquet files into a DuckDB file in a new temporary folder, one table each."""
    import duckdb  # noqa: PLC0415 - slow to import

    folder = tempfile.TemporaryDirectory(prefix="planwave-", ignore_cleanup_errors=True)
    tables = find_table_files(path) if path.is_dir() else {derive_table_name(path): (path,)}
    with duckdb.connect(os.fspath(Path(folder.name) / "files.duckdb")) as database:
        hide_progress_bar(database)
        for name, files in tables.items():
            paths = [os.fspath(file) for file in files]
            if paths[0].lower().endswith(".parquet"):
                database.from_parquet(paths, union_by_name=True, hive_partitioning=len(paths) > 1).create(name)
            else:
                database.read_csv(paths[0]).create(name)
    return folder


def _load_extension(connection: "DuckDBPyConnection", extension: str) -> None:
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


def _attach_postgres(connection: "DuckDBPyConnection", location: SourceLocation) -> None:
    """Attach the database, with the password as a DuckDB secret: SQL can read the address of attached databases."""
    settings = _parse_postgres_url(location)
    password = settings.pop("password", None)
    # Also without a password: otherwise DuckDB would use a secret that the user has stored for something else.
    option = f", PASSWORD {quote_literal(str(password))}" if password else ""
    connection.execute(f"CREATE SECRET entry (TYPE postgres{option})")
    address = " ".join(f"{key}={_quote_libpq_value(str(value))}" for key, value in settings.items())
    connection.execute(f"ATTACH {quote_literal(address)} AS {CATALOG} (TYPE postgres, READ_ONLY, SECRET entry)")


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
