"""What is said of the files that were read: what was assumed, and what of it may be wrong."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

_FILE: Final = "notes.json"
_MAX_SHOWN: Final = 20
_WORDS: Final = re.compile(r"\w+")
#: The column that a sentence is about.
_COLUMN: Final = re.compile(r", column '(.+?)'(?: is|:)")


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
