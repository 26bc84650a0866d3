"""Joins rebuilt from foreign keys, and tables joined that a query forgot."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlglot import exp

from agent.tools.db_schema.model import DatabaseSchema, Relation
from agent.tools.sql_repair.name_matching import to_singular
from agent.tools.sql_repair.scopes import Scope, TableSource


@dataclass(frozen=True)
class JoinStep:
    """From a table to the next: `left[i]` of the one equals `right[i]` of the other."""

    start: str
    end: str
    left: tuple[str, ...]
    right: tuple[str, ...]


def find_join_path(starts: Iterable[str], *, end: str, schema: DatabaseSchema) -> tuple[JoinStep, ...] | None:
    """Return the shortest way from one of the tables `starts` to the table `end`.

    None if there is none, or if a step of it could be taken by two different keys (an order's billing and its
    delivery address): which was meant cannot be told. `starts` that come first win a tie.
    """
    steps = list(_find_join_steps(schema))
    found: dict[str, tuple[JoinStep, ...]] = dict.fromkeys(starts, ())
    queue = deque(found)
    while queue:
        here = queue.popleft()
        if here == end:
            taken = found[here]
            return taken if all(_is_unambiguous(step, steps) for step in taken) else None
        for step in steps:
            if step.start == here and step.end not in found:
                found[step.end] = (*found[here], step)
                queue.append(step.end)
    return None


def _is_unambiguous(step: JoinStep, steps: list[JoinStep]) -> bool:
    return sum(other.start == step.start and other.end == step.end for other in steps) == 1


def _find_join_steps(schema: DatabaseSchema) -> Iterator[JoinStep]:
    """Yield every foreign key in both directions; without any in the schema, what the names of columns say."""
    declared = [
        JoinStep(relation.name, key.table, key.columns, key.references)
        for relation in schema.relations
        for key in relation.foreign_keys
        if relation.name != key.table
    ]
    for step in declared or _infer_steps_by_name(schema):
        yield step
        yield JoinStep(step.end, step.start, step.right, step.left)


def _infer_steps_by_name(schema: DatabaseSchema) -> Iterator[JoinStep]:
    """Yield the steps that files without keys have by convention: `customer_id` names a row of `customers`."""
    for relation in schema.relations:
        for column in relation.columns:
            thing, underscore, last = column.name.lower().rpartition("_")
            if not underscore or last != "id":
                continue
            for other in schema.relations:
                target = other.column(column.name) or other.column("id")
                if target and other is not relation and to_singular(other.name.lower()) == thing:
                    yield JoinStep(relation.name, other.name, (column.name,), (target.name,))


def repair_joins(scope: Scope, *, schema: DatabaseSchema) -> Iterator[str]:
    """Rebuild each join whose condition names a column that its tables do not have, along foreign keys."""
    joins = list(scope.select.args.get("joins") or [])
    for place, join in enumerate(joins, start=1):
        source = scope.sources[place] if place < len(scope.sources) else None
        if source is None or source.relation is None or _can_bind(join, scope=scope, upto=place):
            continue
        earlier = {known.relation.name: known.alias for known in scope.sources[:place] if known.relation is not None}
        steps = find_join_path(earlier, end=source.relation.name, schema=schema) or _find_shared_id_step(
            [known.relation for known in scope.sources[:place] if known.relation is not None], source.relation
        )
        if not steps:
            continue
        aliases = {**earlier, source.relation.name: source.alias}
        added = [_build_join(step, aliases=aliases) for step in steps[:-1]]
        join.set("using", None)
        join.set("on", _build_condition(steps[-1], aliases=aliases))
        _insert_joins(scope, added, before=join, steps=steps[:-1], aliases=aliases, schema=schema)
        yield f"{source.relation.name!r} is joined by its key: {join.args['on'].sql(dialect='duckdb')}."


def join_owner_tables(scope: Scope, lost: Sequence[exp.Column], *, schema: DatabaseSchema) -> list[str] | None:
    """Join the tables that have the `lost` columns; None, and nothing changed, if one of them cannot be reached."""
    present = {source.relation.name: source.alias for source in scope.sources if source.relation is not None}
    if not present or len(present) < sum(source.relation is not None for source in scope.sources):
        # The same table twice: which of the two leads on cannot be told.
        return None
    reached: dict[str, tuple[JoinStep, ...]] = {}
    owners: dict[int, str] = {}
    for column in lost:
        owner = _find_nearest_owner(column, starts=[*present, *reached], schema=schema)
        if owner is None:
            return None
        owners[id(column)] = owner[0]
        for step in owner[1]:
            reached.setdefault(step.end, (step,))
    aliases = {**present, **{name: name for name in reached}}
    for (step,) in reached.values():
        scope.select.append("joins", _build_join(step, aliases=aliases))
        scope.sources.append(_build_source(step.end, schema=schema))
    notes = []
    for column in lost:
        owner_name = owners[id(column)]
        column.set("table", exp.to_identifier(aliases[owner_name].rpartition(".")[2]))
        notes.append(f"{column.name!r} is a column of {owner_name!r}, which was joined by its foreign key.")
    return notes


def move_to_view(scope: Scope, *, schema: DatabaseSchema) -> list[str] | None:
    """Read everything from the one view that has all the columns of the SELECT; None if there is none.

    A wide view holds what the tables behind it hold, joined as it should be. Another table would count other things.
    """
    if any(source.relation is None for source in scope.sources) or scope.outer:
        return None
    inside_joins = {id(node) for join in scope.select.args.get("joins") or [] for node in join.find_all(exp.Column)}
    used = [column for column in scope.find_columns() if id(column) not in inside_joins]
    names = {column.name.lower() for column in used} - scope.get_aliases()
    holders = [
        relation
        for relation in schema.relations
        if relation.kind == "view" and names <= {column.name.lower() for column in relation.columns}
    ]
    if not names or len(holders) != 1:
        return None
    holder = holders[0]
    place, _, plain = holder.name.rpartition(".")
    scope.select.set("from_", exp.From(this=exp.table_(plain, db=place or None)))
    scope.select.set("joins", None)
    scope.sources[:] = [_build_source(holder.name, schema=schema)]
    for column in used:
        column.set("table", None)
    return [f"All these columns are in {holder.name!r}, so they are read from there."]


def _can_bind(join: exp.Join, *, scope: Scope, upto: int) -> bool:
    """Whether the condition of `join` binds: its columns are those of the tables so far."""
    seen = scope.sources[: upto + 1]
    for name in join.args.get("using") or []:
        if not (seen[-1].can_have_column(name.name) and any(source.can_have_column(name.name) for source in seen[:-1])):
            return False
    condition = join.args.get("on")
    if condition is None:
        # A comma or a CROSS JOIN may be meant; a plain JOIN is not without a condition.
        return bool(join.args.get("using")) or join.kind == "CROSS" or not _is_plain_join(join)
    for column in condition.find_all(exp.Column):
        owners = [source for source in seen if not column.table or source.alias.lower() == column.table.lower()]
        if not any(source.can_have_column(column.name) for source in owners):
            return False
    return True


def _find_shared_id_step(earlier: Sequence[Relation], joined: Relation) -> tuple[JoinStep, ...]:
    """Return the step by the one id that both sides have, which is all that views have for a key."""
    steps = [
        JoinStep(relation.name, joined.name, (column.name,), (column.name,))
        for relation in earlier
        for column in relation.columns
        if column.name.lower().endswith("_id") and joined.column(column.name) is not None
    ]
    return tuple(steps) if len(steps) == 1 else ()


def _is_plain_join(join: exp.Join) -> bool:
    """Whether the word JOIN was written: a comma leaves no side, kind or method, but prints as one."""
    return not join.sql(dialect="duckdb").lstrip().startswith(",")


def _find_nearest_owner(
    column: exp.Column, *, starts: Sequence[str], schema: DatabaseSchema
) -> tuple[str, tuple[JoinStep, ...]] | None:
    """Return the table that has `column` and the shortest way to it; None if two are as near.

    A table that the query itself names before the dot goes first.
    """
    owners = [relation for relation in schema.relations if relation.column(column.name) is not None]
    named = [relation for relation in owners if column.table and relation.name.lower() == column.table.lower()]
    ways = []
    for relation in named or owners:
        steps = find_join_path(starts, end=relation.name, schema=schema)
        if steps is not None:
            ways.append((relation.name, steps))
    ways.sort(key=lambda found: (len(found[1]), found[0]))
    if not ways or (len(ways) > 1 and len(ways[0][1]) == len(ways[1][1])):
        return None
    return ways[0]


def _insert_joins(
    scope: Scope,
    added: list[exp.Join],
    *,
    before: exp.Join,
    steps: Sequence[JoinStep],
    aliases: dict[str, str],
    schema: DatabaseSchema,
) -> None:
    joins = scope.select.args["joins"]
    place = next(number for number, join in enumerate(joins) if join is before)
    scope.select.set("joins", [*joins[:place], *added, *joins[place:]])
    for step in steps:
        aliases.setdefault(step.end, step.end)
        scope.sources.append(_build_source(step.end, schema=schema))


def _build_source(name: str, *, schema: DatabaseSchema) -> TableSource:
    relation: Relation | None = schema.relation(name)
    columns = frozenset(column.name.lower() for column in relation.columns) if relation else None
    return TableSource(name.rpartition(".")[2], relation, columns)


def _build_join(step: JoinStep, *, aliases: dict[str, str]) -> exp.Join:
    aliases.setdefault(step.end, step.end)
    place, _, plain = step.end.rpartition(".")
    return exp.Join(this=exp.table_(plain, db=place or None), on=_build_condition(step, aliases=aliases))


def _build_condition(step: JoinStep, *, aliases: dict[str, str]) -> exp.Expr:
    sides = (aliases[step.start].rpartition(".")[2], aliases[step.end].rpartition(".")[2])
    return exp.and_(
        *(
            exp.column(right, table=sides[1]).eq(exp.column(left, table=sides[0]))
            for left, right in zip(step.left, step.right, strict=True)
        )
    )
