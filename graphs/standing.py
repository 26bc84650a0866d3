"""How the tasks of a thread stand, read from its state without any tool."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from langgraph.types import StateSnapshot

from agent.core.compile import CompiledPlan, linked
from agent.core.phases import PhaseProgress, current_phase, phases_of
from agent.core.progress import Progress, has_failures, is_complete, progress
from agent.core.snapshot import Snapshot
from agent.core.standing import Standing, standings
from agent.ledger import LedgerRow
from graphs.state import Record, outcomes_in, plan_in


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
