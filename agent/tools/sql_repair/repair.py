"""Deterministic repair of a model's SQL: names, joins and groups of a query that does not bind, and a few sure slips.

Small models write SQL of the right shape with wrong names: a column of the wrong table, a missing join, a value in
another case. All of that can be looked up. `README.md` lists every rule with what it gains.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from pydantic import JsonValue
from sqlglot import exp

from agent.tools.db_schema.model import DatabaseSchema
from agent.tools.sql_repair.aggregates import repair_grouping
from agent.tools.sql_repair.columns import find_unresolved_columns, repair_columns, repair_tables
from agent.tools.sql_repair.comparisons import cast_text_dates, find_comparison_edits, find_date_edits
from agent.tools.sql_repair.literals import FindSimilarValues, check_compared_values
from agent.tools.sql_repair.scopes import build_scopes, walk_nodes
from agent.tools.sql_repair.text_edits import apply_edits, can_be_printed, parse_statement


@dataclass(frozen=True)
class RepairedQuery:
    """The SQL and parameters after the repair, a sentence for each change, and what looks wrong and was not changed."""

    sql: str
    params: Mapping[str, JsonValue]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def repair_slips(
    sql: str,
    *,
    schema: DatabaseSchema,
    params: Mapping[str, JsonValue],
    lists: Mapping[str, str | None],
    goal: str,
    find_similar: FindSimilarValues,
) -> RepairedQuery:
    """Correct what the engine does not report and can only be a slip, each in its place; the rest stays as written.

    `lists` has the parameters that are lists, each with the DuckDB type of its items or None if it is not known;
    `goal` is what the query was written for.
    """
    edits = [*find_comparison_edits(sql, schema=schema, lists=lists), *find_date_edits(sql, schema=schema)]
    values = check_compared_values(
        apply_edits(sql, edits), schema=schema, params=params, goal=goal, find_similar=find_similar
    )
    notes = dict.fromkeys((*(edit.note for edit in edits), *values.notes))
    warnings = (*_find_bracketed_columns(sql, schema=schema), *values.warnings)
    return RepairedQuery(values.sql, values.params, tuple(notes), warnings)


@dataclass(frozen=True)
class QueryDoubts:
    """A sentence for whatever looks wrong in a query, and the texts that are in the columns they are compared with."""

    warnings: tuple[str, ...]
    known_texts: dict[str, str]


def find_doubts(
    sql: str,
    *,
    schema: DatabaseSchema,
    params: Mapping[str, JsonValue],
    lists: Mapping[str, str | None],
    find_similar: FindSimilarValues,
) -> QueryDoubts:
    """Return what looks wrong in a query that is not to be changed."""
    edits = list(find_comparison_edits(sql, schema=schema, lists=lists))
    values = check_compared_values(sql, schema=schema, params=params, goal=None, find_similar=find_similar)
    lists_told = f"A column is compared with a whole list; if its items are meant, write {apply_edits(sql, edits)!r}."
    brackets = _find_bracketed_columns(sql, schema=schema)
    return QueryDoubts((*((lists_told,) if edits else ()), *brackets, *values.warnings), values.found)


def _find_bracketed_columns(sql: str, *, schema: DatabaseSchema) -> Iterator[str]:
    """Yield a sentence for each column in square brackets: they quote a name elsewhere, and make a list here."""
    tree = parse_statement(sql)
    for scope in build_scopes(tree, schema=schema) if tree is not None else ():
        for node in walk_nodes(scope.select):
            column = node.expressions[0] if isinstance(node, exp.Array) and len(node.expressions) == 1 else None
            if isinstance(column, exp.Column) and scope.find_column(column) is not None:
                remedy = f"for the column write {column.name!r} without brackets."
                yield f"[{column.name}] is a list of one value here; {remedy}"


def repair_structure(sql: str, *, schema: DatabaseSchema) -> RepairedQuery:
    """Repair what keeps a query from binding: names of tables and columns, joins, groups.

    The query is printed anew, so one that cannot be printed with the same meaning is returned as it is.
    """
    tree = parse_statement(sql)
    if tree is None or not can_be_printed(sql):
        return RepairedQuery(sql, {})
    notes = [*repair_tables(tree, schema=schema)]
    for scope in build_scopes(tree, schema=schema):
        notes += repair_columns(scope, schema=schema)
        notes += repair_grouping(scope)
    scopes = {id(scope.select): scope for scope in build_scopes(tree, schema=schema)}
    for scope in scopes.values():
        notes += cast_text_dates(scope, scopes=scopes)
    return RepairedQuery(tree.sql(dialect="duckdb") if notes else sql, {}, tuple(dict.fromkeys(notes)))


def explain_missing_columns(sql: str, *, schema: DatabaseSchema) -> Iterator[str]:
    """Yield a sentence for each column that cannot be resolved: the tables that have it, or similar names."""
    tree = parse_statement(sql)
    told: set[str] = set()
    for scope in build_scopes(tree, schema=schema) if tree is not None else ():
        for column in find_unresolved_columns(scope):
            owners = [relation.name for relation in schema.relations if relation.column(column.name) is not None]
            names = sorted({known.name for relation in schema.relations for known in relation.columns})
            similar = get_close_matches(column.name, names, n=5)
            note = ""
            if owners:
                note = f"{column.name!r} is a column of {', '.join(owners)}."
            elif similar:
                note = f"No table has a column {column.name!r}; similar names are {', '.join(similar)}."
            if note and note not in told:
                told.add(note)
                yield note
