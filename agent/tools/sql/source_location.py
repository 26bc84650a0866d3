"""Locations of data sources; their kind follows from the URL scheme or from the first bytes of the file."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from agent.errors import DataError
from agent.tools.data_files.discovery import detect_format, find_tables
from agent.tools.data_files.read_options import ReadOptions, split_options

SourceKind = Literal["duckdb", "sqlite", "postgres", "files"]
SUPPORTED_SOURCES = (
    "a DuckDB or SQLite file, a CSV, JSON, Excel or Parquet file or a folder of them, "
    "or postgresql://user@host/database"
)
#: The way to what cannot be opened.
_OTHER_WAYS = (
    "Other databases, such as SQL Server, BigQuery or Snowflake, come in as tools: of an MCP server, named in "
    "planwave.toml, or of your own"
)


@dataclass(frozen=True)
class SourceLocation:
    """The location of a data source: a file, a folder, or the URL of a PostgreSQL database."""

    kind: SourceKind
    address: str
    #: A name that may be shown: the file name, or the URL with its password redacted.
    label: str
    #: How files are read: the options of `ReadOptions` by name; under `files` those of single files.
    options: Mapping[str, Any] = field(default_factory=dict)


def locate_source(location: str | Path, *, defaults: Mapping[str, Any] | None = None) -> SourceLocation:
    """Return the location with its kind of source.

    Options of files stand after a `?`; `defaults` are those that hold otherwise. Raises `DataError` if it does not
    exist or is of no known kind, and for an option that there is not.
    """
    text = os.fspath(location)
    scheme, _, rest = text.partition("://")
    if rest and scheme in {"postgresql", "postgres"}:
        return SourceLocation("postgres", text, mask_source_password(text))
    if rest and scheme not in {"duckdb", "sqlite", "file"}:
        raise DataError(
            f"A data source of kind {scheme + '://'!r} is not known; give {SUPPORTED_SOURCES}. {_OTHER_WAYS}."
        )
    # SQLAlchemy URLs and file URLs both have three slashes before the path.
    place = rest.removeprefix("/") if scheme in {"duckdb", "sqlite"} and rest else unquote(rest) if rest else text
    place, options = split_options(place)
    path = Path(place).expanduser()
    if not path.exists():
        raise DataError(f"There is no data source {text!r}; check the path, or give {SUPPORTED_SOURCES}.")
    found = SourceLocation(_detect_kind(path, shown=text), os.fspath(path.resolve()), path.name)
    if found.kind == "files":
        return replace(found, options={**(defaults or {}), **options.to_message()})
    if options != ReadOptions():
        raise DataError(f"{path.name!r} is a database, which takes no options; leave out what is after the '?'.")
    return found


def _detect_kind(path: Path, *, shown: str) -> SourceKind:
    if path.is_dir():
        if not find_tables(path).tables:
            raise DataError(
                f"The folder {shown!r} has no CSV, JSON, Excel or Parquet file; give one that has, or a database."
            )
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
    if detect_format(path) is not None:
        return "files"
    if path.suffix.lower() in {".xls", ".ods", ".numbers", ".xlsb"}:
        raise DataError(f"{shown!r} is a spreadsheet of a kind that is not read; save it as .xlsx or as CSV.")
    raise DataError(f"{shown!r} is not a data source that can be opened; give {SUPPORTED_SOURCES}. {_OTHER_WAYS}.")


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
