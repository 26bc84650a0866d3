"""The schema of a database: tables, views, columns, keys, and the values that a query may name."""

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict

HeldType = Literal["DATE", "TIMESTAMP", "MONTH"]


class Column(BaseModel):
    """A column with its DuckDB type and what is known of its values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    type: str
    comment: str | None = None
    #: All distinct values of a text column, sorted; None if they are too many or not known.
    values: tuple[str, ...] | None = None
    #: What a text column holds if all its values are ISO 8601: databases without a type for dates keep them so.
    #: `MONTH` is a year and a month, such as "2024-05".
    holds: HeldType | None = None
    #: The first and last value of a column of dates or timestamps, texts too, in ISO 8601.
    first: str | None = None
    last: str | None = None

    def sample_values(self, *, most: int, letters: int) -> tuple[str, ...]:
        """Return the first of `values` for a prompt: at most `most`, with at most `letters` characters in all."""
        shown: list[str] = []
        for value in (self.values or ())[:most]:
            if sum(map(len, shown)) + len(value) > letters:
                break
            shown.append(value)
        return tuple(shown)

    @property
    def is_text(self) -> bool:
        """Whether the column has text."""
        return self.type == "VARCHAR" or self.type.startswith("ENUM")


class ForeignKey(BaseModel):
    """Columns that refer to a row of another table: `columns[i]` equals `references[i]` of `table`.

    In files, which declare no keys, the names and all rows say so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[str, ...]
    table: str
    references: tuple[str, ...]


class Relation(BaseModel):
    """A table or a view; `name` is as SQL must write it, with its schema unless that is the default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Literal["table", "view"]
    comment: str | None = None
    #: None if counting took too long.
    row_count: int | None = None
    columns: tuple[Column, ...]
    foreign_keys: tuple[ForeignKey, ...] = ()

    def column(self, name: str) -> Column | None:
        """Return the column `name`, case-insensitively; None if there is none."""
        return next((column for column in self.columns if column.name.lower() == name.lower()), None)


def sort_widest_first(relations: Iterable[Relation]) -> list[Relation]:
    """Return views before tables, those with most rows first: the order in which a planner should consider them."""
    return sorted(relations, key=lambda each: (each.kind == "table", -(each.row_count or 0), each.name))


class DatabaseSchema(BaseModel):
    """All tables and views of a source, views first, then sorted by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    relations: tuple[Relation, ...]
    #: The time zone in which points in time are shown and cut into days.
    time_zone: str | None = None

    def relation(self, name: str) -> Relation | None:
        """Return the table or view `name`, case-insensitively; None if there is none."""
        asked = name.lower()
        return next(
            (each for each in self.relations if asked in {each.name.lower(), _unquote_name(each.name).lower()}), None
        )


def _unquote_name(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') and name.endswith('"') else name
