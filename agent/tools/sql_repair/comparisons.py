"""Values used as another type: a column compared with a whole list, a date as text, and ISO texts used as dates."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from agent.tools.db_schema.model import DatabaseSchema, HeldType
from agent.tools.sql_repair.scopes import Scope, build_scopes, resolve_base_column, walk_nodes
from agent.tools.sql_repair.text_edits import TextEdit, get_span, parse_statement, tokenize_sql

#: Column types to which JSON texts are cast before they are compared with the column.
_CAST_TYPES = ("DATE", "TIMESTAMP", "TIME", "UUID")
#: Functions of dates, by the lower-case name of sqlglot's class or, of one that it does not know, by their own name.
_DATE_FUNCTIONS: Final = frozenset(
    (  # noqa: SIM905 - a list would have a line for each word
        "year month day quarter week weekofyear dayofweek dayofweekiso dayofmonth dayofyear monthname dayname extract "
        "timestamptrunc datetrunc datediff timestampdiff timetostr lastday dateadd datesub dateaddinterval hour minute "
        "second yearofweek yearofweekiso "
        "date_part datepart isodow isoyear yearweek decade century millennium era epoch julian age date_sub datesub "
        "date_diff last_day strftime to_days julianday datetime"
    ).split()
)
_COMPARISONS: Final = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between)
#: What hands a date on as it is.
_TRANSPARENT: Final = (exp.Max, exp.Min, exp.Coalesce, exp.Paren, exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue)
#: Functions of SQLite by what DuckDB has for them, with the type that they need.
_SQLITE_FUNCTIONS: Final = {"julianday": "JULIAN"}
_ISO_TEXT: Final = re.compile(r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?")
_DAY_LENGTH, _MONTH_LENGTH = 10, 7


def find_comparison_edits(sql: str, *, schema: DatabaseSchema, lists: Mapping[str, str | None]) -> Iterator[TextEdit]:
    """Yield what makes each comparison with a list parameter one with its items, and a date a text under LIKE.

    `lists` has the list parameters with the DuckDB type of their items. Texts are cast to the type of a date column:
    they come from JSON, which has no dates.
    """
    tree = parse_statement(sql)
    tokens = tokenize_sql(sql)
    for scope in build_scopes(tree, schema=schema) if tree is not None else ():
        for node in list(walk_nodes(scope.select)):
            if isinstance(node, exp.In | exp.EQ | exp.NEQ) and isinstance(node.this, exp.Column):
                yield from _compare_items(node, scope, lists=lists, tokens=tokens, sql=sql)
            elif isinstance(node, exp.Like | exp.ILike) and isinstance(node.this, exp.Column):
                yield from _compare_date_as_text(node.this, scope)


def find_date_edits(sql: str, *, schema: DatabaseSchema) -> Iterator[TextEdit]:
    """Yield what makes each comparison of a date with a text one of the same precision.

    A month, "2024-05", sorts before "2024-05-01", and a day, "2024-05-01", before "2024-05-01 00:00:00": the text is
    cut. A point in time is hardly ever equal to a day, and after it begins: it is compared by its day.
    """
    tree = parse_statement(sql)
    for scope in build_scopes(tree, schema=schema) if tree is not None else ():
        for node in list(walk_nodes(scope.select)):
            if isinstance(node, (*_COMPARISONS, exp.In)) and isinstance(node.this, exp.Column):
                known = scope.find_column(node.this)
                operands = [each for each in node.iter_expressions() if isinstance(each, exp.Literal)]
                texts = [each for each in operands if each.is_string and _ISO_TEXT.fullmatch(each.name)]
                if known is not None and known.holds in {"DATE", "MONTH"}:
                    yield from _cut_texts(texts, length=_MONTH_LENGTH if known.holds == "MONTH" else _DAY_LENGTH)
                elif known is not None and "TIMESTAMP" in {known.holds, known.type}:
                    yield from _compare_by_day(node, texts)


def _cut_texts(texts: Sequence[exp.Expr], *, length: int) -> Iterator[TextEdit]:
    for text in texts:
        if (span := get_span(text)) is not None and len(text.name) > length:
            kept = text.name[:length]
            yield TextEdit(*span, f"'{kept}'", f"{text.name!r} is compared as {kept!r}, as the column has it.")


def _compare_by_day(node: exp.Expr, texts: Sequence[exp.Expr]) -> Iterator[TextEdit]:
    """Compare the day of a point in time, unless the text is the first day of a month: a bound that is left out."""
    days, span = [each.name for each in texts if len(each.name) == _DAY_LENGTH], get_span(node.this)
    is_equality = isinstance(node, exp.EQ | exp.NEQ | exp.In)
    if span is None or not days or len(days) < len(texts):
        return
    is_bound = isinstance(node, exp.GT | exp.LTE | exp.Between) and not days[-1].endswith("-01")
    if is_equality or is_bound:
        yield TextEdit(span[1], span[1], "::DATE", f"{node.this.sql(dialect='duckdb')!r} is compared by its day.")


def _compare_date_as_text(column: exp.Column, scope: Scope) -> Iterator[TextEdit]:
    known, span = scope.find_column(column), get_span(column)
    if known is not None and span is not None and known.type.upper().startswith(("DATE", "TIMESTAMP")):
        note = f"{column.sql(dialect='duckdb')!r} is a date; it was compared as text."
        yield TextEdit(span[1], span[1], "::VARCHAR", note)


def _compare_items(
    node: exp.Expr, scope: Scope, *, lists: Mapping[str, str | None], tokens: list[Token], sql: str
) -> Iterator[TextEdit]:
    name = _find_list_parameter(node, lists=lists)
    span = get_span(node.this)
    if name is None or span is None:
        return
    column = scope.find_column(node.this)
    kind = column.type.partition("(")[0] if column is not None else ""
    needs_cast = lists[name] == "VARCHAR" and kind.startswith(_CAST_TYPES)
    is_query = isinstance(node, exp.In) and node.args.get("query") is not None
    place = _find_parameter(name, tokens, after=span[1])
    if kind.endswith("[]") or place is None or (is_query and not needs_cast):
        return
    start, end, following = place
    items = f"CAST(${name} AS {kind}[])" if needs_cast else f"${name}"
    note = f"${name} is a list, so {node.this.sql(dialect='duckdb')} is compared with each of its items."
    if is_query:
        yield TextEdit(start, end, items, note)
        return
    if isinstance(node, exp.In) and node.expressions and following is not None:
        end = following.end + 1
    is_negated = isinstance(node, exp.NEQ) or " not " in f" {sql[span[1] : start].casefold()} "
    yield TextEdit(span[1], end, f"{' NOT' if is_negated else ''} IN (SELECT unnest({items}))", note)


def _find_parameter(name: str, tokens: list[Token], *, after: int) -> tuple[int, int, Token | None] | None:
    """Return where `$name` first stands behind `after`, and the closing bracket if one follows it."""
    for sign, word, following in zip(tokens, tokens[1:], [*tokens[2:], None], strict=True):
        if sign.start >= after and sign.token_type == TokenType.PARAMETER and word.text == name:
            is_closed = following is not None and following.token_type == TokenType.R_PAREN
            return sign.start, word.end + 1, following if is_closed else None
    return None


def _find_list_parameter(node: exp.Expr, *, lists: Mapping[str, str | None]) -> str | None:
    """Return the list parameter that `node` compares its column with; None if it compares it with anything else."""
    if isinstance(node, exp.In):
        query = node.args.get("query")
        field = node.args.get("field")
        operands = [field] if field is not None else list(node.expressions)
        if query is not None:
            inner = query.unnest()
            operands = inner.expressions if isinstance(inner, exp.Select) and not inner.args.get("from_") else []
    else:
        operands = [node.expression]
    if len(operands) != 1:
        return None
    operand = operands[0].unnest()
    if isinstance(operand, exp.Explode | exp.Unnest):
        operand = operand.this if isinstance(operand, exp.Explode) else operand.expressions[0]
    elif isinstance(node, exp.In) and node.args.get("field") is not None:
        # `IN $name` without parentheses already tests the items of the list.
        return None
    return operand.name if isinstance(operand, exp.Placeholder) and operand.name in lists else None


def cast_text_dates(scope: Scope, *, scopes: Mapping[int, Scope]) -> Iterator[str]:
    """Cast each column of ISO texts that is used as a date, in place, and yield a sentence for each column.

    Compared with a text it stays as it is: ISO texts sort as their dates do. `scopes` has those of all SELECTs by the
    `id` of their tree: a CTE or a subquery may hand the column on.
    """
    for column in list(scope.find_columns()):
        found = resolve_base_column(column, scope, scopes)
        if found is None or found[1].holds is None or not _is_date_use(column):
            continue
        name, use = column.sql(dialect="duckdb"), column.parent
        column.replace(_cast_to_date(column.copy(), found[1].holds))
        if isinstance(use, exp.Anonymous) and use.name.lower() in _SQLITE_FUNCTIONS:
            use.set("this", _SQLITE_FUNCTIONS[use.name.lower()])
        yield f"{name!r} is a date that is stored as text; it is used as a date."


def _cast_to_date(column: exp.Expr, holds: HeldType) -> exp.Expr:
    if holds == "MONTH":
        return exp.cast(exp.Paren(this=exp.DPipe(this=column, expression=exp.Literal.string("-01"))), "DATE")
    return exp.cast(column, holds, dialect="duckdb")


def _is_date_use(column: exp.Column) -> bool:
    """Whether a column, or what hands it on, is an operand of a function or an operator of dates."""
    node: exp.Expr = column
    while isinstance(node.parent, _TRANSPARENT) or (isinstance(node.parent, exp.Window) and node.arg_key == "this"):
        node = node.parent
        if isinstance(node, exp.Coalesce) and not all(map(_is_plain, node.iter_expressions())):
            return True
    use = node.parent
    if isinstance(use, exp.Sub | exp.Add):
        return True
    if isinstance(use, _COMPARISONS):
        return not all(_is_plain(part) for part in use.iter_expressions() if part is not node)
    name = use.name if isinstance(use, exp.Anonymous) else type(use).__name__
    return name.lower() in _DATE_FUNCTIONS


def _is_plain(part: exp.Expr) -> bool:
    """Whether an expression has the type of a text: a text itself, a parameter or a column, which may be one."""
    return isinstance(part, exp.Literal | exp.Placeholder | exp.Column | exp.Query)
