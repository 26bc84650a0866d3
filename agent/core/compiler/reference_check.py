"""Checks references from both sides: the path against the producer's output, its type against the argument."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import JsonValue

from agent.core.compiler.condition_check import find_condition_faults
from agent.core.plan.conditions import is_parsable
from agent.core.plan.dependencies import DependencyGraph, ancestors, build_dependency_graph
from agent.core.plan.document import Call, Plan, Task
from agent.core.plan.json_schema import (
    NoSuchPath,
    find_allowed_types,
    find_mismatch,
    get_argument_schema,
    get_subschema,
)
from agent.core.plan.problems import Problem, ProblemKind, format_path, format_value
from agent.core.plan.references import (
    InvalidReference,
    ItemReference,
    JsonPath,
    OutputReference,
    Reference,
    Template,
    find_argument_references,
    find_references,
    has_item_reference,
    parse_reference,
)
from agent.core.plan.tool_spec import Catalogue, JsonSchema, Preflight

_TEXT_SCHEMA: JsonSchema = {"type": "string"}


class RootedSchema(NamedTuple):
    """A schema and the document in which its local references are looked up."""

    schema: JsonSchema
    root: JsonSchema


def check_references(plan: Plan, catalogue: Catalogue, findings: Mapping[str, Preflight]) -> Iterator[Problem]:
    """Yield the problems of the references of every task: invalid form, unknown path, type that cannot fit."""
    outputs = get_output_schemas(plan, catalogue, findings)
    needs = build_dependency_graph(plan) if any(task.rollback is not None for task in plan.tasks) else {}
    for task in plan.tasks:
        yield from _check_for_each(task, outputs)
        yield from _check_condition(task, outputs)
        yield from _check_call_references(
            task, task, catalogue, outputs, item=get_item_schema(task, outputs), field="args"
        )
        if task.rollback is not None:
            yield from _check_rollback(task, task.rollback, needs)
            item, known = get_item_schema(task, outputs), outputs
            if item is not None and has_item_reference(task.rollback.args):
                # It runs once for each item, and the output that it refers to is what that item returned.
                known = {**outputs, task.id: _get_call_schema(task, catalogue, findings)}
            yield from _check_call_references(task, task.rollback, catalogue, known, item=item, field="rollback.args")


def _check_for_each(task: Task, outputs: Mapping[str, JsonSchema | None]) -> Iterator[Problem]:
    if task.for_each is None:
        yield from _check_item_options(task)
        return
    place = f"task {task.id!r}, for_each"
    if isinstance(task.for_each, list):
        return
    source = parse_reference(task.for_each)
    if not isinstance(source, OutputReference):
        yield _make_problem(
            "bad_for_each",
            task,
            place,
            f"{task.for_each!r} is neither a reference nor a list.",
            'Write {"output_of": id, "path": [...]}, or the list.',
        )
        return
    schema = outputs.get(source.task)
    if not schema:
        return
    try:
        kinds = find_allowed_types(get_subschema(schema, source.path, root=schema), schema)
    except NoSuchPath as error:
        yield _make_problem(
            "unknown_path",
            task,
            place,
            f"the output of {source.task!r} {error}.",
            "Use a path that exists.",
        )
        return
    if kinds is not None and "array" not in kinds:
        yield _make_problem(
            "bad_for_each",
            task,
            place,
            f"the output of {source.task!r} is not a list at {list(source.path)!r}.",
            "Refer to a list.",
        )


def _check_item_options(task: Task) -> Iterator[Problem]:
    """Yield the fields about items that a task without `for_each` sets."""
    for name, is_set in (
        ("on_item_failure", task.on_item_failure != "finish"),
        ("max_concurrency", task.max_concurrency is not None),
    ):
        if is_set:
            what = f"{name!r} is about the items of a 'for_each', and the task has none."
            place, remedy = f"task {task.id!r}, {name}", f"Add 'for_each', or drop {name!r}."
            yield _make_problem("bad_for_each", task, place, what, remedy)


def _check_condition(task: Task, outputs: Mapping[str, JsonSchema | None]) -> Iterator[Problem]:
    """Yield what the output schemas rule out of a condition that parses; the compiler reports one that does not."""
    if task.condition is None or not is_parsable(task.condition):
        return
    place = f"task {task.id!r}, condition"
    remedy = "Use members that exist and compare values of the same type; the result must be true or false."
    for fault in find_condition_faults(task.condition, outputs):
        yield _make_problem("bad_condition", task, place, f"{format_value(task.condition)} {fault}.", remedy)


def _check_call_references(
    task: Task,
    call: Call,
    catalogue: Catalogue,
    outputs: Mapping[str, JsonSchema | None],
    *,
    item: RootedSchema | None,
    field: str,
) -> Iterator[Problem]:
    spec = catalogue.get(call.tool)
    for where, found in find_argument_references(call.args):
        place = f"task {task.id!r}, {format_path((field, *where))}"
        if isinstance(found, InvalidReference):
            yield _make_problem(
                "malformed", task, place, f"this {found.reason}.", 'Write {"output_of": id, "path": [...]}.'
            )
        elif isinstance(found, ItemReference) and item is None:
            if call is task:
                what, remedy = (
                    "an 'item' reference is used in a task without 'for_each'.",
                    "Add 'for_each' to the task.",
                )
                yield _make_problem("bad_for_each", task, place, what, remedy)
        elif not (isinstance(found, OutputReference) and found.task not in outputs):
            wanted = (
                get_argument_schema(spec.args_schema, where) if spec and not _is_inside_template(call, where) else {}
            )
            root = spec.args_schema if spec else {}
            yield from _check_types(task, place, found, outputs, item, wanted=RootedSchema(wanted, root))


def _check_types(
    task: Task,
    place: str,
    found: Reference,
    outputs: Mapping[str, JsonSchema | None],
    item: RootedSchema | None,
    *,
    wanted: RootedSchema,
) -> Iterator[Problem]:
    name, produced, path = _find_producer(found, outputs, item)
    try:
        given = get_subschema(produced.schema, path, root=produced.root)
    except NoSuchPath as error:
        yield _make_problem("unknown_path", task, place, f"{name} {error}.", "Use a path that exists.")
        return
    reason = find_mismatch(given, wanted.schema, roots=(produced.root, wanted.root))
    if reason:
        remedy = "Refer to another part, or convert it in a task in between."
        yield _make_problem("type_mismatch", task, place, f"{name} {reason}.", remedy)


def _find_producer(
    found: Reference, outputs: Mapping[str, JsonSchema | None], item: RootedSchema | None
) -> tuple[str, RootedSchema, JsonPath]:
    match found:
        case OutputReference(producer, path):
            at = f" at {list(path)!r}" if path else ""
            schema = outputs[producer] or {}
            return f"the output of {producer!r}{at}", RootedSchema(schema, schema), path
        case ItemReference(path):
            return "the item", item or RootedSchema({}, {}), path
        case _:
            return "a template", RootedSchema(_TEXT_SCHEMA, _TEXT_SCHEMA), ()


def _is_inside_template(call: Call, where: JsonPath) -> bool:
    """Whether the place is inside the values of a template, which become text whatever they are."""
    value: Any = call.args[str(where[0])]
    for step in where[1:]:
        if isinstance(parse_reference(value), Template):
            return True
        value = value[step]
    return False


def _check_rollback(task: Task, rollback: Call, needs: DependencyGraph) -> Iterator[Problem]:
    """Yield references to what may not exist when the task is done: only its own output and what it waited for do."""
    known: dict[str, None] | None = None
    for where, found in find_argument_references(rollback.args):
        place = f"task {task.id!r}, {format_path(('rollback.args', *where))}"
        if isinstance(found, ItemReference) and task.for_each is None:
            what = "an 'item' reference is used in the rollback of a task without 'for_each'."
            yield _make_problem("bad_rollback", task, place, what, f"Refer to the output of {task.id!r}.")
        elif isinstance(found, OutputReference) and found.task != task.id:
            known = known if known is not None else ancestors(needs, task.id)
            if found.task not in known:
                what = f"it refers to {format_value(found.task)}, which {task.id!r} does not wait for."
                remedy = f"Refer to {task.id!r} or to a task that it waits for."
                yield _make_problem("bad_rollback", task, place, what, remedy)


def get_output_schemas(
    plan: Plan, catalogue: Catalogue, findings: Mapping[str, Preflight]
) -> dict[str, JsonSchema | None]:
    """Return the narrowest known schema of each task's output, None if unknown; with `for_each` that of a list."""
    schemas: dict[str, JsonSchema | None] = {}
    for task in plan.tasks:
        one = _get_call_schema(task, catalogue, findings)
        if task.for_each is None:
            schemas[task.id] = one
        elif one and task.on_item_failure == "null":
            schemas[task.id] = {"type": "array", "items": {"anyOf": [one, {"type": "null"}]}}
        else:
            schemas[task.id] = {"type": "array", "items": one or {}}
    return schemas


