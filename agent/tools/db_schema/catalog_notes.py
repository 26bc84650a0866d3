"""Reading of comments, views and foreign keys from the catalogue of a database."""

from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.tools.db_schema.model import ForeignKey
from agent.tools.sql.data_source import Connectable
from agent.tools.sql.engines.attachment import CATALOG
from agent.tools.sql.engines.sqlite import connect_sqlite_file, find_hidden_tables

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_DEFAULT_SCHEMAS = frozenset({"main", "public"})

_POSTGRES_COMMENTS = """
SELECT n.nspname, c.relname, coalesce(a.attname, ''), d.description, c.relkind::text, c.relispartition
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
_MYSQL_TABLES = """
SELECT table_name, table_type, table_comment FROM information_schema.tables WHERE table_schema = database()
"""
_MYSQL_COMMENTS = """
SELECT table_name, column_name, column_comment FROM information_schema.columns
WHERE table_schema = database() AND column_comment <> ''
"""
_MYSQL_KEYS = """
SELECT table_name, constraint_name, referenced_table_name, column_name, referenced_column_name
FROM information_schema.key_column_usage
WHERE table_schema = database() AND referenced_table_schema = database()
ORDER BY table_name, constraint_name, ordinal_position
"""


@dataclass
class CatalogNotes:
    """Comments, views and foreign keys by the name of the table or view."""

    #: By table and column; the column is empty for a comment on the table itself.
    comments: dict[tuple[str, str], str] = field(default_factory=dict)
    views: set[str] = field(default_factory=set)
    #: What is part of another table: a partition, or what an index keeps for itself.
    hidden: set[str] = field(default_factory=set)
    foreign_keys: dict[str, list[ForeignKey]] = field(default_factory=lambda: defaultdict(list))


def read_catalog_notes(source: Connectable, *, connection: "DuckDBPyConnection") -> CatalogNotes:
    """Read the catalogue of `source`, whose form depends on the kind of source."""
    match source.kind:
        case "postgres":
            return _read_postgres_notes(connection)
        case "sqlite":
            return _read_sqlite_notes(source)
        case "mysql":
            return _read_mysql_notes(connection)
        case _:
            return _read_duckdb_notes(connection)


def _read_duckdb_notes(connection: "DuckDBPyConnection") -> CatalogNotes:
    import duckdb  # noqa: PLC0415 - slow to import

    notes = CatalogNotes()
    parameters = {"catalog": CATALOG}
    for kind in ("table", "view"):
        query = f"SELECT schema_name, {kind}_name, comment FROM duckdb_{kind}s() WHERE database_name = $catalog"  # noqa: S608 - two words above
        try:
            found = connection.execute(query, parameters).fetchall()
        except duckdb.Error:
            # A view of another source that only its own engine can run makes this fail as a whole.
            continue
        for schema, name, comment in found:
            if kind == "view":
                notes.views.add(qualify_name(schema, name))
            if comment:
                notes.comments[qualify_name(schema, name), ""] = comment
    for schema, name, column, comment in connection.execute(
        "SELECT schema_name, table_name, column_name, comment FROM duckdb_columns() "
        "WHERE database_name = $catalog AND comment IS NOT NULL",
        parameters,
    ).fetchall():
        notes.comments[qualify_name(schema, name), column] = comment
    for schema, name, columns, table, references in connection.execute(
        "SELECT schema_name, table_name, constraint_column_names, referenced_table, referenced_column_names "
        "FROM duckdb_constraints() WHERE database_name = $catalog AND constraint_type = 'FOREIGN KEY' "
        "ORDER BY table_oid, constraint_index",
        parameters,
    ).fetchall():
        # A foreign key of DuckDB cannot refer to another schema.
        key = ForeignKey(columns=columns, table=qualify_name(schema, table), references=references)
        notes.foreign_keys[qualify_name(schema, name)].append(key)
    return notes


def _read_sqlite_notes(source: Connectable) -> CatalogNotes:
    notes = CatalogNotes()
    with closing(connect_sqlite_file(source.file)) as database:
        notes.hidden = find_hidden_tables(database)
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


def _read_postgres_notes(connection: "DuckDBPyConnection") -> CatalogNotes:
    notes = CatalogNotes()
    query = "SELECT * FROM postgres_query($catalog, $sql)"
    comments = connection.execute(query, {"catalog": CATALOG, "sql": _POSTGRES_COMMENTS}).fetchall()
    for schema, name, column, comment, kind, is_partition in comments:
        if is_partition:
            notes.hidden.add(qualify_name(schema, name))
        if kind in {"v", "m"}:
            notes.views.add(qualify_name(schema, name))
        if comment:
            notes.comments[qualify_name(schema, name), column] = comment
    keys = connection.execute(query, {"catalog": CATALOG, "sql": _POSTGRES_KEYS}).fetchall()
    for schema, name, to_schema, table, columns, references in keys:
        key = ForeignKey(
            columns=columns.split(","), table=qualify_name(to_schema, table), references=references.split(",")
        )
        notes.foreign_keys[qualify_name(schema, name)].append(key)
    return notes


def _read_mysql_notes(connection: "DuckDBPyConnection") -> CatalogNotes:
    notes = CatalogNotes()
    query = "SELECT * FROM mysql_query($catalog, $sql)"
    for name, kind, comment in connection.execute(query, {"catalog": CATALOG, "sql": _MYSQL_TABLES}).fetchall():
        if kind.endswith("VIEW"):
            notes.views.add(name)
        elif comment:
            notes.comments[name, ""] = comment
    for name, column, comment in connection.execute(query, {"catalog": CATALOG, "sql": _MYSQL_COMMENTS}).fetchall():
        notes.comments[name, column] = comment
    keys: dict[tuple[str, str, str], list[tuple[str, str]]] = defaultdict(list)
    for name, key, table, column, reference in connection.execute(
        query, {"catalog": CATALOG, "sql": _MYSQL_KEYS}
    ).fetchall():
        keys[name, key, table].append((column, reference))
    for (name, _, table), pairs in keys.items():
        columns, references = zip(*pairs, strict=True)
        notes.foreign_keys[name].append(ForeignKey(columns=columns, table=table, references=references))
    return notes


def qualify_name(schema: str, name: str) -> str:
    """Return the name of a table or view as SQL must write it, with its schema unless that is the default.

    A name with a dot or a quote in it is quoted, so that it is not taken for a schema and a table.
    """
    shown = '"{}"'.format(name.replace('"', '""')) if "." in name or '"' in name else name
    return shown if schema in _DEFAULT_SCHEMAS else f"{schema}.{shown}"
