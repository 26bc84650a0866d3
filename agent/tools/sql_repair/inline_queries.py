"""Rewriting of a query that reads earlier queries as if they were tables, so that it can run alone."""

from collections.abc import Callable, Mapping

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError


def inline_earlier_queries(sql: str, *, earlier: Mapping[str, str], parameter: Callable[[str, str], str | None]) -> str:
    """Return `sql` with `earlier` queries replaced by list parameters or, if their rows are needed, added as CTEs.

    `earlier` maps names to queries; `parameter` returns, for such a name and a column, the parameter that has the
    values of that column, or None. A query that refers to none of them, or cannot be parsed, is returned unchanged.
    """
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except SqlglotError:
        return sql
    known = {name.lower(): name for name in earlier}
    own = {query.alias.lower() for query in tree.find_all(exp.CTE)}
    tables = [
        table
        for table in tree.find_all(exp.Table)
        if not table.db and table.name.lower() in known and table.name.lower() not in own
    ]
    if not tables or not isinstance(tree, exp.Query):
        return sql
    remaining: dict[str, None] = {}
    for table in tables:
        name = known[table.name.lower()]
        if not _replace_with_list_parameter(table, name, parameter):
            remaining[name] = None
    try:
        added = {name: sqlglot.parse_one(earlier[name], dialect="duckdb") for name in remaining}
    except SqlglotError:
        return sql
    for name, query in added.items():
        tree.with_(name, as_=query, copy=False)
    clause = tree.args.get("with_")
    if clause is not None:
        # The query's own CTEs may read the added ones, so those must come first.
        clause.expressions.sort(key=lambda part: part.alias not in added)
    return tree.sql(dialect="duckdb")


def _replace_with_list_parameter(table: exp.Table, name: str, parameter: Callable[[str, str], str | None]) -> bool:
    """Replace `(SELECT column FROM name)`, if a column is compared with it, by a parameter; return whether it was."""
    select = table.find_ancestor(exp.Select)
    if select is None or not isinstance(select.parent, exp.Subquery | exp.In | exp.EQ):
        return False
    clauses = {part for part, value in select.args.items() if value} - {"expressions", "from_", "kind", "distinct"}
    if clauses or len(select.expressions) != 1 or not isinstance(select.expressions[0].unalias(), exp.Column):
        return False
    comparison = select.find_ancestor(exp.In, exp.EQ, exp.Select)
    if not isinstance(comparison, exp.In | exp.EQ) or comparison.this is select:
        return False
    list_parameter = parameter(name, select.expressions[0].unalias().name)
    if list_parameter is None:
        return False
    values = sqlglot.parse_one(f"(SELECT unnest(${list_parameter}))", dialect="duckdb")
    comparison.replace(exp.In(this=comparison.this.copy(), query=values))
    return True
