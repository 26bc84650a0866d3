"""List parameters compared as lists."""

from collections.abc import Iterator, Mapping

import sqlglot
from sqlglot import exp

from agent.tools.mend.scopes import Scope, nodes

_CASTS = ("DATE", "TIMESTAMP", "TIME", "UUID")


def mend_lists(scope: Scope, *, lists: Mapping[str, str | None]) -> Iterator[str]:
    """Turn comparisons of a column with a list parameter into `IN (SELECT unnest($name))`, in place.

    Texts are cast to the type of a date column: they come as JSON, which has no dates.
    """
    for node in list(nodes(scope.select)):
        if not isinstance(node, exp.In | exp.EQ | exp.NEQ) or not isinstance(node.this, exp.Column):
            continue
        name = _list_named(node, lists=lists)
        if name is None:
            continue
        column = scope.column_of(node.this)
        kind = column.type.partition("(")[0] if column is not None else ""
        if kind.endswith("[]"):
            continue
        cast = next((word for word in _CASTS if kind.startswith(word)), None) if lists[name] == "VARCHAR" else None
        query = _unnested(name, cast=kind if cast else None)
        if isinstance(node, exp.In) and node.args.get("query") is not None and not cast:
            continue
        inside = exp.In(this=node.this.copy(), query=query)
        node.replace(exp.not_(inside) if isinstance(node, exp.NEQ) else inside)
        yield f"${name} is a list, so {node.this.sql(dialect='duckdb')} is looked for in its items."


def _list_named(node: exp.Expr, *, lists: Mapping[str, str | None]) -> str | None:
    """Return the list parameter that is all of what `node` compares its column with."""
    if isinstance(node, exp.In):
        query = node.args.get("query")
        field = node.args.get("field")
        operands = [field] if field is not None else list(node.expressions)
        if query is not None:
            inner = query.unnest()
            operands = inner.expressions if isinstance(inner, exp.Select) and not inner.args.get("from_") else []
    else:
        operands = [node.expression]
    if len(operands) != 1:
        return None
    operand = operands[0].unnest()
    if isinstance(operand, exp.Explode | exp.Unnest):
        operand = operand.this if isinstance(operand, exp.Explode) else operand.expressions[0]
    elif isinstance(node, exp.In) and node.args.get("field") is not None:
        # `IN $name` without brackets is already what is meant.
        return None
    return operand.name if isinstance(operand, exp.Placeholder) and operand.name in lists else None


def _unnested(name: str, *, cast: str | None) -> exp.Expr:
    given = f"CAST(${name} AS {cast}[])" if cast else f"${name}"
    return sqlglot.parse_one(f"(SELECT unnest({given}))", dialect="duckdb")
