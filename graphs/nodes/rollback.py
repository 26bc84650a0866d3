"""`rollback`: finished writes are undone in reverse, as a plan of their own (a saga's compensations).

Source: H. Garcia-Molina, K. Salem, "Sagas", SIGMOD 1987. The plan goes through the same compiler, approvals and
executor as any other.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, assert_never

from agent.core.engine.call_preparation import required_outputs
from agent.core.engine.outcomes import Cancelled, Done, Failed, InDoubt, Outcome, Rejected, Skipped
from agent.core.engine.rollback import (
    UNDO_PREFIX,
    RollbackInput,
    WriteRecord,
    build_undo_tasks,
    describe_kept_change,
    drop_impossible_undos,
)
from agent.core.plan.document import Plan, Task
from agent.core.plan.references import find_producers
from agent.execution.ledger import LedgerRow
from agent.tools.plan_check import CheckedPlan, check_plan
from agent.tools.toolbox import Toolbox
from graphs.run.node_context import NodeContext
from graphs.run.snapshots import collect_former_tasks
from graphs.run.state_updates import plan_to_json
from graphs.state import State, StateRecord, link_stored_plan, parse_outcomes, parse_stored_plan

RollbackRecord = dict[str, Any]


async def rollback(state: State, context: NodeContext) -> StateRecord:
    """Make the plan that undoes the tasks in `state["target_tasks"]`; the dispatches that follow carry it out.

    What cannot be undone is listed with the reason.
    """
    state = await _load_outputs_for_rollback(state, context)
    # Items of a `for_each` that returned although the task failed are in the ledger only.
    ledger = await context.services.ledger.list_rows(context.thread)
    tasks, not_undone = build_undo_tasks(_collect_changes(state, context.toolbox, ledger))
    while tasks:
        limits = context.limits.model_copy(update={"max_tasks": len(tasks)})
        checked = await check_plan(plan_to_json(Plan(tasks=tasks)), context.toolbox, limits=limits)
        if isinstance(checked, CheckedPlan):
            report = {"undone": [], "not_undone": not_undone}
            return {"rollback_plan": plan_to_json(checked.compiled.plan), "rollback": report, "approvals": {}}
        names = {task.id for task in tasks}
        invalid = {problem.task for problem in checked if problem.task in names} or names
        for task in sorted(invalid):
            why = " ".join(str(problem) for problem in checked if problem.task in {task, None})
            not_undone[task.removeprefix(UNDO_PREFIX)] = why
        tasks, dependent = drop_impossible_undos(tasks, not_undone)
        not_undone |= dependent
    return {"rollback": {"undone": [], "not_undone": not_undone}, "rollback_plan": None, "target_tasks": []}


async def _load_outputs_for_rollback(state: State, context: NodeContext) -> State:
    """Return `state` with the outputs in the calls that undo the tasks in `state["target_tasks"]`.

    A task without a `rollback` of its own is undone with what it was given and what it returned.
    """
    to_undo = set(state.get("target_tasks") or ())
    tasks = [*collect_former_tasks(state)[0].values(), *parse_stored_plan(state.get("plan")).tasks]
    read: set[str] = set()
    for task in [task for task in tasks if task.id in to_undo]:
        if task.rollback is None or task.for_each is not None:
            read |= {task.id, *required_outputs(task)}
        if task.rollback is not None:
            read |= {producer for value in task.rollback.args.values() for producer in find_producers(value)}
    return await context.load_outputs(state, read)


def _collect_changes(state: State, toolbox: Toolbox, ledger: Sequence[LedgerRow]) -> RollbackInput:
    compiled = link_stored_plan(state.get("plan"), toolbox)
    former, former_needs = collect_former_tasks(state)
    tasks = {**former, **compiled.tasks}
    return RollbackInput(
        tasks_to_undo=tuple(state.get("target_tasks") or ()),
        tasks=tasks,
        needs={**former_needs, **compiled.needs},
        outcomes=parse_outcomes(state.get("results")),
        catalogue=toolbox.specs,
        writes=tuple(_find_writes(state, ledger, tasks)),
    )


def _find_writes(state: State, ledger: Sequence[LedgerRow], tasks: Collection[str]) -> Iterator[WriteRecord]:
    """Yield the calls of this run that returned, and the calls of workers that are in doubt.

    Whether the call of a task is in doubt is in the outcomes. The thread may have had other goals before.
    """
    first = next((entry["revision"] for entry in state.get("plan_history") or ()), state.get("revision") or 1)
    for row in ledger:
        record, intent = row.record or {}, row.intent
        if intent.revision < first:
            continue
        call = WriteRecord(intent.task, intent.item, intent.tool, intent.args_digest, record.get("output"))
        worker = intent.task.rpartition("/")[0]
        if record.get("status") == "done":
            own: Any = record
            yield replace(call, worker=own.get("worker"), args=own.get("args") or {})
        elif row.state == "started" and intent.task not in tasks and worker in tasks:
            yield replace(call, worker=worker, is_certain=False)


def build_rollback_report(state: Mapping[str, Any], outcomes: Mapping[str, Outcome]) -> RollbackRecord | None:
    """Return what is undone and what is not, with the reason; None if there was nothing to roll back.

    An undo task that is still to be run is in neither, until the run has ended.
    """
    report = state.get("rollback")
    if report is None or not (state.get("rollback_plan") or report["not_undone"]):
        return None
    undone: list[str] = []
    not_undone: dict[str, str] = dict(report["not_undone"])
    undo_tasks = parse_stored_plan(state["rollback_plan"], kind="rollback").tasks if state.get("rollback_plan") else ()
    for task in undo_tasks:
        name, outcome = task.id.removeprefix(UNDO_PREFIX), outcomes.get(task.id)
        if isinstance(outcome, Done):
            undone.append(name)
        elif outcome is not None:
            not_undone[name] = _explain_not_undone(outcome)
        elif (blocking := _find_blocker(task, not_undone)) is not None:
            not_undone[name] = describe_kept_change(blocking)
    return {"undone": [*report["undone"], *undone], "not_undone": not_undone}


def _find_blocker(task: Task, not_undone: Mapping[str, str]) -> str | None:
    return next((need for need in task.depends_on if need.removeprefix(UNDO_PREFIX) in not_undone), None)


def _explain_not_undone(outcome: Outcome) -> str:
    match outcome:
        case Failed() | InDoubt() | Done():
            return outcome.error or "Nobody knows whether undoing it took effect."
        case Rejected(message=message):
            return f"A person refused to undo it{': ' + message if message else '.'}"
        case Skipped(because=because) | Cancelled(because=because):
            return because
        case _:
            assert_never(outcome)


def describe_rollback(report: RollbackRecord | None) -> str:
    """Return a rollback in sentences; "" if there was none."""
    if report is None:
        return ""
    parts = [f"Undone: {', '.join(report['undone'])}."] if report["undone"] else []
    parts += [f"Not undone: {task}. {why}" for task, why in report["not_undone"].items()]
    return "\n\n".join(parts)
