"""A plan document checked against a toolbox: parse, compile, preflight, compile again with what was found."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError

import anyio.to_thread
from pydantic import JsonValue

from agent.core.compile import CompiledPlan, compile_plan
from agent.core.limits import Limits
from agent.core.links import Rooted, item_schema, output_schemas
from agent.core.parse import parse_plan
from agent.core.plan import Plan, Task
from agent.core.problem import Problem, dotted
from agent.core.reference import Item, OutputOf, Place, Template, follow, known_args, special
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
    document: object, toolbox: Toolbox, *, limits: Limits, used: Mapping[str, Task | None] | None = None
) -> Checked | tuple[Problem, ...]:
    """Check an untrusted plan document and return it ready to run, or every problem at once.

    Tools with a preflight are asked in topological order, so that what one finds out of its output is known to the
    next. Where the plan is unsound in itself, preflight still checks every call that can be read.
    """
    plan = parse_plan(document, max_tasks=limits.max_tasks)
    if not isinstance(plan, Plan):
        return plan
    first = compile_plan(plan, toolbox.specs, limits=limits, used=used)
    problems = first if isinstance(first, tuple) else ()
    if any(problem.task is None for problem in problems):
        return problems
    broken = {problem.task for problem in problems}
    asked = [task for task in _ordered(plan) if task.id not in broken and toolbox.offers_preflight(task.tool)]
    findings: dict[str, Preflight] = {}
    schemas = output_schemas(plan, toolbox.specs, {})
    for task in asked:
        found = await anyio.to_thread.run_sync(_ask, toolbox, task, schemas)
        findings[task.id] = found
        schemas |= output_schemas(Plan(tasks=(task,)), toolbox.specs, findings)
    plan = plan.model_copy(update={"tasks": tuple(_mended(task, findings.get(task.id)) for task in plan.tasks)})
    final = compile_plan(plan, toolbox.specs, limits=limits, findings=findings, used=used) if findings else first
    return final if isinstance(final, tuple) else Checked(compiled=final, findings=findings)


def _ordered(plan: Plan) -> Iterable[Task]:
    """Return the tasks behind what they need; as listed where they wait for each other in a cycle."""
    try:
        found = order(plan_needs(plan))
    except CycleError:
        return plan.tasks
    tasks = {task.id: task for task in plan.tasks}
    return [tasks[task] for task in found]


def _ask(toolbox: Toolbox, task: Task, schemas: Mapping[str, JsonSchema | None]) -> Preflight:
    known, left = known_args(task.args)
    left_open = {dotted(place): _open_schema(task, place, schemas) for place in left}
    return toolbox.preflight(task.tool, known, left_open=left_open)


def _open_schema(task: Task, place: Place, schemas: Mapping[str, JsonSchema | None]) -> JsonSchema:
    """Return what is known of the value that a reference will put at `place`."""
    produced: Rooted | None = None
    path: Place = ()
    match special(follow(task.args, place, of="args")):
        case OutputOf(producer, path):
            schema = schemas.get(producer) or {}
            produced = Rooted(schema, schema)
        case Item(path):
            produced = item_schema(task, schemas)
        case Template():
            return {"type": "string"}
    if produced is None:
        return {}
    try:
        found = part(produced.schema, path, root=produced.root)
    except NoSuchPath:
        return {}
    # What is cut out of a document still points into it.
    definitions: JsonSchema = {word: produced.root[word] for word in ("$defs", "definitions") if word in produced.root}
    return {**definitions, **found}


def _mended(task: Task, found: Preflight | None) -> Task:
    """Put preflight's arguments in the place of those it was shown; what was left open stays as the plan has it."""
    if found is None or found.args is None:
        return task
    known, left = known_args(task.args)
    if found.args == known:
        return task
    args: dict[str, JsonValue] = dict(found.args)
    for place in left:
        _put(args, place, follow(task.args, place, of="args"))
    return task.model_copy(update={"args": args})


def _put(args: dict[str, JsonValue], place: Place, value: JsonValue) -> None:
    """Set the value at `place`; places left open are always below objects."""
    target = args
    for step in map(str, place[:-1]):
        below = target.get(step)
        inner = dict(below) if isinstance(below, dict) else {}
        target[step] = inner
        target = inner
    target[str(place[-1])] = value
