"""Deterministic repair of SQL on its parsed tree: names, joins, groups, literals and list parameters.

Small models write SQL of the right shape with wrong names: a column of the wrong table, a missing join, a value in
another case. All of that can be looked up. The rules follow measurements on a small local model: asking it to correct
its own SQL gained nothing, and looking up names and joins gained a fifth of the answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

import sqlglot
from pydantic import JsonValue
from sqlglot import exp
from sqlglot.errors import SqlglotError

from agent.tools.db_schema.model import DatabaseSchema
from agent.tools.sql_repair.aggregates import repair_counts, repair_grouping, repair_unions
from agent.tools.sql_repair.columns import find_unresolved_columns, repair_columns, repair_tables
from agent.tools.sql_repair.literals import (
    repair_compared_columns,
    repair_date_patterns,
    repair_list_comparisons,
    repair_literals,
    repair_parameter_values,
)
from agent.tools.sql_repair.scopes import build_scopes


@dataclass(frozen=True)
class RepairedQuery:
    """The repaired SQL and parameters, with a sentence for each change."""

    sql: str
    params: Mapping[str, JsonValue]
    notes: tuple[str, ...] = ()


def repair_constants(
    sql: str, *, schema: DatabaseSchema, params: Mapping[str, JsonValue], lists: Mapping[str, str | None]
) -> RepairedQuery:
    """Repair what the engine does not report: values that do not exist, lists compared as one value, wrong totals.

    `lists` has the parameters that are lists, each with the DuckDB type of its items or None if it is not known.
    If there is nothing to repair, `sql` is returned unchanged, character by character.
    """
    tree = _parse_statement(sql)
    if tree is None:
        return RepairedQuery(sql, params)
    tree, notes = repair_unions(tree)
    return _repair_tree_constants(tree, sql=sql, schema=schema, params=params, lists=lists, notes=notes)


def repair_query(
    sql: str, *, schema: DatabaseSchema, params: Mapping[str, JsonValue], lists: Mapping[str, str | None]
) -> RepairedQuery:
    """Also repair what keeps a query from binding: names of tables and columns, joins, groups."""
    tree = _parse_statement(sql)
    if tree is None:
        return RepairedQuery(sql, params)
    tree, union_notes = repair_unions(tree)
    notes = [*union_notes, *repair_tables(tree, schema=schema)]
    for scope in build_scopes(tree, schema=schema):
        notes += repair_columns(scope, schema=schema)
        notes += repair_grouping(scope)
    return _repair_tree_constants(tree, sql=sql, schema=schema, params=params, lists=lists, notes=tuple(notes))


def explain_missing_columns(sql: str, *, schema: DatabaseSchema) -> list[str]:
    """Return a sentence for each column that cannot be resolved: the tables that have it, or similar names."""
    tree = _parse_statement(sql)
    notes: list[str] = []
    for scope in build_scopes(tree, schema=schema) if tree is not None else ():
        for column in find_unresolved_columns(scope):
            owners = [relation.name for relation in schema.relations if relation.column(column.name) is not None]
            names = sorted({known.name for relation in schema.relations for known in relation.columns})
            similar = get_close_matches(column.name, names, n=5)
            if owners:
                notes.append(f"{column.name!r} is a column of {', '.join(owners)}.")
            elif similar:
                notes.append(f"No table has a column {column.name!r}; similar names are {', '.join(similar)}.")
    return list(dict.fromkeys(notes))


def _repair_tree_constants(
    tree: exp.Expr,
    *,
    sql: str,
    schema: DatabaseSchema,
    params: Mapping[str, JsonValue],
    lists: Mapping[str, str | None],
    notes: tuple[str, ...],
) -> RepairedQuery:
    sql_notes = list(notes)
    for scope in build_scopes(tree, schema=schema):
        sql_notes += repair_literals(scope)
        sql_notes += repair_compared_columns(scope)
        sql_notes += repair_date_patterns(scope)
        sql_notes += repair_counts(scope)
        sql_notes += repair_list_comparisons(scope, lists=lists)
    repaired = dict(params)
    parameter_notes = [
        note for scope in build_scopes(tree, schema=schema) for note in repair_parameter_values(scope, params=repaired)
    ]
    return RepairedQuery(
        tree.sql(dialect="duckdb") if sql_notes else sql,
        repaired,
        tuple(dict.fromkeys((*sql_notes, *parameter_notes))),
    )


def _parse_statement(sql: str) -> exp.Expr | None:
    """Return the tree of one statement; None if sqlglot cannot parse it, although the engine may."""
    try:
        statements = [statement for statement in sqlglot.parse(sql, dialect="duckdb") if statement is not None]
    except SqlglotError:
        return None
    return statements[0] if len(statements) == 1 else None
