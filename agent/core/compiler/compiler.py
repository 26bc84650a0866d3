"""The plan compiler: turns a plan and a catalogue into a compiled plan, or returns all problems."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from types import MappingProxyType

from agent.core.compiler.argument_check import check_arguments, did_you_mean
from agent.core.compiler.reference_check import check_references
from agent.core.compiler.secret_check import check_secrets
from agent.core.plan.conditions import CEL_FUNCTIONS, ConditionError, find_condition_tasks, find_unknown_functions
from agent.core.plan.dependencies import (
    DependencyGraph,
    build_dependency_graph,
    list_dependencies,
    ranks,
    sort_topologically,
)
from agent.core.plan.document import INPUTS, INPUTS_TOOL, Call, Plan, Task, make_free_id
from agent.core.plan.limits import Limits
from agent.core.plan.parser import build_too_many_tasks_problem
from agent.core.plan.problems import Problem, collect_problems, format_value
from agent.core.plan.tool_spec import Catalogue, Preflight, ToolSpec

#: No tool's duration is known, so every task counts 1.
NO_DURATIONS: Mapping[str, float] = MappingProxyType({})
#: Each cycle costs another pass over the whole graph.
_MAX_CYCLES = 10
#: How many tasks of a cycle are named.
_MAX_CYCLE_LENGTH = 20


@dataclass(frozen=True, slots=True)
class CompiledPlan:
    """A plan that can run, with what is derived from it; never stored, but compiled again from plan and catalogue."""

    plan: Plan
    catalogue: Catalogue
    tasks: Mapping[str, Task]
    needs: DependencyGraph
    #: The tasks, each after what it needs.
    order: tuple[str, ...]
    #: Length of the longest path from the start of a task to the end of the plan, in seconds as far as they are known.
    ranks: Mapping[str, float] = field(default_factory=dict)

    def get_spec(self, task_id: str) -> ToolSpec:
        """Return the spec of the tool that a task calls."""
        return self.catalogue[self.tasks[task_id].tool]


def compile_plan(
    plan: Plan,
    catalogue: Catalogue,
    *,
    limits: Limits,
    findings: Mapping[str, Preflight] | None = None,
    used: Mapping[str, Task | None] | None = None,
) -> CompiledPlan | tuple[Problem, ...]:
    """Check `plan` against `catalogue` and return it compiled, or all of its problems (at most the first 200).

    `findings` are the preflight results by task id: their problems count, and their output schemas replace those of
    the tools. `used` has the ids that already have a result in this thread, each with the task that got it, or None if
    no task may have this id again: only a task with the same work may keep its id.
    """
    if len(plan.tasks) > limits.max_tasks:
        return (build_too_many_tasks_problem(len(plan.tasks), limits.max_tasks),)
    if not plan.tasks:
        return (Problem(kind="empty_plan", place="plan", what="it has no tasks.", remedy="Give at least one task."),)
    problems = collect_problems(
        chain(
            _check_ids(plan, used or {}),
            # Before the graph, which parses every condition: parse errors are slow to make, and this ends at the 200th.
            (problem for task in plan.tasks for problem in _check_task(plan, task, catalogue, limits)),
            _check_graph(plan),
            check_references(plan, catalogue, findings or {}),
            _collect_preflight_problems(plan, findings or {}),
        )
    )
    return problems or link_plan(plan, catalogue)


def check_structure(plan: Plan) -> tuple[Problem, ...]:
    """Return the problems of ids, references and order, which do not depend on the tools."""
    return collect_problems(chain(_check_ids(plan, {}), _check_graph(plan)))


def link_plan(plan: Plan, catalogue: Catalogue, *, durations: Mapping[str, float] = NO_DURATIONS) -> CompiledPlan:
    """Return a plan that has no problems as compiled; `durations` are seconds by tool, 1 if unknown."""
    needs = build_dependency_graph(plan)
    compiled = CompiledPlan(
        plan=plan,
        catalogue=catalogue,
        tasks={task.id: task for task in plan.tasks},
        needs=needs,
        order=tuple(sort_topologically(needs)),
    )
    return assign_ranks(compiled, durations=durations)


def assign_ranks(compiled: CompiledPlan, *, durations: Mapping[str, float]) -> CompiledPlan:
    """Return `compiled` with ranks for these durations, in seconds by tool, 1 if unknown."""
    tasks = compiled.tasks
    found = ranks(compiled.needs, duration=lambda task: durations.get(tasks[task].tool, 1.0), ordered=compiled.order)
    return replace(compiled, ranks=found)


def _check_ids(plan: Plan, used: Mapping[str, Task | None]) -> Iterator[Problem]:
    counts = Counter(task.id for task in plan.tasks)
    for task_id, count in counts.items():
        if count > 1:
            yield Problem(
                kind="duplicate_id",
                place=f"task {task_id!r}",
                task=task_id,
                what=f"{count} tasks have the id {task_id!r}.",
                remedy="Give each task an id of its own.",
            )
    for task in plan.tasks:
        if task.id in used and not _is_same_work(task, used[task.id]):
            yield Problem(
                kind="used_id",
                place=f"task {task.id!r}",
                task=task.id,
                what=f"the id {task.id!r} already has a result in this thread and cannot mean another task.",
                remedy=f"Give the new task an id of its own, such as {make_free_id(task.id, {*used, *counts})!r}.",
            )


def _is_same_work(task: Task, before: Task | None) -> bool:
    return before is not None and _get_work_key(task) == _get_work_key(before)


def _get_work_key(task: Task) -> tuple[object, ...]:
    return task.tool, task.args, task.for_each, task.condition, task.on_item_failure


def _check_graph(plan: Plan) -> Iterator[Problem]:
    position = {task.id: index for index, task in reversed(list(enumerate(plan.tasks)))}
    for index, task in enumerate(plan.tasks):
        for need in list_dependencies(task):
            if need == INPUTS and plan.inputs is not None:
                continue
            yield from _check_dependency(plan, task, need, index=index, position=position)
    graph = {
        task: [need for need in needs if need in position and need != task]
        for task, needs in build_dependency_graph(plan).items()
    }
    for cycle in _find_cycles(graph):
        shown_cycle = cycle if len(cycle) <= _MAX_CYCLE_LENGTH else [*cycle[:_MAX_CYCLE_LENGTH], "...", cycle[-1]]
        yield Problem(
            kind="cycle",
            place=f"task {cycle[0]!r}",
            task=cycle[0],
            what=f"these tasks wait for each other in a cycle: {' -> '.join(shown_cycle)}.",
            remedy="Drop one of these dependencies.",
        )


def _find_cycles(graph: Mapping[str, Iterable[str]]) -> Iterator[list[str]]:
    """Yield cycles that have no task in common, each as a path from a task through what it waits for back to itself."""
    left = {task: list(needs) for task, needs in graph.items()}
    for _ in range(_MAX_CYCLES):
        try:
            TopologicalSorter(left).prepare()
        except CycleError as error:
            cycle: list[str] = error.args[1]
            yield cycle[::-1]
            named = set(cycle)
            left = {task: [need for need in left[task] if need not in named] for task in left if task not in named}
        else:
            return


def _check_dependency(
    plan: Plan, task: Task, need: str, *, index: int, position: Mapping[str, int]
) -> Iterator[Problem]:
    place = f"task {task.id!r}"
    if need == task.id:
        yield Problem(
            kind="self_dependency",
            place=place,
            task=task.id,
            what=f"{need!r} depends on itself.",
            remedy="Refer to another task, or drop the reference.",
        )
    elif need not in position:
        yield Problem(
            kind="unknown_reference",
            place=place,
            task=task.id,
            what=f"it refers to a task {format_value(need)}, which is not in the plan.",
            remedy=did_you_mean(need, position) or "Refer to a task of this plan.",
        )
    elif position[need] > index and (need not in task.depends_on or plan.execution_mode == "sequential"):
        yield Problem(
            kind="later_reference",
            place=place,
            task=task.id,
            what=f"it uses {need!r}, which is listed later.",
            remedy=f"List {need!r} before {task.id!r}.",
        )


def _check_task(plan: Plan, task: Task, catalogue: Catalogue, limits: Limits) -> Iterator[Problem]:
    place = f"task {task.id!r}"
    yield from _check_call(task, catalogue, limits, place=f"{place}, args", task=task.id)
    if task.rollback is not None:
        yield from _check_call(task.rollback, catalogue, limits, place=f"{place}, rollback.args", task=task.id)
    if task.condition is not None:
        # A condition on the inputs alone has values in their place.
        may_be_constant = plan.inputs is not None or INPUTS_TOOL in catalogue
        yield from _check_condition(task, task.condition, place=f"{place}, condition", may_be_constant=may_be_constant)
    if task.timeout_s is not None and task.timeout_s > limits.max_timeout_s:
        yield _make_bounds_problem(task, "timeout_s", task.timeout_s, limits.max_timeout_s)
    if task.max_retries is not None and task.max_retries > limits.max_retries:
        yield _make_bounds_problem(task, "max_retries", task.max_retries, limits.max_retries)


def _check_call(call: Call, catalogue: Catalogue, limits: Limits, *, place: str, task: str) -> Iterator[Problem]:
    spec = catalogue.get(call.tool)
    if spec is None:
        offered = ", ".join(map(repr, sorted(catalogue)[:20]))
        yield Problem(
            kind="unknown_tool",
            place=place.removesuffix(", args").removesuffix(".args"),
            task=task,
            what=f"there is no tool {format_value(call.tool)}.",
            remedy=did_you_mean(call.tool, catalogue)
            or (f"The tools are {offered}." if offered else "There are no tools at all."),
        )
        return
    yield from check_arguments(spec, call.args, place=place, task=task)
    yield from check_secrets(spec, call.args, limits=limits, place=place, task=task)


def _check_condition(task: Task, condition: str, *, place: str, may_be_constant: bool) -> Iterator[Problem]:
    remedy = 'Write a CEL expression over earlier tasks, such as "orders.row_count > 0".'
    try:
        used = find_condition_tasks(condition)
    except ConditionError as error:
        yield Problem(
            kind="bad_condition",
            place=place,
            task=task.id,
            what=f"{format_value(condition)} does not parse: {error}.",
            remedy=remedy,
        )
        return
    if not used and not may_be_constant:
        what = f"{format_value(condition)} uses no task, so its result is always the same."
        yield Problem(kind="bad_condition", place=place, task=task.id, what=what, remedy=remedy)
    for name in find_unknown_functions(condition):
        what = f"{format_value(condition)} calls {name!r}, which is not a CEL function."
        known = did_you_mean(name, CEL_FUNCTIONS) or f"The functions are {', '.join(sorted(CEL_FUNCTIONS))}."
        yield Problem(kind="bad_condition", place=place, task=task.id, what=what, remedy=known)


def _make_bounds_problem(task: Task, name: str, value: float, bound: float) -> Problem:
    return Problem(
        kind="out_of_bounds",
        place=f"task {task.id!r}, {name}",
        task=task.id,
        what=f"{format_value(value)} is more than the {bound:g} that the settings allow.",
        remedy=f"Give at most {bound:g}.",
    )


def _collect_preflight_problems(plan: Plan, findings: Mapping[str, Preflight]) -> Iterator[Problem]:
    for task in plan.tasks:
        found = findings.get(task.id)
        for sentence in found.problems if found else ():
            yield Problem(kind="preflight", place=f"task {task.id!r}, args", task=task.id, what=sentence)
