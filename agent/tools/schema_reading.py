"""The schema of an open data source, read from its catalogue and its rows."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.tools.database_schema import Column, DatabaseSchema, ForeignKey, Relation
from agent.tools.json_cells import json_cell
from agent.tools.source import CATALOG, DataSource
from agent.tools.sql_run import Watch

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: A text column with at most so many different values has them listed.
FEW_VALUES = 200
#: Beyond so many rows the values of text columns are not looked for.
_MANY_ROWS = 5_000_000
_PROFILE_SECONDS = 20.0
_OWN_SCHEMAS = frozenset({"information_schema", "pg_catalog", "pg_toast"})
_DEFAULT_SCHEMAS = frozenset({"main", "public"})

_POSTGRES_COMMENTS = """
SELECT n.nspname, c.relname, coalesce(a.attname, ''), d.description, c.relkind::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""
_POSTGRES_KEYS = """
SELECT n.nspname AS from_schema, c.relname AS from_table, rn.nspname AS to_schema, r.relname AS to_table,
    array_to_string(array(SELECT attname FROM unnest(k.conkey) WITH ORDINALITY u(num, place)
        JOIN pg_attribute ON attrelid = k.conrelid AND attnum = u.num ORDER BY u.place), ',') AS from_columns,
    array_to_string(array(SELECT attname FROM unnest(k.confkey) WITH ORDINALITY u(num, place)
        JOIN pg_attribute ON attrelid = k.confrelid AND attnum = u.num ORDER BY u.place), ',') AS to_columns
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class r ON r.oid = k.confrelid JOIN pg_namespace rn ON rn.oid = r.relnamespace
WHERE k.contype = 'f' ORDER BY k.oid
"""


@dataclass
class _Notes:
    """What the catalogue says beside names and types, by the name of the relation."""

    comments: dict[tuple[str, str], str] = field(default_factory=dict)
    views: set[str] = field(default_factory=set)
    foreign_keys: dict[str, list[ForeignKey]] = field(default_factory=lambda: defaultdict(list))


def read_schema(source: DataSource) -> DatabaseSchema:
    """Return the schema of `source`. Blocking: counts rows and looks for the values of text columns."""
    with source.connection() as connection:
        notes = _notes(source, connection=connection)
        relations = [
            _relation(name, columns=columns, notes=notes, connection=connection)
            for name, columns in {**_columns(connection), **_view_columns(source, connection=connection)}.items()
        ]
    return DatabaseSchema(
        relations=tuple(sorted(relations, key=lambda relation: (relation.kind == "table", relation.name)))
    )


def read_columns(connection: "DuckDBPyConnection") -> DatabaseSchema:
    """Return the tables of an in-memory database with their columns and nothing of their rows."""
    return DatabaseSchema(
        relations=tuple(
            Relation(name=name, kind="table", columns=tuple(Column(name=column, type=kind) for column, kind in columns))
            for name, columns in _columns(connection, catalog="memory").items()
        )
    )


def relation_name(schema: str, name: str) -> str:
    """Return the name under which SQL finds a relation, with its schema unless that is the default."""
    return name if schema in _DEFAULT_SCHEMAS else f"{schema}.{name}"


def _columns(connection: "DuckDBPyConnection", *, catalog: str = CATALOG) -> dict[str, list[tuple[str, str]]]:
    rows = connection.execute(
        "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() "
        "WHERE database_name = $catalog AND NOT list_contains($own, schema_name) "
        "ORDER BY schema_name, table_name, column_index",
        {"catalog": catalog, "own": sorted(_OWN_SCHEMAS)},
    ).fetchall()
    found: dict[str, list[tuple[str, str]]] = {}
    for schema, table, column, kind in rows:
        found.setdefault(relation_name(schema, table), []).append((column, kind))
    return found


