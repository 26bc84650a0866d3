"""Repair of comparisons: texts replaced by values that the column has, dates compared as text, and list parameters."""

from collections.abc import Callable, Iterator, Mapping

import sqlglot
from pydantic import JsonValue
from sqlglot import exp

from agent.tools.sql_repair.name_matching import is_one_typo_apart, is_plural_variant, normalize_text
from agent.tools.sql_repair.scopes import Scope, walk_nodes

#: Column types to which JSON texts are cast before they are compared with the column.
_CAST_TYPES = ("DATE", "TIMESTAMP", "TIME", "UUID")


def repair_literals(scope: Scope) -> Iterator[str]:
    """Replace each text literal that its column does not have by the only value it can mean, in place."""
    for values, operand in _find_comparisons(scope):
        if isinstance(operand, exp.Literal) and operand.is_string:
            right = find_nearest_value(operand.name, values)
            if right is not None:
                wrong = operand.name
                operand.replace(exp.Literal.string(right))
                yield _describe_value(wrong, right)


def repair_parameter_values(scope: Scope, *, params: dict[str, JsonValue]) -> Iterator[str]:
    """Do the same in `params`, for parameters that are compared with a column."""
    for values, operand in _find_comparisons(scope):
        for name in {node.name for node in operand.find_all(exp.Placeholder)} & params.keys():
            notes: list[str] = []
            given = params[name]

            def snap_value(
                value: JsonValue, *, notes: list[str] = notes, values: tuple[str, ...] = values
            ) -> JsonValue:
                right = find_nearest_value(value, values) if isinstance(value, str) else None
                if right is None:
                    return value
                notes.append(_describe_value(str(value), right))
                return right

            params[name] = [snap_value(item) for item in given] if isinstance(given, list) else snap_value(given)
            yield from notes


def _describe_value(wrong: str, right: str) -> str:
    return f"There is no value {wrong!r}; {right!r} was used instead."


def find_nearest_value(text: str, values: tuple[str, ...]) -> str | None:
    """Return the only one of `values` that `text` can mean; None if it is one of them, or can mean none or several.

    First a value that is the same except for case, accents and punctuation, then a plural, then one typo. No more than
    that: a country that is not in the data has an empty result, not the result of a similarly spelt one.
    """
    if text in values:
        return None
    tests: tuple[Callable[[str], bool], ...] = (
        lambda value: normalize_text(value) == normalize_text(text),
        lambda value: is_plural_variant(value, text),
        lambda value: is_one_typo_apart(value, text),
    )
    for is_match in tests:
        matches = [value for value in values if is_match(value)]
        if matches:
            return matches[0] if len(matches) == 1 else None
    return None


def _find_comparisons(scope: Scope) -> list[tuple[tuple[str, ...], exp.Expr]]:
    """Return the operands compared for equality with a column whose values are all known, each with those values."""
    comparisons: list[tuple[tuple[str, ...], exp.Expr]] = []
    for node in list(walk_nodes(scope.select)):
        pairs: list[tuple[exp.Expr, exp.Expr]] = []
        if isinstance(node, exp.EQ | exp.NEQ):
            pairs = [(node.this, node.expression), (node.expression, node.this)]
        elif isinstance(node, exp.In):
            others = [*node.expressions, node.args.get("query"), node.args.get("field")]
            pairs = [(node.this, other) for other in others if other is not None]
        elif isinstance(node, exp.Like | exp.ILike) and not {"%", "_"} & set(node.expression.name):
            pairs = [(node.this, node.expression)]
        for column, operand in pairs:
            known = scope.find_column(column) if isinstance(column, exp.Column) else None
            if known is not None and known.values and not isinstance(operand, exp.Column):
                comparisons.append((known.values, operand))
    return comparisons


def repair_compared_columns(scope: Scope) -> Iterator[str]:
    """If a column does not have the text it is compared with, compare the only column that has it, in place.

    `department = 'Desks'` means `category` if that column has 'Desks' and `department` has nothing like it.
    """
    for node in list(walk_nodes(scope.select)):
        column, operand = (node.this, node.expression) if isinstance(node, exp.EQ) else (None, None)
        if not isinstance(column, exp.Column) or not isinstance(operand, exp.Literal) or not operand.is_string:
            continue
        source, known = scope.resolve(column), scope.find_column(column)
        if source is None or source.relation is None or known is None or not known.values:
            continue
        if operand.name in known.values or find_nearest_value(operand.name, known.values) is not None:
            continue
        owners = [
            (other.name, value)
            for other in source.relation.columns
            for value in other.values or ()
            if normalize_text(value) == normalize_text(operand.name)
        ]
        if len(owners) == 1:
            wrong, (right, value) = column.name, owners[0]
            column.set("this", exp.to_identifier(right))
            operand.replace(exp.Literal.string(value))
            yield f"{value!r} is not a value of {wrong!r} but of {right!r}, which was compared instead."


def repair_date_patterns(scope: Scope) -> Iterator[str]:
    """Compare a date as text if it is compared with a pattern such as `'2024%'`, in place."""
    for node in list(walk_nodes(scope.select)):
        if not isinstance(node, exp.Like | exp.ILike) or not isinstance(node.this, exp.Column):
            continue
        known = scope.find_column(node.this)
        if known is not None and known.type.upper().startswith(("DATE", "TIMESTAMP")):
            name = node.this.sql(dialect="duckdb")
            node.set("this", exp.cast(node.this.copy(), "VARCHAR"))
            yield f"{name!r} is a date; it was compared as text."


def repair_list_comparisons(scope: Scope, *, lists: Mapping[str, str | None]) -> Iterator[str]:
    """Turn comparisons of a column with a list parameter into `IN (SELECT unnest($name))`, in place.

    `lists` has the list parameters with the DuckDB type of their items. Texts are cast to the type of a date column:
    they come from JSON, which has no dates.
    """
    for node in list(walk_nodes(scope.select)):
        if not isinstance(node, exp.In | exp.EQ | exp.NEQ) or not isinstance(node.this, exp.Column):
            continue
        name = _find_list_parameter(node, lists=lists)
        if name is None:
            continue
        column = scope.find_column(node.this)
        kind = column.type.partition("(")[0] if column is not None else ""
        if kind.endswith("[]"):
            continue
        needs_cast = lists[name] == "VARCHAR" and kind.startswith(_CAST_TYPES)
        if isinstance(node, exp.In) and node.args.get("query") is not None and not needs_cast:
            continue
        membership = exp.In(this=node.this.copy(), query=_build_unnest_query(name, cast=kind if needs_cast else None))
        node.replace(exp.not_(membership) if isinstance(node, exp.NEQ) else membership)
        yield f"${name} is a list, so {node.this.sql(dialect='duckdb')} is compared with each of its items."


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


def _build_unnest_query(name: str, *, cast: str | None) -> exp.Expr:
    values = f"CAST(${name} AS {cast}[])" if cast else f"${name}"
    return sqlglot.parse_one(f"(SELECT unnest({values}))", dialect="duckdb")
