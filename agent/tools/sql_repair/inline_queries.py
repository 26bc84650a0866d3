"""A query that speaks of earlier queries as of tables, rewritten so that it stands by itself."""

from collections.abc import Callable, Mapping

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError


def inline_earlier_queries(sql: str, *, earlier: Mapping[str, str], parameter: Callable[[str, str], str | None]) -> str:
    """Return `sql` with the values of `earlier` queries as list parameters, and as WITH queries where rows are needed.

    `earlier` are queries by the names that they are called by; `parameter` tells for such a name and a column under
    which parameter the values of that column are given, None where they are not.
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
    left: dict[str, None] = {}
    for table in tables:
        name = known[table.name.lower()]
        if not _replace_with_list_parameter(table, name, parameter):
            left[name] = None
    try:
        added = {name: sqlglot.parse_one(earlier[name], dialect="duckdb") for name in left}
    except SqlglotError:
        return sql
    for name, query in added.items():
        tree.with_(name, as_=query, copy=False)
    clause = tree.args.get("with_")
    if clause is not None:
        # The query's own parts may speak of those that were added, which must then stand before them.
        clause.expressions.sort(key=lambda part: part.alias not in added)
    return tree.sql(dialect="duckdb")


def _replace_with_list_parameter(table: exp.Table, name: str, parameter: Callable[[str, str], str | None]) -> bool:
    """Put a parameter in the place of `(SELECT column FROM name)` that a column is compared with."""
    select = table.find_ancestor(exp.Select)
    if select is None or not isinstance(select.parent, exp.Subquery | exp.In | exp.EQ):
        return False
    told = {part for part, value in select.args.items() if value} - {"expressions", "from_", "kind", "distinct"}
    if told or len(select.expressions) != 1 or not isinstance(select.expressions[0].unalias(), exp.Column):
        return False
    compared = select.find_ancestor(exp.In, exp.EQ, exp.Select)
    if not isinstance(compared, exp.In | exp.EQ) or compared.this is select:
        return False
    given = parameter(name, select.expressions[0].unalias().name)
    if given is None:
        return False
    values = sqlglot.parse_one(f"(SELECT unnest(${given}))", dialect="duckdb")
    compared.replace(exp.In(this=compared.this.copy(), query=values))
    return True
