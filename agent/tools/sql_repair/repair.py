"""Deterministic repair of SQL on its parsed tree: names, joins, groups, literals and list parameters.

Small models write SQL whose shape is right and whose names are not: a column asked of the wrong table, a join left
out, a value in another case. All of it can be looked up. The rules follow what was measured on a small local model,
where asking the model to mend its own SQL gained nothing and looking up names and joins gained a fifth of the answers.
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
    """SQL and parameters as they should be, with a sentence for each thing that was changed."""

    sql: str
    params: Mapping[str, JsonValue]
    notes: tuple[str, ...] = ()


def repair_constants(
    sql: str, *, schema: DatabaseSchema, params: Mapping[str, JsonValue], lists: Mapping[str, str | None]
) -> RepairedQuery:
    """Mend what the engine does not complain of: values that do not exist, lists compared as one value, wrong totals.

    `lists` names the parameters that are lists, with the DuckDB type of their items where it is known.
    Without anything to mend, `sql` comes back as it was, letter by letter.
    """
    tree = _parse_statement(sql)
    if tree is None:
        return RepairedQuery(sql, params)
    tree, notes = repair_unions(tree)
    return _repair_tree_constants(tree, sql=sql, schema=schema, params=params, lists=lists, notes=notes)


def repair_query(
    sql: str, *, schema: DatabaseSchema, params: Mapping[str, JsonValue], lists: Mapping[str, str | None]
) -> RepairedQuery:
    """Mend also what keeps a query from binding: names of tables and columns, joins, groups."""
    tree = _parse_statement(sql)
    if tree is None:
        return RepairedQuery(sql, params)
    tree, grouped = repair_unions(tree)
    notes = [*grouped, *repair_tables(tree, schema=schema)]
    for scope in build_scopes(tree, schema=schema):
        notes += repair_columns(scope, schema=schema)
        notes += repair_grouping(scope)
    return _repair_tree_constants(tree, sql=sql, schema=schema, params=params, lists=lists, notes=tuple(notes))


def explain_missing_columns(sql: str, *, schema: DatabaseSchema) -> list[str]:
    """Return a sentence for each column that the query asks of a table that has none: who has it, or what is near."""
    tree = _parse_statement(sql)
    notes: list[str] = []
    for scope in build_scopes(tree, schema=schema) if tree is not None else ():
        for column in find_unresolved_columns(scope):
            having = [relation.name for relation in schema.relations if relation.column(column.name) is not None]
            every = sorted({known.name for relation in schema.relations for known in relation.columns})
            near = get_close_matches(column.name, every, n=5)
            if having:
                notes.append(f"{column.name!r} is a column of {', '.join(having)}.")
            elif near:
                notes.append(f"No table has a column {column.name!r}; near it are {', '.join(near)}.")
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
    mended = dict(params)
    more: list[str] = []
    for scope in build_scopes(tree, schema=schema):
        more += repair_literals(scope)
        more += repair_compared_columns(scope)
        more += repair_date_patterns(scope)
        more += repair_counts(scope)
        more += repair_list_comparisons(scope, lists=lists)
    in_sql = (*notes, *more)
    in_values = [
        note for scope in build_scopes(tree, schema=schema) for note in repair_parameter_values(scope, params=mended)
    ]
    return RepairedQuery(
        tree.sql(dialect="duckdb") if in_sql else sql, mended, tuple(dict.fromkeys((*in_sql, *in_values)))
    )


def _parse_statement(sql: str) -> exp.Expr | None:
    """Return the tree of one statement; None where the parser for repair does not know what the engine may know."""
    try:
        statements = [statement for statement in sqlglot.parse(sql, dialect="duckdb") if statement is not None]
    except SqlglotError:
        return None
    return statements[0] if len(statements) == 1 else None
