"""The schema of a database as CREATE statements, for a planner that writes only SQL."""

from collections.abc import Iterable, Iterator

from agent.tools.db_schema.model import Column, DatabaseSchema, Relation, sort_widest_first

_MAX_VALUES = 6
_MAX_VALUE_LETTERS = 90


def render_schema_as_ddl(schema: DatabaseSchema) -> str:
    """Return `schema` as SQL, with values in comments; the same text for the same schema.

    Views come first, starting with the one with most rows, which is the wide one. The values of a column are listed at
    its first occurrence only. If there are views, they have what analysts ask for. Then a table has one line, or none
    if the views have all of its columns except keys: a short text makes a small model use the views instead of joins.
    """
    listed: set[tuple[str, tuple[str, ...]]] = set()
    in_views = {column.name for relation in schema.relations if relation.kind == "view" for column in relation.columns}
    covered = in_views | _find_key_columns(schema.relations) if in_views else set()
    relations = sort_widest_first(
        each for each in schema.relations if each.kind == "view" or not _get_column_names(each) <= covered
    )
    return "\n".join(
        line
        for relation in relations
        for line in (
            [_render_on_one_line(relation)]
            if in_views and relation.kind == "table"
            else _render_lines(relation, listed=listed)
        )
    )


def _find_key_columns(relations: Iterable[Relation]) -> set[str]:
    """Return the columns with which tables refer to each other."""
    keys = [key for relation in relations for key in relation.foreign_keys]
    return {name for key in keys for name in (*key.columns, *key.references)}


def _get_column_names(relation: Relation) -> set[str]:
    return {column.name for column in relation.columns}


def _render_on_one_line(relation: Relation) -> str:
    columns = ", ".join(_define_column(column, relation) for column in relation.columns)
    return f"CREATE TABLE {relation.name} ({columns});{_format_comment(relation.comment)}"


def _render_lines(relation: Relation, *, listed: set[tuple[str, tuple[str, ...]]]) -> Iterator[str]:
    rows = "" if relation.row_count is None else f"{relation.row_count:,} rows"
    yield f"CREATE {relation.kind.upper()} {relation.name} ({_format_comment(rows, relation.comment)}"
    for number, column in enumerate(relation.columns, start=1):
        named_values = (column.name, column.values or ())
        values = "" if column.values and named_values in listed else _describe_values(column)
        listed.add(named_values)
        comma = "," if number < len(relation.columns) else ""
        yield f"  {_define_column(column, relation)}{comma}{_format_comment(column.comment, values)}"
    yield ");"


def _define_column(column: Column, relation: Relation) -> str:
    name = column.name if column.name.isidentifier() else '"{}"'.format(column.name.replace('"', '""'))
    keys = [
        f" REFERENCES {key.table}({key.references[key.columns.index(column.name)]})"
        for key in relation.foreign_keys
        if column.name in key.columns
    ]
    return f"{name} {_simplify_type(column)}{''.join(keys)}"


def _simplify_type(column: Column) -> str:
    """Return the type as one plain word, which is one token and all that a planner needs."""
    kind = column.type.partition("(")[0]
    if column.holds is not None:
        return "DATE" if column.holds == "MONTH" else column.holds
    if column.is_text:
        return "TEXT"
    if kind in {"DECIMAL", "DOUBLE", "FLOAT"}:
        return "NUMERIC"
    return "INTEGER" if kind.endswith("INT") else kind


def _describe_values(column: Column) -> str:
    if column.first is not None:
        kind = "months, " if column.holds == "MONTH" else ""
        return f"{kind}{column.first[:10]} to {(column.last or '')[:10]}"
    some = column.sample_values(most=_MAX_VALUES, letters=_MAX_VALUE_LETTERS)
    shown = ["'{}'".format(value.replace("'", "''")) for value in some]
    return f"{', '.join(shown)}{', and more' if len(shown) < len(column.values or ()) else ''}" if shown else ""


def _format_comment(*parts: str | None) -> str:
    text = "; ".join(" ".join(part.removesuffix(".").split()) for part in parts if part)
    return f" -- {text}" if text else ""
