"""References checked from both sides: the path against the producer's output, its type against the argument."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from agent.core.compiler.condition_check import condition_faults
from agent.core.plan.conditions import parses
from agent.core.plan.dependencies import Needs, ancestors, plan_needs
from agent.core.plan.document import Call, Plan, Task
from agent.core.plan.json_schema import NoSuchPath, at_argument, misfit, part, types
from agent.core.plan.problems import Problem, ProblemKind, dotted, shown
from agent.core.plan.references import (
    Item,
    Misfit,
    OutputOf,
    Place,
    Special,
    Template,
    argument_specials,
    of_items,
    special,
)
from agent.core.plan.tool_spec import Catalogue, JsonSchema, Preflight

_TEXT: JsonSchema = {"type": "string"}


class Rooted(NamedTuple):
    """A schema, and the document in which its local references are looked up."""

    schema: JsonSchema
    root: JsonSchema


def link_problems(plan: Plan, catalogue: Catalogue, findings: Mapping[str, Preflight]) -> Iterator[Problem]:
    """Yield what is wrong with the references of every task: bad shape, bad path, type that cannot fit."""
    outputs = output_schemas(plan, catalogue, findings)
    needs = plan_needs(plan) if any(task.rollback is not None for task in plan.tasks) else {}
    for task in plan.tasks:
        yield from _for_each_problems(task, outputs)
        yield from _condition_problems(task, outputs)
        yield from _call_links(task, task, catalogue, outputs, item=item_schema(task, outputs), field="args")
        if task.rollback is not None:
            yield from _rollback_problems(task, task.rollback, needs)
            item, known = item_schema(task, outputs), outputs
            if item is not None and of_items(task.rollback.args):
                # It is made for each item, and the output that it sees is that item's.
                known = {**outputs, task.id: _one_schema(task, catalogue, findings)}
            yield from _call_links(task, task.rollback, catalogue, known, item=item, field="rollback.args")


def _rollback_problems(task: Task, rollback: Call, needs: Needs) -> Iterator[Problem]:
    """Yield references to more than is there whenever the task is done: its own output and what it waited for."""
    behind: dict[str, None] | None = None
    for where, found in argument_specials(rollback.args):
        place = f"task {task.id!r}, {dotted(('rollback.args', *where))}"
        if isinstance(found, Item) and task.for_each is None:
            what = "an 'item' reference stands in the rollback of a task without 'for_each'."
            yield _problem("bad_rollback", task, place, what, f"Refer to the output of {task.id!r}.")
        elif isinstance(found, OutputOf) and found.task != task.id:
            behind = behind if behind is not None else ancestors(needs, task.id)
            if found.task not in behind:
                what = f"it refers to {shown(found.task)}, which {task.id!r} does not wait for."
                remedy = f"Refer to {task.id!r} or to a task that it waits for."
                yield _problem("bad_rollback", task, place, what, remedy)


def output_schemas(plan: Plan, catalogue: Catalogue, findings: Mapping[str, Preflight]) -> dict[str, JsonSchema | None]:
    """Return for each task the schema of its recorded output: the narrowest known, a list of it under `for_each`."""
    schemas: dict[str, JsonSchema | None] = {}
    for task in plan.tasks:
        one = _one_schema(task, catalogue, findings)
        if task.for_each is None:
            schemas[task.id] = one
        elif one and task.on_item_failure == "null":
            schemas[task.id] = {"type": "array", "items": {"anyOf": [one, {"type": "null"}]}}
        else:
            schemas[task.id] = {"type": "array", "items": one or {}}
    return schemas


def _one_schema(task: Task, catalogue: Catalogue, findings: Mapping[str, Preflight]) -> JsonSchema | None:
    found, spec = findings.get(task.id), catalogue.get(task.tool)
    return (found and found.output_schema) or (spec and spec.output_schema) or None


def item_schema(task: Task, outputs: Mapping[str, JsonSchema | None]) -> Rooted | None:
    """Return the schema of one item of `for_each`, `{}` where nothing is known; None where the task has none."""
    if task.for_each is None:
        return None
    source = special(task.for_each)
    root = outputs.get(source.task) if isinstance(source, OutputOf) else None
    if not root or not isinstance(source, OutputOf):
        return Rooted({}, {})
    try:
        return Rooted(part(part(root, source.path, root=root), (0,), root=root), root)
    except NoSuchPath:
        return Rooted({}, {})


def _condition_problems(task: Task, outputs: Mapping[str, JsonSchema | None]) -> Iterator[Problem]:
    """Yield what the outputs' schemas rule out of a condition that parses; the compiler tells of one that does not."""
    if task.condition is None or not parses(task.condition):
        return
    place = f"task {task.id!r}, condition"
    remedy = "Use members that are there, and compare like with like, so that it is true or false."
    for fault in condition_faults(task.condition, outputs):
        yield _problem("bad_condition", task, place, f"{shown(task.condition)} {fault}.", remedy)