def _view_columns(source: DataSource, *, connection: "DuckDBPyConnection") -> dict[str, list[tuple[str, str]]]:
    """Return the columns of SQLite's views, which DuckDB's catalogue lists without them."""
    import duckdb  # noqa: PLC0415 - slow to import

    found: dict[str, list[tuple[str, str]]] = {}
    if source.kind != "sqlite":
        return found
    views = connection.execute(
        "SELECT view_name FROM duckdb_views() WHERE database_name = $catalog ORDER BY view_name", {"catalog": CATALOG}
    ).fetchall()
    for (name,) in views:
        try:
            columns = connection.execute(f"DESCRIBE {identifier(name)}").fetchall()
        except duckdb.Error:
            # A view over a table that is gone is none that could be asked.
            continue
        found[name] = [(column, kind) for column, kind, *_ in columns]
    return found


def _notes(source: DataSource, *, connection: "DuckDBPyConnection") -> _Notes:
    match source.kind:
        case "postgres":
            return _postgres_notes(connection)
        case "sqlite":
            return _sqlite_notes(source)
        case _:
            return _duckdb_notes(connection)


def _duckdb_notes(connection: "DuckDBPyConnection") -> _Notes:
    notes = _Notes()
    mine = {"catalog": CATALOG}
    for kind in ("table", "view"):
        for schema, name, comment in connection.execute(
            f"SELECT schema_name, {kind}_name, comment FROM duckdb_{kind}s() WHERE database_name = $catalog",  # noqa: S608 - two words above
            mine,
        ).fetchall():
            if kind == "view":
                notes.views.add(relation_name(schema, name))
            if comment:
                notes.comments[relation_name(schema, name), ""] = comment
    for schema, name, column, comment in connection.execute(
        "SELECT schema_name, table_name, column_name, comment FROM duckdb_columns() "
        "WHERE database_name = $catalog AND comment IS NOT NULL",
        mine,
    ).fetchall():
        notes.comments[relation_name(schema, name), column] = comment
    for schema, name, columns, table, references in connection.execute(
        "SELECT schema_name, table_name, constraint_column_names, referenced_table, referenced_column_names "
        "FROM duckdb_constraints() WHERE database_name = $catalog AND constraint_type = 'FOREIGN KEY' "
        "ORDER BY table_oid, constraint_index",
        mine,
    ).fetchall():
        # DuckDB's foreign keys stay within a schema.
        key = ForeignKey(columns=columns, table=relation_name(schema, table), references=references)
        notes.foreign_keys[relation_name(schema, name)].append(key)
    return notes


def _sqlite_notes(source: DataSource) -> _Notes:
    notes = _Notes()
    with closing(sqlite3.connect(f"{source.file.as_uri()}?mode=ro", uri=True)) as database:
        for name, kind in database.execute("SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view')"):
            if kind == "view":
                notes.views.add(name)
                continue
            keys: dict[int, list[tuple[str, str, str | None]]] = defaultdict(list)
            for number, _, table, column, reference in database.execute(
                'SELECT id, seq, "table", "from", "to" FROM pragma_foreign_key_list(?) ORDER BY id, seq', (name,)
            ):
                keys[number].append((table, column, reference))
            for parts in keys.values():
                table = parts[0][0]
                primary = [
                    row[0]
                    for row in database.execute(
                        "SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk", (table,)
                    )
                ]
                references = [reference for *_, reference in parts if reference] or primary
                if len(references) == len(parts):
                    columns = tuple(column for _, column, _ in parts)
                    notes.foreign_keys[name].append(
                        ForeignKey(columns=columns, table=table, references=tuple(references))
                    )
    return notes


def _postgres_notes(connection: "DuckDBPyConnection") -> _Notes:
    notes = _Notes()
    ask = "SELECT * FROM postgres_query($catalog, $sql)"
    comments = connection.execute(ask, {"catalog": CATALOG, "sql": _POSTGRES_COMMENTS}).fetchall()
    for schema, name, column, comment, kind in comments:
        if kind in {"v", "m"}:
            notes.views.add(relation_name(schema, name))
        if comment:
            notes.comments[relation_name(schema, name), column] = comment
    keys = connection.execute(ask, {"catalog": CATALOG, "sql": _POSTGRES_KEYS}).fetchall()
    for schema, name, to_schema, table, columns, references in keys:
        key = ForeignKey(
            columns=columns.split(","), table=relation_name(to_schema, table), references=references.split(",")
        )
        notes.foreign_keys[relation_name(schema, name)].append(key)
    return notes


