"""Joins that multiply rows: a total over a table whose rows a later join repeats (the fan trap and the chasm trap)."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from sqlglot import exp

from agent.tools.db_schema.model import DatabaseSchema, Relation
from agent.tools.sql_repair.aggregates import find_aggregates, get_group_keys
from agent.tools.sql_repair.scopes import Scope, TableSource


@dataclass(frozen=True)
class _JoinEdge:
    """An equality of two sources: whether a row of `start` can meet several rows of `end`, as the keys say."""

    start: str
    end: str
    multiplies: bool


def find_multiplied_totals(scope: Scope, *, schema: DatabaseSchema) -> Iterator[str]:
    """Yield a sentence for each SUM or AVG over a column whose rows a join repeats.

    Only where the foreign keys say so: a source is repeated if a path of joins leads from it against a foreign key.
    Rows that are grouped by a column of the repeating table are counted on purpose, once for each of them.
    """
    edges = list(_find_edges(scope, schema=schema))
    grouped = {
        source.alias.lower()
        for key in get_group_keys(scope.select)
        for column in key.find_all(exp.Column)
        if (source := scope.resolve(column)) is not None
    }
    for item in scope.select.expressions:
        for total in find_aggregates(item):
            if not isinstance(total, exp.Sum | exp.Avg) or isinstance(total.this, exp.Distinct):
                continue
            owners = {held.alias.lower() for column in total.find_all(exp.Column) if (held := scope.resolve(column))}
            if len(owners) != 1:
                continue
            owner = owners.pop()
            repeating = _find_repeating(owner, edges) - grouped
            if repeating:
                name = min(repeating)
                yield (
                    f"{total.sql(dialect='duckdb')} counts rows of {owner!r} several times: the join with {name!r} "
                    "repeats them."
                )


def _find_edges(scope: Scope, *, schema: DatabaseSchema) -> Iterator[_JoinEdge]:
    conditions = [join.args.get("on") for join in scope.select.args.get("joins") or ()]
    conditions.append(scope.select.args.get("where"))
    pairs = [
        (scope.resolve(equal.this), equal.this, scope.resolve(equal.expression), equal.expression)
        for condition in conditions
        if condition is not None
        for equal in condition.find_all(exp.EQ)
        if isinstance(equal.this, exp.Column) and isinstance(equal.expression, exp.Column)
    ]
    for place, join in enumerate(scope.select.args.get("joins") or (), start=1):
        for name in join.args.get("using") or ():
            column, joined = exp.column(name.name), scope.sources[place]
            lefts = [source for source in scope.sources[:place] if source.can_have_column(name.name)]
            pairs += [(left, column, joined, column) for left in lefts[:1]]
    for left, left_column, right, right_column in pairs:
        if left is not None and right is not None and left is not right:
            yield _build_edge(left, left_column.name, right, right_column.name, schema)
            yield _build_edge(right, right_column.name, left, left_column.name, schema)


def _build_edge(start: TableSource, column: str, end: TableSource, other: str, schema: DatabaseSchema) -> _JoinEdge:
    multiplies = (
        start.relation is not None
        and end.relation is not None
        and not _is_key(end.relation, other, schema)
        and _refers(end.relation, other, start.relation, column, schema)
    )
    return _JoinEdge(start.alias.lower(), end.alias.lower(), multiplies)


def _is_key(relation: Relation, column: str, schema: DatabaseSchema) -> bool:
    """Whether a foreign key refers to `column` alone, so that its values are unique."""
    return any(
        key.table.lower() == relation.name.lower() and [each.lower() for each in key.references] == [column.lower()]
        for each_relation in schema.relations
        for key in each_relation.foreign_keys
    )


def _refers(end: Relation, other: str, start: Relation, column: str, schema: DatabaseSchema) -> bool:
    """Whether `other` of `end` is a foreign key to the key `column` of `start`, or both refer to the same table."""
    targets = _get_targets(end, other)
    return (start.name.lower(), column.lower()) in targets or (
        not _is_key(start, column, schema) and bool(targets & _get_targets(start, column))
    )


def _get_targets(relation: Relation, column: str) -> set[tuple[str, str]]:
    return {
        (key.table.lower(), key.references[0].lower())
        for key in relation.foreign_keys
        if [each.lower() for each in key.columns] == [column.lower()]
    }


def _find_repeating(owner: str, edges: list[_JoinEdge]) -> set[str]:
    """Return the sources that a path of joins reaches from `owner` by a step that multiplies rows."""
    queue, found = deque([(owner, False)]), dict[str, bool]()
    while queue:
        name, multiplied = queue.popleft()
        if name in found:
            continue
        found[name] = multiplied
        queue.extend((edge.end, edge.multiplies) for edge in edges if edge.start == name)
    return {name for name, multiplied in found.items() if multiplied and name != owner}
