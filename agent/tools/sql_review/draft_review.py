"""The review of a small model's draft: each query for itself, and all of them together against the goal."""

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from sqlglot import exp

from agent.tools.db_schema.model import DatabaseSchema
from agent.tools.sql_repair.name_matching import to_singular
from agent.tools.sql_repair.scopes import Scope, build_scopes, walk_nodes
from agent.tools.sql_repair.text_edits import parse_statement
from agent.tools.sql_review.join_growth import find_multiplied_totals
from agent.tools.sql_review.output_shape import find_grain_faults, find_label_faults

_YEAR: Final = re.compile(r"(?<![\d.,-])(?:19|20)\d\d(?![\d,]|\.\d)")
#: "more than 3 loans", "at least three orders": a number of things that a query has to count.
_NUMBER_OF_THINGS: Final = re.compile(
    r"\b(?:(?:more|fewer|less) than|at least|at most|over|under|exactly) (\d+|two|three|four|five|six|ten) "
    r"(?:[a-z]+ )?([a-z]+)",
    re.IGNORECASE,
)
_WORD_NUMBERS: Final = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "ten": "10"}
_SIZES: Final = (exp.GT, exp.GTE, exp.LT, exp.LTE)
#: Shorter values stand in too many other words, or are words themselves.
_MIN_VALUE_LENGTH: Final = 4


def review_query(sql: str, *, goal: str, schema: DatabaseSchema, is_final: bool = True) -> tuple[str, ...]:
    """Return a sentence for whatever looks wrong in one query for `goal`; only a final one has to show names."""
    tree = parse_statement(sql)
    if tree is None:
        return ()
    found: list[str] = []
    for scope in build_scopes(tree, schema=schema):
        found += find_multiplied_totals(scope, schema=schema)
        found += _find_compared_keys(scope, goal=goal, schema=schema)
        if scope.select is tree:
            found += find_label_faults(scope, goal=goal, schema=schema) if is_final else ()
            found += find_grain_faults(scope, goal=goal, sql=sql)
    return tuple(dict.fromkeys(found))


def find_uncovered_values(texts: Sequence[str], *, goal: str, schema: DatabaseSchema) -> tuple[str, ...]:
    """Return a sentence for each year, value and counted thing of the goal that none of the `texts` of a plan has."""
    return tuple(dict.fromkeys(chain(_find_dropped_values(texts, goal, schema), _find_uncounted(texts, goal, schema))))


def _find_compared_keys(scope: Scope, *, goal: str, schema: DatabaseSchema) -> Iterator[str]:
    """Yield a sentence for each key that WHERE compares by size with a number of the goal: a count was meant."""
    where = scope.select.args.get("where")
    numbers = {_WORD_NUMBERS.get(number.lower(), number) for number, _ in _NUMBER_OF_THINGS.findall(goal)}
    for node in walk_nodes(where) if where is not None else ():
        if not isinstance(node, _SIZES) or not isinstance(node.this, exp.Column):
            continue
        source = scope.resolve(node.this)
        is_key = (
            source is not None and source.relation is not None and _is_key(node.this.name, source.relation.name, schema)
        )
        if is_key and isinstance(node.expression, exp.Literal) and node.expression.name in numbers:
            yield f"{node.sql(dialect='duckdb')} compares the numbers of a key; the goal asks for a count."


def _is_key(column: str, relation: str, schema: DatabaseSchema) -> bool:
    return any(
        (each.name.lower() == relation.lower() and column.lower() in {name.lower() for name in key.columns})
        or (key.table.lower() == relation.lower() and column.lower() in {name.lower() for name in key.references})
        for each in schema.relations
        for key in each.foreign_keys
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
    tables = {to_singular(relation.name.lower()): relation for relation in schema.relations}
    for number, thing in _NUMBER_OF_THINGS.findall(goal):
        table = tables.get(to_singular(thing.lower()))
        is_column = any(relation.column(thing) for relation in schema.relations)
        if table is not None and not is_column and not any("count(" in text.lower() for text in texts):
            yield f"The goal asks for a number of {thing} ({number}), and no query counts them."
