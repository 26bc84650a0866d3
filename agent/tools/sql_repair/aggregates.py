"""Aggregates where they belong, and every other column of such a SELECT in its GROUP BY."""

from collections.abc import Iterator

from sqlglot import exp

from agent.tools.db_schema.model import Column
from agent.tools.sql_repair.scopes import Scope, walk_nodes


def repair_grouping(scope: Scope) -> Iterator[str]:
    """Mend the grouping of one SELECT in place and yield a sentence for each change."""
    yield from _move_conditions_to_having(scope.select)
    yield from _repair_order_by(scope.select)
    yield from _add_missing_group_keys(scope)


def _move_conditions_to_having(select: exp.Select) -> Iterator[str]:
    """Move conditions on aggregates from WHERE to HAVING."""
    where = select.args.get("where")
    if where is None:
        return
    totals = {
        item.alias.lower() for item in select.expressions if isinstance(item, exp.Alias) and find_aggregates(item)
    }
    parts = list(where.this.flatten()) if isinstance(where.this, exp.And) else [where.this]
    moved = [
        part
        for part in parts
        if find_aggregates(part)
        or any(
            isinstance(node, exp.Column) and not node.table and node.name.lower() in totals for node in walk_nodes(part)
        )
    ]
    if not moved:
        return
    kept = [part for part in parts if part not in moved]
    select.set("where", exp.Where(this=exp.and_(*kept, copy=False)) if kept else None)
    for part in moved:
        select.having(part, copy=False)
        yield f"The condition {part.sql(dialect='duckdb')} is on a total, so it went to HAVING."


def _repair_order_by(select: exp.Select) -> Iterator[str]:
    """Let ORDER BY name the total of a column where it names the column that is totalled."""
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
            named = exp.column(totals[0].alias) if totals[0].alias else totals[0].copy()
            ordered.set("this", named)
            yield f"Rows are ordered by {named.sql(dialect='duckdb')}, the total of {column.name}."


def _add_missing_group_keys(scope: Scope) -> Iterator[str]:
    """Add to GROUP BY what is selected beside aggregates."""
    select = scope.select
    group = select.args.get("group")
    if group is not None and (group.args.get("all") or set(group.args) - {"expressions", "all"}):
        return
    totals = any(map(find_aggregates, select.expressions))
    if group is None and not totals:
        return
    if any(item.is_star for item in select.expressions):
        return
    present = {expression.sql().lower() for expression in get_group_keys(select)}
    present |= {expression.name.lower() for expression in get_group_keys(select) if isinstance(expression, exp.Column)}
    for item in select.expressions:
        for part in _find_ungrouped_parts(item):
            names = {part.sql().lower(), part.name.lower(), item.alias.lower()} - {""}
            # Without any total, a number that is not grouped by is one whose total was forgotten: which is not known.
            if names & present or (not totals and not _is_text_column(part, scope=scope)):
                continue
            select.group_by(part.copy(), copy=False)
            present |= names
            yield f"{part.sql(dialect='duckdb')} is selected beside a total, so it was added to GROUP BY."


def _is_text_column(part: exp.Expr, *, scope: Scope) -> bool:
    known = scope.find_column(part) if isinstance(part, exp.Column) else None
    return known is not None and known.is_text


def _find_ungrouped_parts(item: exp.Expr) -> list[exp.Expr]:
    """Return what of a selected expression must be grouped: all of it, or its columns outside of aggregates."""
    expression = item.unalias()
    inside = [expression, *walk_nodes(expression)]
    if any(isinstance(node, exp.Window) for node in inside):
        return []
    columns: list[exp.Expr] = [
        node for node in inside if isinstance(node, exp.Column) and node.find_ancestor(exp.AggFunc) is None
    ]
    if not columns:
        return []
    return columns if find_aggregates(expression) else [expression]


def get_group_keys(select: exp.Select) -> list[exp.Expr]:
    """Return the expressions of GROUP BY, a number taken as the place of a selected one."""
    group = select.args.get("group")
    found = []
    for expression in group.expressions if group else []:
        place = int(expression.name) - 1 if expression.is_int else -1
        within = 0 <= place < len(select.expressions)
        found.append(select.expressions[place].unalias() if within else expression)
    return found


