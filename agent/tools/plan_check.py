"""Checks a plan document against a toolbox: parse, compile, preflight, compile again with the findings."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from graphlib import CycleError

from pydantic import JsonValue

from agent.core.compiler.compiler import CompiledPlan, compile_plan
from agent.core.compiler.partial_plan import check_partial_plan
from agent.core.compiler.program_inputs import (
    DeclaredInputs,
    bind_input_values,
    build_undeclared_inputs_problem,
    declare_inputs,
    reword_problem,
)
from agent.core.compiler.reference_check import RootedSchema, get_item_schema, get_output_schemas
from agent.core.plan.dependencies import build_dependency_graph, list_dependencies, sort_topologically
from agent.core.plan.document import INPUTS_TOOL, ArgumentRepair, Call, Plan, Task
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
from agent.core.plan.tool_spec import Catalogue, JsonSchema, Preflight
from agent.tools.sql.query_process import run_cancellable
from agent.tools.toolbox import Toolbox

#: Characters of an argument in a sentence about it.
_MAX_PREVIEW_LENGTH = 120


@dataclass(frozen=True, slots=True)
class CheckedPlan:
    """A plan that compiled, with the arguments that preflight returned, and the findings of preflight by task id."""

    compiled: CompiledPlan
    findings: Mapping[str, Preflight]

    def list_warnings(self) -> dict[str, list[str]]:
        """Return, by task id, a sentence for whatever was changed in its arguments or looks wrong in them."""
        told = {
            task.id: [
                *(task.repaired.changes if task.repaired is not None else ()),
                *(self.findings[task.id].warnings if task.id in self.findings else ()),
            ]
            for task in self.compiled.plan.tasks
        }
        return {task: sentences for task, sentences in told.items() if sentences}


class PreflightChecker:
    """Runs the preflights of a toolbox; a call that has passed is not checked again."""

    def __init__(self, toolbox: Toolbox, *, goal: str | None = None, kept: Iterable[Call] = ()) -> None:
        """Check the calls that a model wrote for `goal`; None: those of a caller, which are never changed.

        Nor are the calls in `kept`, which stand in an earlier plan already.
        """
        self.toolbox = toolbox
        self._goal = goal
        self._kept = {_hash_call(call) for call in kept}
        self._passed: dict[str, Preflight] = {}
        self._lock = asyncio.Lock()

    async def check_call(self, task: Task, schemas: Mapping[str, JsonSchema | None]) -> Preflight:
        """Return the findings about the call of `task`; `schemas` are those of the outputs that it may refer to."""
        known, open_paths = split_open_args(task.args)
        left_open = {format_path(path): _get_reference_schema(task, path, schemas) for path in open_paths}
        goal = None if self._kept and _hash_call(task) in self._kept else self._goal
        call = hash_json({"tool": task.tool, "args": known, "open": {**left_open}, "goal": goal})
        async with self._lock:
            finding = self._passed.get(call)
            if finding is None:
                run_preflight = partial(self.toolbox.preflight, task.tool, known, left_open=left_open, goal=goal)
                finding = _describe_changes(await run_cancellable(run_preflight), known, may_change=goal is not None)
                # A problem may be temporary, such as a database that could not be reached.
                if not finding.problems:
                    self._passed[call] = finding
        return finding


def _hash_call(call: Call) -> str:
    return hash_json({"tool": call.tool, "args": call.args})


def _preview(value: JsonValue) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_PREVIEW_LENGTH else f"{text[: _MAX_PREVIEW_LENGTH - 3]}..."


def _describe_changes(finding: Preflight, known: Mapping[str, JsonValue], *, may_change: bool) -> Preflight:
    """Return a finding that tells each argument it changes; if none may be changed, it warns of them instead."""
    changed = {name for name, value in (finding.args or known).items() if name not in known or known[name] != value}
    if not changed:
        return finding
    told = finding.notes or tuple(
        f"{name!r} is {_preview(known.get(name))}; the tool takes {_preview((finding.args or {}).get(name))}."
        for name in sorted(changed)
    )
    if may_change:
        return finding.model_copy(update={"notes": told})
    return finding.model_copy(update={"args": None, "notes": (), "warnings": (*finding.warnings, *told)})


async def check_plan(
    document: object,
    toolbox: Toolbox,
    *,
    limits: Limits,
    used: Mapping[str, Task | None] | None = None,
    preflights: PreflightChecker | None = None,
    needs_values: bool = True,
) -> CheckedPlan | tuple[Problem, ...]:
    """Check an untrusted plan document and return it ready to run, or every problem at once.

    A plan with inputs is returned with their values in place; unless `needs_values`, one without values is checked as
    far as it can be, and returned with the task that stands for its inputs.

    Preflights run in topological order, so that the output schema that one finds is known to the next. If the plan does
    not compile, preflight still checks every call that can be parsed. `used` are the tasks of earlier revisions by id,
    `preflights` a checker that was used for the same plan before, or one for a model's plan; without it the plan is a
    caller's, whose arguments stay as they are.
    """
    preflights = preflights or PreflightChecker(toolbox)
    plan = parse_plan(document, max_tasks=limits.max_tasks)
    if not isinstance(plan, Plan):
        return collect_problems((*plan, *check_partial_plan(document, toolbox.specs, limits=limits)))
    if plan.inputs is None:
        if plan.input_values:
            return (build_undeclared_inputs_problem(plan.input_values),)
        return await _check_parsed(plan, preflights, toolbox.specs, limits=limits, used=used)
    declared = declare_inputs(plan)
    if not isinstance(declared, DeclaredInputs):
        return declared
    specs = {**toolbox.specs, INPUTS_TOOL: declared.spec}
    widened = limits.model_copy(update={"max_tasks": limits.max_tasks + 1})
    abstract = compile_plan(declared.abstract, specs, limits=widened, used=used)
    bound = bind_input_values(plan, declared.schema)
    is_open = not needs_values and plan.input_values is None
    if isinstance(abstract, CompiledPlan) and isinstance(bound, Plan) and not is_open:
        return await _check_parsed(bound, preflights, toolbox.specs, limits=limits, used=used)
    checked = await _check_parsed(declared.abstract, preflights, specs, limits=widened, used=used)
    problems = [reword_problem(problem) for problem in (checked if isinstance(checked, tuple) else ())]
    unfit = () if is_open or isinstance(bound, Plan) else bound
    # What the check of the schemas has found in a task, the values need not say again.
    found = collect_problems((*problems, *(each for each in unfit if each.task is None or not problems)))
    return checked if isinstance(checked, CheckedPlan) and not found else found


async def _check_parsed(
    plan: Plan,
    preflights: PreflightChecker,
    specs: Catalogue,
    *,
    limits: Limits,
    used: Mapping[str, Task | None] | None,
) -> CheckedPlan | tuple[Problem, ...]:
    toolbox = preflights.toolbox
    first = compile_plan(plan, specs, limits=limits, used=used)
    problems = first if isinstance(first, tuple) else ()
    if any(problem.task is None for problem in problems):
        return problems
    broken = {problem.task for problem in problems}
    checkable = {
        task.id
        for task in plan.tasks
        if task.id not in broken and task.tool in toolbox and toolbox.has_preflight(task.tool)
    }
    findings: dict[str, Preflight] = {}
    schemas = get_output_schemas(plan, specs, {})
    for task in [task for task in _sort_tasks(plan) if task.id in checkable] if checkable else []:
        findings[task.id] = await preflights.check_call(task, schemas)
        schemas |= get_output_schemas(Plan(tasks=(task,)), specs, findings)
    plan = plan.model_copy(
        update={"tasks": tuple(_apply_preflight_arguments(task, findings.get(task.id)) for task in plan.tasks)}
    )
    final = compile_plan(plan, specs, limits=limits, findings=findings, used=used) if findings else first
    return final if isinstance(final, tuple) else CheckedPlan(compiled=final, findings=findings)


async def check_task(
    task: Task,
    before: Mapping[str, Task],
    preflights: PreflightChecker,
    *,
    limits: Limits,
    findings: dict[str, Preflight],
) -> Task | None:
    """Check one task of a plan that is still being written, and return it with the arguments that preflight returned.

    `before` are the tasks that have been checked, `findings` the findings of preflight about them; that about `task` is
    added. None: it has a problem, or needs a task that is not in `before`. The time depends on its own needs only.
    """
    needs = list_dependencies(task)
    if any(need not in before for need in needs):
        return None
    producers, specs = [before[need] for need in needs], preflights.toolbox.specs

    def compiles(checked: Task) -> bool:
        compiled = compile_plan(Plan(tasks=(*producers, checked)), specs, limits=limits, findings=findings)
        # What the producers need in turn is left out; the problems that they have for that are none of the plan.
        return not isinstance(compiled, tuple) or not any(one.task in {checked.id, None} for one in compiled)

    if not compiles(task):
        return None
    if not preflights.toolbox.has_preflight(task.tool):
        return task
    schemas = get_output_schemas(Plan(tasks=(*producers, task)), specs, findings)
    findings[task.id] = await preflights.check_call(task, schemas)
    updated = _apply_preflight_arguments(task, findings[task.id])
    return updated if compiles(updated) else None


def _sort_tasks(plan: Plan) -> Iterable[Task]:
    """Return the tasks, each after its dependencies; in the order of the plan if there is a cycle."""
    try:
        order = sort_topologically(build_dependency_graph(plan))
    except CycleError:
        return plan.tasks
    tasks = {task.id: task for task in plan.tasks}
    return [tasks[task] for task in order]


def _get_reference_schema(task: Task, location: JsonPath, schemas: Mapping[str, JsonSchema | None]) -> JsonSchema:
    """Return what is known of the value that a reference will put at `location`."""
    produced: RootedSchema | None = None
    path: JsonPath = ()
    match parse_reference(follow_path(task.args, location, of="args")):
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
        schema = get_subschema(produced.schema, path, root=produced.root)
    except NoSuchPath:
        return {}
    # The references inside a part of a schema still point to the definitions of the whole.
    definitions: JsonSchema = {word: produced.root[word] for word in ("$defs", "definitions") if word in produced.root}
    return {**definitions, **schema}


def _apply_preflight_arguments(task: Task, finding: Preflight | None) -> Task:
    """Replace the arguments that preflight was shown by those it returned; what was left open stays as in the plan."""
    if finding is None or finding.args is None:
        return task
    known, open_paths = split_open_args(task.args)
    if finding.args == known:
        return task
    args: dict[str, JsonValue] = dict(finding.args)
    for path in open_paths:
        _set_at_path(args, path, follow_path(task.args, path, of="args"))
    return task.model_copy(update={"args": args, "repaired": _add_repair(task, args, changes=finding.notes)})


def _add_repair(task: Task, args: Mapping[str, JsonValue], *, changes: tuple[str, ...]) -> ArgumentRepair:
    """Return what was changed in a task that is about to get `args`, including what was changed before."""
    before = task.repaired or ArgumentRepair(as_written={}, changes=())
    written = {name: value for name, value in task.args.items() if args.get(name) != value}
    return ArgumentRepair(
        as_written={**written, **before.as_written}, changes=tuple(dict.fromkeys((*before.changes, *changes)))
    )


def _set_at_path(args: dict[str, JsonValue], path: JsonPath, value: JsonValue) -> None:
    """Set the value at `path`; the steps to an argument that was left open are always keys of objects."""
    target = args
    for step in map(str, path[:-1]):
        child = target.get(step)
        inner = dict(child) if isinstance(child, dict) else {}
        target[step] = inner
        target = inner
    target[str(path[-1])] = value
