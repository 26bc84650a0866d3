"""The tables that a question's columns point to, before any SQL is written.

Linking the words of a question to a schema first follows W. Lei et al., "Re-examining the Role of Schema Linking in
Text-to-SQL" (EMNLP 2020).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.tools.db_schema.model import DatabaseSchema, Relation
from agent.tools.sql_repair.name_matching import match_name, to_singular


@dataclass(frozen=True)
class SchemaLinks:
    """Where columns may be had."""

    #: Tables and views that have the most of them, those with more of them by their very names first.
    tables: tuple[str, ...]
    #: Columns by the names that they have where only one table is left.
    columns: Mapping[str, str]


def link_columns(columns: Sequence[str], *, schema: DatabaseSchema) -> SchemaLinks:
    """Return the tables and views that have the most of `columns`; all of them where none has any."""
    found = {relation.name: _match_columns(relation, columns) for relation in schema.relations}
    scores = {name: sum(_score_match(column, real) for column, real in of.items()) for name, of in found.items()}
    best = max(scores.values(), default=0.0)
    if not best:
        return SchemaLinks(tables=tuple(found), columns={})
    tables = tuple(name for name, score in scores.items() if score == best)
    return SchemaLinks(tables=tables, columns=found[tables[0]] if len(tables) == 1 else {})


def _score_match(column: str, real: str) -> float:
    """Tell how well a column answers to a name; a key that only points to what is named has the least of it."""
    if real.lower() == column.lower():
        return 1.0
    return 0.25 if real.lower().endswith("_id") else 0.5


def _match_columns(relation: Relation, columns: Sequence[str]) -> dict[str, str]:
    """Return the columns that `relation` has, each with its name there; a plural is what is counted, not a column."""
    names = [column.name for column in relation.columns]
    found: dict[str, str] = {}
    for column in columns:
        known = relation.column(column)
        real = (
            known.name
            if known
            else None
            if to_singular(column) != column
            else match_name(column, names, of=relation.name)
        )
        if real is not None:
            found[column] = real
    return found