def _get_call_schema(task: Task, catalogue: Catalogue, findings: Mapping[str, Preflight]) -> JsonSchema | None:
    found, spec = findings.get(task.id), catalogue.get(task.tool)
    return (found and found.output_schema) or (spec and spec.output_schema) or None


def get_item_schema(task: Task, outputs: Mapping[str, JsonSchema | None]) -> RootedSchema | None:
    """Return the schema of one item of `for_each`, `{}` if nothing is known; None if the task has no `for_each`."""
    if task.for_each is None:
        return None
    if isinstance(task.for_each, list):
        schema = {} if any(find_references(task.for_each)) else _describe_items(task.for_each)
        return RootedSchema(schema, schema)
    source = parse_reference(task.for_each)
    root = outputs.get(source.task) if isinstance(source, OutputReference) else None
    if not root or not isinstance(source, OutputReference):
        return RootedSchema({}, {})
    try:
        return RootedSchema(get_subschema(get_subschema(root, source.path, root=root), (0,), root=root), root)
    except NoSuchPath:
        return RootedSchema({}, {})


def _describe_items(items: list[JsonValue]) -> JsonSchema:
    """Return a schema of the items of a list that the plan contains."""
    records = [item for item in items if isinstance(item, dict)]
    if not items or len(records) < len(items):
        return {"enum": items} if items else {}
    columns = {name: [record[name] for record in records if name in record] for record in records for name in record}
    properties = {name: {"enum": values} for name, values in columns.items()}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _make_problem(kind: ProblemKind, task: Task, place: str, what: str, remedy: str) -> Problem:
    return Problem(kind=kind, place=place, what=what, remedy=remedy, task=task.id)
