"""Locations of data sources; their kind follows from the URL scheme or from the first bytes of the file."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from agent.errors import DataError
from agent.tools.data_files.discovery import detect_format, find_tables
from agent.tools.data_files.read_options import ReadOptions, split_options

SourceKind = Literal["duckdb", "sqlite", "postgres", "mysql", "files", "several"]
SUPPORTED_SOURCES = (
    "a DuckDB or SQLite file, a CSV, JSON, Excel or Parquet file or a folder of them, "
    "postgresql://user@host/database, or mysql://user@host/database"
)
#: A name that SQL takes without quotes, and what it is of.
_NAMED_PLACE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.+)", re.DOTALL)
_RESERVED_NAMES = frozenset({"main", "source", "temp", "memory", "system", "information_schema", "pg_catalog"})
#: The way to what cannot be opened.
_OTHER_WAYS = (
    "Other databases, such as SQL Server, BigQuery or Snowflake, come in as tools: of an MCP server, named in "
    "planwave.toml, or of your own"
)


@dataclass(frozen=True)
class SourceLocation:
    """The location of a data source: a file, a folder, or the URL of a PostgreSQL or MySQL database."""

    kind: SourceKind
    address: str
    #: A name that may be shown: the file name, or the URL with its password redacted.
    label: str
    #: How files are read: the options of `ReadOptions` by name; under `files` those of single files.
    options: Mapping[str, Any] = field(default_factory=dict)
    #: The sources of `several`, by name.
    parts: Mapping[str, "SourceLocation"] = field(default_factory=dict)

    def to_message(self) -> dict[str, Any]:
        """Return the location as JSON, for a process that opens it."""
        parts = {name: part.to_message() for name, part in self.parts.items()}
        return {
            "kind": self.kind,
            "address": self.address,
            "label": self.label,
            "options": dict(self.options),
            "parts": parts,
        }

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> "SourceLocation":
        """Return the location of a message."""
        parts = {name: cls.from_message(part) for name, part in message["parts"].items()}
        return cls(message["kind"], message["address"], message["label"], message["options"], parts)


def locate_source(location: str | Path, *, defaults: Mapping[str, Any] | None = None) -> SourceLocation:
    """Return the location with its kind of source.

    Options of files stand after a `?`; `defaults` are those that hold otherwise. Raises `DataError` if it does not
    exist or is of no known kind, and for an option that there is not.
    """
    text = os.fspath(location)
    scheme, _, rest = text.partition("://")
    if rest and scheme in {"postgresql", "postgres"}:
        return SourceLocation("postgres", text, mask_source_password(text))
    if rest and scheme in {"mysql", "mariadb"}:
        return SourceLocation("mysql", text, mask_source_password(text))
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
        given, files = options.to_message(), (defaults or {}).get("files", {})
        # What stands with the location goes before what planwave.toml says, of the one file too.
        single = {name: {**own, **given} for name, own in files.items()}
        return replace(found, options={**(defaults or {}), **given, **({"files": single} if single else {})})
    if options != ReadOptions():
        raise DataError(f"{path.name!r} is a database, which takes no options; leave out what is after the '?'.")
    return found


def split_source_name(location: str) -> tuple[str | None, str]:
    """Return the name and the place of a source that is given as NAME=PLACE; without one, the name is None."""
    found = _NAMED_PLACE.fullmatch(location)
    if found is None or Path(location).expanduser().exists():
        return None, location
    return found[1], found[2]


def locate_sources(
    locations: str | Path | Sequence[str | Path], *, defaults: Mapping[str, Any] | None = None
) -> SourceLocation:
    """Return the location of one source, or of several that are queried together, each a schema by its name.

    Raises `DataError` as `locate_source`, and for two sources of one name.
    """
    given = [locations] if isinstance(locations, str | Path) else list(locations)
    named = [split_source_name(os.fspath(each)) for each in given]
    if len(named) == 1 and named[0][0] is None:
        return locate_source(named[0][1], defaults=defaults)
    parts: dict[str, SourceLocation] = {}
    for name, place in named:
        found = locate_source(place, defaults=defaults)
        wanted = name or _derive_source_name(found)
        if wanted.lower() in {each.lower() for each in parts} | _RESERVED_NAMES:
            raise DataError(
                f"The data source {found.label!r} cannot be called {wanted!r}, which is taken; "
                "name it otherwise: --data NAME=PLACE."
            )
        parts[wanted] = found
    label = ", ".join(f"{name} ({part.label})" for name, part in parts.items())
    return SourceLocation("several", "", label, parts=parts)


def _derive_source_name(location: SourceLocation) -> str:
    """Return a name that SQL takes without quotes, by that of the file or the database."""
    path = urlsplit(location.address).path if "://" in location.address else location.address
    stem = Path(path).name.partition(".")[0]
    name = re.sub(r"\W", "_", stem, flags=re.ASCII).strip("_")
    return name if name and not name[0].isdigit() else f"data_{name}".rstrip("_")


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
