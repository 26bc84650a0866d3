"""What a query shows of its groups: a label that is missing or is only an id, and rows of another grain."""

import re
from collections.abc import Iterator
from typing import Final

from sqlglot import exp

from agent.tools.db_schema.model import Column, DatabaseSchema, Relation
from agent.tools.sql_repair.aggregates import find_aggregates, get_group_keys
from agent.tools.sql_repair.scopes import Scope

#: Goals that ask for ids, codes or numbers of things, which are shown as they are.
_ASKS_FOR_IDS: Final = re.compile(r"\b(ids?|keys?|codes?|numbers? of the)\b", re.IGNORECASE)
_ASKS_FOR_ONE_NUMBER: Final = re.compile(
    r"\s*(how (many|much)|what is the (total|average|number|sum)|count"
    r"|what (percentage|percent|share|proportion|fraction))\b",
    re.IGNORECASE,
)
_ASKS_FOR_GROUPS: Final = re.compile(
    r"\b(each|every|per|by|which|who|whose|whom|top|most|least|highest|lowest|list|compare|split|breakdown|respective)\b"
    # "how many were kept, missed and cancelled" names the groups themselves.
    r"|\bof all\b|\w, [\w ]+ (and|or) ",
    re.IGNORECASE,
)
#: A part of time that a goal splits by, and what a query that splits by it has somewhere in its text.
_PERIODS: Final = {
    period: re.compile(rf"\b({words})\b", re.IGNORECASE)
    for period, words in {
        "day": r"per day|by day|each day|every day|daily",
        "week": r"per week|by week|each week|every week|weekly",
        "month": r"per month|by month|each month|every month|monthly|which months?",
        "quarter": r"per quarter|by quarter|each quarter|every quarter|quarterly|which quarters?",
        "year": r"per year|by year|each year|every year|yearly|annual(ly)?|which years?",
    }.items()
}
_TEXT_OF_PERIODS: Final = re.compile(r"strftime|substr|\bleft\s*\(|date_part|extract|like", re.IGNORECASE)
_SHARE: Final = re.compile(r"\b(percentages?|percent|shares?|proportions?|fractions?|ratios?)\b|%", re.IGNORECASE)
_LABEL_ENDINGS: Final = ("name", "title", "label")


def find_label_faults(scope: Scope, *, goal: str, schema: DatabaseSchema) -> Iterator[str]:
    """Yield a sentence if the groups of the outermost SELECT are not shown, or only by an id that has a name."""
    select = scope.select
    keys = get_group_keys(select)
    items = [item.unalias() for item in select.expressions]
    if any(isinstance(item, exp.Star) for item in items):
        return
    shown = {item.sql(dialect="duckdb").lower() for item in items}
    has_other_item = any(not find_aggregates(item) for item in items)
    if keys and not has_other_item and not shown & {key.sql(dialect="duckdb").lower() for key in keys}:
        names = ", ".join(key.sql(dialect="duckdb") for key in keys)
        yield f"The rows are grouped by {names}, which is not shown: nobody can tell which row is which."
    if _ASKS_FOR_IDS.search(goal):
        return
    texts = [column for column in _list_columns(items, scope) if column.is_text and column.holds is None]
    for item in items:
        if not texts and isinstance(item, exp.Column) and (label := _find_label(item, scope, schema=schema)):
            yield f"{item.name!r} is an id; {label} is its name and is not shown."
            return


def _list_columns(items: list[exp.Expr], scope: Scope) -> list[Column]:
    columns = [column for item in items for column in item.find_all(exp.Column)]
    return [known for column in columns if (known := scope.find_column(column)) is not None]


