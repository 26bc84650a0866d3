"""Texts that a query compares with a column that does not have them: told, or replaced if only the spelling differs."""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue
from sqlglot import exp

from agent.tools.db_schema.model import Column, DatabaseSchema, Relation
from agent.tools.sql_repair.name_matching import is_one_typo_apart, is_plural_variant, normalize_text, normalize_value
from agent.tools.sql_repair.scopes import build_scopes, resolve_base_column, walk_nodes
from agent.tools.sql_repair.text_edits import TextEdit, apply_edits, get_span, parse_statement

#: Returns the values of a column, as they are now, that are like a text; None if they could not be read.
FindSimilarValues = Callable[[Relation, Column, str], tuple[str, ...] | None]


@dataclass
class ComparedValues:
    """A query and its parameters with the values corrected that may be, and what is to be said about the others."""

    sql: str
    params: dict[str, JsonValue]
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    #: The texts that a column has, as it has them.
    found: dict[str, str] = field(default_factory=dict)


def check_compared_values(
    sql: str,
    *,
    schema: DatabaseSchema,
    params: Mapping[str, JsonValue],
    goal: str | None,
    find_similar: FindSimilarValues,
) -> ComparedValues:
    """Look for the texts that a query compares with columns, and warn of those that are missing and near a value.

    With a `goal`, for which a model wrote the query, a text that differs from the only near value in case, accents and
    spaces alone is replaced by it, in its place; a text that stands in the goal is meant as it is.
    """
    result = ComparedValues(sql, dict(params))
    tree = parse_statement(sql)
    edits: list[TextEdit] = []
    for comparison in _find_comparisons(tree, schema=schema) if tree is not None else ():
        for operand in comparison.operands:
            if isinstance(operand, exp.Literal) and operand.is_string:
                right = _check_value(operand.name, comparison, goal=goal, find_similar=find_similar, result=result)
                span = get_span(operand)
                if right is not None and span is not None:
                    quoted = "'" + right.replace("'", "''") + "'"
                    edits.append(TextEdit(*span, quoted, describe_replaced_value(operand.name, right)))
        for name in {node.name for operand in comparison.operands for node in operand.find_all(exp.Placeholder)}:
            given = result.params.get(name)
            values = given if isinstance(given, list) else [given]
            checked = [
                _check_value(value, comparison, goal=goal, find_similar=find_similar, result=result)
                if isinstance(value, str)
                else None
                for value in values
            ]
            result.notes += [
                describe_replaced_value(str(value), right)
                for value, right in zip(values, checked, strict=True)
                if right is not None
            ]
            corrected = [right or value for value, right in zip(values, checked, strict=True)]
            if name in result.params:
                result.params[name] = corrected if isinstance(given, list) else corrected[0]
    result.sql = apply_edits(sql, edits)
    result.notes = list(dict.fromkeys([*(edit.note for edit in edits), *result.notes]))
    result.warnings = list(dict.fromkeys(result.warnings))
    return result


def describe_replaced_value(wrong: str, right: str) -> str:
    """Return the sentence that tells that a value was replaced."""
    return f"There is no value {wrong!r}; {right!r} was used instead."


@dataclass(frozen=True)
class _Comparison:
    """What is compared for equality with a column of a table or view."""

    relation: Relation
    column: Column
    operands: tuple[exp.Expr, ...]
    #: LOWER, UPPER or TRIM is around the column, or the comparison is ILIKE.
    ignores_case: bool
    #: Which of them is; None if none is.
    function: type[exp.Expr] | None = None


def _find_comparisons(tree: exp.Expr, *, schema: DatabaseSchema) -> Iterator[_Comparison]:
    scopes = {id(scope.select): scope for scope in build_scopes(tree, schema=schema)}
    for scope in scopes.values():
        for node in list(walk_nodes(scope.select)):
            for compared, operands in _list_pairs(node):
                inner, function = _unwrap(compared)
                found = resolve_base_column(inner, scope, scopes) if isinstance(inner, exp.Column) else None
                if found is not None and found[1].is_text:
                    # What stands for no value is none.
                    instead = [each for one in compared.find_all(exp.Coalesce) for each in one.expressions]
                    given = tuple(_flatten(each for each in operands if each not in instead))
                    is_folded = function is not None or isinstance(node, exp.ILike)
                    yield _Comparison(*found, given, is_folded, function)


