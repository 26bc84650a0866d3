"""A UNION of totals, one for each value of a column, made one grouped query that says which total is whose."""

from collections.abc import Iterator

from sqlglot import exp

from agent.tools.mend.groups import aggregates


def mend_unions(tree: exp.Expr) -> tuple[exp.Expr, tuple[str, ...]]:
    """Return `tree` with such a UNION as a GROUP BY, and a sentence if it was one.

    The parts of a UNION come in any order, equal ones fall together, and the name of the first stands for all: its
    rows do not tell what they count.
    """
    if not isinstance(tree, exp.Union) or _has_more(tree):
        return tree, ()
    parts = list(_parts(tree))
    selects = [part for part in parts if isinstance(part, exp.Select)]
    totals = [each for select in selects if (each := _total(select)) is not None]
    if len(totals) < len(parts):
        return tree, ()
    column, rest = totals[0][0], totals[0][2]
    values = [value for _, value, _ in totals]
    if any(other != column or left != rest for other, _, left in totals) or len(set(values)) < len(values):
        return tree, ()
    grouped = selects[0].copy()
    where = _equalities(grouped)[0]
    name = where.this.copy()
    where.replace(exp.In(this=name.copy(), expressions=[exp.Literal.string(value) for value in values]))
    grouped.set("expressions", [name.copy(), grouped.expressions[0].unalias().as_("total")])
    grouped.group_by(name.copy(), copy=False)
    return grouped, (f"Totals of several values of {name.sql(dialect='duckdb')} are grouped by it.",)


def _has_more(tree: exp.Union) -> bool:
    return any(tree.args.get(part) for part in ("with_", "order", "limit", "offset", "by_name"))


def _parts(tree: exp.Expr) -> Iterator[exp.Expr]:
    if isinstance(tree, exp.Union):
        yield from _parts(tree.this)
        yield from _parts(tree.expression)
    else:
        yield tree


def _total(select: exp.Select) -> tuple[str, str, str] | None:
    """Return the column that a single total is of one value of, the value, and all the rest of its query as text."""
    if len(select.expressions) != 1 or select.args.get("group") or not aggregates(select.expressions[0].unalias()):
        return None
    equal = _equalities(select)
    if len(equal) != 1:
        return None
    column, value = equal[0].this.sql(dialect="duckdb"), equal[0].expression.name
    rest = select.copy()
    _equalities(rest)[0].replace(exp.true())
    rest.set("expressions", [rest.expressions[0].unalias()])
    return column, value, rest.sql(dialect="duckdb")


def _equalities(select: exp.Select) -> list[exp.EQ]:
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
