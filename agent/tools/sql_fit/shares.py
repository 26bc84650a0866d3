"""Shares: a part divided by the whole, for what the goal says, and out of a hundred if it says so."""

import re
from collections.abc import Iterator
from typing import Final

from sqlglot import exp

from agent.tools.sql_fit.goal_words import stands_in
from agent.tools.sql_repair.aggregates import find_aggregates, get_group_keys
from agent.tools.sql_repair.scopes import Scope

_SHARE: Final = re.compile(r"\b(percentages?|percent|shares?|proportions?|fractions?|ratios?)\b|%", re.IGNORECASE)
_PERCENT: Final = re.compile(r"\b(percentages?|percent)\b|%", re.IGNORECASE)
_EACH: Final = re.compile(r"\b(each|every|per|by)\b", re.IGNORECASE)


def compute_share(scope: Scope, *, goal: str) -> Iterator[str]:
    """Make a count of a part the share of it, one of all groups the one that is asked for, and a fraction percent."""
    if not _SHARE.search(goal) or any(_SHARE.search(column.name) for column in scope.find_columns()):
        return
    yield from _divide_by_whole(scope, goal=goal)
    yield from _keep_asked_group(scope, goal=goal)
    yield from _count_out_of_hundred(scope, goal=goal)


def _divide_by_whole(scope: Scope, *, goal: str) -> Iterator[str]:
    """Replace a count of rows under one condition, alone or divided by itself, by the share of those that meet it."""
    select = scope.select
    where, counts = select.args.get("where"), [item for item in select.expressions if find_aggregates(item)]
    if where is None or isinstance(where.this, exp.And) or len(counts) != 1 or select.args.get("having"):
        return
    value, texts = counts[0].unalias(), [each.name for each in where.find_all(exp.Literal) if each.is_string]
    aggregates = find_aggregates(value)
    is_plain = len(aggregates) == 1 and value is aggregates[0] and _counts_rows(value)
    is_divided_by_itself = (
        isinstance(value, exp.Div)
        and len(aggregates) == 2
        and aggregates[0] == aggregates[1]
        and _counts_rows(aggregates[0])
    )
    if not (is_plain or is_divided_by_itself) or not any(stands_in(text, goal) for text in texts):
        return
    case = exp.Case(ifs=[exp.If(this=where.this.copy(), true=exp.Literal.number(1))], default=exp.Literal.number(0))
    share = exp.Avg(this=case)
    value.replace(exp.Mul(this=exp.Literal.number("100.0"), expression=share) if _PERCENT.search(goal) else share)
    select.set("where", None)
    yield f"The goal asks for a share, so {where.this.sql(dialect='duckdb')} is counted among all rows."


def _counts_rows(value: exp.Expr) -> bool:
    return isinstance(value, exp.Count) and not isinstance(value.this, exp.Distinct)


def _keep_asked_group(scope: Scope, *, goal: str) -> Iterator[str]:
    """Keep of the shares of all groups the one of the value that the goal names."""
    select, keys = scope.select, get_group_keys(scope.select)
    if len(keys) != 1 or _EACH.search(goal) or select.args.get("having") or select.args.get("qualify"):
        return
    known = scope.find_column(keys[0]) if isinstance(keys[0], exp.Column) else None
    named = [value for value in (known.values or ()) if stands_in(value, goal)] if known is not None else []
    if len(named) != 1 or not list(select.find_all(exp.Div)):
        return
    asked = exp.EQ(this=keys[0].copy(), expression=exp.Literal.string(named[0]))
    if list(select.find_all(exp.Window)):
        select.set("qualify", exp.Qualify(this=asked))
    else:
        select.having(asked, copy=False)
    yield f"The goal asks for the share of {named[0]!r}, so that of the others is left out."


def _count_out_of_hundred(scope: Scope, *, goal: str) -> Iterator[str]:
    """Multiply a fraction by 100 if the goal asks for a percentage and nothing in the query is a hundred."""
    select = scope.select
    numbers = {literal.name for literal in select.find_all(exp.Literal) if not literal.is_string}
    if not _PERCENT.search(goal) or numbers & {"100", "100.0", "100.00", "0.01"}:
        return
    for item in select.expressions:
        value = item.unalias()
        if _is_fraction(value):
            value.replace(exp.Mul(this=exp.Literal.number("100.0"), expression=exp.Paren(this=value.copy())))
            yield "The goal asks for a percentage, so the fraction is counted out of a hundred."


def _is_fraction(value: exp.Expr) -> bool:
    """Whether an expression is one total divided by another, or the mean of ones and zeros."""
    inner = value.this if isinstance(value, exp.Round | exp.Paren) else value
    if isinstance(inner, exp.Div):
        return all(part.find(exp.AggFunc) for part in (inner.this, inner.expression))
    return isinstance(inner, exp.Avg) and inner.find(exp.Case, exp.If, exp.Predicate) is not None
