"""Where data is: the kinds of data source, told by a URL's scheme or a file's first bytes."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from agent.errors import DataError

SourceKind = Literal["duckdb", "sqlite", "postgres", "files"]
SUPPORTED_SOURCES = (
    "a DuckDB or SQLite file, a CSV or Parquet file or a folder of them, or postgresql://user@host/database"
)
TABLE_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")


@dataclass(frozen=True)
class SourceLocation:
    """Where the data is: a file, a folder, or the URL of a PostgreSQL database."""

    kind: SourceKind
    address: str
    #: `address` as it may be shown: without a password.
    label: str


def locate_source(location: str | Path) -> SourceLocation:
    """Tell what kind of source `location` is, by its scheme or by its first bytes. Raises `DataError`."""
    text = os.fspath(location)
    scheme, _, rest = text.partition("://")
    if rest and scheme in {"postgresql", "postgres"}:
        return SourceLocation("postgres", text, mask_source_password(text))
    if rest and scheme not in {"duckdb", "sqlite", "file"}:
        raise DataError(f"A data source of kind {scheme + '://'!r} is not known; give {SUPPORTED_SOURCES}.")
    # Three slashes are the form of SQLAlchemy and of file URLs alike: what follows is the path.
    path = Path(rest.removeprefix("/") if scheme in {"duckdb", "sqlite"} and rest else unquote(rest) if rest else text)
    path = path.expanduser()
    if not path.exists():
        raise DataError(f"There is no data source {text!r}; check the path, or give {SUPPORTED_SOURCES}.")
    return SourceLocation(_detect_kind(path, shown=text), os.fspath(path.resolve()), path.name)


def _detect_kind(path: Path, *, shown: str) -> SourceKind:
    if path.is_dir():
        if not find_table_files(path):
            raise DataError(f"The folder {shown!r} holds no CSV or Parquet file; name one that does, or a database.")
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
    raise DataError(f"{shown!r} is no data that can be opened; give {SUPPORTED_SOURCES}.")


def find_table_files(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Return the table files of a folder by table name; a folder of Parquet parts inside it is one table."""
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
    """Return the name of the table that `file` holds: its own without the ending."""
    suffix = next(
        suffix for suffix in sorted(TABLE_SUFFIXES, key=len, reverse=True) if file.name.lower().endswith(suffix)
    )
    return file.name[: -len(suffix)]


def mask_source_password(url: str) -> str:
    """Return `url` as it may be shown: the password, if any, is three stars."""
    parts = urlsplit(url)
    if parts.password:
        user, _, host = parts.netloc.rpartition("@")
        parts = parts._replace(netloc=f"{user.split(':')[0]}:***@{host}")
    query = [
        f"{key}=***" if key.lower() in {"password", "sslpassword"} else f"{key}{equals}{value}"
        for key, equals, value in (part.partition("=") for part in parts.query.split("&"))
    ]
    return parts._replace(query="&".join(query)).geturl()