def find_aggregates(expression: exp.Expr) -> list[exp.Expr]:
    """Return the aggregate calls in `expression`, without those of windows and of subqueries."""
    return [
        node
        for node in (expression, *walk_nodes(expression))
        if isinstance(node, exp.AggFunc) and not isinstance(node.find_ancestor(exp.Window, exp.Select), exp.Window)
    ]


_NUMERIC_TYPES = ("DECIMAL", "DOUBLE", "FLOAT", "REAL", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")


def repair_counts(scope: Scope) -> Iterator[str]:
    """Let `COUNT(*) AS docks` be the sum of `docks` where the only table has such a number, in place.

    Who calls a count by the name of a number that each row has wants that number: rows are called by their table.
    """
    relation = scope.sources[0].relation if len(scope.sources) == 1 else None
    if relation is None:
        return
    keys = {name for key in relation.foreign_keys for name in key.columns}
    for item in scope.select.expressions:
        count = item.this if isinstance(item, exp.Alias) else None
        column = relation.column(item.alias) if isinstance(count, exp.Count) else None
        if count is None or column is None or column.name in keys or not _is_summable(column):
            continue
        counted = count.this
        if isinstance(counted, exp.Star) or (isinstance(counted, exp.Column) and counted.name == column.name):
            count.replace(exp.Sum(this=exp.column(column.name, quoted=not column.name.isidentifier())))
            yield f"{column.name!r} is a number of each row, so it was added up and not its rows counted."


def _is_summable(column: Column) -> bool:
    words = column.name.lower().split("_")
    return column.type.startswith(_NUMERIC_TYPES) and not {"id", "no", "number", "year"} & set(words)


def repair_unions(tree: exp.Expr) -> tuple[exp.Expr, tuple[str, ...]]:
    """Return `tree` with such a UNION as a GROUP BY, and a sentence if it was one.

    The parts of a UNION come in any order, equal ones fall together, and the name of the first stands for all: its
    rows do not tell what they count.
    """
    if not isinstance(tree, exp.Union) or _has_other_clauses(tree):
        return tree, ()
    parts = list(_flatten_union(tree))
    selects = [part for part in parts if isinstance(part, exp.Select)]
    totals = [each for select in selects if (each := _parse_single_total(select)) is not None]
    if len(totals) < len(parts):
        return tree, ()
    column, rest = totals[0][0], totals[0][2]
    values = [value for _, value, _ in totals]
    if any(other != column or left != rest for other, _, left in totals) or len(set(values)) < len(values):
        return tree, ()
    grouped = selects[0].copy()
    where = _find_text_equalities(grouped)[0]
    name = where.this.copy()
    where.replace(exp.In(this=name.copy(), expressions=[exp.Literal.string(value) for value in values]))
    grouped.set("expressions", [name.copy(), grouped.expressions[0].unalias().as_("total")])
    grouped.group_by(name.copy(), copy=False)
    return grouped, (f"Totals of several values of {name.sql(dialect='duckdb')} are grouped by it.",)


def _has_other_clauses(tree: exp.Union) -> bool:
    return any(tree.args.get(part) for part in ("with_", "order", "limit", "offset", "by_name"))


def _flatten_union(tree: exp.Expr) -> Iterator[exp.Expr]:
    if isinstance(tree, exp.Union):
        yield from _flatten_union(tree.this)
        yield from _flatten_union(tree.expression)
    else:
        yield tree


def _parse_single_total(select: exp.Select) -> tuple[str, str, str] | None:
    """Return the column that a single total is of one value of, the value, and all the rest of its query as text."""
    if len(select.expressions) != 1 or select.args.get("group") or not find_aggregates(select.expressions[0].unalias()):
        return None
    equal = _find_text_equalities(select)
    if len(equal) != 1:
        return None
    column, value = equal[0].this.sql(dialect="duckdb"), equal[0].expression.name
    rest = select.copy()
    _find_text_equalities(rest)[0].replace(exp.true())
    rest.set("expressions", [rest.expressions[0].unalias()])
    return column, value, rest.sql(dialect="duckdb")


def _find_text_equalities(select: exp.Select) -> list[exp.EQ]:
    """Return the conditions of WHERE, joined by AND, that compare a column with a text."""
    where = select.args.get("where")
    if where is None:
        return []
    parts = list(where.this.flatten()) if isinstance(where.this, exp.And) else [where.this]
    return [
        part
        for part in parts
        if isinstance(part, exp.EQ)
        and isinstance(part.this, exp.Column)
        and isinstance(part.expression, exp.Literal)
        and part.expression.is_string
    ]
