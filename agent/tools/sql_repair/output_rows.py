"""Adaptation of a query to the goal that it is for: names beside ids, and only the LIMIT that was asked for."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import TokenType

from agent.tools.db_schema.model import DatabaseSchema, Relation
from agent.tools.sql_repair.aggregates import find_aggregates, get_group_keys
from agent.tools.sql_repair.name_matching import match_name
from agent.tools.sql_repair.scopes import Scope, build_scopes, build_table
from agent.tools.sql_repair.text_edits import can_be_printed, get_span, tokenize_sql

_WORD = re.compile(r"[^\W\d_]+")
#: Numbers in English words, and words that ask for some of the rows without a number.
_NUMBER_WORDS = frozenset(
    (  # noqa: SIM905 - a list would have a line for each word
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million "
        "billion half quarter third tenth first second fourth fifth sixth seventh eighth ninth last once twice both "
        "dozen score single double triple top best worst bottom few several some couple pair trio handful sample "
        "samples example examples leading nth limit"
    ).split()
)
#: Words that clearly English texts have and other languages have not: their words for numbers are not known here.
_ENGLISH_WORDS = frozenset(
    (  # noqa: SIM905
        "the and which what how many much with each their are were where who whose every this that its"
    ).split()
)
_MIN_ENGLISH_WORDS = 2


@dataclass(frozen=True)
class FittedQuery:
    """A query adapted to its goal, with a sentence for each change."""

    sql: str
    notes: tuple[str, ...] = ()


def add_labels_to_keys(sql: str, *, schema: DatabaseSchema) -> FittedQuery:
    """Return a grouped query that shows, beside the key that it groups by, the name that belongs to it.

    Only if the query shows no other text, and the key leads to one table with one column of names. Rows are still
    grouped by the key, so two with the same name stay separate. If there is nothing to add, `sql` is returned
    unchanged, character by character.
    """
    tree = _parse_query(sql)
    if tree is None or not can_be_printed(sql):
        return FittedQuery(sql)
    scope = next(build_scopes(tree, schema=schema), None)
    if scope is None or scope.select is not tree or tree.args.get("group") is None or _has_text_column(scope):
        return FittedQuery(sql)
    if any(source.relation is None for source in scope.sources):
        return FittedQuery(sql)
    added = [_add_label_of_key(item, scope, schema=schema) for item in list(scope.select.expressions)]
    notes = tuple(
        f"{label!r} is shown beside {key!r}, by which the rows are grouped." for key, label in filter(None, added)
    )
    return FittedQuery(tree.sql(dialect="duckdb"), notes) if notes else FittedQuery(sql)


def show_ranking_measure(sql: str) -> FittedQuery:
    """Return a grouped query that is sorted by a total with that total as its last column, if it does not show it.

    Whoever asks for the best of something sees nothing of how good they are otherwise. Nothing else changes.
    """
    tree = _parse_query(sql)
    order = tree.args.get("order") if isinstance(tree, exp.Select) else None
    if not isinstance(tree, exp.Select) or order is None or not can_be_printed(sql) or not tree.args.get("group"):
        return FittedQuery(sql)
    if tree.args.get("distinct") or any(find_aggregates(item) for item in tree.expressions):
        return FittedQuery(sql)
    measure = order.expressions[0].this
    if not find_aggregates(measure) and not isinstance(measure, exp.AggFunc):
        return FittedQuery(sql)
    column = next(iter(measure.find_all(exp.Column)), None)
    alias = (
        f"{measure.key}_{column.name}"
        if column is not None and column.name.isidentifier()
        else f"{measure.key}_of_rows"
    )
    if alias.lower() in {name.lower() for name in tree.named_selects}:
        return FittedQuery(sql)
    tree.append("expressions", exp.alias_(measure.copy(), alias))
    told = measure.sql(dialect="duckdb")
    return FittedQuery(
        tree.sql(dialect="duckdb"), (f"{told} is shown as {alias!r}, because the rows are sorted by it.",)
    )


def _has_text_column(scope: Scope) -> bool:
    known = [scope.find_column(column) for column in _find_plain_columns(scope)]
    return any(column is not None and column.is_text and column.holds is None for column in known)


def _find_plain_columns(scope: Scope) -> Iterator[exp.Column]:
    for item in scope.select.expressions:
        column = item.unalias()
        if isinstance(column, exp.Column):
            yield column


def _add_label_of_key(item: exp.Expression, scope: Scope, *, schema: DatabaseSchema) -> tuple[str, str] | None:
    """If `item` is a key of a table with names, join the table and select the name; return the key and the name."""
    column = item.unalias()
    source = scope.resolve(column) if isinstance(column, exp.Column) else None
    if source is None or source.relation is None:
        return None
    keys = [key for key in source.relation.foreign_keys if key.columns == (column.name,)]
    target = schema.relation(keys[0].table) if len(keys) == 1 else None
    label = _find_label_column(target) if target is not None else None
    if target is None or label is None or any(each.relation == target for each in scope.sources):
        return None
    if label.lower() in {name.lower() for name in scope.select.named_selects}:
        return None
    _qualify_columns(scope)
    table = build_table(target.name)
    on = exp.EQ(
        this=exp.column(keys[0].references[0], table=table.name, quoted=True),
        expression=exp.column(column.name, table=source.alias, quoted=True),
    )
    # Behind all others, because GROUP BY and ORDER BY may count the columns. A key without a row there keeps its row.
    scope.select.append("joins", exp.Join(this=table, on=on, side="LEFT"))
    name = exp.column(label, table=table.name, quoted=not label.isidentifier())
    group = scope.select.args["group"]
    if not group.args.get("all"):
        group.append("expressions", name.copy())
    scope.select.append("expressions", exp.alias_(name, label, quoted=not label.isidentifier()))
    return column.name, label


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


def remove_unrequested_limit(sql: str, *, asked: str) -> FittedQuery:
    """Return `sql` without its LIMIT if the goal `asked` has no number of rows; LIMIT 1 stays: "most" asks for one row.

    A number is a digit of any script or a word. Only English words for numbers are known here, so the LIMIT stays for
    a goal that is not clearly in English. Everything else of `sql` is returned character by character.
    """
    number = _find_limit(_parse_query(sql))
    if not isinstance(number, exp.Literal) or not number.is_int or int(number.name) == 1 or may_have_number(asked):
        return FittedQuery(sql)
    rest = _cut_limit(sql, number)
    return (
        FittedQuery(sql)
        if rest is None
        else FittedQuery(rest, (f"LIMIT {number.name} was left out: the goal names no number of rows.",))
    )


def may_have_number(goal: str) -> bool:
    """Whether a goal has a number, in digits or words, or is in a language whose words for numbers are not known."""
    words = {word.casefold() for word in _WORD.findall(goal)}
    is_english = goal.isascii() and len(words & _ENGLISH_WORDS) >= _MIN_ENGLISH_WORDS
    return not is_english or any(letter.isnumeric() for letter in goal) or bool(words & _NUMBER_WORDS)


def remove_limit(sql: str, *, lists: Collection[str]) -> tuple[str, int | None]:
    """Return a query without its LIMIT, and the number of rows to keep of those that are chosen later; None for all.

    LIMIT would cut rows off before the first rows of each value are chosen. If the query uses a parameter in `lists`,
    all chosen rows are kept: each item of the list should have its row.
    """
    tree = _parse_query(sql)
    number = _find_limit(tree)
    if tree is None or number is None or not number.is_int or tree.args.get("offset") is not None:
        return sql, None
    rest = _cut_limit(sql, number)
    if rest is None:
        return sql, None
    used = {node.name for node in tree.find_all(exp.Placeholder)}
    return rest, None if used & set(lists) else int(number.name)


def _cut_limit(sql: str, number: exp.Expr) -> str | None:
    """Return `sql` without the LIMIT of `number` and the space before it; None if its place is not known."""
    span = get_span(number)
    words = [token for token in tokenize_sql(sql) if span is not None and token.end < span[0]]
    if span is None or not words or words[-1].token_type != TokenType.LIMIT:
        return None
    return sql[: words[-1].start].rstrip() + sql[span[1] :]


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
