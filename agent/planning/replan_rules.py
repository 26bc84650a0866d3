"""What a replanner decides about, the revisions it can make, and the checks that each of them must pass."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from pydantic import JsonValue

from agent.core.compiler.compiler import CompiledPlan, compile_plan
from agent.core.engine.call_preparation import diff_plans
from agent.core.engine.outcomes import Done, Failed, Outcome, Rejected
from agent.core.plan.dependencies import ancestors, build_dependency_graph
from agent.core.plan.document import Call, Plan, Task, make_free_id
from agent.core.plan.parser import parse_plan
from agent.core.plan.references import UnresolvedReference, resolve
from agent.planning.session import PlanningSession
from agent.results.summary import describe_failure
from agent.tools.plan_check import CheckedPlan

#: Kinds of failure that the same call would only repeat; a call that failed by a timeout, say, may be made again.
_PERMANENT_FAILURES = frozenset({"argument", "reference", "tool", "output", "approval"})
_WORD = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?<![\w.])([A-Za-z_]\w*)""")
_OUTPUTS_KEY = re.compile(r"""(\boutputs\s*\[\s*)(["'])([^"'\\]+)\2""")


@dataclass(frozen=True, slots=True)
class FailureContext:
    """A plan of which some tasks failed or were rejected."""

    compiled: CompiledPlan
    outcomes: Mapping[str, Outcome]
    failed: tuple[str, ...]
    #: Earlier replans, a sentence each.
    history: tuple[str, ...] = ()
    #: What a human said about it.
    guidance: tuple[str, ...] = ()
    #: Whether the replanner may ask a human a question.
    may_ask: bool = False

    @property
    def failures(self) -> list[str]:
        """A sentence for each failed task."""
        return [f"{task}: {describe_failure(self.outcomes[task])}" for task in self.failed]

    @property
    def made_writes(self) -> tuple[str, ...]:
        """Failed tasks whose call was made all the same: a write with an output that does not fit its schema."""
        return tuple(
            task
            for task in self.failed
            if isinstance(outcome := self.outcomes[task], Failed)
            and outcome.kind == "output"
            and not self.compiled.get_spec(task).policy.read_only
        )

    @property
    def done_tasks(self) -> list[dict[str, Any]]:
        """The finished tasks as documents."""
        return tasks_to_json(select_done_tasks(self.compiled, self.outcomes))

    @property
    def taken_ids(self) -> frozenset[str]:
        """Ids that no new task may have: those with a result. The id of a task that never ran is free."""
        return frozenset(self.outcomes)


@dataclass(frozen=True, slots=True)
class PlanRevision:
    """A plan that compiles and makes progress, and the failed tasks that it goes on without."""

    checked: CheckedPlan
    waived: frozenset[str]
    note: str


@dataclass(frozen=True, slots=True)
class NoRevision:
    """There is no revision; `reason` is a sentence."""

    reason: str
    #: Whether the model chose to stop; otherwise it made no revision that passes the checks.
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class HumanQuestion:
    """What a human is asked before there is a decision."""

    text: str


def select_done_tasks(compiled: CompiledPlan, outcomes: Mapping[str, Outcome]) -> list[Task]:
    """Return the tasks that are done, in listed order, without dependencies on any other task."""
    done = {task.id for task in compiled.plan.tasks if isinstance(outcomes.get(task.id), Done)}
    return [
        task.model_copy(update={"depends_on": tuple(need for need in task.depends_on if need in done)})
        for task in compiled.plan.tasks
        if task.id in done
    ]


