"""The rows of a query: only the LIMIT that was asked for, and the first row of each value."""

import re
from collections.abc import Collection
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import TokenType

from agent.tools.sql_repair.aggregates import get_group_keys
from agent.tools.sql_repair.name_matching import match_name
from agent.tools.sql_repair.text_edits import get_span, tokenize_sql

_WORD = re.compile(r"[^\W\d_]+")
#: Numbers in English words, and words that ask for some of the rows without a number.
_NUMBER_WORDS = frozenset(
    (  # noqa: SIM905 - a list would have a line for each word
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million "
        "billion half quarter third tenth first second fourth fifth sixth seventh eighth ninth last once twice both "
        "dozen score single double triple top best worst bottom few several some couple pair trio handful sample "
        "samples example examples leading nth limit"
    ).split()
)
#: Words that clearly English texts have and other languages have not: their words for numbers are not known here.
_ENGLISH_WORDS = frozenset(
    (  # noqa: SIM905
        "the and which what how many much with each their are were where who whose every this that its"
    ).split()
)
_MIN_ENGLISH_WORDS = 2


@dataclass(frozen=True)
class FittedQuery:
    """A query adapted to its goal, with a sentence for each change."""

    sql: str
    notes: tuple[str, ...] = ()


def remove_unrequested_limit(sql: str, *, asked: str) -> FittedQuery:
    """Return `sql` without its LIMIT if the goal `asked` has no number of rows; LIMIT 1 stays: "most" asks for one row.

    A number is a digit of any script or a word. Only English words for numbers are known here, so the LIMIT stays for
    a goal that is not clearly in English. Everything else of `sql` is returned character by character.
    """
    number = _find_limit(_parse_query(sql))
    if not isinstance(number, exp.Literal) or not number.is_int or int(number.name) == 1 or may_have_number(asked):
        return FittedQuery(sql)
    rest = _cut_limit(sql, number)
    return (
        FittedQuery(sql)
        if rest is None
        else FittedQuery(rest, (f"LIMIT {number.name} was left out: the goal names no number of rows.",))
    )


def may_have_number(goal: str) -> bool:
    """Whether a goal has a number, in digits or words, or is in a language whose words for numbers are not known."""
    words = {word.casefold() for word in _WORD.findall(goal)}
    is_english = goal.isascii() and len(words & _ENGLISH_WORDS) >= _MIN_ENGLISH_WORDS
    return not is_english or any(letter.isnumeric() for letter in goal) or bool(words & _NUMBER_WORDS)


def remove_limit(sql: str, *, lists: Collection[str]) -> tuple[str, int | None]:
    """Return a query without its LIMIT, and the number of rows to keep of those that are chosen later; None for all.

    LIMIT would cut rows off before the first rows of each value are chosen. If the query uses a parameter in `lists`,
    all chosen rows are kept: each item of the list should have its row.
    """
    tree = _parse_query(sql)
    number = _find_limit(tree)
    if tree is None or number is None or not number.is_int or tree.args.get("offset") is not None:
        return sql, None
    rest = _cut_limit(sql, number)
    if rest is None:
        return sql, None
    used = {node.name for node in tree.find_all(exp.Placeholder)}
    return rest, None if used & set(lists) else int(number.name)


def _cut_limit(sql: str, number: exp.Expr) -> str | None:
    """Return `sql` without the LIMIT of `number` and the space before it; None if its place is not known."""
    span = get_span(number)
    words = [token for token in tokenize_sql(sql) if span is not None and token.end < span[0]]
    if span is None or not words or words[-1].token_type != TokenType.LIMIT:
        return None
    return sql[: words[-1].start].rstrip() + sql[span[1] :]


def has_one_row_per_value(sql: str, *, column: str) -> bool:
    """Whether a query groups by `column` alone, so that each of its values has one row anyway."""
    tree = _parse_query(sql)
    if not isinstance(tree, exp.Select):
        return False
    keys = get_group_keys(tree)
    item = next((item for item in tree.expressions if item.alias_or_name.lower() == column.lower()), None)
    if item is None or len(keys) != 1:
        return False
    return keys[0].sql().lower() in {item.unalias().sql().lower(), item.alias_or_name.lower()}


def match_column(name: str, *, columns: Collection[str]) -> str:
    """Return the one of a query's `columns` that `name` means; `name` itself if it is one of them or means none."""
    return name if name in columns else match_name(name.rpartition(".")[2], columns) or name


def _parse_query(sql: str) -> exp.Expr | None:
    try:
        return sqlglot.parse_one(sql, dialect="duckdb")
    except SqlglotError:
        return None


def _find_limit(tree: exp.Expr | None) -> exp.Expr | None:
    limit = tree.args.get("limit") if tree is not None else None
    return limit.expression if isinstance(limit, exp.Limit) else None
