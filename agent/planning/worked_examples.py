"""Worked examples of reckoning, those nearest to a goal: a small model sets an equation up as it was shown to.

Chosen as in J. Liu et al., "What Makes Good In-Context Examples for GPT-3?" (DeeLIO 2022), by words instead of vectors.
"""

import re
import sqlite3
from contextlib import closing
from functools import lru_cache
from typing import Final, NamedTuple

from prompts import render

_LIBRARY: Final = "worked_examples.v1"
_MARK: Final = "Question: "
_WORD: Final = re.compile(r"[^\W\d_]+")
#: Words of a goal that are looked for.
_WORDS: Final = 200


class Example(NamedTuple):
    """A question, and the program that works it out."""

    question: str
    program: str


@lru_cache(maxsize=1)
def library() -> tuple[Example, ...]:
    """Return all examples, in their order."""
    blocks = render(_LIBRARY).strip().split("\n\n")
    parts = [block.removeprefix(_MARK).partition("\n") for block in blocks]
    return tuple(Example(question, program) for question, _, program in parts)


def nearest(goal: str, *, number: int) -> list[Example]:
    """Return the examples whose questions are nearest to `goal` by the stems of their words (BM25), the nearest last.

    Where fewer have a word in common with it, the first of the library make up the number.
    """
    words = list(dict.fromkeys(_WORD.findall(goal.lower())))[:_WORDS]
    asked = " OR ".join(f'"{word}"' for word in words) or '""'
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE VIRTUAL TABLE examples USING fts5(question, tokenize = 'porter unicode61')")
        connection.executemany("INSERT INTO examples VALUES (?)", ((example.question,) for example in library()))
        ranked = "SELECT rowid FROM examples WHERE examples MATCH ? ORDER BY bm25(examples), rowid LIMIT ?"
        found = [library()[row - 1] for (row,) in connection.execute(ranked, (asked, number))]
    found += [example for example in library() if example not in found][: number - len(found)]
    return found[::-1]