def tasks_to_json(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Return tasks as JSON, without members that have their default value."""
    return [task.model_dump(mode="json", exclude_defaults=True) for task in tasks]


def skip_tasks(tasks: Collection[str], failure_context: FailureContext, *, note: str) -> PlanRevision:
    """Go on with the same plan, but without `tasks` and everything that depends on them."""
    return PlanRevision(CheckedPlan(compiled=failure_context.compiled, findings={}), frozenset(tasks), note)


async def replan_rest(
    new: Sequence[Mapping[str, JsonValue]], session: PlanningSession, failure_context: FailureContext, *, note: str
) -> PlanRevision | tuple[str, ...]:
    """Go on with `new` tasks after the finished ones."""
    done = failure_context.done_tasks
    # A model lists a finished task as it runs, without what was repaired in it.
    known = [{key: value for key, value in task.items() if key != "repaired"} for task in done]
    added = assign_free_ids(
        [task for task in new if task not in done and task not in known], taken=failure_context.taken_ids
    )
    return await check_revision([*done, *added], session, failure_context, waived=frozenset(), note=note)


def assign_free_ids(tasks: Sequence[Mapping[str, Any]], *, taken: Collection[str]) -> list[dict[str, JsonValue]]:
    """Return new tasks, as documents, under ids that are free; references among them are adjusted."""
    used = set(taken)
    names: dict[str, str] = {}
    for task in tasks:
        task_id = task["id"]
        if task_id in used:
            names[task_id] = make_free_id(task_id, used)
        used.add(names.get(task_id, task_id))
    return [_rename_in_document(task, names) for task in tasks]


def _rename_in_document(task: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, JsonValue]:
    changed = _rename_in_value(dict(task), names)
    changed["id"] = names.get(task["id"], task["id"])
    changed["depends_on"] = [names.get(need, need) for need in task.get("depends_on", ())]
    if task.get("condition"):
        changed["condition"] = rename_in_condition(task["condition"], names)
    return changed  # type: ignore[no-any-return]


def build_retry_tasks(
    compiled: CompiledPlan, changes: Mapping[str, Call], *, outcomes: Mapping[str, Outcome]
) -> list[Task]:
    """Return the plan's tasks with `changes` in place of failed calls.

    A task with a result cannot change under its id, so the changed ones get new ids, as do those that depend on them
    and ended without being done; all references are adjusted.
    """
    names: dict[str, str] = {}
    taken = {*outcomes, *compiled.tasks}
    for task in compiled.order:
        settled = task in outcomes and not isinstance(outcomes[task], Done)
        if task in changes or (settled and any(need in names for need in compiled.needs[task])):
            names[task] = make_free_id(task, taken)
            taken.add(names[task])
    tasks: list[Task] = []
    for planned in compiled.plan.tasks:
        change = changes.get(planned.id)
        changed = planned.model_copy(update={"tool": change.tool, "args": change.args}) if change else planned
        tasks.append(rename_task_ids(changed, names))
    return tasks


def rename_task_ids(task: Task, names: Mapping[str, str]) -> Task:
    """Return `task` with ids replaced wherever it names a task: its own id, dependencies, references, conditions."""
    rollback = task.rollback
    return task.model_copy(
        update={
            "id": names.get(task.id, task.id),
            "depends_on": tuple(names.get(need, need) for need in task.depends_on),
            "args": _rename_in_value(task.args, names),
            "for_each": _rename_in_value(task.for_each, names),
            "condition": task.condition and rename_in_condition(task.condition, names),
            "rollback": rollback and rollback.model_copy(update={"args": _rename_in_value(rollback.args, names)}),
        }
    )


def _rename_in_value(value: Any, names: Mapping[str, str]) -> Any:  # noqa: ANN401 - a JSON value
    if isinstance(value, dict):
        if isinstance(task := value.get("output_of"), str) and value.keys() <= {"output_of", "path"}:
            return value | {"output_of": names.get(task, task)}
        return {key: _rename_in_value(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rename_in_value(inner, names) for inner in value]
    return value


def rename_in_condition(condition: str, names: Mapping[str, str]) -> str:
    """Return a CEL condition with the ids in it replaced; a new id that is no identifier is written `outputs[...]`."""

    def replace_key(found: re.Match[str]) -> str:
        return f"{found[1]}{found[2]}{names.get(found[3], found[3])}{found[2]}"

    def replace_variable(found: re.Match[str]) -> str:
        if found[1] or found[2] not in names:
            return found[0]
        new = names[found[2]]
        return new if new.isidentifier() else f'outputs["{new}"]'

    return _WORD.sub(replace_variable, _OUTPUTS_KEY.sub(replace_key, condition))


async def check_revision(
    tasks: Sequence[Mapping[str, Any]],
    session: PlanningSession,
    failure_context: FailureContext,
    *,
    waived: frozenset[str],
    note: str,
) -> PlanRevision | tuple[str, ...]:
    """Return the revision with these `tasks`, or what is wrong with it, as sentences."""
    plan = failure_context.compiled.plan
    document = {"execution_mode": plan.execution_mode, "phases": plan.phases, "tasks": list(tasks)}
    session = replace(session, used={**session.used, **{task: failure_context.compiled.tasks[task] for task in waived}})
    checked = await _check_document(document, session, failure_context)
    if isinstance(checked, tuple):
        return checked
    plan = checked.compiled.plan
    if stuck := tuple(explain_no_progress(failure_context.compiled, plan, outcomes=failure_context.outcomes)):
        return stuck
    return PlanRevision(checked=checked, waived=waived, note=note)


async def _check_document(
    document: Mapping[str, Any], session: PlanningSession, failure_context: FailureContext
) -> CheckedPlan | tuple[str, ...]:
    """Check a plan; what preflight says about a finished task is no problem, since it does not run again."""
    checked = await session.check(document)
    if isinstance(checked, CheckedPlan):
        return checked
    problems = [
        problem
        for problem in checked
        if not (problem.kind == "preflight" and isinstance(failure_context.outcomes.get(problem.task or ""), Done))
    ]
    if problems:
        return tuple(map(str, problems))
    plan = parse_plan({**session.input_fields, **document}, max_tasks=session.limits.max_tasks)
    compiled = (
        compile_plan(plan, session.toolbox.specs, limits=session.limits, used=session.used)
        if isinstance(plan, Plan)
        else plan
    )
    return tuple(map(str, compiled)) if isinstance(compiled, tuple) else CheckedPlan(compiled=compiled, findings={})


def explain_no_progress(before: CompiledPlan, after: Plan, *, outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    """Yield why a revision would only repeat what failed, as sentences.

    A failed call may be made again after a new write, which may be what it needs to succeed.
    """
    changed = diff_plans(before.plan, after)
    if not changed.new and not changed.changed:
        yield "This is the plan that has just failed; change what failed, skip it, or abort."
        return
    outputs = {task: outcome.output for task, outcome in outcomes.items() if isinstance(outcome, Done)}
    failed_calls = [
        (task, outcome, _resolve_call(before.tasks[task], outputs))
        for task, outcome in outcomes.items()
        if task in before.tasks
        and (isinstance(outcome, Rejected) or (isinstance(outcome, Failed) and outcome.kind in _PERMANENT_FAILURES))
    ]
    needs, tasks = build_dependency_graph(after), {task.id: task for task in after.tasks}
    new_writes = {
        name
        for name, task in tasks.items()
        if name not in outcomes and not ((spec := before.catalogue.get(task.tool)) and spec.policy.read_only)
    }
    for task in after.tasks:
        if task.id in outcomes:
            continue
        for old, outcome, call in failed_calls:
            if _resolve_call(task, outputs) == call:
                if isinstance(outcome, Failed) and new_writes & ancestors(needs, task.id).keys():
                    continue
                fate = "a human rejected as" if isinstance(outcome, Rejected) else "failed as"
                what = f"Task {task.id!r} makes exactly the call that {fate} {old!r}"
                yield f"{what}; change its arguments or leave it out."


def _resolve_call(task: Task, outputs: Mapping[str, JsonValue]) -> JsonValue:
    """Return what a task calls, with the references resolved if they can be."""
    args: JsonValue = dict(task.args)
    with suppress(UnresolvedReference):
        args = resolve(args, outputs=outputs)
    return {"tool": task.tool, "args": args, "for_each": task.for_each, "on_item_failure": task.on_item_failure}
