"""A plan amended after failures: new ids, references that follow them, finished work kept, and whether it leads on."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pydantic import JsonValue

from agent.core.compile import CompiledPlan
from agent.core.outcome import Done, Failed, Outcome, Rejected
from agent.core.plan import Call, Plan, Task
from agent.core.reference import Unresolved, resolve
from agent.core.revision import difference, renamed
from agent.core.schedule import ancestors, plan_needs

#: Failures that the same call would only repeat; a timeout or a passing fault may be tried again.
_LASTING = frozenset({"argument", "reference", "tool", "output", "approval"})
_WORD = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?<![\w.])([A-Za-z_]\w*)""")
_OUTPUTS_KEY = re.compile(r"""(\boutputs\s*\[\s*)(["'])([^"'\\]+)\2""")


def retried(
    compiled: CompiledPlan, changes: Mapping[str, Call], *, outcomes: Mapping[str, Outcome]
) -> tuple[list[Task], dict[str, str]]:
    """Return the plan's tasks with `changes` in place of failed calls, and the new ids by old.

    A task with a result cannot change under its id, so the changed ones get new ids, as do those that rest on them
    and have been settled without being done; all references follow.
    """
    names: dict[str, str] = {}
    taken = {*outcomes, *compiled.tasks}
    for task in compiled.order:
        settled = task in outcomes and not isinstance(outcomes[task], Done)
        if task in changes or (settled and any(need in names for need in compiled.needs[task])):
            names[task] = renamed(task, taken)
            taken.add(names[task])
    tasks: list[Task] = []
    for planned in compiled.plan.tasks:
        change = changes.get(planned.id)
        changed = planned.model_copy(update={"tool": change.tool, "args": change.args}) if change else planned
        tasks.append(with_names(changed, names))
    return tasks, names


def with_names(task: Task, names: Mapping[str, str]) -> Task:
    """Return `task` with ids replaced wherever it names a task: its own, dependencies, references, conditions."""
    rollback = task.rollback
    return task.model_copy(
        update={
            "id": names.get(task.id, task.id),
            "depends_on": tuple(names.get(need, need) for need in task.depends_on),
            "args": _renamed_in(task.args, names),
            "for_each": _renamed_in(task.for_each, names),
            "condition": task.condition and condition_with_names(task.condition, names),
            "rollback": rollback and rollback.model_copy(update={"args": _renamed_in(rollback.args, names)}),
        }
    )


def _renamed_in(value: Any, names: Mapping[str, str]) -> Any:  # noqa: ANN401 - a JSON value
    if isinstance(value, dict):
        if isinstance(task := value.get("output_of"), str) and value.keys() <= {"output_of", "path"}:
            return value | {"output_of": names.get(task, task)}
        return {key: _renamed_in(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_renamed_in(inner, names) for inner in value]
    return value


def condition_with_names(condition: str, names: Mapping[str, str]) -> str:
    """Return a CEL condition with the ids it names replaced; a new id that is no identifier goes by `outputs[...]`."""

    def by_key(found: re.Match[str]) -> str:
        return f"{found[1]}{found[2]}{names.get(found[3], found[3])}{found[2]}"

    def as_variable(found: re.Match[str]) -> str:
        if found[1] or found[2] not in names:
            return found[0]
        new = names[found[2]]
        return new if new.isidentifier() else f'outputs["{new}"]'

    return _WORD.sub(as_variable, _OUTPUTS_KEY.sub(by_key, condition))


def finished(compiled: CompiledPlan, outcomes: Mapping[str, Outcome]) -> list[Task]:
    """Return the tasks that are done, in listed order, each depending on nothing but the others."""
    done = {task.id for task in compiled.plan.tasks if isinstance(outcomes.get(task.id), Done)}
    return [
        task.model_copy(update={"depends_on": tuple(need for need in task.depends_on if need in done)})
        for task in compiled.plan.tasks
        if task.id in done
    ]


def with_free_ids(tasks: Sequence[Mapping[str, Any]], *, taken: Collection[str]) -> list[dict[str, JsonValue]]:
    """Return new tasks, as documents, under ids that are free; references among them follow."""
    used = set(taken)
    names: dict[str, str] = {}
    for task in tasks:
        task_id = task["id"]
        if task_id in used:
            names[task_id] = renamed(task_id, used)
        used.add(names.get(task_id, task_id))
    return [_document_with_names(task, names) for task in tasks]


def _document_with_names(task: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, JsonValue]:
    changed = _renamed_in(dict(task), names)
    changed["id"] = names.get(task["id"], task["id"])
    changed["depends_on"] = [names.get(need, need) for need in task.get("depends_on", ())]
    if task.get("condition"):
        changed["condition"] = condition_with_names(task["condition"], names)
    return changed  # type: ignore[no-any-return]


def no_progress(before: CompiledPlan, after: Plan, *, outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    """Yield why a revision would only repeat what has failed, as sentences.

    A call that failed may be made again once something else has been written: that may be its remedy.
    """
    changed = difference(before.plan, after)
    if not changed.new and not changed.changed:
        yield "This is the plan that has just failed; change what failed, skip it, or abort."
        return
    outputs = {task: outcome.output for task, outcome in outcomes.items() if isinstance(outcome, Done)}
    spent = [
        (task, outcome, _call(before.tasks[task], outputs))
        for task, outcome in outcomes.items()
        if task in before.tasks
        and (isinstance(outcome, Rejected) or (isinstance(outcome, Failed) and outcome.kind in _LASTING))
    ]
    needs, tasks = plan_needs(after), {task.id: task for task in after.tasks}
    written = {
        name
        for name, task in tasks.items()
        if name not in outcomes and not ((spec := before.catalogue.get(task.tool)) and spec.policy.read_only)
    }
    for task in after.tasks:
        if task.id in outcomes:
            continue
        for old, outcome, call in spent:
            if _call(task, outputs) == call:
                if isinstance(outcome, Failed) and written & ancestors(needs, task.id).keys():
                    continue
                fate = "a person rejected" if isinstance(outcome, Rejected) else "failed as"
                what = f"Task {task.id!r} makes exactly the call that {fate} {old!r}"
                yield f"{what}; change its arguments or leave it out."


def _call(task: Task, outputs: Mapping[str, JsonValue]) -> JsonValue:
    """Return what a task calls, references filled in where they can be."""
    args: JsonValue = dict(task.args)
    with suppress(Unresolved):
        args = resolve(args, outputs=outputs)
    return {"tool": task.tool, "args": args, "for_each": task.for_each, "on_item_failure": task.on_item_failure}