def _list_pairs(node: exp.Expr) -> Iterator[tuple[exp.Expr, Iterable[exp.Expr]]]:
    """Yield what is compared for equality, and with what."""
    match node:
        case exp.EQ() | exp.NEQ() | exp.NullSafeEQ() | exp.NullSafeNEQ() | exp.Nullif():
            yield node.this, (node.expression,)
            yield node.expression, (node.this,)
        case exp.In() if isinstance(node.this, exp.Tuple):
            rows = [row for row in node.expressions if isinstance(row, exp.Tuple)]
            for place, compared in enumerate(node.this.expressions):
                yield compared, [row.expressions[place] for row in rows if place < len(row.expressions)]
        case exp.In():
            others = [*node.expressions, node.args.get("query"), node.args.get("field")]
            yield node.this, [other for other in others if other is not None]
        case exp.Like() | exp.ILike() if not {"%", "_"} & set(node.expression.name):
            yield node.this, (node.expression,)
        case exp.Case() if node.this is not None:
            yield node.this, [branch.this for branch in node.args.get("ifs") or ()]


def _unwrap(compared: exp.Expr) -> tuple[exp.Expr, type[exp.Expr] | None]:
    """Return the column inside of what changes its case or the space around it at most, and what changes them."""
    function: type[exp.Expr] | None = None
    while isinstance(compared, exp.Lower | exp.Upper | exp.Trim | exp.Coalesce | exp.Cast | exp.Paren):
        if isinstance(compared, exp.Cast) and not compared.is_type(*exp.DataType.TEXT_TYPES):
            break
        if isinstance(compared, exp.Lower | exp.Upper | exp.Trim):
            function = function or type(compared)
        compared = compared.this
    return compared, function


def _flatten(operands: Iterable[exp.Expr]) -> Iterator[exp.Expr]:
    """Yield the operands, and the items of those that are lists."""
    for operand in operands:
        if isinstance(operand, exp.Any | exp.All | exp.Paren):
            yield from _flatten((operand.this,))
        elif isinstance(operand, exp.Array):
            yield from _flatten(operand.expressions)
        else:
            yield operand


def _check_value(
    text: str, comparison: _Comparison, *, goal: str | None, find_similar: FindSimilarValues, result: ComparedValues
) -> str | None:
    """Return the value by which `text` is to be replaced; None, perhaps with a warning added, if it is to stay."""
    relation, column = comparison.relation, comparison.column
    fold = str.lower if comparison.function is exp.Lower else str.upper if comparison.function is exp.Upper else None
    if fold is not None and fold(text) != text:
        result.warnings.append(
            f"{fold.__name__}({relation.name}.{column.name}) is never {text!r}; write {fold(text)!r}."
        )
        return None
    near = find_similar(relation, column, text)
    if near is None:
        return None
    if text in near or (comparison.ignores_case and text.casefold() in map(str.casefold, near)):
        result.found[text] = text
        return None
    spelt = [value for value in near if normalize_value(value) == normalize_value(text)]
    if len(spelt) == 1:
        result.found.setdefault(text, spelt[0])
    may_change = goal is not None and not comparison.ignores_case and not stands_in_goal(text, goal)
    if may_change and len(spelt) == 1:
        return spelt[0]
    place = f"{relation.name}.{column.name}"
    owners = [
        other.name
        for other in relation.columns
        for value in other.values or ()
        if other.name != column.name and normalize_text(value) == normalize_text(text) != ""
    ]
    if near:
        listed = ", ".join(map(repr, sort_nearest_first(text, near)[:3]))
        result.warnings.append(f"No row has {text!r} in {place}; near it: {listed}.")
    elif owners:
        result.warnings.append(f"No row has {text!r} in {place}; {', '.join(map(repr, owners))} has it.")
    return None


def stands_in_goal(text: str, goal: str) -> bool:
    """Whether the words of a literal are words of the goal, in any case: then it is what was asked for."""
    folded, words = (unicodedata.normalize("NFKC", each).casefold() for each in (text, goal))
    return folded in words


def sort_nearest_first(text: str, values: tuple[str, ...]) -> list[str]:
    """Return `values`, those first that differ least from `text`: by spelling, plural, one letter, more."""
    tests: tuple[Callable[[str], bool], ...] = (
        lambda value: normalize_value(value) == normalize_value(text),
        lambda value: is_plural_variant(value, text),
        lambda value: is_one_typo_apart(value, text),
    )
    return sorted(values, key=lambda value: next((rank for rank, test in enumerate(tests) if test(value)), len(tests)))
