"""How the tasks of a thread stand, read from its state without any tool."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from langgraph.types import Command, Overwrite, StateSnapshot

from agent.core.compiler.compiler import CompiledPlan, linked
from agent.core.engine.budgets import Exhausted, with_raised
from agent.core.engine.progress import (
    PhaseProgress,
    Progress,
    current_phase,
    has_failures,
    is_complete,
    phases_of,
    progress,
)
from agent.core.engine.snapshot import Snapshot, holds
from agent.core.engine.task_states import Standing, standings
from agent.core.plan.limits import Limits
from agent.execution.executor import utc_now
from agent.execution.ledger import LedgerRow
from graphs.state import Record, budget_in, elapsed_in, outcomes_in, plan_in, spending_in


def thread_snapshot(values: Mapping[str, Any]) -> Snapshot:
    """Return what has happened on a thread, as far as it decides how the tasks stand.

    A plan that did not compile is none: nothing of it has an outcome, while at the end of a run each task has one.
    """
    results = values.get("results") or {}
    plan = values.get("plan") if results or not values.get("problems") else None
    return Snapshot(
        compiled=_linked(plan, word="plan"),
        outcomes=outcomes_in(results),
        doubts=frozenset(values.get("doubts") or ()),
        undo=_linked(values.get("undo"), word="rollback"),
    )


def thread_standings(
    state: StateSnapshot, *, ledger: Iterable[LedgerRow] = (), running: Collection[str] = ()
) -> dict[str, Standing]:
    """Return how each task of a thread stands.

    `ledger` are the thread's rows: a write that was begun and not seen to end is in doubt, unless it is `running`.
    """
    revision = state.values.get("revision")
    begun = {row.intent.task for row in ledger if row.state == "started" and row.intent.revision == revision}
    snapshot = thread_snapshot({**state.values, "results": results_of(state)})
    return standings(snapshot, running=running, asked=asked_in(state), begun=begun)


def results_of(state: StateSnapshot) -> dict[str, Record]:
    """Return the results by task id, with those that a stopped dispatch had finished."""
    results: dict[str, Record] = dict(state.values.get("results") or {})
    for task in state.tasks:
        finished = task.result.get("results") if isinstance(task.result, dict) else None
        for name, record in (finished or {}).items():
            results.setdefault(name, record)
    return results


def asked_in(state: StateSnapshot) -> set[str]:
    """Return the tasks about which a person has been asked."""
    return {
        str(action["task_id"]) for waiting in state.interrupts for action in waiting.value.get("action_requests", ())
    }


def overview(state: StateSnapshot, *, ledger: Iterable[LedgerRow] = ()) -> Record:
    """Return tasks, progress and phases of a thread as one record."""
    snapshot = thread_snapshot({**state.values, "results": results_of(state)})
    counts: Progress | None = None
    phases: list[PhaseProgress] = []
    if snapshot.compiled is not None:
        counts = progress(snapshot.compiled, snapshot.outcomes)
        phases = phases_of(snapshot.compiled, snapshot.outcomes)
    found = thread_standings(state, ledger=ledger)
    return {
        "tasks": {task: standing.model_dump(mode="json", exclude={"task"}) for task, standing in found.items()},
        "progress": counts,
        "is_complete": counts is not None and is_complete(counts),
        "has_failures": counts is not None and has_failures(counts),
        "phases": phases,
        "current_phase": current_phase(phases),
    }


def _linked(document: object, *, word: str) -> CompiledPlan | None:
    return linked(plan_in(document, word=word), {}) if document else None


def allowed_since(values: Mapping[str, Any], limits: Limits) -> bool:
    """Whether a thread asks a person about a budget that these limits have raised, so that it can go on unasked."""
    asked = values.get("impasse")
    budget = budget_in(asked.get("budget")) if asked else None
    return budget is not None and not _holds(budget, values, limits)


def _holds(budget: Exhausted, values: Mapping[str, Any], limits: Limits) -> bool:
    snapshot = replace(
        thread_snapshot(values),
        replans=values.get("replans") or 0,
        spending=spending_in(values),
        elapsed_s=elapsed_in(values, now=utc_now()),
    )
    return holds(budget, snapshot, with_raised(limits, values.get("raised") or {})) is not None


def reopened(values: Mapping[str, Any], limits: Limits) -> Command[Any] | None:
    """Return what takes an ended run up again; None where no budget ended it, or the budget is still used up.

    What is done stays done. Tasks that have an outcome only because the run ended lose it, and the time since then
    does not count.
    """
    budget = budget_in(values.get("budget"))
    if budget is None:
        return None
    began = values.get("started_at")
    ended = values.get("ended_at")
    rested = utc_now() - datetime.fromisoformat(ended) if ended else None
    update: Record = {"started_at": (datetime.fromisoformat(began) + rested).isoformat()} if began and rested else {}
    if _holds(budget, {**values, **update}, limits):
        return None
    gone = set(values.get("ended") or ())
    results = {task: record for task, record in (values.get("results") or {}).items() if task not in gone}
    planned = "" not in (values.get("cut") or {})
    return Command(
        goto="wave_dispatch",
        update={
            **update,
            "status": "running",
            "answer": "",
            "stop": None,
            "accepted": False,
            "budget": None,
            "ended": [],
            "results": Overwrite(results),
            **({"problems": []} if planned else {}),
        },
    )
