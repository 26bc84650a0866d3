"""What a query counts, and what its goal asks the number of."""

from collections.abc import Iterator

from sqlglot import exp

from agent.tools.db_schema.model import DatabaseSchema, Relation
from agent.tools.sql_fit.goal_words import (
    CountedThing,
    find_counted_things,
    find_key,
    find_numbers_of_things,
    find_table,
    is_number,
    stands_in,
)
from agent.tools.sql_repair.aggregates import find_aggregates, get_group_keys
from agent.tools.sql_repair.joins import find_join_path
from agent.tools.sql_repair.name_matching import to_singular
from agent.tools.sql_repair.scopes import Scope, TableSource, build_table, walk_nodes
from agent.tools.sql_review.join_growth import find_repeating_sources


def add_up_numbers(scope: Scope, *, goal: str, schema: DatabaseSchema) -> Iterator[str]:
    """Make `COUNT(docks)` a sum if the goal asks how many docks there are: the column has a number of them in each row.

    Only if no table has them as rows, and nothing else is counted.
    """
    counts = _find_counts(scope)
    for thing in find_counted_things(goal):
        if find_table(thing.word, schema) is not None:
            return
        columns = [
            (source, column)
            for source in scope.sources
            if source.relation is not None
            for column in source.relation.columns
            if to_singular(column.name.lower()) == thing.word and is_number(column)
        ]
        if len(columns) != 1 or thing.counts_once or _has_rows_of(thing.word, schema) or len(counts) != 1:
            continue
        source, column = columns[0]
        summed = exp.column(column.name, table=source.alias, quoted=not column.name.isidentifier())
        for count in [node for node in scope.select.find_all(exp.Count) if node == counts[0]]:
            count.replace(exp.Sum(this=summed.copy()))
        yield f"{column.name!r} is a number of them in each row, so it is added up and its rows are not counted."
        return


def _has_rows_of(word: str, schema: DatabaseSchema) -> bool:
    return any(word in map(to_singular, relation.name.lower().split("_")) for relation in schema.relations)


def _find_counts(scope: Scope) -> list[exp.Count]:
    """Return the counts of rows or values that a SELECT shows, without those of different values."""
    return [
        count
        for item in scope.select.expressions
        for count in find_aggregates(item)
        if isinstance(count, exp.Count) and not isinstance(count.this, exp.Distinct)
    ]


def count_things_once(scope: Scope, *, goal: str, schema: DatabaseSchema) -> Iterator[str]:
    """Count a thing once in `COUNT(*)` if each may have several rows: it lives elsewhere, or a join repeats it.

    Only if the goal says that they are different ones, or that they do something: "how many members borrowed a book".
    """
    counts = _find_counts(scope)
    key = find_repeated_thing(scope, goal=goal, schema=schema, only_sure=True)
    if key is None or len(counts) != 1:
        return
    count = counts[0]
    for node in [node for node in scope.select.find_all(exp.Count) if node == count]:
        node.set("this", exp.Distinct(expressions=[key.copy()]))
    yield f"Each {key.name} is counted once, because it may have several rows here."


def find_repeated_thing(scope: Scope, *, goal: str, schema: DatabaseSchema, only_sure: bool) -> exp.Column | None:
    """Return the key of the things that the goal counts if the rows of a SELECT may have each several times."""
    found = _choose_thing(goal, schema)
    if found is None or (only_sure and not found[0].counts_once) or not _find_counts(scope):
        return None
    thing, table = found
    key = find_key(table, schema)
    grouped = {
        source.alias.lower()
        for part in get_group_keys(scope.select)
        for column in part.find_all(exp.Column)
        if (source := scope.resolve(column)) is not None
    }
    own = [source for source in scope.sources if source.relation == table]
    if key is None or len(own) > 1 or any(source.relation is None for source in scope.sources):
        return None
    if own:
        alias = own[0].alias
        repeating = find_repeating_sources(scope, alias, schema=schema)
        return exp.column(key, table=alias) if repeating and alias.lower() not in grouped else None
    references = [
        (source, reference.columns[0])
        for source in scope.sources
        if source.relation is not None
        for reference in source.relation.foreign_keys
        if reference.table.lower() == table.name.lower() and len(reference.columns) == 1
    ]
    if len(references) != 1 or not thing.counts_once:
        return None
    source, name = references[0]
    column = exp.column(name, table=source.alias)
    return None if any(part.name.lower() == name.lower() for part in get_group_keys(scope.select)) else column


