"""Repair of joins: rebuilt from foreign keys, and missing tables joined."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlglot import exp

from agent.tools.db_schema.model import DatabaseSchema, Relation
from agent.tools.sql_repair.name_matching import to_singular
from agent.tools.sql_repair.scopes import Scope, build_relation_source, build_table


@dataclass(frozen=True)
class JoinStep:
    """A join of two tables: `left[i]` of `start` equals `right[i]` of `end`."""

    start: str
    end: str
    left: tuple[str, ...]
    right: tuple[str, ...]


def find_join_path(starts: Iterable[str], *, end: str, schema: DatabaseSchema) -> tuple[JoinStep, ...] | None:
    """Return the shortest path from one of the tables `starts` to the table `end`; the first of `starts` wins a tie.

    None if there is no path, or if two different keys join the same two tables of it, such as the billing and the
    delivery address of an order: the right one is not known.
    """
    steps = list(_find_join_steps(schema))
    paths: dict[str, tuple[JoinStep, ...]] = dict.fromkeys(starts, ())
    queue = deque(paths)
    while queue:
        table = queue.popleft()
        if table == end:
            path = paths[table]
            return path if all(_is_unambiguous(step, steps) for step in path) else None
        for step in steps:
            if step.start == table and step.end not in paths:
                paths[step.end] = (*paths[table], step)
                queue.append(step.end)
    return None


def _is_unambiguous(step: JoinStep, steps: list[JoinStep]) -> bool:
    return sum(other.start == step.start and other.end == step.end for other in steps) == 1


def _find_join_steps(schema: DatabaseSchema) -> Iterator[JoinStep]:
    """Yield every foreign key in both directions; if the schema has none, the keys that column names suggest."""
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
    """Yield the joins that follow from the naming convention: `customer_id` refers to a row of `customers`."""
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
    """Rebuild, along foreign keys, each join whose condition names a column that its tables do not have."""
    joins = list(scope.select.args.get("joins") or [])
    for position, join in enumerate(joins, start=1):
        source = scope.sources[position] if position < len(scope.sources) else None
        if source is None or source.relation is None or _can_bind(join, scope=scope, upto=position):
            continue
        earlier = {each.relation.name: each.alias for each in scope.sources[:position] if each.relation is not None}
        steps = find_join_path(earlier, end=source.relation.name, schema=schema) or _find_shared_id_step(
            [each.relation for each in scope.sources[:position] if each.relation is not None], source.relation
        )
        if not steps:
            continue
        aliases = {**earlier, source.relation.name: source.alias}
        added = [_build_join(step, aliases=aliases) for step in steps[:-1]]
        join.set("using", None)
        join.set("on", _build_condition(steps[-1], aliases=aliases))
        _insert_joins(scope, added, before=join, steps=steps[:-1], aliases=aliases, schema=schema)
        yield f"{source.relation.name!r} was joined by its key: {join.args['on'].sql(dialect='duckdb')}."


def _can_bind(join: exp.Join, *, scope: Scope, upto: int) -> bool:
    """Whether the condition of `join` names only columns of the tables up to it."""
    seen = scope.sources[: upto + 1]
    for name in join.args.get("using") or []:
        if not (seen[-1].can_have_column(name.name) and any(source.can_have_column(name.name) for source in seen[:-1])):
            return False
    condition = join.args.get("on")
    if condition is None:
        # A comma or a CROSS JOIN may be intended; a plain JOIN without a condition is not.
        return bool(join.args.get("using")) or join.kind == "CROSS" or not _is_plain_join(join)
    for column in condition.find_all(exp.Column):
        owners = [source for source in seen if not column.table or source.alias.lower() == column.table.lower()]
        if not any(source.can_have_column(column.name) for source in owners):
            return False
    return True


def _is_plain_join(join: exp.Join) -> bool:
    """Whether the SQL has the word JOIN; a comma has no side, kind or method in the tree, but prints as a comma."""
    return not join.sql(dialect="duckdb").lstrip().startswith(",")


def _find_shared_id_step(earlier: Sequence[Relation], joined: Relation) -> tuple[JoinStep, ...]:
    """Return the join on the only id that both sides have; views have no other keys. Empty if there is not one."""
    steps = [
        JoinStep(relation.name, joined.name, (column.name,), (column.name,))
        for relation in earlier
        for column in relation.columns
        if column.name.lower().endswith("_id") and joined.column(column.name) is not None
    ]
    return tuple(steps) if len(steps) == 1 else ()


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
    position = next(number for number, join in enumerate(joins) if join is before)
    scope.select.set("joins", [*joins[:position], *added, *joins[position:]])
    for step in steps:
        aliases.setdefault(step.end, step.end)
        scope.sources.append(build_relation_source(step.end, alias=_unqualify(step.end), schema=schema))


def join_owner_tables(scope: Scope, unresolved: Sequence[exp.Column], *, schema: DatabaseSchema) -> list[str] | None:
    """Join the tables that have the `unresolved` columns; None, and no change, if one of them cannot be reached."""
    present = {source.relation.name: source.alias for source in scope.sources if source.relation is not None}
    if not present or len(present) < sum(source.relation is not None for source in scope.sources):
        # The same table is there twice, and which of the two to join from is not known.
        return None
    joined: dict[str, JoinStep] = {}
    owners: list[str] = []
    for column in unresolved:
        nearest = _find_nearest_owner(column, starts=[*present, *joined], schema=schema)
        if nearest is None:
            return None
        owner, path = nearest
        owners.append(owner)
        for step in path:
            joined.setdefault(step.end, step)
    aliases = {**present, **{name: name for name in joined}}
    for step in joined.values():
        scope.select.append("joins", _build_join(step, aliases=aliases))
        scope.sources.append(build_relation_source(step.end, alias=_unqualify(step.end), schema=schema))
    for column, owner in zip(unresolved, owners, strict=True):
        column.set("table", exp.to_identifier(_unqualify(aliases[owner])))
    return [
        f"{column.name!r} is a column of {owner!r}, which was joined by its foreign key."
        for column, owner in zip(unresolved, owners, strict=True)
    ]


def _find_nearest_owner(
    column: exp.Column, *, starts: Sequence[str], schema: DatabaseSchema
) -> tuple[str, tuple[JoinStep, ...]] | None:
    """Return the nearest table that has `column` and the shortest path to it; None if two are equally near.

    A table that qualifies the column in the query has priority.
    """
    owners = [relation for relation in schema.relations if relation.column(column.name) is not None]
    qualifying = [relation for relation in owners if column.table and relation.name.lower() == column.table.lower()]
    paths = []
    for relation in qualifying or owners:
        steps = find_join_path(starts, end=relation.name, schema=schema)
        if steps is not None:
            paths.append((relation.name, steps))
    paths.sort(key=lambda path: (len(path[1]), path[0]))
    if not paths or (len(paths) > 1 and len(paths[0][1]) == len(paths[1][1])):
        return None
    return paths[0]


def move_to_view(scope: Scope, *, schema: DatabaseSchema) -> list[str] | None:
    """Read everything from the one view that has all columns of the SELECT; None, and no change, if there is none.

    A wide view has the columns of the tables behind it, joined correctly. Another table would count other things.
    """
    if any(source.relation is None for source in scope.sources) or scope.outer:
        return None
    inside_joins = {id(node) for join in scope.select.args.get("joins") or [] for node in join.find_all(exp.Column)}
    used = [column for column in scope.find_columns() if id(column) not in inside_joins]
    names = {column.name.lower() for column in used} - scope.get_aliases()
    views = [
        relation.name
        for relation in schema.relations
        if relation.kind == "view" and names <= {column.name.lower() for column in relation.columns}
    ]
    if not names or len(views) != 1:
        return None
    view = views[0]
    scope.select.set("from_", exp.From(this=build_table(view)))
    scope.select.set("joins", None)
    scope.sources[:] = [build_relation_source(view, alias=_unqualify(view), schema=schema)]
    for column in used:
        column.set("table", None)
    return [f"{view!r} has all these columns, so the query reads it alone."]


def _build_join(step: JoinStep, *, aliases: dict[str, str]) -> exp.Join:
    aliases.setdefault(step.end, step.end)
    return exp.Join(this=build_table(step.end), on=_build_condition(step, aliases=aliases))


def _build_condition(step: JoinStep, *, aliases: dict[str, str]) -> exp.Expr:
    start, end = _unqualify(aliases[step.start]), _unqualify(aliases[step.end])
    return exp.and_(
        *(
            exp.column(right, table=end).eq(exp.column(left, table=start))
            for left, right in zip(step.left, step.right, strict=True)
        )
    )


def _unqualify(name: str) -> str:
    return name.rpartition(".")[2]
