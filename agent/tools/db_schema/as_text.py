"""The schema of a database as text for a planner's prompt."""

from collections.abc import Collection, Iterator

from agent.tools.db_schema.model import Column, DatabaseSchema, Relation, sort_widest_first

_MAX_VALUES = 8
_MAX_VALUE_LETTERS = 120


def render_schema(schema: DatabaseSchema, *, only: Collection[str] | None = None) -> str:
    """Return `schema` as text, a line for each column; the same text for the same schema.

    Views come first, starting with the one with most rows, which is the wide one. The values of a column are listed at
    its first occurrence only. If there are views, they have what analysts ask for. Then a table has one line: a short
    text makes a small model use the views instead of joins. `only` names the tables and views to show, all in full.
    """
    listed: set[tuple[str, tuple[str, ...]]] = set()
    relations = sort_widest_first(relation for relation in schema.relations if only is None or relation.name in only)
    brief = only is None and any(relation.kind == "view" for relation in relations)
    zoned = any("TIME ZONE" in column.type for relation in relations for column in relation.columns)
    head = [f"points in time are shown, and cut into days, in the time zone {schema.time_zone}"] if zoned else []
    lines = (
        line
        for relation in relations
        for line in (
            [_render_on_one_line(relation)]
            if brief and relation.kind == "table"
            else _render_lines(relation, listed=listed)
        )
    )
    return "\n".join((*head, *lines))


def _render_on_one_line(relation: Relation) -> str:
    targets = {name: f" -> {key.table}" for key in relation.foreign_keys for name in key.columns}
    columns = ", ".join(f"{column.name}{targets.get(column.name, '')}" for column in relation.columns)
    return f"{relation.kind} {relation.name}({columns}){_format_comment(relation.comment)}"


def _render_lines(relation: Relation, *, listed: set[tuple[str, tuple[str, ...]]]) -> Iterator[str]:
    rows = "" if relation.row_count is None else f" ({relation.row_count:,} rows)"
    yield f"{relation.kind} {relation.name}{rows}{_format_comment(relation.comment)}"
    for column in relation.columns:
        keys = [
            f" -> {key.table}.{key.references[key.columns.index(column.name)]}"
            for key in relation.foreign_keys
            if column.name in key.columns
        ]
        named_values = (column.name, column.values or ())
        values = "" if column.values and named_values in listed else _describe_values(column)
        listed.add(named_values)
        yield f"  {column.name} {_simplify_type(column)}{''.join(keys)}{values}{_format_comment(column.comment)}"


def _simplify_type(column: Column) -> str:
    """Return the type as one plain word, which is one token and all that a planner needs."""
    kind = column.type.partition("(")[0]
    if column.holds is not None:
        return "date" if column.holds == "MONTH" else column.holds.lower()
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
