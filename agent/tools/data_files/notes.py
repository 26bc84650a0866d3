"""What is said of the files that were read: what was assumed, and what of it may be wrong."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.tools.sql.engines.attachment import quote_identifier

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_FILE: Final = "notes.json"
_MAX_SHOWN: Final = 20
_WORDS: Final = re.compile(r"\w+")
#: The column that a sentence is about.
_COLUMN: Final = re.compile(r", column '(.+?)'(?: is|:)")
#: What a row that adds up others is called, in the languages of most files.
_TOTAL: Final = (
    "((grand|overall|sub|running)[ -]?)?(totals?|sums?|summe|zwischensumme|gesamt(summe|ergebnis)?|insgesamt|total "
    "(general|général|generale)|totale?|somme|suma|razem|totaal|toplam|итого|всего|合計|总计)"
)
_NUMBERS: Final = ("BIGINT", "HUGEINT", "DOUBLE", "DECIMAL")
#: Rows that a table has at least for one of them to be a total, and totals that it has at most.
_MIN_ROWS, _MAX_TOTALS = 3, 1_000


@dataclass(frozen=True, slots=True)
class TableNotes:
    """What is said of one table."""

    table: str
    #: How its file was read, as a sentence: the comment of the table.
    reading: str
    #: What may be wrong, a sentence each; each names the file.
    guesses: tuple[str, ...] = ()
    #: By column.
    columns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class FileNotes:
    """What is said of all files of a source."""

    tables: tuple[TableNotes, ...] = ()
    #: What is said of no one table, such as of a file that was left out.
    others: tuple[str, ...] = ()

    @property
    def guesses(self) -> tuple[str, ...]:
        """What may be wrong."""
        return (*self.others, *(guess for table in self.tables for guess in table.guesses))

    def find_guesses(self, sql: str) -> tuple[str, ...]:
        """Return what may be wrong of the tables that a query names; of a column only if it is named, or all are."""
        words, has_star = set(_WORDS.findall(sql.lower())), "*" in sql.replace("count(*)", "").replace("COUNT(*)", "")
        found = []
        for table in self.tables:
            if not words.issuperset(_WORDS.findall(table.table.lower().rpartition(".")[2])):
                continue
            for guess in table.guesses:
                column = _COLUMN.search(guess)
                if column is None or has_star or words.issuperset(_WORDS.findall(column[1].lower())):
                    found.append(guess)
        return shorten_list(found)

    def describe(self) -> tuple[str, ...]:
        """Return how the files were read, a sentence for each table or for all that were read alike."""
        alike: dict[str, list[str]] = {}
        for table in self.tables:
            alike.setdefault(table.reading.partition(": ")[2], []).append(table.reading.partition(": ")[0])
        return shorten_list(
            f"{', '.join(files[:3])}{f' and {len(files) - 3} more' if len(files) > 3 else ''}: {reading}"
            for reading, files in alike.items()
        )


def shorten_list(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the first lines, and how many more there are."""
    listed = tuple(lines)
    more = len(listed) - _MAX_SHOWN
    return (*listed[:_MAX_SHOWN], f"{more} more; describe_database shows all.") if more > 0 else listed


def merge_notes(parts: Mapping[str, FileNotes]) -> FileNotes:
    """Return the notes of several sources as of one, whose tables are called by the source they are of."""
    return FileNotes(
        tables=tuple(
            replace(table, table=f"{name}.{table.table}") for name, part in parts.items() for table in part.tables
        ),
        others=tuple(sentence for part in parts.values() for sentence in part.others),
    )


def save_notes(notes: FileNotes, folder: Path) -> None:
    """Keep the notes beside the database that the files were read into."""
    tables = [[table.table, table.reading, table.guesses, table.columns] for table in notes.tables]
    (folder / _FILE).write_text(json.dumps({"tables": tables, "others": notes.others}), encoding="utf-8")


def load_notes(folder: Path) -> FileNotes:
    """Return the notes that were kept; empty if there are none."""
    try:
        found = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return FileNotes()
    return FileNotes(
        tables=tuple(
            TableNotes(table, reading, tuple(guesses), tuple((column, note) for column, note in columns))
            for table, reading, guesses, columns in found["tables"]
        ),
        others=tuple(found["others"]),
    )


def describe_totals(connection: "DuckDBPyConnection", table: str, *, file: str) -> list[str]:
    """Return a sentence if rows of a table add up others of it, which whoever adds them up would count twice.

    Such a row is called a total, in its first text, or is the last and has no text; and it is the first or the last, or
    a number of it is the sum of those of the rows that are not called so.
    """
    name = quote_identifier(table)
    columns = connection.execute(f"DESCRIBE {name}").fetchall()
    texts = [f"nullif(trim({quote_identifier(column)}), '')" for column, kind, *_ in columns if kind == "VARCHAR"]
    numbers = [quote_identifier(column) for column, kind, *_ in columns if kind.startswith(_NUMBERS)]
    last = connection.execute(f"SELECT max(rowid) FROM {name}").fetchone()
    if not texts or not numbers or last is None or last[0] is None or last[0] < _MIN_ROWS - 1:
        return []
    has_labels = f"(SELECT coalesce({', '.join(texts)}) FROM {name} WHERE rowid = {last[0] - 1}) IS NOT NULL"
    found = connection.execute(
        f"SELECT rowid, coalesce({', '.join(texts)}) AS label, {', '.join(numbers)} FROM {name} "
        f"WHERE regexp_full_match(lower(label), '({_TOTAL}):?|.* (sub)?total:?') "
        f"OR (label IS NULL AND rowid = {last[0]} AND {has_labels}) ORDER BY rowid LIMIT {_MAX_TOTALS + 1}"
    ).fetchall()
    if not found or len(found) > _MAX_TOTALS:
        return []
    places = ", ".join(str(row[0]) for row in found)
    sums = connection.execute(
        f"SELECT {', '.join(f'sum({column})' for column in numbers)} FROM {name} WHERE rowid NOT IN ({places})"
    ).fetchone()
    totals = [
        label
        for place, label, *values in found
        if any(map(_are_equal, values, sums or ())) or (label is not None and place in {0, last[0]})
    ]
    if not totals:
        return []
    # Of several totals one is of all, and the others of parts.
    listed = [label for _, label, *_ in found]
    shown = "the last row, which has no text," if listed[0] is None else f"the row {listed[0]!r}"
    more = f" and {len(listed) - 1:,} more" if len(listed) > 1 else ""
    verb = "look like totals" if len(listed) > 1 else "looks like a total"
    return [f"{file}: {shown}{more} {verb} of other rows; leave out what would be counted twice in a sum."]


def _are_equal(value: object, total: object) -> bool:
    if not isinstance(value, int | float | Decimal) or not isinstance(total, int | float | Decimal):
        return False
    return bool(total) and math.isclose(value, total, rel_tol=1e-9, abs_tol=0.005)
