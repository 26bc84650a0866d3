"""Schema linking: the tables that have the columns of a question, found before any SQL is written.

Linking the words of a question to the schema first follows W. Lei et al., "Re-examining the Role of Schema Linking in
Text-to-SQL" (EMNLP 2020).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.tools.db_schema.model import DatabaseSchema, Relation
from agent.tools.sql_repair.name_matching import match_name, to_singular


@dataclass(frozen=True)
class SchemaLinks:
    """The tables that have the columns of a question."""

    #: Tables and views with the best score; a column with exactly the same name scores most.
    tables: tuple[str, ...]
    #: If there is only one table: the columns of the question, each with its name in that table.
    columns: Mapping[str, str]


def link_columns(columns: Sequence[str], *, schema: DatabaseSchema) -> SchemaLinks:
    """Return the tables and views that have the most of `columns`; all tables and views if none has any."""
    matches = {relation.name: _match_columns(relation, columns) for relation in schema.relations}
    scores = {
        name: sum(_score_match(column, real) for column, real in matched.items()) for name, matched in matches.items()
    }
    best = max(scores.values(), default=0.0)
    if not best:
        return SchemaLinks(tables=tuple(matches), columns={})
    tables = tuple(name for name, score in scores.items() if score == best)
    return SchemaLinks(tables=tables, columns=matches[tables[0]] if len(tables) == 1 else {})


def _score_match(column: str, real: str) -> float:
    """Return how well the column `real` fits the name `column`; a foreign key scores least, since it is only an id."""
    if real.lower() == column.lower():
        return 1.0
    return 0.25 if real.lower().endswith("_id") else 0.5


def _match_columns(relation: Relation, columns: Sequence[str]) -> dict[str, str]:
    """Return the `columns` that `relation` has, each with its name there.

    A plural must match exactly: other plurals name what is counted, not a column.
    """
    names = [column.name for column in relation.columns]
    matched: dict[str, str] = {}
    for column in columns:
        known = relation.column(column)
        is_plural = to_singular(column) != column
        real = known.name if known else None if is_plural else match_name(column, names, of=relation.name)
        if real is not None:
            matched[column] = real
    return matched
