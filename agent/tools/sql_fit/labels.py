"""What tells the rows of a query apart: names beside ids, the groups of totals, and the number that ranks."""

from collections.abc import Iterator
from typing import Final

from sqlglot import exp

from agent.tools.db_schema.model import DatabaseSchema, Relation
from agent.tools.sql_fit.goal_words import find_key, is_named
from agent.tools.sql_repair.aggregates import find_aggregates, get_group_keys
from agent.tools.sql_repair.name_matching import to_singular
from agent.tools.sql_repair.scopes import Scope, build_table

_NAME_ENDINGS: Final = ("name", "title", "label")
_PERSON_NAMES: Final = (("first", "last"), ("given", "family"), ("fore", "sur"))


def show_labels(scope: Scope, *, goal: str, schema: DatabaseSchema) -> Iterator[str]:
    """Show, behind each key of the outermost SELECT, the name that belongs to it, and yield a sentence for each.

    Where nothing is grouped, only if the goal names the things. Rows stay as they are, unless the goal names the things
    that a key refers to: then a row without such a thing, whose key is empty, is none of them. Rows are still grouped
    by the key, so two with the same name stay separate.
    """
    select = scope.select
    has_totals = any(map(find_aggregates, select.expressions))
    if (has_totals and not select.args.get("group")) or any(source.relation is None for source in scope.sources):
        return
    for item in list(select.expressions):
        column = item.unalias()
        found = _find_labelled(column, scope, schema=schema) if isinstance(column, exp.Column) else None
        if found is None or not isinstance(column, exp.Column):
            continue
        target, key = found
        if not select.args.get("group") and not is_named(target, goal):
            continue
        labels = find_labels(target)
        shown = {name.lower() for name in select.named_selects}
        if not labels or shown & {label.lower() for label in labels} or _shows_text_of(target, scope):
            continue
        alias = _join_target(column, target, key, scope, goal=goal)
        if alias is None:
            continue
        group = select.args.get("group")
        for label in labels:
            name = exp.column(label, table=alias, quoted=not label.isidentifier())
            if group is not None and not group.args.get("all"):
                group.append("expressions", name.copy())
            select.append("expressions", exp.alias_(name, label, quoted=not label.isidentifier()))
        told = " and ".join(map(repr, labels))
        why = "by which the rows are grouped" if group is not None else "which is only a key"
        yield f"{told} {'is' if len(labels) == 1 else 'are'} shown beside {column.name!r}, {why}."


def _find_labelled(column: exp.Column, scope: Scope, *, schema: DatabaseSchema) -> tuple[Relation, str] | None:
    """Return the table that a key tells the rows of, and its column there; None if `column` is no key."""
    source = scope.resolve(column)
    if source is None or source.relation is None:
        return None
    keys = [key for key in source.relation.foreign_keys if key.columns == (column.name,)]
    if len(keys) == 1 and (target := schema.relation(keys[0].table)) is not None:
        return target, keys[0].references[0]
    own = find_key(source.relation, schema)
    return (source.relation, own) if own is not None and own.lower() == column.name.lower() else None


def find_labels(target: Relation) -> tuple[str, ...]:
    """Return the columns that name the rows of a table: one, or the two of a person; empty if that is not clear."""
    texts = [column for column in target.columns if column.is_text and column.holds is None]
    names = [column.name for column in texts if column.name.lower().removesuffix("s").endswith(_NAME_ENDINGS)]
    thing = to_singular(target.name.lower())
    own = [name for name in names if name.lower() in {"name", "title", f"{thing}_name", f"{thing}_title"}]
    for first, last in _PERSON_NAMES:
        pair = tuple(name for part in (first, last) for name in names if name.lower().startswith(part))
        if len(pair) == 2:
            return pair
    for chosen in (names, own, [column.name for column in texts if column.name.lower() == thing]):
        if len(chosen) == 1:
            return (chosen[0],)
    if names:
        return ()
    different = [column.name for column in texts if column.values and len(column.values) == target.row_count]
    is_key = {key.references for key in target.foreign_keys}
    return tuple(different[:1]) if not is_key and len(different) == 1 else ()


def _shows_text_of(target: Relation, scope: Scope) -> bool:
    """Whether a text of a table is shown already that is no key."""
    for item in scope.select.expressions:
        column = item.unalias()
        source = scope.resolve(column) if isinstance(column, exp.Column) else None
        known = scope.find_column(column) if isinstance(column, exp.Column) else None
        if source is not None and source.relation == target and known and known.name in find_labels(target):
            return True
    return False


