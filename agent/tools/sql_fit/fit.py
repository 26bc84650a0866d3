"""A small model's query brought closer to its goal by rules; `README.md` lists them."""

from sqlglot import exp

from agent.tools.db_schema.model import DatabaseSchema
from agent.tools.sql_fit.best_of_each import join_by_greatest, keep_greatest_of_each
from agent.tools.sql_fit.counts import add_up_numbers, count_children, count_things_once
from agent.tools.sql_fit.filters import group_alternatives, move_filters, widen_exclusions
from agent.tools.sql_fit.goal_words import asks_for_ids
from agent.tools.sql_fit.labels import show_groups, show_labels, show_ranking_number
from agent.tools.sql_fit.shares import compute_share
from agent.tools.sql_repair.columns import find_unresolved_columns
from agent.tools.sql_repair.output_rows import FittedQuery, remove_unrequested_limit
from agent.tools.sql_repair.repair import repair_structure
from agent.tools.sql_repair.scopes import Scope, build_scopes
from agent.tools.sql_repair.text_edits import can_be_printed, parse_statement
from agent.tools.sql_review.join_growth import drop_unneeded_joins


def fit_query(sql: str, *, goal: str, schema: DatabaseSchema) -> FittedQuery:
    """Return a draft adapted to its goal; `sql` itself, character by character, if no rule applies.

    What LIMIT was not asked for is cut out in its place. The rules about the outermost SELECT print the query anew.
    """
    unlimited = remove_unrequested_limit(sql, asked=goal)
    repaired = _repair_names(unlimited.sql, schema=schema)
    told = (*unlimited.notes, *repaired.notes)
    tree = parse_statement(repaired.sql)
    if not isinstance(tree, exp.Select) or not can_be_printed(repaired.sql):
        return FittedQuery(repaired.sql, told)
    scope = next(iter(build_scopes(tree, schema=schema)))
    notes = _fit_select(scope, goal=goal, schema=schema)
    return FittedQuery(tree.sql(dialect="duckdb") if notes else repaired.sql, (*told, *notes))


def _repair_names(sql: str, *, schema: DatabaseSchema) -> FittedQuery:
    """Return a query with the right names if it has others: the rules find nothing in tables that are not there."""
    tree = parse_statement(sql)
    scopes = build_scopes(tree, schema=schema) if tree is not None else ()
    if not any(find_unresolved_columns(scope) for scope in scopes):
        return FittedQuery(sql)
    repaired = repair_structure(sql, schema=schema)
    return FittedQuery(repaired.sql, repaired.notes)


def _fit_select(scope: Scope, *, goal: str, schema: DatabaseSchema) -> list[str]:
    """Apply the rules to one SELECT in place: first what it takes, then what it counts, then what it shows."""
    notes = [*group_alternatives(scope), *drop_unneeded_joins(scope, goal=goal, schema=schema)]
    notes += [*move_filters(scope, goal=goal, schema=schema), *widen_exclusions(scope, goal=goal)]
    notes += count_children(scope, goal=goal, schema=schema)
    notes += add_up_numbers(scope, goal=goal, schema=schema)
    notes += count_things_once(scope, goal=goal, schema=schema)
    notes += compute_share(scope, goal=goal)
    notes += join_by_greatest(scope)
    notes += keep_greatest_of_each(scope, goal=goal)
    notes += show_groups(scope)
    notes += show_ranking_number(scope)
    if not asks_for_ids(goal):
        notes += show_labels(scope, goal=goal, schema=schema)
    return notes
