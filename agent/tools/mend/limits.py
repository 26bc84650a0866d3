"""Rows cut off at a number that nobody gave."""

import re

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

_WORD = re.compile(r"[a-z]+|\d+")
_NUMBERS = frozenset(
    {"two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "fifteen", "twenty"}
)
#: Numbers with more digits are years and amounts.
_DIGITS = 3
#: Who says so wants some of the rows and leaves open how many.
_SOME = frozenset({"top", "best", "few", "some", "several", "dozen", "sample", "examples", "leading"})


def without_unasked_limit(sql: str, *, asked: str) -> str:
    """Return `sql` without its LIMIT where `asked` speaks of no number of rows; LIMIT 1 is left, which "most" asks for.

    Without anything to mend, `sql` comes back as it was, letter by letter.
    """
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except SqlglotError:
        return sql
    limit = tree.args.get("limit")
    number = limit.expression if isinstance(limit, exp.Limit) else None
    if not isinstance(number, exp.Literal) or not number.is_int or int(number.name) == 1:
        return sql
    words = set(_WORD.findall(asked.lower()))
    if words & _SOME or words & _NUMBERS or any(word.isdigit() and len(word) <= _DIGITS for word in words):
        return sql
    tree.set("limit", None)
    return tree.sql(dialect="duckdb")
