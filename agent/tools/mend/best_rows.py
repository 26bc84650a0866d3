"""A query whose rows are chosen by `first_row_of_each`, rid of what would spoil the choice."""

from collections.abc import Collection

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from agent.tools.mend.groups import grouped
from agent.tools.mend.names import meant


def without_limit(sql: str, *, lists: Collection[str]) -> tuple[str, int | None]:
    """Return a query without its LIMIT, and how many of the chosen rows that LIMIT leaves, None for all.

    LIMIT would cut the rows off before the first of each value are chosen. Where a parameter in `lists` says whose rows
    are wanted, it limits nothing: each of those is to have its row.
    """
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except SqlglotError:
        return sql, None
    limit = tree.args.get("limit")
    number = limit.expression if isinstance(limit, exp.Limit) else None
    if number is None or not number.is_int or tree.args.get("offset") is not None:
        return sql, None
    tree.set("limit", None)
    named = {node.name for node in tree.find_all(exp.Placeholder)}
    return tree.sql(dialect="duckdb"), None if named & set(lists) else int(number.name)


def one_row_each(sql: str, *, column: str) -> bool:
    """Whether a query groups by `column` alone, so that each of its values has one row anyway."""
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except SqlglotError:
        return False
    if not isinstance(tree, exp.Select):
        return False
    keys = grouped(tree)
    chosen = next((item for item in tree.expressions if item.alias_or_name.lower() == column.lower()), None)
    return (
        len(keys) == 1
        and chosen is not None
        and keys[0].sql().lower()
        in {
            chosen.unalias().sql().lower(),
            chosen.alias_or_name.lower(),
        }
    )


def named_column(name: str, *, columns: Collection[str]) -> str:
    """Return the one of a query's `columns` that `name` means, or `name` where it is one or means none."""
    return name if name in columns else meant(name.rpartition(".")[2], columns) or name
