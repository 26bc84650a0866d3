"""The schema of a database as the SQL that would make it, for a planner that writes nothing but SQL."""

from collections.abc import Iterable, Iterator

from agent.tools.db_schema.model import Column, DatabaseSchema, Relation, widest_first

_SHOWN_VALUES = 6
_SHOWN_LETTERS = 90


def schema_as_sql(schema: DatabaseSchema) -> str:
    """Return `schema` as SQL, with what is known of values as comments; the same text for the same schema.

    Views come first, the one with most rows leading: that is the wide one. Values are listed where a column is first
    met and not again. Where there are views, which say all that analysts ask for, each table takes one line, and none
    where the views have all of its columns but keys: a short text keeps a small model to the views and off the joins.
    """
    said: set[tuple[str, tuple[str, ...]]] = set()
    in_views = {column.name for relation in schema.relations if relation.kind == "view" for column in relation.columns}
    told = in_views | _keys(schema.relations) if in_views else set()
    relations = widest_first(each for each in schema.relations if each.kind == "view" or not _names(each) <= told)
    return "\n".join(
        line
        for relation in relations
        for line in ([_brief(relation)] if in_views and relation.kind == "table" else _lines(relation, said=said))
    )


def _keys(relations: Iterable[Relation]) -> set[str]:
    """Return the columns by which tables refer to each other."""
    found = [key for relation in relations for key in relation.foreign_keys]
    return {name for key in found for name in (*key.columns, *key.references)}


def _names(relation: Relation) -> set[str]:
    return {column.name for column in relation.columns}


def _brief(relation: Relation) -> str:
    columns = ", ".join(_defined(column, relation) for column in relation.columns)
    return f"CREATE TABLE {relation.name} ({columns});{_comment(relation.comment)}"


def _lines(relation: Relation, *, said: set[tuple[str, tuple[str, ...]]]) -> Iterator[str]:
    rows = "" if relation.row_count is None else f"{relation.row_count:,} rows"
    yield f"CREATE {relation.kind.upper()} {relation.name} ({_comment(rows, relation.comment)}"
    for place, column in enumerate(relation.columns, start=1):
        known = (column.name, column.values or ())
        values = "" if column.values and known in said else _values(column)
        said.add(known)
        comma = "," if place < len(relation.columns) else ""
        yield f"  {_defined(column, relation)}{comma}{_comment(column.comment, values)}"
    yield ");"


def _defined(column: Column, relation: Relation) -> str:
    name = column.name if column.name.isidentifier() else '"{}"'.format(column.name.replace('"', '""'))
    keys = [
        f" REFERENCES {key.table}({key.references[key.columns.index(column.name)]})"
        for key in relation.foreign_keys
        if column.name in key.columns
    ]
    return f"{name} {_type(column)}{''.join(keys)}"


def _type(column: Column) -> str:
    """Return the type as a plain word: a planner needs no more, and each costs one token."""
    kind = column.type.partition("(")[0]
    if column.is_text:
        return "TEXT"
    if kind in {"DECIMAL", "DOUBLE", "FLOAT"}:
        return "NUMERIC"
    return "INTEGER" if kind.endswith("INT") else kind


def _values(column: Column) -> str:
    if column.first is not None:
        return f"{column.first[:10]} to {(column.last or '')[:10]}"
    some = column.some_values(most=_SHOWN_VALUES, letters=_SHOWN_LETTERS)
    shown = ["'{}'".format(value.replace("'", "''")) for value in some]
    return f"{', '.join(shown)}{', and more' if len(shown) < len(column.values or ()) else ''}" if shown else ""


def _comment(*parts: str | None) -> str:
    told = "; ".join(" ".join(part.removesuffix(".").split()) for part in parts if part)
    return f" -- {told}" if told else ""
