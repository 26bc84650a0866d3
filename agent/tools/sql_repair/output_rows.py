"""Ids shown where their names would say more."""

import re
from collections.abc import Collection, Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from agent.tools.db_schema.model import DatabaseSchema, Relation
from agent.tools.sql_repair.aggregates import get_group_keys
from agent.tools.sql_repair.name_matching import match_name
from agent.tools.sql_repair.scopes import Scope, build_scopes


def replace_keys_with_labels(sql: str, *, schema: DatabaseSchema) -> str:
    """Return a grouped query so that it shows the name of what it groups by in the place of its key.

    Only where it shows no other text, and the key leads to one table with one column of names. Rows stay apart by their
    key, so two of one name are not added up. Without anything to mend, `sql` comes back as it was, letter by letter.
    """
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except SqlglotError:
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
    """Put the name in the place of `item` if that is a key which leads to one; return whether it is."""
    column = item.unalias()
    source = scope.resolve(column) if isinstance(column, exp.Column) else None
    if source is None or source.relation is None:
        return False
    keys = [key for key in source.relation.foreign_keys if key.columns == (column.name,)]
    target = schema.relation(keys[0].table) if len(keys) == 1 else None
    label = _find_label_column(target) if target is not None else None
    if target is None or label is None or any(each.relation == target for each in scope.sources):
        return False
    aliases = scope.get_aliases()
    for each in scope.find_columns():
        owner = scope.resolve(each)
        own_name = each.name.lower() in aliases and each.find_ancestor(exp.Order, exp.Having, exp.Qualify) is not None
        if not each.table and owner is not None and not own_name:
            # The table that is joined may have a column of the same name.
            each.set("table", exp.to_identifier(owner.alias))
    place, _, plain = target.name.rpartition(".")
    on = exp.EQ(
        this=exp.column(keys[0].references[0], table=plain, quoted=True),
        expression=exp.column(column.name, table=source.alias, quoted=True),
    )
    scope.select.append("joins", exp.Join(this=exp.table_(plain, db=place or None), on=on))
    named = exp.column(label, table=plain, quoted=not label.isidentifier())
    group = scope.select.args["group"]
    if not group.args.get("all"):
        group.append("expressions", named.copy())
    # What sorts by the name that the query gave it goes on to do so.
    own = item.alias if isinstance(item, exp.Alias) and item.alias != column.name else label
    item.replace(exp.alias_(named, own, quoted=not own.isidentifier()))
    return True


def _find_label_column(target: Relation) -> str | None:
    """Return the one column of `target` that names its rows; None where none or several do."""
    names = [
        column.name
        for column in target.columns
        if column.is_text and column.name.lower().removesuffix("s").endswith(("name", "title"))
    ]
    return names[0] if len(names) == 1 else None


_WORD = re.compile(r"[a-z]+|\d+")
_NUMBER_WORDS = frozenset(
    {"two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "fifteen", "twenty"}
)
#: Numbers with more digits are years and amounts.
_MAX_COUNT_DIGITS = 3
#: Who says so wants some of the rows and leaves open how many.
_QUANTITY_WORDS = frozenset({"top", "best", "few", "some", "several", "dozen", "sample", "examples", "leading"})


def remove_unrequested_limit(sql: str, *, asked: str) -> str:
    """Return `sql` without its LIMIT where `asked` speaks of no number of rows; LIMIT 1 is left, which "most" asks for.

    Without anything to mend, `sql` comes back as it was, letter by letter.
    """
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except SqlglotError:
        return sql
    limit = tree.args.get("limit")
    number = limit.expression if isinstance(limit, exp.Limit) else None
    if not isinstance(number, exp.Literal) or not number.is_int or int(number.name) == 1:
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
    """Return a query without its LIMIT, and how many of the chosen rows that LIMIT leaves, None for all.

    LIMIT would cut the rows off before the first of each value are chosen. Where a parameter in `lists` says whose rows
    are wanted, it limits nothing: each of those is to have its row.
    """
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except SqlglotError:
        return sql, None
    limit = tree.args.get("limit")
    number = limit.expression if isinstance(limit, exp.Limit) else None
    if number is None or not number.is_int or tree.args.get("offset") is not None:
        return sql, None
    tree.set("limit", None)
    named = {node.name for node in tree.find_all(exp.Placeholder)}
    return tree.sql(dialect="duckdb"), None if named & set(lists) else int(number.name)


def has_one_row_per_value(sql: str, *, column: str) -> bool:
    """Whether a query groups by `column` alone, so that each of its values has one row anyway."""
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except SqlglotError:
        return False
    if not isinstance(tree, exp.Select):
        return False
    keys = get_group_keys(tree)
    chosen = next((item for item in tree.expressions if item.alias_or_name.lower() == column.lower()), None)
    return (
        len(keys) == 1
        and chosen is not None
        and keys[0].sql().lower()
        in {
            chosen.unalias().sql().lower(),
            chosen.alias_or_name.lower(),
        }
    )


def match_column(name: str, *, columns: Collection[str]) -> str:
    """Return the one of a query's `columns` that `name` means, or `name` where it is one or means none."""
    return name if name in columns else match_name(name.rpartition(".")[2], columns) or name