def _find_label(column: exp.Column, scope: Scope, *, schema: DatabaseSchema) -> str | None:
    """Return `table.column` of the name that belongs to an id; None if `column` is no id or has no name."""
    source = scope.resolve(column)
    relation = source.relation if source is not None else None
    if relation is None:
        return None
    named = [key.table for key in relation.foreign_keys if key.columns == (column.name,)]
    own = [
        relation.name
        for other in schema.relations
        for key in other.foreign_keys
        if key.table.lower() == relation.name.lower() and key.references == (column.name,)
    ]
    for name in (*named, *own):
        target = schema.relation(name)
        label = _find_name_column(target) if target is not None else None
        if target is not None and label is not None:
            return f"{target.name}.{label}"
    return None


def _find_name_column(relation: Relation) -> str | None:
    return next(
        (
            column.name
            for column in relation.columns
            if column.is_text and column.name.lower().removesuffix("s").endswith(_LABEL_ENDINGS)
        ),
        None,
    )


def find_grain_faults(scope: Scope, *, goal: str, sql: str) -> Iterator[str]:
    """Yield a sentence if the rows of the outermost SELECT are not those that the goal asks for."""
    select, text = scope.select, sql.lower()
    for period, pattern in _PERIODS.items():
        if pattern.search(goal) and period not in text and not _TEXT_OF_PERIODS.search(text):
            yield f"The goal asks for every {period}, and the query has no {period}."
            return
    keys = get_group_keys(select)
    if (ranked := _find_single_rows(scope, goal=goal)) is not None:
        yield f"The goal asks about every {ranked} as a whole, and the query ranks single rows."
        return
    totals = [total for item in select.expressions for total in find_aggregates(item)]
    is_one_row = bool(totals) and not keys and not select.args.get("group")
    if re.search(r"\b(of|for|per|in|by) (each|every)\b|\bper \w+", goal, re.IGNORECASE) and is_one_row:
        yield "The goal asks for a row of each, and the query gives one row for all together."
    elif _ASKS_FOR_ONE_NUMBER.match(goal) and keys and not _ASKS_FOR_GROUPS.search(goal) and not _takes_one_row(select):
        names = ", ".join(key.sql(dialect="duckdb") for key in keys)
        yield f"The goal asks for one number, and the query gives a row for each {names}."


def find_share_faults(scope: Scope, *, goal: str) -> Iterator[str]:
    """Yield a sentence if a goal asks for a share and the query divides nothing, or has only one part of it."""
    asked = _SHARE.search(goal)
    shows_column = any(asked and asked[0].lower() in column.name.lower() for column in scope.find_columns())
    if not asked or shows_column or list(scope.select.find_all(exp.Div, exp.IntDiv)):
        return
    averaged = [node for node in scope.select.find_all(exp.Avg) if node.find(exp.Case, exp.If, exp.Cast, exp.Predicate)]
    if not averaged:
        yield f"The goal asks for a {asked[0].lower()}, and the query divides nothing."


def _find_single_rows(scope: Scope, *, goal: str) -> str | None:
    """Return the part of time that a goal splits by, if the query only sorts the rows of tables by a number."""
    select = scope.select
    period = next((period for period, pattern in _PERIODS.items() if pattern.search(goal)), None)
    order, limit = select.args.get("order"), select.args.get("limit")
    is_whole = any(select.args.get(part) for part in ("group", "distinct", "qualify")) or any(
        source.relation is None for source in scope.sources
    )
    if period is None or is_whole or order is None or limit is None or list(select.find_all(exp.AggFunc, exp.Window)):
        return None
    key = order.expressions[0].this
    known = scope.find_column(key) if isinstance(key, exp.Column) else None
    is_number = known is not None and not known.is_text and not known.type.startswith(("DATE", "TIME"))
    return period if is_number else None


def _takes_one_row(select: exp.Select) -> bool:
    """Whether one row of all groups is taken: the first, or that of one value of the only key."""
    limit = select.args.get("limit")
    chosen = select.args.get("having") or select.args.get("qualify")
    is_first = isinstance(limit, exp.Limit) and limit.expression is not None and limit.expression.name == "1"
    return is_first or (
        chosen is not None and isinstance(chosen.this, exp.EQ) and chosen.this.this in get_group_keys(select)
    )
