"""Values used as another type: a column compared with a whole list, a date as text, and ISO texts used as dates."""

from collections.abc import Iterator, Mapping
from typing import Final

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from agent.tools.db_schema.model import DatabaseSchema
from agent.tools.sql_repair.scopes import Scope, build_scopes, walk_nodes
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
        "date_diff last_day strftime to_days"
    ).split()
)
_COMPARISONS: Final = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between)


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


def cast_text_dates(scope: Scope) -> Iterator[str]:
    """Cast each column of ISO texts that is used as a date, in place, and yield a sentence for each column.

    Compared with a text it stays as it is: ISO texts sort as their dates do.
    """
    for column in list(scope.find_columns()):
        known = scope.find_column(column)
        use = column.parent
        if known is None or known.holds is None or use is None or not _is_date_use(column, use):
            continue
        name = column.sql(dialect="duckdb")
        column.replace(exp.cast(column.copy(), known.holds, dialect="duckdb"))
        yield f"{name!r} is a date that is stored as text; it is used as a date."


def _is_date_use(column: exp.Column, use: exp.Expr) -> bool:
    if isinstance(use, exp.Sub | exp.Add):
        return True
    if isinstance(use, _COMPARISONS):
        others = [part for part in use.iter_expressions() if id(part) != id(column)]
        return not all(isinstance(part, exp.Literal | exp.Placeholder | exp.Column) for part in others)
    name = use.name if isinstance(use, exp.Anonymous) else type(use).__name__
    return name.lower() in _DATE_FUNCTIONS
