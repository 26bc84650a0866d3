"""Joins that multiply rows: a total over a table whose rows a later join repeats (the fan trap and the chasm trap)."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from sqlglot import exp

from agent.tools.db_schema.model import DatabaseSchema, Relation
from agent.tools.sql_fit.goal_words import is_named
from agent.tools.sql_repair.aggregates import find_aggregates, get_group_keys
from agent.tools.sql_repair.scopes import Scope, TableSource

#: Runs a query of one row with two numbers; None if it cannot be run.
CountRows = Callable[[str], tuple[int, int] | None]


def find_counted_growth(scope: Scope, *, keys: Mapping[str, str], count_rows: CountRows) -> Iterator[str]:
    """Yield a sentence for each source whose rows the joins repeat within a group, as their numbers show.

    `keys` has, by alias, the column that tells the rows of a source apart. Where they are totalled or counted, each
    may be in a group once: there must be as many joined rows as different ones.
    """
    select = scope.select
    if not select.args.get("joins") or list(select.find_all(exp.Placeholder)):
        return
    groups = [key.copy() for key in get_group_keys(select)]
    for alias, key in keys.items():
        column = exp.column(key, table=alias, quoted=not key.isidentifier())
        probe = select.copy()
        for part in ("group", "having", "qualify", "order", "limit", "offset", "distinct"):
            probe.set(part, None)
        different = exp.Count(this=exp.Distinct(expressions=[exp.Tuple(expressions=[*groups, column])]))
        probe.set("expressions", [exp.Count(this=exp.Star()), different])
        probe.where(exp.Not(this=exp.Is(this=column.copy(), expression=exp.Null())), copy=False)
        counted = count_rows(probe.sql(dialect="duckdb"))
        if counted is not None and counted[0] > counted[1]:
            yield f"The joins make {counted[0]:,} rows of {counted[1]:,} of {alias!r}: some count several times."


def find_totalled_sources(scope: Scope) -> set[str]:
    """Return the aliases of the sources of which a SELECT totals one number each by SUM or AVG."""
    found = set()
    for item in scope.select.expressions:
        for total in find_aggregates(item):
            if _adds_up(total):
                owners = {held.alias for column in total.find_all(exp.Column) if (held := scope.resolve(column))}
                found |= owners if len(owners) == 1 else set()
    return found


def _adds_up(total: exp.Expr) -> bool:
    """Whether a total adds up numbers of rows; ones and zeros by a condition are a count of the joined rows."""
    if not isinstance(total, exp.Sum | exp.Avg) or isinstance(total.this, exp.Distinct):
        return False
    conditions = {id(column) for part in total.find_all(exp.If) for column in part.this.find_all(exp.Column)}
    return any(id(column) not in conditions for column in total.find_all(exp.Column))


def find_unneeded_joins(scope: Scope, *, goal: str, schema: DatabaseSchema) -> Iterator[str]:
    """Yield a sentence for each table that repeats rows, that the goal does not name, and of which nothing is used."""
    for _, relation in list_unneeded_joins(scope, goal=goal, schema=schema):
        yield f"{relation.name!r} is joined, which the goal does not name and of which nothing is used."


def drop_unneeded_joins(scope: Scope, *, goal: str, schema: DatabaseSchema) -> Iterator[str]:
    """Take out each join that `find_unneeded_joins` tells, in place, if the goal names another table of the query."""
    named = any(source.relation is not None and is_named(source.relation, goal) for source in scope.sources)
    for join, relation in list(list_unneeded_joins(scope, goal=goal, schema=schema)) if named else ():
        place = next(place for place, each in enumerate(scope.sources) if each.relation == relation)
        if place == 0:
            scope.select.set("from_", exp.From(this=join.this.copy()))
        scope.sources.pop(place)
        scope.select.args["joins"].remove(join)
        yield f"The join with {relation.name!r} was left out: it repeats rows, and nothing of it is used."


def list_unneeded_joins(scope: Scope, *, goal: str, schema: DatabaseSchema) -> Iterator[tuple[exp.Join, Relation]]:
    """Yield each join of three tables or more whose table repeats rows, is not named and is not used otherwise.

    The table in FROM is one of them if its only join is the first: that table then takes its place.
    """
    select = scope.select
    joined = {id(column) for join in select.args.get("joins") or () for column in join.find_all(exp.Column)}
    columns = [column for column in scope.find_columns() if id(column) not in joined]
    used = [column for column in columns if column.table or column.name.lower() not in scope.get_aliases()]
    edges = list(_find_edges(scope, schema=schema))
    if select.is_star or len(scope.sources) < 3:
        return
    joins = select.args.get("joins") or ()
    for join, source in zip((*joins[:1], *joins), scope.sources, strict=True):
        ends = [edge for edge in edges if edge.end == source.alias.lower()]
        is_used = any((owner := scope.resolve(column)) is None or owner is source for column in used)
        if source.relation is None or is_used or len(ends) != 1 or not ends[0].multiplies:
            continue
        is_first = source is scope.sources[0]
        if is_first and ends[0].start != scope.sources[1].alias.lower():
            continue
        if not is_named(source.relation, goal) and not join.side:
            yield join, source.relation


def find_repeating_sources(scope: Scope, owner: str, *, schema: DatabaseSchema) -> set[str]:
    """Return the sources, by alias in lower case, whose join repeats rows of the source `owner`."""
    return _find_repeating(owner.lower(), list(_find_edges(scope, schema=schema)))


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
            if not _adds_up(total):
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
