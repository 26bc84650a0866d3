"""Aggregates where they belong, and every other column of such a SELECT in its GROUP BY."""

from collections.abc import Iterator

from sqlglot import exp

from agent.tools.mend.scopes import Scope, nodes


def mend_groups(scope: Scope) -> Iterator[str]:
    """Mend the grouping of one SELECT in place and yield a sentence for each change."""
    yield from _conditions_after_grouping(scope.select)
    yield from _order_by_aggregate(scope.select)
    yield from _group_the_rest(scope)


def _conditions_after_grouping(select: exp.Select) -> Iterator[str]:
    """Move conditions on aggregates from WHERE to HAVING."""
    where = select.args.get("where")
    if where is None:
        return
    totals = {item.alias.lower() for item in select.expressions if isinstance(item, exp.Alias) and aggregates(item)}
    parts = list(where.this.flatten()) if isinstance(where.this, exp.And) else [where.this]
    moved = [
        part
        for part in parts
        if aggregates(part)
        or any(isinstance(node, exp.Column) and not node.table and node.name.lower() in totals for node in nodes(part))
    ]
    if not moved:
        return
    kept = [part for part in parts if part not in moved]
    select.set("where", exp.Where(this=exp.and_(*kept, copy=False)) if kept else None)
    for part in moved:
        select.having(part, copy=False)
        yield f"The condition {part.sql(dialect='duckdb')} is on a total, so it went to HAVING."


def _order_by_aggregate(select: exp.Select) -> Iterator[str]:
    """Let ORDER BY name the total of a column where it names the column that is totalled."""
    order = select.args.get("order")
    if order is None or not (select.args.get("group") or any(map(aggregates, select.expressions))):
        return
    keys = {expression.sql() for expression in grouped(select)}
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
            for total in aggregates(item)
            if isinstance(total.this, exp.Column) and total.this.name.lower() == column.name.lower()
        ]
        if len(totals) == 1:
            named = exp.column(totals[0].alias) if totals[0].alias else totals[0].copy()
            ordered.set("this", named)
            yield f"Rows are ordered by {named.sql(dialect='duckdb')}, the total of {column.name}."


def _group_the_rest(scope: Scope) -> Iterator[str]:
    """Add to GROUP BY what is selected beside aggregates."""
    select = scope.select
    group = select.args.get("group")
    if group is not None and (group.args.get("all") or set(group.args) - {"expressions", "all"}):
        return
    totals = any(map(aggregates, select.expressions))
    if group is None and not totals:
        return
    if any(item.is_star for item in select.expressions):
        return
    present = {expression.sql().lower() for expression in grouped(select)}
    present |= {expression.name.lower() for expression in grouped(select) if isinstance(expression, exp.Column)}
    for item in select.expressions:
        for part in _loose_parts(item):
            names = {part.sql().lower(), part.name.lower(), item.alias.lower()} - {""}
            # Without any total, a number that is not grouped by is one whose total was forgotten: which is not known.
            if names & present or (not totals and not _is_text(part, scope=scope)):
                continue
            select.group_by(part.copy(), copy=False)
            present |= names
            yield f"{part.sql(dialect='duckdb')} is selected beside a total, so it was added to GROUP BY."


def _is_text(part: exp.Expr, *, scope: Scope) -> bool:
    known = scope.column_of(part) if isinstance(part, exp.Column) else None
    return known is not None and known.is_text


def _loose_parts(item: exp.Expr) -> list[exp.Expr]:
    """Return what of a selected expression must be grouped: all of it, or its columns outside of aggregates."""
    expression = item.unalias()
    inside = [expression, *nodes(expression)]
    if any(isinstance(node, exp.Window) for node in inside):
        return []
    columns: list[exp.Expr] = [
        node for node in inside if isinstance(node, exp.Column) and node.find_ancestor(exp.AggFunc) is None
    ]
    if not columns:
        return []
    return columns if aggregates(expression) else [expression]


def grouped(select: exp.Select) -> list[exp.Expr]:
    """Return the expressions of GROUP BY, a number taken as the place of a selected one."""
    group = select.args.get("group")
    found = []
    for expression in group.expressions if group else []:
        place = int(expression.name) - 1 if expression.is_int else -1
        within = 0 <= place < len(select.expressions)
        found.append(select.expressions[place].unalias() if within else expression)
    return found


def aggregates(expression: exp.Expr) -> list[exp.Expr]:
    """Return the aggregate calls in `expression`, without those of windows and of subqueries."""
    return [
        node
        for node in (expression, *nodes(expression))
        if isinstance(node, exp.AggFunc) and not isinstance(node.find_ancestor(exp.Window, exp.Select), exp.Window)
    ]
