"""The greatest of each group: one row for each of the things that the goal says "each" of, and not more."""

import re
from collections.abc import Iterator
from typing import Final

from sqlglot import exp

from agent.tools.sql_repair.aggregates import find_aggregates, get_group_keys
from agent.tools.sql_repair.name_matching import to_singular
from agent.tools.sql_repair.scopes import Scope

_LEAST: Final = "least|fewest|lowest|smallest|shortest|cheapest|earliest|oldest|first"
_MOST: Final = "most|highest|largest|biggest|longest|greatest|best|latest|newest|last|top|heaviest|tallest|dearest"
_SUPERLATIVE: Final = re.compile(rf"\b({_LEAST}|{_MOST})\b", re.IGNORECASE)
_IS_LEAST: Final = re.compile(rf"\b({_LEAST})\b", re.IGNORECASE)
#: "for each genre", "of every ward", "per country": the noun says what has one row.
_EACH: Final = re.compile(r"\b(?:each|every|per)\s+(?:of\s+(?:the|these)\s+)?([a-z_]+)(?:\s+([a-z_]+))?", re.IGNORECASE)
#: What a goal asks about: "which book of each genre", "the longest track of each genre".
_ASKS_FOR_ONE: Final = re.compile(
    r"\b(?:which|what|who|whose|find|name|list|show|give|the)\b.*\b(?:each|every|per)\b|\b(?:each|every)\b.*\b(?:which|what|who|the)\b",
    re.IGNORECASE,
)
_ASKS_FOR_NUMBERS: Final = re.compile(r"\bhow (many|much|long|often)\b|\btop \d|\b\d+\b", re.IGNORECASE)


def keep_greatest_of_each(scope: Scope, *, goal: str) -> Iterator[str]:
    """Keep one row of each group if a goal asks for the greatest of each and the query gives all of them.

    The query groups by what the goal says "each" of and by what it asks for: the rows are ranked by the only total.
    """
    group = find_group_of_goal(scope, goal=goal)
    if group is None:
        return
    select = scope.select
    measure, descending = _find_measure(select, goal)
    if measure is None:
        return
    ranked = exp.Ordered(this=measure.copy(), desc=descending, nulls_first=False)
    window = exp.Window(this=exp.RowNumber(), partition_by=[group.copy()], order=exp.Order(expressions=[ranked]))
    select.set("limit", None)
    select.set("qualify", exp.Qualify(this=exp.EQ(this=window, expression=exp.Literal.number(1))))
    yield f"The goal asks for one row of each {group.name}: the first by {measure.sql(dialect='duckdb')} is kept."


def find_group_of_goal(scope: Scope, *, goal: str) -> exp.Column | None:
    """Return the column that the goal says "each" of, if it asks for the greatest of each and all rows are given."""
    select = scope.select
    asked = _SUPERLATIVE.search(goal) and _ASKS_FOR_ONE.search(goal) and not _ASKS_FOR_NUMBERS.search(goal)
    is_limited = any(select.args.get(part) for part in ("qualify", "having", "distinct")) or list(
        select.find_all(exp.Window, exp.Subquery)
    )
    if not asked or is_limited or any(source.relation is None for source in scope.sources):
        return None
    shown = [item.unalias() for item in select.expressions if isinstance(item.unalias(), exp.Column)]
    if len(shown) < 2:
        return None
    for nouns in _EACH.findall(goal):
        for column in shown:
            if any(_names(column, to_singular(noun.lower()), scope) for noun in nouns if noun):
                return column if isinstance(column, exp.Column) else None
    return None


def _names(column: exp.Column, noun: str, scope: Scope) -> bool:
    """Whether a noun names a column, or the table of which the column is the name."""
    words = {to_singular(word) for word in re.split(r"[\W_]+", column.name.lower())}
    source = scope.resolve(column)
    table = to_singular(source.relation.name.lower()) if source is not None and source.relation is not None else ""
    return noun in words or (noun == table and bool(words & {"name", "title"}))


def _find_measure(select: exp.Select, goal: str) -> tuple[exp.Expr | None, bool]:
    """Return what ranks the rows, and whether the greatest comes first."""
    order = select.args.get("order")
    aliases = {item.alias.lower(): item.this for item in select.expressions if isinstance(item, exp.Alias)}
    least = bool(_IS_LEAST.search(goal))
    totals = [total for item in select.expressions for total in find_aggregates(item)]
    if select.args.get("group"):
        if len(totals) == 1 and len(get_group_keys(select)) > 1:
            return totals[0], not least
        keys = [each for each in order.expressions if find_aggregates(each.this)] if order is not None else []
        return (keys[0].this, bool(keys[0].args.get("desc"))) if len(keys) == 1 and not totals else (None, True)
    if order is None or totals:
        return None, True
    last = order.expressions[-1]
    measure = aliases.get(last.this.name.lower(), last.this) if isinstance(last.this, exp.Column) else last.this
    return measure, bool(last.args.get("desc"))


def join_by_greatest(scope: Scope) -> Iterator[str]:
    """Add the missing condition of a join with the greatest of each group: its value, and not the group alone."""
    select = scope.select
    for join, source in zip(select.args.get("joins") or (), scope.sources[1:], strict=False):
        inner = source.query
        condition = join.args.get("on")
        if inner is None or condition is None or any(map(find_aggregates, select.expressions)):
            continue
        totals = [item for item in inner.expressions if isinstance(item.unalias(), exp.Max | exp.Min)]
        used = {column.name.lower() for part in ("where", "qualify") for column in _find_columns(select, part)}
        used |= {column.name.lower() for column in condition.find_all(exp.Column) if column.table == source.alias}
        if len(totals) != 1 or not inner.args.get("group") or totals[0].alias_or_name.lower() in used:
            continue
        measure = totals[0].unalias().this
        owners = [
            each
            for each in scope.sources
            if each.relation is not None
            and isinstance(measure, exp.Column)
            and each.relation.column(measure.name) is not None
        ]
        if len(owners) != 1 or not totals[0].alias:
            continue
        equal = exp.column(measure.name, table=owners[0].alias).eq(exp.column(totals[0].alias, table=source.alias))
        join.set("on", exp.and_(condition, equal, copy=False))
        yield f"The join with the greatest of each group lacked {equal.sql(dialect='duckdb')}."


def _find_columns(select: exp.Select, part: str) -> Iterator[exp.Column]:
    clause = select.args.get(part)
    if clause is not None:
        yield from clause.find_all(exp.Column)


def find_best_faults(scope: Scope, *, goal: str) -> Iterator[str]:
    """Yield a sentence if a goal asks for the greatest of each group and the query gives all rows, or only one."""
    group = find_group_of_goal(scope, goal=goal)
    if group is not None:
        yield f"The goal asks for the greatest of each {group.name}, and nothing chooses it."
