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
from agent.tools.sql_repair.aggregates import mend_counts, mend_groups, mend_unions
from agent.tools.sql_repair.columns import mend_columns, mend_tables, unresolved
from agent.tools.sql_repair.literals import mend_lists, mend_literals, mend_owners, mend_patterns, mend_values
from agent.tools.sql_repair.scopes import scopes


@dataclass(frozen=True)
class Mended:
    """SQL and parameters as they should be, with a sentence for each thing that was changed."""

    sql: str
    params: Mapping[str, JsonValue]
    notes: tuple[str, ...] = ()


def mend_constants(
    sql: str, *, schema: DatabaseSchema, params: Mapping[str, JsonValue], lists: Mapping[str, str | None]
) -> Mended:
    """Mend what the engine does not complain of: values that do not exist, lists compared as one value, wrong totals.

    `lists` names the parameters that are lists, with the DuckDB type of their items where it is known.
    Without anything to mend, `sql` comes back as it was, letter by letter.
    """
    tree = _parsed(sql)
    if tree is None:
        return Mended(sql, params)
    tree, notes = mend_unions(tree)
    return _constants_mended(tree, sql=sql, schema=schema, params=params, lists=lists, notes=notes)


def mend_query(
    sql: str, *, schema: DatabaseSchema, params: Mapping[str, JsonValue], lists: Mapping[str, str | None]
) -> Mended:
    """Mend also what keeps a query from binding: names of tables and columns, joins, groups."""
    tree = _parsed(sql)
    if tree is None:
        return Mended(sql, params)
    tree, grouped = mend_unions(tree)
    notes = [*grouped, *mend_tables(tree, schema=schema)]
    for scope in scopes(tree, schema=schema):
        notes += mend_columns(scope, schema=schema)
        notes += mend_groups(scope)
    return _constants_mended(tree, sql=sql, schema=schema, params=params, lists=lists, notes=tuple(notes))


def owners(sql: str, *, schema: DatabaseSchema) -> list[str]:
    """Return a sentence for each column that the query asks of a table that has none: who has it, or what is near."""
    tree = _parsed(sql)
    notes: list[str] = []
    for scope in scopes(tree, schema=schema) if tree is not None else ():
        for column in unresolved(scope):
            having = [relation.name for relation in schema.relations if relation.column(column.name) is not None]
            every = sorted({known.name for relation in schema.relations for known in relation.columns})
            near = get_close_matches(column.name, every, n=5)
            if having:
                notes.append(f"{column.name!r} is a column of {', '.join(having)}.")
            elif near:
                notes.append(f"No table has a column {column.name!r}; near it are {', '.join(near)}.")
    return list(dict.fromkeys(notes))


def _constants_mended(
    tree: exp.Expr,
    *,
    sql: str,
    schema: DatabaseSchema,
    params: Mapping[str, JsonValue],
    lists: Mapping[str, str | None],
    notes: tuple[str, ...],
) -> Mended:
    mended = dict(params)
    more: list[str] = []
    for scope in scopes(tree, schema=schema):
        more += mend_literals(scope)
        more += mend_owners(scope)
        more += mend_patterns(scope)
        more += mend_counts(scope)
        more += mend_lists(scope, lists=lists)
    in_sql = (*notes, *more)
    in_values = [note for scope in scopes(tree, schema=schema) for note in mend_values(scope, params=mended)]
    return Mended(tree.sql(dialect="duckdb") if in_sql else sql, mended, tuple(dict.fromkeys((*in_sql, *in_values))))


def _parsed(sql: str) -> exp.Expr | None:
    """Return the tree of one statement; None where the parser for repair does not know what the engine may know."""
    try:
        statements = [statement for statement in sqlglot.parse(sql, dialect="duckdb") if statement is not None]
    except SqlglotError:
        return None
    return statements[0] if len(statements) == 1 else None
