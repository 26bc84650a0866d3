"""References checked from both sides: the path against the producer's output, its type against the argument."""

from collections.abc import Iterator, Mapping

from agent.core.plan import Call, Plan, Task
from agent.core.problem import Problem, ProblemKind, dotted
from agent.core.reference import Item, Misfit, OutputOf, Place, Special, Template, special, specials
from agent.core.schema import NoSuchPath, at_argument, misfit, part, types
from agent.core.tool import Catalogue, JsonSchema, Preflight

_TEXT: JsonSchema = {"type": "string"}


def link_problems(plan: Plan, catalogue: Catalogue, findings: Mapping[str, Preflight]) -> Iterator[Problem]:
    """Yield what is wrong with the references of every task: bad shape, bad path, type that cannot fit."""
    outputs = output_schemas(plan, catalogue, findings)
    for task in plan.tasks:
        item = _item_schema(task, outputs)
        yield from _for_each_problems(task, outputs)
        yield from _call_links(task, task, catalogue, outputs, item=item, field="args")
        if task.rollback is not None:
            own = {**outputs, task.id: outputs.get(task.id)}
            yield from _call_links(task, task.rollback, catalogue, own, item=None, field="rollback.args")


def output_schemas(plan: Plan, catalogue: Catalogue, findings: Mapping[str, Preflight]) -> dict[str, JsonSchema | None]:
    """Return for each task the schema of its recorded output: the narrowest known, a list of it under `for_each`."""
    schemas: dict[str, JsonSchema | None] = {}
    for task in plan.tasks:
        found, spec = findings.get(task.id), catalogue.get(task.tool)
        one = (found and found.output_schema) or (spec and spec.output_schema) or None
        schemas[task.id] = {"type": "array", "items": one or {}} if task.for_each is not None else one
    return schemas


def _item_schema(task: Task, outputs: Mapping[str, JsonSchema | None]) -> JsonSchema | None:
    """The schema of one item of `for_each`; None where the task has none."""
    source = special(task.for_each)  # type: ignore[arg-type]  # a dict of JSON values is a JSON value
    if task.for_each is None:
        return None
    if not isinstance(source, OutputOf):
        return {}
    schema = outputs.get(source.task) or {}
    try:
        whole = part(schema, source.path, root=schema)
        return part(whole, (0,), root=schema)
    except NoSuchPath:
        return {}


def _for_each_problems(task: Task, outputs: Mapping[str, JsonSchema | None]) -> Iterator[Problem]:
    if task.for_each is None:
        return
    place = f"task {task.id!r}, for_each"
    source = special(task.for_each)  # type: ignore[arg-type]
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


def _call_links(
    task: Task,
    call: Call,
    catalogue: Catalogue,
    outputs: Mapping[str, JsonSchema | None],
    *,
    item: JsonSchema | None,
    field: str,
) -> Iterator[Problem]:
    spec = catalogue.get(call.tool)
    for where, found in specials(call.args):  # type: ignore[arg-type]
        place = f"task {task.id!r}, {dotted((field, *where))}"
        if isinstance(found, Misfit):
            yield _problem("malformed", task, place, f"this {found.reason}.", 'Write {"output_of": id, "path": [...]}.')
            continue
        if isinstance(found, Item) and item is None:
            yield _problem(
                "bad_for_each",
                task,
                place,
                "an 'item' reference stands in a task without 'for_each'.",
                "Add 'for_each', or use 'output_of'.",
            )
            continue
        if isinstance(found, OutputOf) and found.task not in outputs:
            continue
        wanted = at_argument(spec.args_schema, where) if spec and not _inside_template(call, where) else {}
        root = spec.args_schema if spec else {}
        yield from _two_sided(task, place, found, outputs, item or {}, wanted=wanted, root=root)


def _two_sided(
    task: Task,
    place: str,
    found: Special,
    outputs: Mapping[str, JsonSchema | None],
    item: JsonSchema,
    *,
    wanted: JsonSchema,
    root: JsonSchema,
) -> Iterator[Problem]:
    name, produced, path = _producer(found, outputs, item)
    if not produced:
        return
    try:
        given = part(produced, path, root=produced)
    except NoSuchPath as error:
        yield _problem("unknown_path", task, place, f"{name} {error}.", "Use a path that is there.")
        return
    reason = misfit(given, wanted, roots=(produced, root))
    if reason:
        yield _problem(
            "type_mismatch",
            task,
            place,
            f"{name} {reason}.",
            "Refer to another part, or convert it in a task between.",
        )


def _producer(
    found: Special, outputs: Mapping[str, JsonSchema | None], item: JsonSchema
) -> tuple[str, JsonSchema | None, Place]:
    match found:
        case OutputOf(producer, path):
            shown = f" at {list(path)!r}" if path else ""
            return f"the output of {producer!r}{shown}", outputs[producer], path
        case Item(path):
            return "the item", item, path
        case _:
            return "a template", _TEXT, ()


def _inside_template(call: Call, where: Place) -> bool:
    """Whether the place lies in a template's values, which become text whatever they are."""
    value: object = call.args
    for step in where:
        if isinstance(special(value), Template):  # type: ignore[arg-type]
            return True
        value = value[step]  # type: ignore[index]
    return False


def _problem(kind: ProblemKind, task: Task, place: str, what: str, remedy: str) -> Problem:
    return Problem(kind=kind, place=place, what=what, remedy=remedy, task=task.id)
