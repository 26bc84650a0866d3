"""Loads what a report is gathered from, and masks the secrets in it."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from langgraph.types import Interrupt, StateSnapshot

from agent.core.engine.task_states import derive_task_states
from agent.execution.executor import utc_now
from agent.execution.ledger import Ledger, LedgerRow, StoredGrant, split_scope
from agent.report.model import RunReport
from agent.report.picture import read_picture
from agent.results.artifacts import Artifacts
from agent.secret_values import get_known_masks
from graphs.report.gathering import NOTHING_BEGUN, RunFacts, find_chart_files, gather_report, list_task_tools
from graphs.thread_status import (
    Activity,
    build_thread_snapshot,
    collect_results,
    get_run_name,
    get_status,
    get_task_states,
)


async def load_report(
    state: StateSnapshot,
    *,
    thread: str,
    ledger: Ledger,
    artifacts: Artifacts,
    activity: Activity | None = None,
    begun: Mapping[str, str] = NOTHING_BEGUN,
) -> RunReport:
    """Return the report of the run that a thread's newest state is of; `activity` is None if no run has the thread.

    `begun` has the starts of tasks that have not ended, as far as the caller has seen them.

    Raises `PersistenceError` for an output that is not in its store.
    """
    results = await artifacts.load_results(collect_results(state), thread=thread)
    run = get_run_name(state)
    rows = [row for row in await ledger.list_rows(thread) if split_scope(row.intent.thread)[1] == run]
    grants = [each for each in await ledger.list_grants(thread) if split_scope(each.grant.thread)[1] == run]
    state = state._replace(values={**state.values, "results": results})
    return await asyncio.to_thread(
        build_state_report,
        state,
        thread=thread,
        rows=rows,
        grants=grants,
        activity=activity,
        begun=begun,
        now=utc_now(),
    )


def build_state_report(
    state: StateSnapshot,
    *,
    thread: str,
    rows: Sequence[LedgerRow] = (),
    grants: Sequence[StoredGrant] = (),
    activity: Activity | None = None,
    begun: Mapping[str, str] = NOTHING_BEGUN,
    now: datetime,
) -> RunReport:
    """Return the report of a state, with the pictures of its charts; outputs that are not loaded show as previews."""
    running = activity or Activity()
    open_rows = rows if activity is None else ()
    results = collect_results(state)
    return _build_masked(
        RunFacts(
            thread=thread,
            status=get_status(state, running=activity is not None),
            values={**state.values, "results": results},
            states=get_task_states(state, ledger=open_rows, running=running.running, retrying=running.retrying),
            rows=rows,
            grants=grants,
            questions=[waiting.value for waiting in state.interrupts if isinstance(waiting.value, dict)],
            changed_at=state.created_at,
            begun=begun,
            pictures=_read_pictures(results, state.values),
        ),
        now=now,
    )


def build_output_report(output: Mapping[str, Any], *, now: datetime) -> RunReport:
    """Return the report of what a run returned, which is less than its thread has: no writes and no revisions."""
    interrupts = [each for each in output.get("__interrupt__") or () if isinstance(each, Interrupt)]
    snapshot = build_thread_snapshot(output)
    questions = [each.value for each in interrupts if isinstance(each.value, dict)]
    asked = {
        str(action["task_id"])
        for each in questions
        for action in each.get("action_requests", ())
        if "task_id" in action
    }
    return _build_masked(
        RunFacts(
            thread="",
            status=str(output.get("status") or "failed"),
            values=output,
            states=derive_task_states(snapshot, asked=asked),
            questions=questions,
            pictures=_read_pictures(output.get("results") or {}, output),
        ),
        now=now,
    )


def _read_pictures(results: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, str]:
    files = dict.fromkeys(file for _, _, file in find_chart_files(results, list_task_tools(values)))
    return {file: picture for file in files if (picture := read_picture(file))}


def _build_masked(facts: RunFacts, *, now: datetime) -> RunReport:
    """Return the report with every secret masked that is known here, wherever in it."""
    report, masks = gather_report(facts, now=now), get_known_masks()
    plain = report.model_dump(mode="json")
    masked = masks.redact_json(plain)
    return report if masked is plain else RunReport.model_validate(masked)
