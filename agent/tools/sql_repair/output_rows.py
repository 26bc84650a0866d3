"""Ids shown where their names would say more."""

import re
from collections.abc import Collection, Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from agent.tools.db_schema.model import DatabaseSchema, Relation
from agent.tools.sql_repair.aggregates import grouped
from agent.tools.sql_repair.name_matching import meant
from agent.tools.sql_repair.scopes import Scope, scopes


def with_labels(sql: str, *, schema: DatabaseSchema) -> str:
    """Return a grouped query so that it shows the name of what it groups by in the place of its key.

    Only where it shows no other text, and the key leads to one table with one column of names. Rows stay apart by their
    key, so two of one name are not added up. Without anything to mend, `sql` comes back as it was, letter by letter.
    """
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except SqlglotError:
        return sql
    scope = next(scopes(tree, schema=schema), None)
    if scope is None or scope.select is not tree or tree.args.get("group") is None or _shows_text(scope):
        return sql
    if any(source.relation is None for source in scope.sources):
        return sql
    changed = [_shown(item, scope, schema=schema) for item in list(scope.select.expressions)]
    return tree.sql(dialect="duckdb") if any(changed) else sql


def _shows_text(scope: Scope) -> bool:
    known = [scope.column_of(column) for column in _plain(scope)]
    return any(column is not None and column.is_text for column in known)


def _plain(scope: Scope) -> Iterator[exp.Column]:
    for item in scope.select.expressions:
        column = item.unalias()
        if isinstance(column, exp.Column):
            yield column


def _shown(item: exp.Expression, scope: Scope, *, schema: DatabaseSchema) -> bool:
    """Put the name in the place of `item` if that is a key which leads to one; return whether it is."""
    column = item.unalias()
    source = scope.resolve(column) if isinstance(column, exp.Column) else None
    if source is None or source.relation is None:
        return False
    keys = [key for key in source.relation.foreign_keys if key.columns == (column.name,)]
    target = schema.relation(keys[0].table) if len(keys) == 1 else None
    label = _label(target) if target is not None else None
    if target is None or label is None or any(each.relation == target for each in scope.sources):
        return False
    aliases = scope.aliases()
    for each in scope.columns():
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


def _label(target: Relation) -> str | None:
    """Return the one column of `target` that names its rows; None where none or several do."""
    names = [
        column.name
        for column in target.columns
        if column.is_text and column.name.lower().removesuffix("s").endswith(("name", "title"))
    ]
    return names[0] if len(names) == 1 else None


_WORD = re.compile(r"[a-z]+|\d+")
_NUMBERS = frozenset(
    {"two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "fifteen", "twenty"}
)
#: Numbers with more digits are years and amounts.
_DIGITS = 3
#: Who says so wants some of the rows and leaves open how many.
_SOME = frozenset({"top", "best", "few", "some", "several", "dozen", "sample", "examples", "leading"})


def without_unasked_limit(sql: str, *, asked: str) -> str:
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
    if words & _SOME or words & _NUMBERS or any(word.isdigit() and len(word) <= _DIGITS for word in words):
        return sql
    tree.set("limit", None)
    return tree.sql(dialect="duckdb")


def without_limit(sql: str, *, lists: Collection[str]) -> tuple[str, int | None]:
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


def one_row_each(sql: str, *, column: str) -> bool:
    """Whether a query groups by `column` alone, so that each of its values has one row anyway."""
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except SqlglotError:
        return False
    if not isinstance(tree, exp.Select):
        return False
    keys = grouped(tree)
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


def named_column(name: str, *, columns: Collection[str]) -> str:
    """Return the one of a query's `columns` that `name` means, or `name` where it is one or means none."""
    return name if name in columns else meant(name.rpartition(".")[2], columns) or name
