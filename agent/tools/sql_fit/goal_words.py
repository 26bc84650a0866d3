"""What the words of a goal say of a schema: things that are counted, values left out, numbers of things."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from sqlglot import exp

from agent.tools.db_schema.model import Column, DatabaseSchema, Relation
from agent.tools.sql_repair.name_matching import to_singular

_WORD: Final = re.compile(r"[A-Za-z][A-Za-z_-]*")
_COUNTS: Final = re.compile(r"\b(?:how many|the (?:total )?number of|(?:the )?count of)\s+([^?.,;:\d]+)", re.IGNORECASE)
_DISTINCT_WORDS: Final = frozenset({"different", "distinct", "unique"})
#: Words after which a thing is no longer the counted one.
_ENDS: Final = frozenset(
    (  # noqa: SIM905 - a list would have a line for each word
        "did do does were was are is have has had of in at on by each every per to from for with the a an there and or "
        "who whose which that than not never over under more fewer less least most"
    ).split()
)
#: Words after a thing that make it the object of what others do: "how many books did they borrow".
_OBJECT_WORDS: Final = frozenset({"did", "do", "does", "were", "was", "are", "is", "been"})
_MAX_WORDS: Final = 4

#: "more than 3 loans", "at least three orders": a number of things that a query has to count.
_NUMBER_OF_THINGS: Final = re.compile(
    r"\b(more than|fewer than|less than|at least|at most|over|under|exactly) "
    r"(\d+|one|two|three|four|five|six|seven|eight|nine|ten) (?:[a-z-]+ )?([a-z_]+)",
    re.IGNORECASE,
)
_WORD_NUMBERS: Final = {
    word: str(number)
    for number, word in enumerate(("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), 1)
}
_BOUNDS: Final[Mapping[str, type[exp.Expr]]] = {
    "more than": exp.GT,
    "over": exp.GT,
    "fewer than": exp.LT,
    "less than": exp.LT,
    "under": exp.LT,
    "at least": exp.GTE,
    "at most": exp.LTE,
    "exactly": exp.EQ,
}
#: What leaves a value out, with up to two words before it: "not in the Help section", "other than Rock".
_LEAVES_OUT: Final = (
    r"(?:\b(?:not|n't|other than|except|except for|excluding|apart from|besides|outside)\s+"
    r"(?:(?:an?|the|in|from|of|on|by|at|as|to|with|for)\s+){0,2}|\bnon-?\s?)"
)
_MIN_VALUE_LENGTH: Final = 2
#: A goal with one of these words asks for ids to be shown.
_ID_WORDS: Final = re.compile(r"\b(ids?|keys?|codes?)\b", re.IGNORECASE)


@dataclass(frozen=True)
class CountedThing:
    """What a goal asks the number of."""

    #: In lower case and singular.
    word: str
    #: It is said to be different ones, or is who does something: each counts once.
    counts_once: bool


@dataclass(frozen=True)
class NumberOfThings:
    """A bound on a number of rows of a table: "more than 3 loans"."""

    bound: type[exp.Expr]
    number: str
    word: str


def find_counted_things(goal: str) -> Iterator[CountedThing]:
    """Yield each noun behind "how many" and its like, the words before it too: one of them is what is counted."""
    for match in _COUNTS.finditer(goal):
        words = [word.lower() for word in _WORD.findall(match[1])][: _MAX_WORDS + 1]
        is_distinct = bool(_DISTINCT_WORDS & set(words[:2]))
        end = next((place for place, word in enumerate(words) if word in _ENDS), len(words))
        following = words[end] if end < len(words) else ""
        for place in range(min(end, _MAX_WORDS)):
            is_subject = place + 1 < end or following in {"have", "has", "had", "never", "who", "that"}
            yield CountedThing(
                to_singular(words[place]), is_distinct or (is_subject and following not in _OBJECT_WORDS)
            )


def find_numbers_of_things(goal: str) -> Iterator[NumberOfThings]:
    """Yield each bound on a number of things in a goal."""
    for bound, number, word in _NUMBER_OF_THINGS.findall(goal):
        digits = _WORD_NUMBERS.get(number.lower(), number)
        yield NumberOfThings(_BOUNDS[bound.lower()], digits, to_singular(word.lower()))


def find_table(word: str, schema: DatabaseSchema) -> Relation | None:
    """Return the table that a noun in singular names, whole or by the last word of its name; None if several do."""
    tables = [relation for relation in schema.relations if relation.kind == "table"]
    for get_name in (str.lower, lambda name: name.lower().rpartition("_")[2]):
        named = [each for each in tables if to_singular(get_name(each.name)) == word]
        if named:
            return named[0] if len(named) == 1 else None
    return None


def is_named(relation: Relation, goal: str) -> bool:
    """Whether a goal has the name of a table, in singular or plural, or its last word."""
    names = {to_singular(relation.name.lower()), to_singular(relation.name.lower().rpartition("_")[2])}
    return bool(names & {to_singular(word.lower()) for word in _WORD.findall(goal)})


def asks_for_ids(goal: str) -> bool:
    """Whether ids, keys or codes are to be shown as they are."""
    return bool(_ID_WORDS.search(goal))


def leaves_out(value: str, goal: str) -> bool:
    """Whether a goal asks for what does not have `value`."""
    plain = re.escape(value)
    return len(value) >= _MIN_VALUE_LENGTH and bool(re.search(rf"{_LEAVES_OUT}{plain}(?:s|es)?\b", goal, re.IGNORECASE))


def stands_in(value: str, goal: str) -> bool:
    """Whether a goal has `value` as words of its own, in any case."""
    return bool(re.search(rf"(?<!\w){re.escape(value)}(?:s|es)?(?!\w)", goal, re.IGNORECASE))


def is_number(column: Column) -> bool:
    """Whether a column has numbers."""
    kind = column.type.partition("(")[0]
    return kind in {"DECIMAL", "DOUBLE", "FLOAT", "REAL"} or kind.endswith("INT") or kind == "INTEGER"


def find_key(relation: Relation, schema: DatabaseSchema) -> str | None:
    """Return the column by which other tables refer to `relation`; None if none does, or they use several columns."""
    keys = {
        key.references
        for other in schema.relations
        for key in other.foreign_keys
        if key.table.lower() == relation.name.lower()
    }
    return next(iter(keys))[0] if len(keys) == 1 and len(next(iter(keys))) == 1 else None
