"""A plan document checked against a toolbox: parse, compile, preflight, compile again with what was found."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from graphlib import CycleError

import anyio.to_thread
from pydantic import JsonValue

from agent.core.compiler.compiler import CompiledPlan, compile_plan
from agent.core.compiler.partial_plan import check_partial_plan
from agent.core.compiler.reference_check import RootedSchema, get_item_schema, get_output_schemas
from agent.core.plan.dependencies import build_dependency_graph, list_dependencies, sort_topologically
from agent.core.plan.document import Plan, Task
from agent.core.plan.hashing import hash_json
from agent.core.plan.json_schema import NoSuchPath, get_subschema
from agent.core.plan.limits import Limits
from agent.core.plan.parser import parse_plan
from agent.core.plan.problems import Problem, collect_problems, format_path
from agent.core.plan.references import (
    ItemReference,
    JsonPath,
    OutputReference,
    Template,
    follow_path,
    parse_reference,
    split_open_args,
)
from agent.core.plan.tool_spec import JsonSchema, Preflight
from agent.tools.toolbox import Toolbox


@dataclass(frozen=True, slots=True)
class CheckedPlan:
    """A plan that compiled, its arguments as preflight would have them, and what preflight found by task id."""

    compiled: CompiledPlan
    findings: Mapping[str, Preflight]


class PreflightChecker:
    """What the preflights of a toolbox find; a call that one has passed is not asked about again."""

    def __init__(self, toolbox: Toolbox) -> None:
        self.toolbox = toolbox
        self._passed: dict[str, Preflight] = {}
        self._lock = asyncio.Lock()

    async def check_call(self, task: Task, schemas: Mapping[str, JsonSchema | None]) -> Preflight:
        """Return what is found about the call of `task`; `schemas` are those of the outputs that it may refer to."""
        known, left = split_open_args(task.args)
        left_open = {format_path(place): _get_reference_schema(task, place, schemas) for place in left}
        call = hash_json({"tool": task.tool, "args": known, "open": {**left_open}})
        async with self._lock:
            found = self._passed.get(call)
            if found is None:
                ask = partial(self.toolbox.preflight, task.tool, known, left_open=left_open)
                found = await anyio.to_thread.run_sync(ask)
                # A problem may pass, such as a database that was away.
                if not found.problems:
                    self._passed[call] = found
        return found


async def check_plan(
    document: object,
    toolbox: Toolbox,
    *,
    limits: Limits,
    used: Mapping[str, Task | None] | None = None,
    preflights: PreflightChecker | None = None,
) -> CheckedPlan | tuple[Problem, ...]:
    """Check an untrusted plan document and return it ready to run, or every problem at once.

    Tools with a preflight are asked in topological order, so that what one finds out of its output is known to the
    next. Where the plan is unsound in itself, preflight still checks every call that can be read. `preflights` are
    those that were made for the same plan before.
    """
    preflights = preflights or PreflightChecker(toolbox)
    plan = parse_plan(document, max_tasks=limits.max_tasks)
    if not isinstance(plan, Plan):
        return collect_problems((*plan, *check_partial_plan(document, toolbox.specs, limits=limits)))
    first = compile_plan(plan, toolbox.specs, limits=limits, used=used)
    problems = first if isinstance(first, tuple) else ()
    if any(problem.task is None for problem in problems):
        return problems
    broken = {problem.task for problem in problems}
    offering = {task.id for task in plan.tasks if task.id not in broken and toolbox.has_preflight(task.tool)}
    asked = [task for task in _sort_tasks(plan) if task.id in offering] if offering else []
    findings: dict[str, Preflight] = {}
    schemas = get_output_schemas(plan, toolbox.specs, {})
    for task in asked:
        found = await preflights.check_call(task, schemas)
        findings[task.id] = found
        schemas |= get_output_schemas(Plan(tasks=(task,)), toolbox.specs, findings)
    plan = plan.model_copy(
        update={"tasks": tuple(_apply_preflight_arguments(task, findings.get(task.id)) for task in plan.tasks)}
    )
    final = compile_plan(plan, toolbox.specs, limits=limits, findings=findings, used=used) if findings else first
    return final if isinstance(final, tuple) else CheckedPlan(compiled=final, findings=findings)


async def check_task(
    task: Task,
    before: Mapping[str, Task],
    preflights: PreflightChecker,
    *,
    limits: Limits,
    findings: dict[str, Preflight],
) -> Task | None:
    """Check one task of a plan that is still being written, and return it as preflight would have it.

    `before` are the tasks that have been checked, `findings` what preflight found of them; that of `task` is added.
    None: it has a problem, or needs a task that is not among those before. Takes time for its own needs only.
    """
    needs = list_dependencies(task)
    if any(need not in before for need in needs):
        return None
    producers, specs = [before[need] for need in needs], preflights.toolbox.specs

    def is_sound(checked: Task) -> bool:
        found = compile_plan(Plan(tasks=(*producers, checked)), specs, limits=limits, findings=findings)
        # What the producers need in their turn is left out, which is a problem of theirs here only.
        return not isinstance(found, tuple) or not any(one.task in {checked.id, None} for one in found)

    if not is_sound(task):
        return None
    if not preflights.toolbox.has_preflight(task.tool):
        return task
    schemas = get_output_schemas(Plan(tasks=(*producers, task)), specs, findings)
    findings[task.id] = await preflights.check_call(task, schemas)
    mended = _apply_preflight_arguments(task, findings[task.id])
    return mended if is_sound(mended) else None


def _sort_tasks(plan: Plan) -> Iterable[Task]:
    """Return the tasks behind what they need; as listed where they wait for each other in a cycle."""
    try:
        found = sort_topologically(build_dependency_graph(plan))
    except CycleError:
        return plan.tasks
    tasks = {task.id: task for task in plan.tasks}
    return [tasks[task] for task in found]


def _get_reference_schema(task: Task, place: JsonPath, schemas: Mapping[str, JsonSchema | None]) -> JsonSchema:
    """Return what is known of the value that a reference will put at `place`."""
    produced: RootedSchema | None = None
    path: JsonPath = ()
    match parse_reference(follow_path(task.args, place, of="args")):
        case OutputReference(producer, path):
            schema = schemas.get(producer) or {}
            produced = RootedSchema(schema, schema)
        case ItemReference(path):
            produced = get_item_schema(task, schemas)
        case Template():
            return {"type": "string"}
    if produced is None:
        return {}
    try:
        found = get_subschema(produced.schema, path, root=produced.root)
    except NoSuchPath:
        return {}
    # What is cut out of a document still points into it.
    definitions: JsonSchema = {word: produced.root[word] for word in ("$defs", "definitions") if word in produced.root}
    return {**definitions, **found}


def _apply_preflight_arguments(task: Task, found: Preflight | None) -> Task:
    """Put preflight's arguments in the place of those it was shown; what was left open stays as the plan has it."""
    if found is None or found.args is None:
        return task
    known, left = split_open_args(task.args)
    if found.args == known:
        return task
    args: dict[str, JsonValue] = dict(found.args)
    for place in left:
        _set_at_place(args, place, follow_path(task.args, place, of="args"))
    return task.model_copy(update={"args": args})


def _set_at_place(args: dict[str, JsonValue], place: JsonPath, value: JsonValue) -> None:
    """Set the value at `place`; places left open are always below objects."""
    target = args
    for step in map(str, place[:-1]):
        below = target.get(step)
        inner = dict(below) if isinstance(below, dict) else {}
        target[step] = inner
        target = inner
    target[str(place[-1])] = value
