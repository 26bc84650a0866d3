"""The schema of a database as text for a planner's prompt."""

from collections.abc import Collection, Iterator

from agent.tools.db_schema.model import Column, DatabaseSchema, Relation, sort_widest_first

_MAX_VALUES = 8
_MAX_VALUE_LETTERS = 120


def render_schema(schema: DatabaseSchema, *, only: Collection[str] | None = None) -> str:
    """Return `schema` as text, a line for each column; the same text for the same schema.

    Views come first, the one with most rows leading: that is the wide one. Values are listed where a column is
    first met and not again. `only` names the relations to show. Where there are views, which say all that analysts
    ask for, each table takes one line: a short text keeps a small model to the views and off the joins.
    """
    said: set[tuple[str, tuple[str, ...]]] = set()
    relations = sort_widest_first(relation for relation in schema.relations if only is None or relation.name in only)
    brief = only is None and any(relation.kind == "view" for relation in relations)
    return "\n".join(
        line
        for relation in relations
        for line in (
            [_render_on_one_line(relation)]
            if brief and relation.kind == "table"
            else _render_lines(relation, said=said)
        )
    )


def _render_on_one_line(relation: Relation) -> str:
    targets = {name: f" -> {key.table}" for key in relation.foreign_keys for name in key.columns}
    columns = ", ".join(f"{column.name}{targets.get(column.name, '')}" for column in relation.columns)
    return f"{relation.kind} {relation.name}({columns}){_format_comment(relation.comment)}"


def _render_lines(relation: Relation, *, said: set[tuple[str, tuple[str, ...]]]) -> Iterator[str]:
    rows = "" if relation.row_count is None else f" ({relation.row_count:,} rows)"
    yield f"{relation.kind} {relation.name}{rows}{_format_comment(relation.comment)}"
    for column in relation.columns:
        keys = [
            f" -> {key.table}.{key.references[key.columns.index(column.name)]}"
            for key in relation.foreign_keys
            if column.name in key.columns
        ]
        known = (column.name, column.values or ())
        values = "" if column.values and known in said else _describe_values(column)
        said.add(known)
        yield f"  {column.name} {_simplify_type(column)}{''.join(keys)}{values}{_format_comment(column.comment)}"


def _simplify_type(column: Column) -> str:
    """Return the type as a plain word: a planner needs no more, and each costs one token."""
    kind = column.type.partition("(")[0]
    if column.is_text:
        return "text"
    if kind in {"DECIMAL", "DOUBLE", "FLOAT"}:
        return "number"
    if kind.endswith("INT") or kind == "INTEGER":
        return "integer"
    return column.type.lower()


def _describe_values(column: Column) -> str:
    if column.first is not None:
        return f" {column.first}..{column.last}"
    shown = list(map(repr, column.sample_values(most=_MAX_VALUES, letters=_MAX_VALUE_LETTERS)))
    more = len(column.values or ()) - len(shown)
    return f" [{', '.join(shown)}{f', {more} more' if more else ''}]" if shown else ""


def _format_comment(comment: str | None) -> str:
    return f": {' '.join(comment.split())}" if comment else ""