def _choose_thing(goal: str, schema: DatabaseSchema) -> tuple[CountedThing, Relation] | None:
    """Return the thing that a goal counts and its table; of two nouns side by side, "customer orders", the second."""
    things = [(thing, find_table(thing.word, schema)) for thing in find_counted_things(goal)]
    for place, (thing, table) in enumerate(things):
        following = things[place + 1] if place + 1 < len(things) else (thing, None)
        if table is not None:
            return (following[0], following[1]) if following[1] is not None else (thing, table)
    return None


def count_children(scope: Scope, *, goal: str, schema: DatabaseSchema) -> Iterator[str]:
    """Replace a key that WHERE compares with "more than 3 loans" by a HAVING over the number of loans."""
    where = scope.select.args.get("where")
    if where is None:
        return
    for bound in find_numbers_of_things(goal):
        table = find_table(bound.word, schema)
        conditions = list(where.this.flatten()) if isinstance(where.this, exp.And) else [where.this]
        wrong = [each for each in conditions if is_compared_number(each, bound.number, scope, goal=goal, schema=schema)]
        if table is None or len(wrong) != 1 or any(map(find_aggregates, scope.select.expressions)):
            continue
        source = next((each for each in scope.sources if each.relation == table), None) or _join(table, scope, schema)
        if source is None:
            continue
        rest = [each for each in conditions if each is not wrong[0]]
        scope.select.set("where", exp.Where(this=exp.and_(*rest, copy=False)) if rest else None)
        _group_by_shown(scope)
        having = bound.bound(this=exp.Count(this=exp.Star()), expression=exp.Literal.number(bound.number))
        scope.select.having(having, copy=False)
        yield f"The goal asks for a number of rows of {table.name!r}, so they are counted."
        return


def _join(table: Relation, scope: Scope, schema: DatabaseSchema) -> TableSource | None:
    """Join a table whose foreign key leads to one that is there; None if it is further away."""
    for source in scope.sources:
        steps = find_join_path([source.relation.name], end=table.name, schema=schema) if source.relation else None
        if steps is not None and len(steps) == 1:
            joined = build_table(table.name)
            left, right = steps[0].left[0], steps[0].right[0]
            on = exp.column(right, table=joined.name).eq(exp.column(left, table=source.alias))
            scope.select.join(joined, on=on, copy=False)
            scope.sources.append(
                TableSource(joined.name, table, frozenset(each.name.lower() for each in table.columns))
            )
            return scope.sources[-1]
    return None


def _group_by_shown(scope: Scope) -> None:
    """Group by what is shown: a row for each that is counted; DISTINCT is then not needed."""
    keys = {key.sql().lower() for key in get_group_keys(scope.select)}
    for item in scope.select.expressions:
        if item.unalias().sql().lower() not in keys and not item.is_star:
            scope.select.group_by(item.unalias().copy(), copy=False)
    scope.select.set("distinct", None)


def is_compared_number(node: exp.Expr, number: str, scope: Scope, *, goal: str, schema: DatabaseSchema) -> bool:
    """Whether a condition compares with `number` a key, or another number that the goal does not name."""
    sizes = (exp.GT, exp.GTE, exp.LT, exp.LTE)
    if not isinstance(node, sizes) or not isinstance(node.this, exp.Column):
        return False
    source, known = scope.resolve(node.this), scope.find_column(node.this)
    is_literal = isinstance(node.expression, exp.Literal) and node.expression.name == number
    if not is_literal or source is None or source.relation is None or known is None:
        return False
    is_other = is_number(known) and not any(stands_in(word, goal) for word in known.name.lower().split("_"))
    return is_other or _is_key(known.name, source.relation, schema)


def _is_key(column: str, relation: Relation, schema: DatabaseSchema) -> bool:
    refers = any(column.lower() in map(str.lower, key.columns) for key in relation.foreign_keys)
    first = relation.columns[0].name.lower() if relation.columns else ""
    is_own = column.lower() == first and first.endswith("id")
    return refers or is_own or (find_key(relation, schema) or "").lower() == column.lower()


def find_uncounted_filters(scope: Scope, *, goal: str, schema: DatabaseSchema) -> Iterator[str]:
    """Yield a sentence for each key, or other number, that WHERE compares with a number of things of the goal."""
    where = scope.select.args.get("where")
    numbers = {bound.number for bound in find_numbers_of_things(goal) if find_table(bound.word, schema) is not None}
    for node in walk_nodes(where) if where is not None else ():
        if any(is_compared_number(node, number, scope, goal=goal, schema=schema) for number in numbers):
            told = node.sql(dialect="duckdb")
            yield f"{told} compares the numbers of a key or of another column; the goal asks for a count."
