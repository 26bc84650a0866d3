"""The rollback: finished writes undone in reverse, as a plan of its own (a saga's compensations).

Source: H. Garcia-Molina, K. Salem, "Sagas", SIGMOD 1987. The plan goes through the same compiler, approvals and
executor as any other.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from agent.check import Checked, check_plan
from agent.core.call import outputs_of
from agent.core.compile import CompiledPlan
from agent.core.limits import Limits
from agent.core.outcome import Done, Outcome
from agent.core.plan import Plan, Task
from agent.core.reference import Unresolved, producers, resolve
from agent.core.standing import UNDOING
from agent.tools.catalogue import Toolbox
from graphs.records import document
from graphs.state import State, compiled_in, outcomes_in


async def rollback_update(state: State, toolbox: Toolbox, *, limits: Limits) -> dict[str, Any]:
    """Return the plan that undoes the tasks in `state["failed"]`, and what cannot be undone, with the reason."""
    compiled = compiled_in(state.get("plan"), toolbox)
    outcomes = outcomes_in(state.get("results"))
    tasks, hopeless = _undo_tasks(compiled, outcomes, state.get("failed") or [])
    while tasks:
        checked = await check_plan(Plan(tasks=tuple(tasks)), toolbox, limits=limits)
        if isinstance(checked, Checked):
            return {"undo": document(checked.compiled.plan), "rollback": {"undone": [], "not_undone": hopeless}}
        bad = {problem.task for problem in checked}
        if not bad & {task.id for task in tasks}:
            bad = {task.id for task in tasks}
        why = {
            task: " ".join(str(problem) for problem in checked if problem.task in {task, None}) for task in bad if task
        }
        hopeless.update({task.removeprefix(UNDOING): reason for task, reason in why.items()})
        tasks = [_without(task, bad) for task in tasks if task.id not in bad]
    return {"rollback": {"undone": [], "not_undone": hopeless}, "undo": None, "failed": []}


def _undo_tasks(
    compiled: CompiledPlan, outcomes: Mapping[str, Outcome], wanted: list[str]
) -> tuple[list[Task], dict[str, str]]:
    """Return one task for each write to undo, waiting for the undoing of all that came after it."""
    chosen = [task for task in reversed(compiled.order) if task in set(wanted)]
    tasks: list[Task] = []
    hopeless: dict[str, str] = {}
    for task_id in chosen:
        call = compiled.tasks[task_id].rollback
        if call is None:
            continue
        read = {producer for value in call.args.values() for producer in producers(value)}
        outputs = outputs_of({task: outcome for task, outcome in outcomes.items() if task in read})
        try:
            args = resolve(dict(call.args), outputs=outputs)
        except Unresolved as error:
            hopeless[task_id] = str(error)
            continue
        later = [UNDOING + other for other in chosen if other not in hopeless and _rests_on(compiled, other, task_id)]
        tasks.append(_undo_task(task_id, call.tool, args, later))
    return tasks, hopeless


def _undo_task(task_id: str, tool: str, args: JsonValue, later: list[str]) -> Task:
    return Task(
        id=UNDOING + task_id,
        description=f"Undo {task_id!r}.",
        tool=tool,
        args=args if isinstance(args, dict) else {},
        depends_on=tuple(later),
        on_failure="skip",
    )


def _rests_on(compiled: CompiledPlan, task: str, ancestor: str) -> bool:
    seen: set[str] = set()
    stack = list(compiled.needs[task])
    while stack:
        need = stack.pop()
        if need == ancestor:
            return True
        if need not in seen:
            seen.add(need)
            stack.extend(compiled.needs[need])
    return False


def _without(task: Task, gone: set[str | None]) -> Task:
    return task.model_copy(update={"depends_on": tuple(need for need in task.depends_on if need not in gone)})


def rollback_report(state: State, outcomes: Mapping[str, Outcome]) -> dict[str, Any] | None:
    """Return what was undone and what was not, with the reason; None where nothing was rolled back."""
    begun = state.get("rollback")
    if begun is None:
        return None
    undone: list[str] = []
    not_undone = dict(begun["not_undone"])
    for task in (state.get("undo") or {}).get("tasks", []):
        name, outcome = task["id"].removeprefix(UNDOING), outcomes.get(task["id"])
        if isinstance(outcome, Done):
            undone.append(name)
        else:
            not_undone[name] = (outcome.error or outcome.status) if outcome else "It rests on an undoing that failed."
    return {"undone": undone, "not_undone": not_undone}
