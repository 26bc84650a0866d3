"""The review of a small model's draft: each query for itself, and all of them together against the goal."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from sqlglot import exp

from agent.tools.db_schema.model import DatabaseSchema
from agent.tools.sql_fit.best_of_each import find_best_faults
from agent.tools.sql_fit.counts import find_repeated_thing, find_uncounted_filters
from agent.tools.sql_fit.filters import find_filter_faults
from agent.tools.sql_fit.goal_words import find_key, find_numbers_of_things, find_table, leaves_out
from agent.tools.sql_repair.name_matching import to_singular
from agent.tools.sql_repair.scopes import Scope, build_scopes
from agent.tools.sql_repair.text_edits import parse_statement
from agent.tools.sql_review.join_growth import (
    CountRows,
    find_counted_growth,
    find_multiplied_totals,
    find_totalled_sources,
    find_unneeded_joins,
)
from agent.tools.sql_review.output_shape import find_grain_faults, find_label_faults, find_share_faults

_YEAR: Final = re.compile(r"(?<![\d.,-])(?:19|20)\d\d(?![\d,]|\.\d)")
#: Shorter values stand in too many other words, or are words themselves.
_MIN_VALUE_LENGTH: Final = 4


def review_query(
    sql: str, *, goal: str, schema: DatabaseSchema, count_rows: CountRows, is_final: bool = True
) -> tuple[str, ...]:
    """Return a sentence for whatever looks wrong in one query for `goal`; only a final one has to show names.

    `count_rows` runs a query of two numbers, with which the rows of joins are counted.
    """
    tree = parse_statement(sql)
    if tree is None:
        return ()
    found: list[str] = []
    for scope in build_scopes(tree, schema=schema):
        multiplied = list(find_multiplied_totals(scope, schema=schema))
        found += multiplied or _count_growth(scope, tree, goal, schema, count_rows)
        found += find_uncounted_filters(scope, goal=goal, schema=schema)
        found += find_filter_faults(scope, goal=goal, schema=schema)
        if scope.select is tree:
            found += find_label_faults(scope, goal=goal, schema=schema) if is_final else ()
            found += find_grain_faults(scope, goal=goal, sql=sql)
            found += find_share_faults(scope, goal=goal)
            found += find_best_faults(scope, goal=goal)
            found += find_unneeded_joins(scope, goal=goal, schema=schema)
    return tuple(dict.fromkeys(found))


def _count_growth(
    scope: Scope, tree: exp.Expr, goal: str, schema: DatabaseSchema, count_rows: CountRows
) -> Iterable[str]:
    """Count the joined rows of what is totalled, and of what the goal counts."""
    keys = dict[str, str]()
    for alias in find_totalled_sources(scope):
        source = scope.find_source(alias)
        key = find_key(source.relation, schema) if source is not None and source.relation is not None else None
        keys |= {alias: key or "rowid"} if source is not None and source.relation is not None else {}
    counted = find_repeated_thing(scope, goal=goal, schema=schema, only_sure=False) if scope.select is tree else None
    if counted is not None:
        keys[counted.table] = counted.name
    has_with = tree.args.get("with_") is not None
    return () if has_with else find_counted_growth(scope, keys=keys, count_rows=count_rows)


def find_uncovered_values(texts: Sequence[str], *, goal: str, schema: DatabaseSchema) -> tuple[str, ...]:
    """Return a sentence for each year, value and counted thing of the goal that none of the `texts` of a plan has."""
    return tuple(
        dict.fromkeys(
            chain.from_iterable(
                find(texts, goal, schema) for find in (_find_dropped_values, _find_uncounted, _find_kept_exclusions)
            )
        )
    )


def _find_dropped_values(texts: Sequence[str], goal: str, schema: DatabaseSchema) -> Iterator[str]:
    told = " ".join(texts).casefold()
    for year in dict.fromkeys(_YEAR.findall(goal)):
        if year not in told:
            yield f"The goal names {year}, and no query does."
    lowered = goal.casefold()
    for relation in schema.relations:
        for column in relation.columns:
            for value in column.values or ():
                plain = value.casefold()
                is_named = len(plain) >= _MIN_VALUE_LENGTH and re.search(rf"\b{re.escape(plain)}\b", lowered)
                if is_named and value[:1].isupper() and value in goal and plain not in told:
                    yield f"The goal names {value!r}, which the database has, and no query does."


def _find_uncounted(texts: Sequence[str], goal: str, schema: DatabaseSchema) -> Iterator[str]:
    """Yield a sentence if the goal bounds a number of rows of a table and nothing is counted."""
    for bound in find_numbers_of_things(goal):
        is_column = any(
            to_singular(each.name.lower()) == bound.word for one in schema.relations for each in one.columns
        )
        if find_table(bound.word, schema) and not is_column and not any("count(" in text.lower() for text in texts):
            yield f"The goal asks for a number of {bound.word!r} ({bound.number}), and no query counts them."


def _find_kept_exclusions(texts: Sequence[str], goal: str, schema: DatabaseSchema) -> Iterator[str]:
    """Yield a sentence for each listed value that the goal leaves out and no query names."""
    told = " ".join(texts).casefold()
    for relation in schema.relations:
        for column in relation.columns:
            for value in column.values or ():
                if leaves_out(value, goal) and value.casefold() not in told:
                    yield f"The goal leaves {value!r} out, and no query does."
