"""Adaptation of a query to the goal that it is for: names in place of ids, and only the LIMIT that was asked for."""

import re
from collections.abc import Collection, Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from agent.tools.db_schema.model import DatabaseSchema, Relation
from agent.tools.sql_repair.aggregates import get_group_keys
from agent.tools.sql_repair.name_matching import match_name
from agent.tools.sql_repair.scopes import Scope, build_scopes, build_table

_WORD = re.compile(r"[a-z]+|\d+")
_NUMBER_WORDS = frozenset(
    {"two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "fifteen", "twenty"}
)
#: Words that ask for some of the rows without a number.
_QUANTITY_WORDS = frozenset({"top", "best", "few", "some", "several", "dozen", "sample", "examples", "leading"})
#: Numbers with more digits are years or amounts, not numbers of rows.
_MAX_COUNT_DIGITS = 3


def replace_keys_with_labels(sql: str, *, schema: DatabaseSchema) -> str:
    """Return a grouped query that shows the name of what it groups by in place of its key.

    Only if the query shows no other text, and the key leads to one table with one column of names. Rows are still
    grouped by the key, so two with the same name stay separate. If there is nothing to replace, `sql` is returned
    unchanged, character by character.
    """
    tree = _parse_query(sql)
    if tree is None:
        return sql
    scope = next(build_scopes(tree, schema=schema), None)
    if scope is None or scope.select is not tree or tree.args.get("group") is None or _has_text_column(scope):
        return sql
    if any(source.relation is None for source in scope.sources):
        return sql
    changed = [_replace_key_with_label(item, scope, schema=schema) for item in list(scope.select.expressions)]
    return tree.sql(dialect="duckdb") if any(changed) else sql


def _has_text_column(scope: Scope) -> bool:
    known = [scope.find_column(column) for column in _find_plain_columns(scope)]
    return any(column is not None and column.is_text for column in known)


def _find_plain_columns(scope: Scope) -> Iterator[exp.Column]:
    for item in scope.select.expressions:
        column = item.unalias()
        if isinstance(column, exp.Column):
            yield column


def _replace_key_with_label(item: exp.Expression, scope: Scope, *, schema: DatabaseSchema) -> bool:
    """If `item` is a key of a table with names, join the table and select the name; return whether that was done."""
    column = item.unalias()
    source = scope.resolve(column) if isinstance(column, exp.Column) else None
    if source is None or source.relation is None:
        return False
    keys = [key for key in source.relation.foreign_keys if key.columns == (column.name,)]
    target = schema.relation(keys[0].table) if len(keys) == 1 else None
    label = _find_label_column(target) if target is not None else None
    if target is None or label is None or any(each.relation == target for each in scope.sources):
        return False
    _qualify_columns(scope)
    table = build_table(target.name)
    on = exp.EQ(
        this=exp.column(keys[0].references[0], table=table.name, quoted=True),
        expression=exp.column(column.name, table=source.alias, quoted=True),
    )
    scope.select.append("joins", exp.Join(this=table, on=on))
    name = exp.column(label, table=table.name, quoted=not label.isidentifier())
    group = scope.select.args["group"]
    if not group.args.get("all"):
        group.append("expressions", name.copy())
    # An alias of the query stays, because ORDER BY or HAVING may use it.
    alias = item.alias if isinstance(item, exp.Alias) and item.alias != column.name else label
    item.replace(exp.alias_(name, alias, quoted=not alias.isidentifier()))
    return True


def _qualify_columns(scope: Scope) -> None:
    """Qualify every column with its table, because a table that is joined may have a column of the same name."""
    aliases = scope.get_aliases()
    for column in scope.find_columns():
        owner = scope.resolve(column)
        is_alias = (
            column.name.lower() in aliases and column.find_ancestor(exp.Order, exp.Having, exp.Qualify) is not None
        )
        if not column.table and owner is not None and not is_alias:
            column.set("table", exp.to_identifier(owner.alias))


def _find_label_column(target: Relation) -> str | None:
    """Return the only column of `target` with names of its rows; None if it has none or several."""
    names = [
        column.name
        for column in target.columns
        if column.is_text and column.name.lower().removesuffix("s").endswith(("name", "title"))
    ]
    return names[0] if len(names) == 1 else None


def remove_unrequested_limit(sql: str, *, asked: str) -> str:
    """Return `sql` without its LIMIT if the goal `asked` has no number of rows; LIMIT 1 stays: "most" asks for one row.

    If there is nothing to remove, `sql` is returned unchanged, character by character.
    """
    tree = _parse_query(sql)
    number = _find_limit(tree)
    if tree is None or not isinstance(number, exp.Literal) or not number.is_int or int(number.name) == 1:
        return sql
    words = set(_WORD.findall(asked.lower()))
    if (
        words & _QUANTITY_WORDS
        or words & _NUMBER_WORDS
        or any(word.isdigit() and len(word) <= _MAX_COUNT_DIGITS for word in words)
    ):
        return sql
    tree.set("limit", None)
    return tree.sql(dialect="duckdb")


def remove_limit(sql: str, *, lists: Collection[str]) -> tuple[str, int | None]:
    """Return a query without its LIMIT, and the number of rows to keep of those that are chosen later; None for all.

    LIMIT would cut rows off before the first rows of each value are chosen. If the query uses a parameter in `lists`,
    all chosen rows are kept: each item of the list should have its row.
    """
    tree = _parse_query(sql)
    number = _find_limit(tree)
    if tree is None or number is None or not number.is_int or tree.args.get("offset") is not None:
        return sql, None
    tree.set("limit", None)
    used = {node.name for node in tree.find_all(exp.Placeholder)}
    return tree.sql(dialect="duckdb"), None if used & set(lists) else int(number.name)


def has_one_row_per_value(sql: str, *, column: str) -> bool:
    """Whether a query groups by `column` alone, so that each of its values has one row anyway."""
    tree = _parse_query(sql)
    if not isinstance(tree, exp.Select):
        return False
    keys = get_group_keys(tree)
    item = next((item for item in tree.expressions if item.alias_or_name.lower() == column.lower()), None)
    if item is None or len(keys) != 1:
        return False
    return keys[0].sql().lower() in {item.unalias().sql().lower(), item.alias_or_name.lower()}


def match_column(name: str, *, columns: Collection[str]) -> str:
    """Return the one of a query's `columns` that `name` means; `name` itself if it is one of them or means none."""
    return name if name in columns else match_name(name.rpartition(".")[2], columns) or name


def _parse_query(sql: str) -> exp.Expr | None:
    try:
        return sqlglot.parse_one(sql, dialect="duckdb")
    except SqlglotError:
        return None


def _find_limit(tree: exp.Expr | None) -> exp.Expr | None:
    limit = tree.args.get("limit") if tree is not None else None
    return limit.expression if isinstance(limit, exp.Limit) else None
