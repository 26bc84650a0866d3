"""The status of a thread and its tasks, read from its state without any tool."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from langgraph.types import Command, Overwrite, StateSnapshot

from agent.core.compiler.compiler import CompiledPlan, link_plan
from agent.core.engine.budgets import ExhaustedBudget, raise_limits
from agent.core.engine.progress import (
    PhaseProgress,
    TaskProgress,
    compute_phase_progress,
    count_progress,
    current_phase,
    has_failures,
    is_complete,
)
from agent.core.engine.snapshot import Snapshot, exhausted
from agent.core.engine.task_states import TaskState, derive_task_states
from agent.core.plan.limits import Limits
from agent.execution.executor import utc_now
from agent.execution.ledger import LedgerRow, join_scope, split_scope
from graphs.langgraph_internals import SENDS_CHANNEL
from graphs.persistence import Persistence
from graphs.state import (
    StateRecord,
    compute_elapsed_seconds,
    parse_budget,
    parse_outcomes,
    parse_spending,
    parse_stored_plan,
)


@dataclass(frozen=True, slots=True)
class Activity:
    """What the run that has a thread is doing, as another process sees it."""

    #: Tasks that were dispatched and whose needs are settled; one of them may still wait for a slot.
    running: frozenset[str] = frozenset()
    #: Tasks whose last recorded attempt failed and that are tried again.
    retrying: frozenset[str] = frozenset()


async def load_activity(state: StateSnapshot, persistence: Persistence, *, thread: str) -> Activity | None:
    """Return what the run that has the thread, in this process or another, is doing; None if no run has it.

    `state` is the thread's newest. The lease says whether there is a run, the checkpoint which tasks it dispatched, the
    ledger which writes it began, and the call log which calls it tries again.
    """
    if not is_unfinished(state) or not await persistence.is_busy(thread):
        return None
    revision, results = state.values.get("revision") or 0, collect_results(state)
    rows = await persistence.ledger.list_rows(thread)
    begun = {row.intent.task for row in select_own_rows(state, rows) if row.state == "started"}
    snapshot = build_thread_snapshot({**state.values, "results": results})
    active = snapshot.undo or snapshot.compiled
    for task in await _list_open_orders(state, persistence):
        if active is not None and all(need in results for need in active.needs.get(task, ())):
            begun.add(task)
    scope = join_scope(thread, str(state.values.get("run_id") or ""), namespace=_get_namespace(state))
    failed = await persistence.calls.load_retryable_calls(scope, revision=revision)
    retrying = {call.task for call in failed if call.item is None and call.task in begun}
    return Activity(running=frozenset(begun - retrying - results.keys()), retrying=frozenset(retrying - results.keys()))


async def _list_open_orders(state: StateSnapshot, persistence: Persistence) -> list[str]:
    """Return the tasks of the dispatch that is under way that have not ended and do not wait for a human."""
    saved = await persistence.saver.aget_tuple(state.config)
    sends = saved.checkpoint["channel_values"].get(SENDS_CHANNEL) or [] if saved is not None else []
    open_tasks = [
        task for task in state.tasks if task.name == "tool_executor" and task.result is None and not task.interrupts
    ]
    places = [place for task in open_tasks for place in task.path[1:2] if isinstance(place, int)]
    return [str(sends[place].arg["task"]) for place in places if place < len(sends)]


def build_thread_snapshot(values: Mapping[str, Any]) -> Snapshot:
    """Return what has happened on a thread, as far as the status of its tasks depends on it.

    A plan that did not compile is left out: none of its tasks has an outcome, while at the end of a run each has one.
    """
    results = values.get("results") or {}
    plan = values.get("plan") if results or not values.get("problems") else None
    return Snapshot(
        compiled=_link_without_tools(plan, kind="plan"),
        outcomes=parse_outcomes(results),
        doubts=frozenset(values.get("calls_in_doubt") or ()),
        undo=_link_without_tools(values.get("rollback_plan"), kind="rollback"),
    )


def get_task_states(
    state: StateSnapshot,
    *,
    ledger: Iterable[LedgerRow] = (),
    running: Collection[str] = (),
    retrying: Collection[str] = (),
) -> dict[str, TaskState]:
    """Return the state of each task of a thread, by id.

    `ledger` are the thread's rows: a write that was started and has no recorded end is in doubt, unless it is in
    `running` or `retrying`.
    """
    started = {row.intent.task for row in select_own_rows(state, ledger) if row.state == "started"}
    snapshot = build_thread_snapshot({**state.values, "results": collect_results(state)})
    return derive_task_states(
        snapshot, running=running, retrying=retrying, asked=find_asked_tasks(state), begun=started
    )


def select_own_rows(state: StateSnapshot, ledger: Iterable[LedgerRow]) -> Iterator[LedgerRow]:
    """Yield the rows of the run and the revision that `state` is of, among those of all runs on its thread."""
    own = get_run_name(state)
    for row in ledger:
        if split_scope(row.intent.thread)[1] == own and row.intent.revision == state.values.get("revision"):
            yield row


def get_run_name(state: StateSnapshot) -> str:
    """Return the run in the scope of the run that `state` is of; "" if its scope is the whole thread."""
    return split_scope(join_scope("", str(state.values.get("run_id") or ""), namespace=_get_namespace(state)))[1]


def _get_namespace(state: StateSnapshot) -> str:
    return (state.config.get("configurable") or {}).get("checkpoint_ns") or ""


def collect_results(state: StateSnapshot) -> dict[str, StateRecord]:
    """Return the results by task id, also those that a stopped dispatch had finished."""
    results: dict[str, StateRecord] = dict(state.values.get("results") or {})
    for task in state.tasks:
        finished = task.result.get("results") if isinstance(task.result, dict) else None
        for name, record in (finished or {}).items():
            results.setdefault(name, record)
    return results


def find_asked_tasks(state: StateSnapshot) -> set[str]:
    """Return the tasks that wait for the answer of a human."""
    return {
        str(action["task_id"]) for waiting in state.interrupts for action in waiting.value.get("action_requests", ())
    }


def summarize_thread(
    state: StateSnapshot, *, ledger: Iterable[LedgerRow] = (), activity: Activity | None = None
) -> StateRecord:
    """Return tasks, progress and phases of a thread as one JSON record.

    `activity` is what `load_activity` returns: a write that its run has begun is running, not in doubt.
    """
    activity = activity or Activity()
    snapshot = build_thread_snapshot({**state.values, "results": collect_results(state)})
    counts: TaskProgress | None = None
    phases: list[PhaseProgress] = []
    if snapshot.compiled is not None:
        counts = count_progress(snapshot.compiled, snapshot.outcomes, running=activity.running)
        phases = compute_phase_progress(snapshot.compiled, snapshot.outcomes)
    tasks = get_task_states(state, ledger=ledger, running=activity.running, retrying=activity.retrying)
    return {
        "tasks": {task: each.model_dump(mode="json", exclude={"task"}) for task, each in tasks.items()},
        "progress": counts,
        "is_complete": counts is not None and is_complete(counts),
        "has_failures": counts is not None and has_failures(counts),
        "phases": phases,
        "current_phase": current_phase(phases),
    }


def _link_without_tools(document: object, *, kind: str) -> CompiledPlan | None:
    return link_plan(parse_stored_plan(document, kind=kind), {}) if document else None


def summarize_listing(state: StateSnapshot) -> StateRecord:
    """Return what is listed of a thread that no run has."""
    results, plan = collect_results(state), state.values.get("plan")
    status = "interrupted" if is_unfinished(state) else str(state.values.get("status") or "failed")
    return {
        "status": "awaiting_approval" if state.interrupts else status,
        "goal": state.values.get("goal") or "",
        "done": sum(record.get("status") == "done" for record in results.values()),
        "tasks": len(plan.get("tasks") or ()) if isinstance(plan, dict) else 0,
        "changed_at": state.created_at,
    }


def is_unfinished(state: StateSnapshot) -> bool:
    """Whether steps of a thread are left, so that it waits for a human, runs, or can be resumed.

    `state.next` does not say so: it is empty as soon as all tasks of a superstep have stored what they return, although
    a process that was killed then has left the superstep open.
    """
    return bool(state.tasks)


def get_status(state: StateSnapshot, *, running: bool = False) -> str:
    """Return the status of the state; `running` if a run has it, `interrupted` if steps are left and none asks."""
    if running:
        return "running"
    if state.interrupts:
        return "awaiting_approval"
    return "interrupted" if is_unfinished(state) else str(state.values.get("status") or "failed")


def can_resume_without_answer(values: Mapping[str, Any], limits: Limits) -> bool:
    """Whether a thread waits for a human because of a budget that is not used up within `limits`."""
    escalation = values.get("escalation")
    budget = parse_budget(escalation.get("budget")) if escalation else None
    return budget is not None and not _is_exhausted(budget, values, limits)


def _is_exhausted(budget: ExhaustedBudget, values: Mapping[str, Any], limits: Limits) -> bool:
    snapshot = replace(
        build_thread_snapshot(values),
        replans=values.get("replans") or 0,
        spending=parse_spending(values),
        elapsed_s=compute_elapsed_seconds(values, now=utc_now()),
    )
    return exhausted(budget, snapshot, raise_limits(limits, values.get("raised_budgets") or {})) is not None


def resume_ended_run(values: Mapping[str, Any], limits: Limits) -> Command[Any] | None:
    """Return the command that resumes an ended run; None if it ended for good, or its budget is still used up.

    A run that ended only for lack of a model is resumed where the model is asked again.
    What is done stays done. Tasks that have an outcome only because the run ended lose it, and the time since then
    does not count.
    """
    budget, failure = parse_budget(values.get("budget")), _get_model_failure(values)
    if budget is None and failure is None:
        return None
    started_at, ended_at = values.get("started_at"), values.get("ended_at")
    update: StateRecord = {}
    if started_at and ended_at:
        pause = utc_now() - datetime.fromisoformat(ended_at)
        update = {"started_at": (datetime.fromisoformat(started_at) + pause).isoformat()}
    if budget is not None and _is_exhausted(budget, {**values, **update}, limits):
        return None
    unsettled = set(values.get("budget_ended_tasks") or ())
    results = {task: record for task, record in (values.get("results") or {}).items() if task not in unsettled}
    needs_plan = "" in (values.get("out_of_budget_tasks") or {})
    asks_planner = failure is not None and failure.get("role") == "planner"
    if failure is not None:
        update |= {key: failure[key] for key in ("replans", "replanned_failures") if key in failure}
    return Command(
        goto="planner" if asks_planner else "wave_dispatch",
        update={
            **update,
            "status": "running",
            "answer": "",
            "termination": None,
            "partial_result_accepted": False,
            "budget": None,
            "model_failure": None,
            "budget_ended_tasks": [],
            "results": Overwrite(results),
            **({} if needs_plan and not asks_planner else {"problems": []}),
        },
    )


def _get_model_failure(values: Mapping[str, Any]) -> StateRecord | None:
    """Return the failure for which a run ended; None if it went on, was rolled back, or ended otherwise."""
    if values.get("status") != "failed" or values.get("rollback") is not None or values.get("rollback_plan"):
        return None
    failure: StateRecord | None = values.get("model_failure")
    return failure