def _join_target(column: exp.Column, target: Relation, key: str, scope: Scope, *, goal: str) -> str | None:
    """Return by which alias the table of a label can be read, joined if need be; None if that is not clear."""
    present = [source for source in scope.sources if source.relation == target]
    own = scope.resolve(column)
    if own is not None and own.relation == target:
        return own.alias
    if present:
        return present[0].alias if len(present) == 1 and own is not None and _is_joined(scope, own.alias) else None
    if own is None:
        return None
    _qualify_columns(scope)
    table = build_table(target.name)
    on = exp.EQ(
        this=exp.column(key, table=table.name, quoted=True),
        expression=exp.column(column.name, table=own.alias, quoted=True),
    )
    # Behind all others, because GROUP BY and ORDER BY may count the columns.
    scope.select.append("joins", exp.Join(this=table, on=on, side=None if is_named(target, goal) else "LEFT"))
    return str(table.name)


def _is_joined(scope: Scope, alias: str) -> bool:
    """Whether only one key leads from a source to each table: else the name may be that of another thing."""
    source = scope.find_source(alias)
    targets = [key.table for key in source.relation.foreign_keys] if source and source.relation else []
    return len(targets) == len(set(targets))


def _qualify_columns(scope: Scope) -> None:
    """Qualify every column with its table, because a table that is joined may have a column of the same name."""
    aliases = scope.get_aliases()
    for column in scope.find_columns():
        owner = scope.resolve(column)
        is_alias = (
            column.name.lower() in aliases and column.find_ancestor(exp.Order, exp.Having, exp.Qualify) is not None
        )
        if not column.table and owner is not None and not is_alias:
            column.set("table", exp.to_identifier(owner.alias))


def show_groups(scope: Scope) -> Iterator[str]:
    """Show what the rows are grouped by as the last columns, if nothing but totals is shown and it has many values."""
    select = scope.select
    where = select.args.get("where")
    fixed = {node.this.sql().lower() for node in where.find_all(exp.EQ)} if where is not None else set()
    keys = [key for key in get_group_keys(select) if key.sql().lower() not in fixed]
    if not keys or not all(map(find_aggregates, select.expressions)):
        return
    taken = {name.lower() for name in select.named_selects}
    for place, key in enumerate(keys, start=1):
        name = key.name if isinstance(key, exp.Column) else f"group_{place}"
        # An alias of a total would be ambiguous, and a key that is a constant tells nothing.
        if name.lower() in taken or isinstance(key, exp.Literal):
            return
        select.append("expressions", exp.alias_(key.copy(), name, quoted=not name.isidentifier()))
        yield f"{key.sql(dialect='duckdb')} is shown, because the rows are grouped by it."


def show_ranking_number(scope: Scope) -> Iterator[str]:
    """Show what a query is sorted by as its last column, if it ranks by a number and does not show it.

    Whoever asks for the best of something sees nothing of how good they are otherwise. Nothing else changes.
    """
    select = scope.select
    order = select.args.get("order")
    if order is None or select.args.get("distinct") or any(map(find_aggregates, select.expressions)):
        return
    measure = order.expressions[0].this
    is_total = bool(select.args.get("group")) and (bool(find_aggregates(measure)) or isinstance(measure, exp.AggFunc))
    if not is_total and not _is_ranking_column(measure, scope):
        return
    column = next(iter(measure.find_all(exp.Column)), None)
    plain = column.name if column is not None and column.name.isidentifier() else "of_rows"
    alias = plain if not is_total else f"{measure.key}_{plain}"
    if alias.lower() in {name.lower() for name in select.named_selects}:
        return
    select.append("expressions", exp.alias_(measure.copy(), alias))
    yield f"{measure.sql(dialect='duckdb')} is shown as {alias!r}, because the rows are sorted by it."


def _is_ranking_column(measure: exp.Expr, scope: Scope) -> bool:
    """Whether the first rows by a column of numbers or dates are taken, which is not shown."""
    select = scope.select
    known = scope.find_column(measure) if isinstance(measure, exp.Column) else None
    is_plain = known is not None and (not known.is_text or known.holds is not None)
    return is_plain and bool(select.args.get("limit")) and not select.args.get("group") and not select.is_star
