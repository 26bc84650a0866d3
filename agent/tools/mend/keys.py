"""Ways from table to table along foreign keys."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agent.tools.database_schema import DatabaseSchema
from agent.tools.mend.names import singular


@dataclass(frozen=True)
class Step:
    """From a table to the next: `left[i]` of the one equals `right[i]` of the other."""

    start: str
    end: str
    left: tuple[str, ...]
    right: tuple[str, ...]


def way(starts: Iterable[str], *, end: str, schema: DatabaseSchema) -> tuple[Step, ...] | None:
    """Return the shortest way from one of the tables `starts` to the table `end`.

    None if there is none, or if a step of it could be taken by two different keys (an order's billing and its
    delivery address): which was meant cannot be told. `starts` that come first win a tie.
    """
    steps = list(_steps(schema))
    found: dict[str, tuple[Step, ...]] = dict.fromkeys(starts, ())
    queue = deque(found)
    while queue:
        here = queue.popleft()
        if here == end:
            taken = found[here]
            return taken if all(_only_one(step, steps) for step in taken) else None
        for step in steps:
            if step.start == here and step.end not in found:
                found[step.end] = (*found[here], step)
                queue.append(step.end)
    return None


def _only_one(step: Step, steps: list[Step]) -> bool:
    return sum(other.start == step.start and other.end == step.end for other in steps) == 1


def _steps(schema: DatabaseSchema) -> Iterator[Step]:
    """Yield every foreign key in both directions; without any in the schema, what the names of columns say."""
    declared = [
        Step(relation.name, key.table, key.columns, key.references)
        for relation in schema.relations
        for key in relation.foreign_keys
        if relation.name != key.table
    ]
    for step in declared or _by_name(schema):
        yield step
        yield Step(step.end, step.start, step.right, step.left)


def _by_name(schema: DatabaseSchema) -> Iterator[Step]:
    """Yield the steps that files without keys have by convention: `customer_id` names a row of `customers`."""
    for relation in schema.relations:
        for column in relation.columns:
            thing, underscore, last = column.name.lower().rpartition("_")
            if not underscore or last != "id":
                continue
            for other in schema.relations:
                target = other.column(column.name) or other.column("id")
                if target and other is not relation and singular(other.name.lower()) == thing:
                    yield Step(relation.name, other.name, (column.name,), (target.name,))
