"""Reading the schema of an open data source from its catalogue and its rows."""

import time
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from agent.tools.db_schema.catalog_notes import CatalogNotes, qualify_name, read_catalog_notes
from agent.tools.db_schema.inferred_keys import infer_foreign_keys
from agent.tools.db_schema.model import Column, DatabaseSchema, HeldType, Relation
from agent.tools.db_schema.quoting import quote_relation
from agent.tools.sql.data_source import Connectable
from agent.tools.sql.duckdb_json import cell_to_json
from agent.tools.sql.engines.attachment import CATALOG, TableReading, quote_identifier
from agent.tools.sql.runner import interrupt_after

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: The values of a text column are listed if there are at most so many.
MAX_LISTED_VALUES = 200
#: The values of text columns are not queried if the table has more rows.
_MAX_PROFILED_ROWS = 5_000_000
#: Seconds for the rows of one table or view, and of all.
_PROFILE_SECONDS, _ALL_PROFILES_SECONDS = 20.0, 40.0
_ISO_MONTH = r"\d{4}-\d{2}"
_ISO_DATE = r"\d{4}-\d{2}-\d{2}"
_ISO_TIME = _ISO_DATE + r"([ T]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?"
#: What a text column can hold: the pattern of its values, what makes a value a date, and the type of that.
_HELD_TYPES: Mapping[HeldType, tuple[str, str, str]] = {
    "DATE": (_ISO_DATE, "", "DATE"),
    "TIMESTAMP": (_ISO_TIME, "", "TIMESTAMP"),
    "MONTH": (_ISO_MONTH, "-01", "DATE"),
}
_OWN_SCHEMAS = frozenset({"information_schema", "pg_catalog", "pg_toast"})


def read_schema(source: Connectable, *, only: Collection[str] | None = None) -> DatabaseSchema:
    """Return the schema of `source`: names and types of all, rows and values of the tables `only`, None for all.

    Blocking: it counts rows and queries the values of text columns.
    """
    stops_at = time.monotonic() + _ALL_PROFILES_SECONDS
    with source.get_connection() as connection:
        notes = read_catalog_notes(source, connection=connection)
        # A server of MySQL has other databases, which are not those of the source.
        (default,) = connection.execute("SELECT current_schema()").fetchone() or (None,)
        schema_only = default if source.kind == "mysql" else None
        found = {
            name: columns
            for name, columns in _read_columns(connection, schema_only=schema_only).items()
            if name not in notes.hidden
        }
        if source.kind == "sqlite":
            # Its views are missing in DuckDB's catalogue.
            found |= {name: [] for name in notes.views}
        profiled = None if only is None else {name.lower() for name in only}
        relations = []
        for name, columns in found.items():
            is_profiled = profiled is None or name.lower() in profiled
            seconds = min(_PROFILE_SECONDS, stops_at - time.monotonic()) if is_profiled else 0.0
            reading = (
                source.reader.read_relation(name, connection, seconds=seconds) if source.reader else TableReading()
            )
            relation = _build_relation(name, columns=columns, notes=notes, reading=reading)
            if seconds > 0 and not reading.problem:
                relation = _profile_relation(relation, connection=connection, seconds=seconds)
            relations.append(relation)
        if source.kind not in {"postgres", "mysql"} and not any(notes.foreign_keys.values()):
            relations = infer_foreign_keys(relations, connection=connection, seconds=stops_at - time.monotonic())
        (time_zone,) = connection.execute("SELECT current_setting('TimeZone')").fetchone() or (None,)
    return DatabaseSchema(
        relations=tuple(sorted(relations, key=lambda relation: (relation.kind == "table", relation.name))),
        time_zone=time_zone,
    )


def read_memory_schema(connection: "DuckDBPyConnection") -> DatabaseSchema:
    """Return the tables of an in-memory database with their columns, without reading their rows."""
    return DatabaseSchema(
        relations=tuple(
            Relation(name=name, kind="table", columns=tuple(Column(name=column, type=kind) for column, kind in columns))
            for name, columns in _read_columns(connection, catalog="memory").items()
        )
    )


def _read_columns(
    connection: "DuckDBPyConnection", *, catalog: str = CATALOG, schema_only: str | None = None
) -> dict[str, list[tuple[str, str]]]:
    rows = connection.execute(
        "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() "
        "WHERE database_name = $catalog AND NOT list_contains($own, schema_name) "
        "AND ($schema IS NULL OR schema_name = $schema) "
        "ORDER BY schema_name, table_name, column_index",
        {"catalog": catalog, "own": sorted(_OWN_SCHEMAS), "schema": schema_only},
    ).fetchall()
    columns: dict[str, list[tuple[str, str]]] = {}
    for schema, table, column, kind in rows:
        columns.setdefault(table if schema_only else qualify_name(schema, table), []).append((column, kind))
    return columns


