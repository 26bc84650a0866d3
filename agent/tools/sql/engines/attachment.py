"""What every attached database needs: its catalogue name, the extension that reads it, and views in front of tables."""

import importlib
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from agent.errors import DataError, describe_extra

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: The name of the attached data in DuckDB.
CATALOG = "source"
#: The catalogue, found before that one, of the views that stand in front of tables.
FRONT_CATALOG = "memory"


@dataclass(frozen=True, slots=True)
class TableReading:
    """How a table or view is read: as DuckDB's reader does it, or by a view in front of it."""

    #: Name and DuckDB type of each column, or None if DuckDB's own catalogue is right.
    columns: tuple[tuple[str, str], ...] | None = None
    #: The SELECT of the view in front; None if there is none.
    view: str | None = None
    #: By column: a sentence on values that are not read as they are.
    notes: Mapping[str, str] | None = None
    #: Why it cannot be read at all.
    problem: str | None = None
    #: Whether the engine has no such table.
    is_unknown: bool = False


class TableReader(Protocol):
    """Knows where DuckDB's reader of an engine differs from the engine, and puts views in front of those tables."""

    def prepare_tables(self, sql: str, connection: "DuckDBPyConnection") -> list[str]:
        """Prepare the tables of `sql`; return sentences on the values that it reads otherwise. Raises `ToolFailure`."""
        ...

    def read_relation(self, name: str, connection: "DuckDBPyConnection", *, seconds: float) -> TableReading:
        """Return how the table or view is read, looking at its values for at most `seconds`; 0: not at all."""
        ...

    def list_views(self) -> list[str]:
        """Return the views that DuckDB's own catalogue may lack."""
        ...

    def find_reading(self, schema: str, name: str, connection: "DuckDBPyConnection") -> TableReading:
        """Return how a table or view is to be read, without putting a view in front of it. Raises `ToolFailure`."""
        ...

    def forget(self) -> None:
        """Look at the values again: a query has found others."""
        ...


class FrontViews:
    """The views in front of the tables of one attached source; each is made once, and again if its SELECT changes."""

    def __init__(self, default_schema: str) -> None:
        """Begin with none."""
        self._default_schema = default_schema
        self._path = f"{FRONT_CATALOG}.{default_schema},{CATALOG}.{default_schema}"
        self._made: dict[str, str] = {}
        self._lock = threading.Lock()

    def use(self, connection: "DuckDBPyConnection") -> None:
        """Let names without a catalogue mean these views first; what is created then is none of the source."""
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {FRONT_CATALOG}.{self._default_schema}")
        connection.execute(f"SET search_path = {quote_literal(self._path)}")

    def put(self, schema: str, name: str, reading: TableReading, connection: "DuckDBPyConnection") -> TableReading:
        """Make the view of `reading`, and return it with its columns; one that the engine refuses has a problem."""
        import duckdb  # noqa: PLC0415 - slow to import

        if reading.view is None and schema != self._default_schema:
            # A table whose schema is written is looked for only in the first catalogue that has the schema.
            table = f"{CATALOG}.{quote_identifier(schema)}.{quote_identifier(name)}"
            reading = replace(reading, view=f"SELECT * FROM {table}")  # noqa: S608 - quoted identifiers
        quoted = f"{FRONT_CATALOG}.{quote_identifier(schema)}.{quote_identifier(name)}"
        with self._lock:
            if reading.view is None:
                if self._made.pop(quoted, None):
                    connection.execute(f"DROP VIEW IF EXISTS {quoted}")
                return reading
            try:
                if self._made.get(quoted) != reading.view:
                    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {FRONT_CATALOG}.{quote_identifier(schema)}")
                    connection.execute(f"CREATE OR REPLACE VIEW {quoted} AS {reading.view}")
                    self._made[quoted] = reading.view
                rows = connection.execute(f"DESCRIBE {quoted}").fetchall()
            except duckdb.Error as error:
                return TableReading(problem=" ".join(str(error).split("\n\nLINE ")[0].split()))
        return replace(reading, columns=tuple((column, kind) for column, kind, *_ in rows))


def load_extension(connection: "DuckDBPyConnection", extension: str) -> None:
    """Load a DuckDB extension from the Python package that contains it; nothing is downloaded."""
    import duckdb  # noqa: PLC0415 - slow to import

    try:
        module = importlib.import_module(f"duckdb_extension_{extension}")
    except ImportError as error:
        raise DataError(f"DuckDB's {extension} is missing; it comes with {describe_extra('analytics')}.") from error
    file = Path(str(module.__file__)).parent / "extensions" / f"v{duckdb.__version__}" / f"{extension}.duckdb_extension"
    if not file.exists():
        raise DataError(
            f"DuckDB is {duckdb.__version__}, but its {extension} is not; install the same release of both."
        )
    connection.execute(f"LOAD {quote_literal(str(file))}")


def find_table_names(sql: str, connection: "DuckDBPyConnection", *, known: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Return the tables that `sql` names: the schema of each, empty if none is written, and its name.

    If DuckDB cannot parse it, they are those of `known`, in lower case, that occur as words.
    """
    row = connection.execute("SELECT json_serialize_sql($sql)", {"sql": sql}).fetchone()
    tree = json.loads(row[0]) if row else {"error": True}
    if not tree["error"]:
        return sorted(set(_find_tables(tree)))
    words = set(re.findall(r"\w+", sql.lower()))
    return [("", name) for name in known if words.issuperset(re.findall(r"\w+", name))]


def _find_tables(node: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - a parsed JSON document
    if isinstance(node, dict):
        if node.get("type") == "BASE_TABLE":
            yield node.get("schema_name") or "", node["table_name"]
        for inner in node.values():
            yield from _find_tables(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _find_tables(inner)


def collect_notes(sql: str, readings: Iterable[TableReading]) -> list[str]:
    """Return the sentences on columns that `sql` may read: those it names, and all if it has a star."""
    words, has_star = set(re.findall(r"\w+", sql.lower())), "*" in sql.lower().replace("count(*)", "")
    return [
        note
        for reading in readings
        for column, note in (reading.notes or {}).items()
        if has_star or words.issuperset(re.findall(r"\w+", column.lower()))
    ]


def quote_identifier(name: str) -> str:
    """Return `name` as a quoted SQL identifier, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """Return `text` as an SQL string literal, for statements that take no parameters."""
    return "'" + text.replace("'", "''") + "'"
