"""Repair of aggregates: conditions, sort keys and GROUP BY of a SELECT."""

from collections.abc import Iterator

from sqlglot import exp

from agent.tools.sql_repair.scopes import Scope, walk_nodes


def repair_grouping(scope: Scope) -> Iterator[str]:
    """Repair the grouping of one SELECT in place and yield a sentence for each change."""
    yield from _move_conditions_to_having(scope.select)
    yield from _repair_order_by(scope.select)
    yield from _add_missing_group_keys(scope)


def _move_conditions_to_having(select: exp.Select) -> Iterator[str]:
    """Move conditions on aggregates from WHERE to HAVING."""
    conditions = _split_where(select)
    totals = {
        item.alias.lower() for item in select.expressions if isinstance(item, exp.Alias) and find_aggregates(item)
    }
    moved = [
        condition
        for condition in conditions
        if find_aggregates(condition)
        or any(
            isinstance(node, exp.Column) and not node.table and node.name.lower() in totals
            for node in walk_nodes(condition)
        )
    ]
    if not moved:
        return
    remaining = [condition for condition in conditions if condition not in moved]
    select.set("where", exp.Where(this=exp.and_(*remaining, copy=False)) if remaining else None)
    for condition in moved:
        select.having(condition, copy=False)
        yield f"The condition {condition.sql(dialect='duckdb')} is on an aggregate, so it was moved to HAVING."


def _repair_order_by(select: exp.Select) -> Iterator[str]:
    """If ORDER BY names a column of which the SELECT has only an aggregate, sort by that aggregate."""
    order = select.args.get("order")
    if order is None or not (select.args.get("group") or any(map(find_aggregates, select.expressions))):
        return
    keys = {expression.sql() for expression in get_group_keys(select)}
    names = {item.alias_or_name.lower() for item in select.expressions}
    for ordered in order.expressions:
        column = ordered.this
        if not isinstance(column, exp.Column) or column.sql() in keys:
            continue
        if not column.table and column.name.lower() in names:
            continue
        totals = [
            item
            for item in select.expressions
            for total in find_aggregates(item)
            if isinstance(total.this, exp.Column) and total.this.name.lower() == column.name.lower()
        ]
        if len(totals) == 1:
            key = exp.column(totals[0].alias) if totals[0].alias else totals[0].copy()
            ordered.set("this", key)
            yield f"The rows are sorted by {key.sql(dialect='duckdb')}, the aggregate of {column.name}."


def _add_missing_group_keys(scope: Scope) -> Iterator[str]:
    """Add to GROUP BY what is selected next to aggregates."""
    select = scope.select
    group = select.args.get("group")
    if group is not None and (group.args.get("all") or set(group.args) - {"expressions", "all"}):
        return
    has_totals = any(map(find_aggregates, select.expressions))
    if group is None and not has_totals:
        return
    if any(item.is_star for item in select.expressions):
        return
    present = {expression.sql().lower() for expression in get_group_keys(select)}
    present |= {expression.name.lower() for expression in get_group_keys(select) if isinstance(expression, exp.Column)}
    for item in select.expressions:
        for part in _find_ungrouped_parts(item):
            names = {part.sql().lower(), part.name.lower(), item.alias.lower()} - {""}
            # Without any aggregate, a number that is not grouped by should probably be aggregated; how is not known.
            if names & present or (not has_totals and not _is_text_column(part, scope=scope)):
                continue
            select.group_by(part.copy(), copy=False)
            present |= names
            yield f"{part.sql(dialect='duckdb')} is selected next to an aggregate, so it was added to GROUP BY."


def _find_ungrouped_parts(item: exp.Expr) -> list[exp.Expr]:
    """Return the parts of a selected expression that must be grouped: all of it, or its columns outside aggregates."""
    expression = item.unalias()
    nodes = [expression, *walk_nodes(expression)]
    if any(isinstance(node, exp.Window) for node in nodes):
        return []
    columns: list[exp.Expr] = [
        node for node in nodes if isinstance(node, exp.Column) and node.find_ancestor(exp.AggFunc) is None
    ]
    if not columns:
        return []
    return columns if find_aggregates(expression) else [expression]


def _is_text_column(part: exp.Expr, *, scope: Scope) -> bool:
    known = scope.find_column(part) if isinstance(part, exp.Column) else None
    return known is not None and known.is_text


def _split_where(select: exp.Select) -> list[exp.Expr]:
    """Return the conditions that AND joins in WHERE; empty without a WHERE."""
    where = select.args.get("where")
    if where is None:
        return []
    return list(where.this.flatten()) if isinstance(where.this, exp.And) else [where.this]


def get_group_keys(select: exp.Select) -> list[exp.Expr]:
    """Return the expressions of GROUP BY; a number there is resolved to the selected expression at that position."""
    group = select.args.get("group")
    keys = []
    for expression in group.expressions if group else []:
        position = int(expression.name) - 1 if expression.is_int else -1
        is_position = 0 <= position < len(select.expressions)
        keys.append(select.expressions[position].unalias() if is_position else expression)
    return keys


def find_aggregates(expression: exp.Expr) -> list[exp.Expr]:
    """Return the aggregate calls in `expression`, without those of windows and of subqueries."""
    return [
        node
        for node in (expression, *walk_nodes(expression))
        if isinstance(node, exp.AggFunc) and not isinstance(node.find_ancestor(exp.Window, exp.Select), exp.Window)
    ]