def _build_relation(
    name: str, *, columns: Iterable[tuple[str, str]], notes: CatalogNotes, reading: TableReading
) -> Relation:
    """Return the relation as its reader sees it; what it cannot read, and how it reads odd values, is in comments."""
    sentences = reading.notes or {}
    unavailable = f"not available: {reading.problem}" if reading.problem else None
    return Relation(
        name=name,
        kind="view" if name in notes.views else "table",
        comment=_join_sentences(notes.comments.get((name, "")), unavailable),
        columns=tuple(
            Column(
                name=column,
                type=kind,
                comment=_join_sentences(notes.comments.get((name, column)), sentences.get(column)),
            )
            for column, kind in (reading.columns or columns)
        ),
        foreign_keys=tuple(notes.foreign_keys.get(name, ())),
    )


def _join_sentences(*parts: str | None) -> str | None:
    return " ".join(part for part in parts if part) or None


def _profile_relation(relation: Relation, *, connection: "DuckDBPyConnection", seconds: float) -> Relation:
    """Return `relation` with its row count, date ranges and listed values; unchanged if reading them fails."""
    import duckdb  # noqa: PLC0415 - slow to import

    try:
        with interrupt_after(seconds, connection):
            count, ranges = _query_ranges(relation, connection=connection)
            texts = (
                [column.name for column in relation.columns if column.is_text] if count <= _MAX_PROFILED_ROWS else []
            )
            dates = _query_text_dates(relation, texts=texts, connection=connection)
            values = _query_values(relation, texts=[name for name in texts if name not in dates], connection=connection)
    except duckdb.Error:
        # A view that no longer binds, a table that may not be read, or a timeout: the names are still correct.
        return relation
    columns = []
    for column in relation.columns:
        holds, first, last = dates.get(column.name, (None, *ranges.get(column.name, (None, None))))
        columns.append(
            column.model_copy(update={"holds": holds, "first": first, "last": last, "values": values.get(column.name)})
        )
    return relation.model_copy(update={"row_count": count, "columns": tuple(columns)})


def _query_ranges(
    relation: Relation, *, connection: "DuckDBPyConnection"
) -> tuple[int, Mapping[str, tuple[str | None, str | None]]]:
    dated = [column.name for column in relation.columns if column.type.startswith(("DATE", "TIMESTAMP"))]
    expressions = ", ".join(
        ["count(*)", *(f"min({quote_identifier(name)}), max({quote_identifier(name)})" for name in dated)]
    )
    row = connection.execute(f"SELECT {expressions} FROM {quote_relation(relation)}").fetchone()  # noqa: S608 - quoted identifiers
    count, *ends = row or (0,)
    texts = [None if end is None else str(cell_to_json(end)) for end in ends]
    return count, dict(zip(dated, zip(texts[::2], texts[1::2], strict=True), strict=True))


def _query_text_dates(
    relation: Relation, *, texts: list[str], connection: "DuckDBPyConnection"
) -> Mapping[str, tuple[HeldType, str, str]]:
    """Return the text columns all of whose values are ISO dates or times: what they hold, the first and the last."""
    if not texts:
        return {}
    parts = []
    for name in texts:
        column = f"CAST({quote_identifier(name)} AS VARCHAR)"
        for pattern, suffix, cast in _HELD_TYPES.values():
            is_date = f"({column} IS NULL OR TRY_CAST({column} || '{suffix}' AS {cast}) IS NOT NULL)"
            parts.append(f"bool_and(regexp_full_match({column}, '{pattern}') AND {is_date})")
        parts += [f"min({column})", f"max({column})"]
    row = connection.execute(f"SELECT {', '.join(parts)} FROM {quote_relation(relation)}").fetchone() or ()  # noqa: S608 - quoted identifiers
    dates: dict[str, tuple[HeldType, str, str]] = {}
    width = len(_HELD_TYPES) + 2
    for place, name in enumerate(texts):
        *held, first, last = row[width * place : width * (place + 1)]
        kind = next((kind for kind, is_held in zip(_HELD_TYPES, held, strict=True) if is_held), None)
        if kind is not None:
            dates[name] = (kind, first, last)
    return dates


def _query_values(
    relation: Relation, *, texts: list[str], connection: "DuckDBPyConnection"
) -> Mapping[str, tuple[str, ...]]:
    if not texts:
        return {}
    counts = ", ".join(f"approx_count_distinct({quote_identifier(name)})" for name in texts)
    row = connection.execute(f"SELECT {counts} FROM {quote_relation(relation)}").fetchone()  # noqa: S608 - quoted identifiers
    listed = {}
    for name, approximate_count in zip(texts, row or (), strict=True):
        # The approximate count may be off by some percent either way.
        if approximate_count > MAX_LISTED_VALUES * 1.5:
            continue
        column = quote_identifier(name)
        values = connection.execute(
            f"SELECT DISTINCT CAST({column} AS VARCHAR) FROM {quote_relation(relation)} "  # noqa: S608 - quoted identifiers
            f"WHERE {column} IS NOT NULL LIMIT {MAX_LISTED_VALUES + 1}"
        ).fetchall()
        if len(values) <= MAX_LISTED_VALUES and all(len(value) <= 200 for (value,) in values):
            listed[name] = tuple(sorted(value for (value,) in values))
    return listed
