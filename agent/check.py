"""A plan document checked against a toolbox: parse, compile, preflight, compile again with what was found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio.to_thread

from agent.core.compile import CompiledPlan, compile_plan
from agent.core.limits import Limits
from agent.core.links import output_schemas
from agent.core.parse import parse_plan
from agent.core.plan import Plan, Task
from agent.core.problem import Problem, dotted
from agent.core.reference import Item, OutputOf, Template, follow, special, without_open
from agent.core.schedule import order, plan_needs
from agent.core.schema import NoSuchPath, part
from agent.core.tool import JsonSchema, Preflight
from agent.tools.catalogue import Toolbox


@dataclass(frozen=True, slots=True)
class Checked:
    """A plan that compiled, its arguments as preflight would have them, and what preflight found by task id."""

    compiled: CompiledPlan
    findings: Mapping[str, Preflight]


async def check_plan(
    document: Any, toolbox: Toolbox, *, limits: Limits, used: Mapping[str, Task | None] | None = None
) -> Checked | tuple[Problem, ...]:
    """Check an untrusted plan document and return it ready to run, or every problem at once.

    Tools with a preflight are asked in topological order, so that what one finds out of its output is known to the
    next. Where the plan is unsound in itself, preflight still checks every call that can be read.
    """
    plan = parse_plan(document, max_tasks=limits.max_tasks)
    if not isinstance(plan, Plan):
        return plan
    first = compile_plan(plan, toolbox.specs, limits=limits, used=used)
    broken = {problem.task for problem in first} if isinstance(first, tuple) else set()
    if isinstance(first, tuple) and any(
        problem.task is None or problem.kind in {"cycle", "duplicate_id"} for problem in first
    ):
        return first
    asked = [
        task
        for task in _ordered(plan)
        if task.id not in broken and task.tool in toolbox and toolbox.offers_preflight(task.tool)
    ]
    if not asked:
        return first if isinstance(first, tuple) else Checked(compiled=first, findings={})
    findings: dict[str, Preflight] = {}
    for task in asked:
        schemas = output_schemas(plan, toolbox.specs, findings)
        findings[task.id] = await anyio.to_thread.run_sync(_ask, toolbox, task, schemas)
    plan = plan.model_copy(update={"tasks": tuple(_mended(task, findings.get(task.id)) for task in plan.tasks)})
    final = compile_plan(plan, toolbox.specs, limits=limits, findings=findings, used=used)
    return final if isinstance(final, tuple) else Checked(compiled=final, findings=findings)


def _ordered(plan: Plan) -> list[Task]:
    tasks = {task.id: task for task in plan.tasks}
    return [tasks[task] for task in order(plan_needs(plan)) if task in tasks]


def _ask(toolbox: Toolbox, task: Task, schemas: Mapping[str, JsonSchema | None]) -> Preflight:
    known, left = without_open(dict(task.args))
    args = known if isinstance(known, dict) else {}
    left_open = {dotted(place): _open_schema(task, place, schemas) for place in left if place}
    return toolbox.preflight(task.tool, args, left_open=left_open)


def _open_schema(task: Task, place: tuple[str | int, ...], schemas: Mapping[str, JsonSchema | None]) -> JsonSchema:
    """Return what is known of the value that a reference will put at `place`."""
    match special(follow(dict(task.args), place, of="args")):
        case OutputOf(producer, path):
            schema = schemas.get(producer) or {}
        case Item(path):
            source = special(task.for_each)
            if not isinstance(source, OutputOf):
                return {}
            schema, path = schemas.get(source.task) or {}, (*source.path, 0, *path)
        case Template():
            return {"type": "string"}
        case _:
            return {}
    try:
        return part(schema, path, root=schema)
    except NoSuchPath:
        return {}


def _mended(task: Task, found: Preflight | None) -> Task:
    """Put preflight's arguments in the place of those it was shown; what was left open stays as the plan has it."""
    if found is None or found.args is None:
        return task
    known, left = without_open(dict(task.args))
    if found.args == known:
        return task
    args: dict[str, Any] = dict(found.args)
    for place in left:
        _put(args, place, follow(dict(task.args), place, of="args"))
    return task.model_copy(update={"args": args})


def _put(args: dict[str, Any], place: tuple[str | int, ...], value: Any) -> None:
    """Set the value at `place`; places left open are always below objects."""
    target = args
    for step in place[:-1]:
        target[str(step)] = dict(target.get(str(step), {}))
        target = target[str(step)]
    target[str(place[-1])] = value
