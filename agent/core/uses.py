"""Where one task names another, and that name turned to another one."""

from collections.abc import Iterator

from pydantic import JsonValue

from agent.core.condition import ConditionError, names
from agent.core.plan import Task
from agent.core.reference import OutputOf, argument_specials, special


def uses(task: Task, task_id: str) -> Iterator[str]:
    """Yield the fields of `task` that name `task_id`."""
    if task_id in task.depends_on:
        yield "depends_on"
    if any(isinstance(found, OutputOf) and found.task == task_id for _, found in argument_specials(task.args)):
        yield "args"
    source = special(task.for_each)
    if isinstance(source, OutputOf) and source.task == task_id:
        yield "for_each"
    if task.condition is not None and task_id in _named(task.condition):
        yield "condition"
    if task.rollback is not None:
        specials = argument_specials(task.rollback.args)
        if any(isinstance(found, OutputOf) and found.task == task_id for _, found in specials):
            yield "rollback"


def _named(condition: str) -> frozenset[str]:
    try:
        return names(condition)
    except ConditionError:
        return frozenset()


def turned(task: Task, old: str, new: str) -> Task:
    """Return the task with its dependencies and references to `old` turned to `new`; its condition stays as it is."""
    update: dict[str, object] = {
        "depends_on": tuple(new if need == old else need for need in task.depends_on),
        "args": {name: _pointed(value, old, new) for name, value in task.args.items()},
    }
    if task.for_each is not None:
        update["for_each"] = _pointed(task.for_each, old, new)
    if task.rollback is not None:
        args = {name: _pointed(value, old, new) for name, value in task.rollback.args.items()}
        update["rollback"] = task.rollback.model_copy(update={"args": args})
    return task.model_copy(update=update)


def _pointed(value: JsonValue, old: str, new: str) -> JsonValue:
    """Return `value` with every reference to `old` in it turned to `new`."""
    if isinstance(value, dict):
        found = special(value)
        if isinstance(found, OutputOf):
            return {**value, "output_of": new} if found.task == old else value
        return {key: _pointed(inner, old, new) for key, inner in value.items()}
    return [_pointed(inner, old, new) for inner in value] if isinstance(value, list) else value
