"""Selection of the tools nearest to a goal, for a catalogue that is too large to be shown whole.

They are ranked by SQLite's full-text search: BM25 over word stems, with names weighted above descriptions.
"""

import re
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from itertools import islice
from typing import Final

from agent.core.plan.tool_spec import ToolSpec

_WORD: Final = re.compile(r"[^\W_]+")
_CREATE_TABLE: Final = "CREATE VIRTUAL TABLE tools USING fts5(name, about, tokenize = 'porter unicode61')"
_RANK_QUERY: Final = "SELECT rowid FROM tools WHERE tools MATCH ? ORDER BY bm25(tools, 3.0, 1.0), rowid"
#: Words of a goal that are searched for.
_MAX_WORDS: Final = 200


def select_tools(
    specs: Mapping[str, ToolSpec], *, goal: str, fits: Callable[[Mapping[str, ToolSpec]], bool]
) -> dict[str, ToolSpec]:
    """Return as many of `specs` as fit together, nearest to the goal first chosen, in their given order; at least one.

    Tools that have no word in common with the goal are chosen last, in their given order.
    """
    if fits(specs):
        return dict(specs)
    ranked = _rank_tools(specs, goal)
    least, most = 1, len(ranked) - 1
    while least < most:
        middle = (least + most + 1) // 2
        if fits(_take_first(specs, ranked, middle)):
            least = middle
        else:
            most = middle - 1
    return _take_first(specs, ranked, least)


def find_named_tools(specs: Mapping[str, ToolSpec], *, goal: str) -> list[ToolSpec]:
    """Return the tools of whose name the goal contains every word, compared by stems."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE VIRTUAL TABLE goals USING fts5(goal, tokenize = 'porter unicode61')")
        connection.execute("INSERT INTO goals VALUES (?)", (goal,))
        has = "SELECT 1 FROM goals WHERE goals MATCH ?"
        return [spec for name, spec in specs.items() if connection.execute(has, (_match_all_words(name),)).fetchone()]


def _match_all_words(name: str) -> str:
    return " AND ".join(f'"{word}"' for word in _WORD.findall(name)) or '""'


def _take_first(specs: Mapping[str, ToolSpec], ranked: list[str], number: int) -> dict[str, ToolSpec]:
    chosen = set(islice(ranked, number))
    return {name: spec for name, spec in specs.items() if name in chosen}


def _rank_tools(specs: Mapping[str, ToolSpec], goal: str) -> list[str]:
    names = list(specs)
    words = list(dict.fromkeys(_WORD.findall(goal.lower())))[:_MAX_WORDS]
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(_CREATE_TABLE)
        rows = ((number, name.replace("_", " "), specs[name].description) for number, name in enumerate(names))
        connection.executemany("INSERT INTO tools (rowid, name, about) VALUES (?, ?, ?)", rows)
        query = " OR ".join(f'"{word}"' for word in words) or '""'
        matching = [names[number] for (number,) in connection.execute(_RANK_QUERY, (query,))]
    return [*matching, *(name for name in names if name not in set(matching))]