def _for_each_problems(task: Task, outputs: Mapping[str, JsonSchema | None]) -> Iterator[Problem]:
    if task.for_each is None:
        yield from _stray_problems(task)
        return
    place = f"task {task.id!r}, for_each"
    source = special(task.for_each)
    if not isinstance(source, OutputOf):
        yield _problem(
            "bad_for_each",
            task,
            place,
            f"{task.for_each!r} is no reference.",
            'Write {"output_of": id, "path": [...]}.',
        )
        return
    schema = outputs.get(source.task)
    if not schema:
        return
    try:
        kinds = types(part(schema, source.path, root=schema), schema)
    except NoSuchPath as error:
        yield _problem(
            "unknown_path",
            task,
            place,
            f"the output of {source.task!r} {error}.",
            "Use a path that is there.",
        )
        return
    if kinds is not None and "array" not in kinds:
        yield _problem(
            "bad_for_each",
            task,
            place,
            f"the output of {source.task!r} is no list at {list(source.path)!r}.",
            "Refer to a list.",
        )


def _stray_problems(task: Task) -> Iterator[Problem]:
    """Yield what is said about items by a task that has none."""
    for name, given in (
        ("on_item_failure", task.on_item_failure != "finish"),
        ("max_concurrency", task.max_concurrency is not None),
    ):
        if given:
            what = f"{name!r} is about the items of a 'for_each', and the task has none."
            place, remedy = f"task {task.id!r}, {name}", f"Add 'for_each', or drop {name!r}."
            yield _problem("bad_for_each", task, place, what, remedy)


def _call_links(
    task: Task,
    call: Call,
    catalogue: Catalogue,
    outputs: Mapping[str, JsonSchema | None],
    *,
    item: Rooted | None,
    field: str,
) -> Iterator[Problem]:
    spec = catalogue.get(call.tool)
    for where, found in argument_specials(call.args):
        place = f"task {task.id!r}, {dotted((field, *where))}"
        if isinstance(found, Misfit):
            yield _problem("malformed", task, place, f"this {found.reason}.", 'Write {"output_of": id, "path": [...]}.')
        elif isinstance(found, Item) and item is None:
            if call is task:
                what, remedy = "an 'item' reference stands in a task without 'for_each'.", "Add 'for_each' to the task."
                yield _problem("bad_for_each", task, place, what, remedy)
        elif not (isinstance(found, OutputOf) and found.task not in outputs):
            wanted = at_argument(spec.args_schema, where) if spec and not _inside_template(call, where) else {}
            root = spec.args_schema if spec else {}
            yield from _two_sided(task, place, found, outputs, item, wanted=Rooted(wanted, root))


def _two_sided(
    task: Task,
    place: str,
    found: Special,
    outputs: Mapping[str, JsonSchema | None],
    item: Rooted | None,
    *,
    wanted: Rooted,
) -> Iterator[Problem]:
    name, produced, path = _producer(found, outputs, item)
    try:
        given = part(produced.schema, path, root=produced.root)
    except NoSuchPath as error:
        yield _problem("unknown_path", task, place, f"{name} {error}.", "Use a path that is there.")
        return
    reason = misfit(given, wanted.schema, roots=(produced.root, wanted.root))
    if reason:
        remedy = "Refer to another part, or convert it in a task between."
        yield _problem("type_mismatch", task, place, f"{name} {reason}.", remedy)


def _producer(
    found: Special, outputs: Mapping[str, JsonSchema | None], item: Rooted | None
) -> tuple[str, Rooted, Place]:
    match found:
        case OutputOf(producer, path):
            at = f" at {list(path)!r}" if path else ""
            schema = outputs[producer] or {}
            return f"the output of {producer!r}{at}", Rooted(schema, schema), path
        case Item(path):
            return "the item", item or Rooted({}, {}), path
        case _:
            return "a template", Rooted(_TEXT, _TEXT), ()


def _inside_template(call: Call, where: Place) -> bool:
    """Whether the place lies in a template's values, which become text whatever they are."""
    value: Any = call.args[str(where[0])]
    for step in where[1:]:
        if isinstance(special(value), Template):
            return True
        value = value[step]
    return False


def _problem(kind: ProblemKind, task: Task, place: str, what: str, remedy: str) -> Problem:
    return Problem(kind=kind, place=place, what=what, remedy=remedy, task=task.id)
