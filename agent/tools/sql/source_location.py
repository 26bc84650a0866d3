"""Locations of data sources; their kind follows from the URL scheme or from the first bytes of the file."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from agent.errors import DataError

SourceKind = Literal["duckdb", "sqlite", "postgres", "mysql", "files"]
SUPPORTED_SOURCES = (
    "a DuckDB or SQLite file, a CSV or Parquet file or a folder of them, postgresql://user@host/database, "
    "or mysql://user@host/database"
)
TABLE_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")


@dataclass(frozen=True)
class SourceLocation:
    """The location of a data source: a file, a folder, or the URL of a PostgreSQL or MySQL database."""

    kind: SourceKind
    address: str
    #: A name that may be shown: the file name, or the URL with its password redacted.
    label: str


def locate_source(location: str | Path) -> SourceLocation:
    """Return the location with its kind of source. Raises `DataError` if it does not exist or is of no known kind."""
    text = os.fspath(location)
    scheme, _, rest = text.partition("://")
    if rest and scheme in {"postgresql", "postgres"}:
        return SourceLocation("postgres", text, mask_source_password(text))
    if rest and scheme in {"mysql", "mariadb"}:
        return SourceLocation("mysql", text, mask_source_password(text))
    if rest and scheme not in {"duckdb", "sqlite", "file"}:
        raise DataError(f"A data source of kind {scheme + '://'!r} is not known; give {SUPPORTED_SOURCES}.")
    # SQLAlchemy URLs and file URLs both have three slashes before the path.
    path = Path(rest.removeprefix("/") if scheme in {"duckdb", "sqlite"} and rest else unquote(rest) if rest else text)
    path = path.expanduser()
    if not path.exists():
        raise DataError(f"There is no data source {text!r}; check the path, or give {SUPPORTED_SOURCES}.")
    return SourceLocation(_detect_kind(path, shown=text), os.fspath(path.resolve()), path.name)


def _detect_kind(path: Path, *, shown: str) -> SourceKind:
    if path.is_dir():
        if not find_table_files(path):
            raise DataError(f"The folder {shown!r} has no CSV or Parquet file; give one that has, or a database.")
        return "files"
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise DataError(f"The data source {shown!r} cannot be read: {error.strerror}.") from error
    if head[8:12] == b"DUCK":
        return "duckdb"
    if head == b"SQLite format 3\0":
        return "sqlite"
    if path.name.lower().endswith(TABLE_SUFFIXES):
        return "files"
    raise DataError(f"{shown!r} is not a data source that can be opened; give {SUPPORTED_SOURCES}.")


def find_table_files(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Return the files of each table in a folder, by table name; a subfolder of Parquet files is one table."""
    tables: dict[str, tuple[Path, ...]] = {
        derive_table_name(file): (file,) for file in sorted(folder.iterdir()) if _is_table_file(file)
    }
    for inner in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        parts = tuple(sorted(inner.rglob("*.parquet")))
        if parts:
            tables.setdefault(inner.name, parts)
    return tables


def _is_table_file(file: Path) -> bool:
    return file.is_file() and file.name.lower().endswith(TABLE_SUFFIXES)


def derive_table_name(file: Path) -> str:
    """Return the table name of `file`: its file name without the suffix."""
    suffix = next(
        suffix for suffix in sorted(TABLE_SUFFIXES, key=len, reverse=True) if file.name.lower().endswith(suffix)
    )
    return file.name[: -len(suffix)]


def mask_source_password(url: str) -> str:
    """Return `url` with its password, if any, redacted as `***`."""
    parts = urlsplit(url)
    if parts.password:
        user, _, host = parts.netloc.rpartition("@")
        parts = parts._replace(netloc=f"{user.split(':')[0]}:***@{host}")
    query = [
        f"{key}=***" if key.lower() in {"password", "sslpassword"} else f"{key}{equals}{value}"
        for key, equals, value in (part.partition("=") for part in parts.query.split("&"))
    ]
    return parts._replace(query="&".join(query)).geturl()