def _relation(
    name: str, *, columns: Iterable[tuple[str, str]], notes: _Notes, connection: "DuckDBPyConnection"
) -> Relation:
    relation = Relation(
        name=name,
        kind="view" if name in notes.views else "table",
        comment=notes.comments.get((name, "")),
        columns=tuple(
            Column(name=column, type=kind, comment=notes.comments.get((name, column))) for column, kind in columns
        ),
        foreign_keys=tuple(notes.foreign_keys.get(name, ())),
    )
    return _profiled(relation, connection=connection)


def _profiled(relation: Relation, *, connection: "DuckDBPyConnection") -> Relation:
    """Return `relation` with its row count, date ranges and listed values; as it is where that takes too long."""
    import duckdb  # noqa: PLC0415 - slow to import

    watch = Watch(_PROFILE_SECONDS)
    try:
        with watch.over(connection):
            count, ranges = _ranges(relation, connection=connection)
            texts = [column.name for column in relation.columns if column.is_text] if count <= _MANY_ROWS else []
            values = _values(relation, texts=texts, connection=connection)
    except duckdb.Error:
        # A view that no longer binds, a table without the right to read it, or too many rows: the names still stand.
        return relation
    columns = []
    for column in relation.columns:
        first, last = ranges.get(column.name, (None, None))
        columns.append(column.model_copy(update={"first": first, "last": last, "values": values.get(column.name)}))
    return relation.model_copy(update={"row_count": count, "columns": tuple(columns)})


def _ranges(
    relation: Relation, *, connection: "DuckDBPyConnection"
) -> tuple[int, Mapping[str, tuple[str | None, str | None]]]:
    dated = [column.name for column in relation.columns if column.type.startswith(("DATE", "TIMESTAMP"))]
    wanted = ", ".join(["count(*)", *(f"min({identifier(name)}), max({identifier(name)})" for name in dated)])
    row = connection.execute(f"SELECT {wanted} FROM {_from(relation)}").fetchone()  # noqa: S608 - quoted identifiers
    count, *ends = row or (0,)
    shown = [None if end is None else str(json_cell(end)) for end in ends]
    return count, {name: (shown[2 * place], shown[2 * place + 1]) for place, name in enumerate(dated)}


def _values(relation: Relation, *, texts: list[str], connection: "DuckDBPyConnection") -> Mapping[str, tuple[str, ...]]:
    if not texts:
        return {}
    counts = ", ".join(f"approx_count_distinct({identifier(name)})" for name in texts)
    row = connection.execute(f"SELECT {counts} FROM {_from(relation)}").fetchone()  # noqa: S608 - quoted identifiers
    found = {}
    for name, roughly in zip(texts, row or (), strict=True):
        # The count is rough: it may be off by some percent either way.
        if roughly > FEW_VALUES * 1.5:
            continue
        column = identifier(name)
        values = connection.execute(
            f"SELECT DISTINCT CAST({column} AS VARCHAR) FROM {_from(relation)} "  # noqa: S608 - quoted identifiers
            f"WHERE {column} IS NOT NULL LIMIT {FEW_VALUES + 1}"
        ).fetchall()
        if len(values) <= FEW_VALUES and all(len(value) <= 200 for (value,) in values):
            found[name] = tuple(sorted(value for (value,) in values))
    return found


def identifier(name: str) -> str:
    """Return `name` quoted, so that SQL takes it as a name whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def _from(relation: Relation) -> str:
    schema, dot, name = relation.name.partition(".")
    return f"{identifier(schema)}.{identifier(name)}" if dot else identifier(relation.name)
