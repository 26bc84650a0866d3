"""The commands `threads` and `show`."""

import asyncio
import re
from datetime import datetime

from langgraph.types import StateSnapshot
from pydantic_core import to_jsonable_python
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from agent.core.engine.call_preparation import PlanDiff
from agent.core.engine.progress import PhaseProgress, TaskProgress
from agent.core.mermaid import to_mermaid
from agent.core.provenance.prov_json import to_prov_json
from agent.core.provenance.xml_export import to_xml
from agent.errors import UsageError
from agent.execution.ledger import LedgerRow
from graphs.cli.commands.exit import print_problems
from graphs.cli.commands.run import build_tracker, load_thread
from graphs.cli.terminal.command_context import CommandContext
from graphs.cli.terminal.escalation_prompts import show_interrupt
from graphs.cli.terminal.plan_table import print_plan_table
from graphs.cli.terminal.report import (
    JsonRecord,
    build_run_record,
    get_outcomes,
    get_rollback,
    load_full_results,
    print_answer,
)
from graphs.cli.terminal.screen import Screen, as_text, escape_controls, print_json
from graphs.cli.terminal.units import format_size
from graphs.nested_runs import NestedRun, get_caller_status
from graphs.persistence import Persistence
from graphs.run.plan_history import list_plan_changes, provenance_of
from graphs.state import parse_stored_plan
from graphs.stores.tables.threads import ThreadRow
from graphs.thread_status import (
    Activity,
    build_thread_snapshot,
    collect_results,
    get_status,
    get_task_states,
    is_unfinished,
    load_activity,
    summarize_listing,
    summarize_thread,
)
from graphs.workers.client import ThreadQueue

_PREVIEW_WIDTH = 160
_REASON_WIDTH = 300


def print_threads(*, context: CommandContext, most: int) -> int:
    """Print at most `most` threads, the one that changed last first; return 0."""
    summaries = asyncio.run(_load_summaries(context=context, most=most))
    if context.as_json:
        print_json({"threads": summaries})
    elif not summaries:
        context.screen.say('There are no threads yet; start one with: planwave run "..."')
    else:
        _print_thread_table(summaries, screen=context.screen)
    return 0


def show_thread(thread: str, *, context: CommandContext, mermaid: bool) -> int:
    """Print the state of a thread, or with `mermaid` only its plan as a flowchart; return 0.

    Raises `UsageError` if there is no such thread, or if it has no plan to draw.
    """
    full = context.as_json and not mermaid
    state, ledger, activity, nested, queued = asyncio.run(_load_state(thread, context=context, full=full))
    if queued is not None and not mermaid:
        _print_queued_thread(queued, context=context)
        return 0
    if state is None:
        if mermaid:
            raise UsageError(f"The thread {thread!r} is another graph's and has no plan; see `planwave show {thread}`.")
        _print_nested_thread(thread, nested, context=context)
    elif mermaid:
        context.screen.console.out(_render_mermaid(state, ledger, activity, thread=thread), end="", highlight=False)
    elif context.as_json:
        about = {
            "goal": state.values.get("goal") or "",
            **summarize_thread(state, ledger=ledger, activity=activity),
            "changes": list_plan_changes(state.values),
            "history": list(state.values.get("replan_history") or ()),
            **({"nested": [run.summarize() for run in nested]} if nested else {}),
        }
        print_json({**build_run_record(state, thread=thread, running=activity is not None), **about})
    else:
        _print_thread_details(state, ledger, activity, thread=thread, screen=context.screen)
        _print_nested_runs(nested, screen=context.screen)
    return 0


async def _load_queued(thread: str, *, stored: Persistence) -> JsonRecord | None:
    """Return what is known of a submitted thread that no worker has begun; None if it has a state."""
    submission = await ThreadQueue(stored).load(thread)
    if submission is None or submission.begun:
        return None
    listed = await _summarize_open_thread(ThreadRow(thread, 0, is_open=True, summary=None), stored=stored)
    return (
        {**listed, "why": submission.reason}
        if listed is not None and listed["status"] in {"queued", "set_aside"}
        else None
    )


def _print_queued_thread(record: JsonRecord, *, context: CommandContext) -> None:
    if context.as_json:
        print_json(record)
        return
    for name, value in (("thread", record["thread_id"]), ("goal", record["goal"]), ("status", record["status"])):
        context.screen.say(f"{name:8} {value}".replace("_", " ") if name == "status" else f"{name:8} {value}")
    if record["why"]:
        context.screen.say(f"why      {record['why']}")


def _print_nested_thread(thread: str, nested: list[NestedRun], *, context: CommandContext) -> None:
    """Print a thread whose own state is another graph's."""
    record = {"status": get_caller_status(nested), "thread_id": thread, "nested": [run.summarize() for run in nested]}
    if context.as_json:
        print_json(record)
        return
    context.screen.say(f"thread   {thread}")
    context.screen.say(f"status   {record['status']}".replace("_", " "))
    _print_nested_runs(nested, screen=context.screen)


def _print_nested_runs(nested: list[NestedRun], *, screen: Screen) -> None:
    for run in nested:
        about = run.summarize()
        status, counts = about["status"].replace("_", " "), f"{about['done']}/{about['tasks']} done"
        goal = f": {as_text(about['goal'], width=_PREVIEW_WIDTH)}" if about["goal"] else ""
        screen.say(f"nested   {about['called_by'] or 'called by another graph'}, {status}, {counts}{goal}")
        for waiting in run.state.interrupts if run.state is not None and run.is_open else ():
            show_interrupt(waiting.value, screen=screen)


async def _load_state(
    thread: str, *, context: CommandContext, full: bool
) -> tuple[StateSnapshot | None, list[LedgerRow], Activity | None, list[NestedRun], JsonRecord | None]:
    """Return the state of a thread, its ledger rows, what the run that has it is doing, and its nested runs.

    The rows are given only if no run has the thread: then an unfinished write is in doubt.
    """
    async with context.open_database() as stored:
        state, nested = await load_thread(thread, stored=stored, always_nested=True)
        rows = [] if await stored.is_busy(thread) else await stored.ledger.list_rows(thread)
        activity = await load_activity(state, stored, thread=thread) if state is not None else None
        if full and state is not None:
            state = await load_full_results(state, stored.artifacts, thread=thread)
        return state, rows, activity, nested, await _load_queued(thread, stored=stored)


async def _load_summaries(*, context: CommandContext, most: int) -> list[JsonRecord]:
    async with context.open_database() as stored:
        rows = await stored.list_threads(most)
        summaries = [
            {"thread_id": row.thread, **row.summary}
            if row.summary is not None and not row.is_open
            else await _summarize_open_thread(row, stored=stored)
            for row in rows
        ]
        return [summary for summary in summaries if summary is not None]


async def _summarize_open_thread(row: ThreadRow, *, stored: Persistence) -> JsonRecord | None:
    """Return what is listed of a thread that a run has, or left when it was killed; the latter is stored.

    None: its run was killed before anything of it was stored.
    """
    thread = row.thread
    submission = await ThreadQueue(stored).load(thread)
    if submission is None and not await stored.has_thread(thread):
        return None
    state, nested = await load_thread(thread, stored=stored)
    if state is None:
        runs = [run.summarize() for run in nested]
        return {
            "thread_id": thread,
            "status": get_caller_status(nested),
            "goal": f"{len(runs)} nested {'run' if len(runs) == 1 else 'runs'}",
            "done": sum(run["done"] for run in runs),
            "tasks": sum(run["tasks"] for run in runs),
            "changed_at": max((run["changed_at"] for run in runs if run["changed_at"]), default=None),
        }
    summary = summarize_listing(state)
    if state.created_at is None and submission is not None:
        given = submission.input if isinstance(submission.input, dict) else {}
        return {"thread_id": thread, **summary, "status": submission.state, "goal": given.get("goal") or ""}
    if await stored.is_busy(thread):
        return {"thread_id": thread, **summary, **({"status": "running"} if is_unfinished(state) else {})}
    newest = state.config["configurable"]["checkpoint_id"]
    await stored.saver.run_on_worker(
        stored.saver.threads.close_row, thread, summary, newest=newest, version=row.version
    )
    return {"thread_id": thread, **summary}


def _print_thread_table(summaries: list[JsonRecord], *, screen: Screen) -> None:
    """Print a table that fits the terminal; elsewhere a line for each thread, its fields divided by tabs."""
    rows = [
        (
            escape_controls(thread["thread_id"]),
            thread["status"].replace("_", " "),
            f"{thread['done']}/{thread['tasks']}",
            _format_local_time(thread["changed_at"]),
            as_text(thread["goal"], width=_PREVIEW_WIDTH),
        )
        for thread in summaries
    ]
    if not screen.live:
        for row in rows:
            # Not by the console, which makes spaces of tabs.
            screen.console.file.write("\t".join(" ".join(cell.split()) for cell in row) + "\n")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False, expand=True)
    table.add_column("thread", no_wrap=True, overflow="fold")
    table.add_column("status", no_wrap=True)
    table.add_column("done", justify="right", no_wrap=True)
    table.add_column("changed", no_wrap=True)
    table.add_column("goal", ratio=1, overflow="ellipsis", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    screen.console.print(table)


def _print_thread_details(
    state: StateSnapshot, ledger: list[LedgerRow], activity: Activity | None, *, thread: str, screen: Screen
) -> None:
    tracker, values = build_tracker(state), state.values
    about = summarize_thread(state, ledger=ledger, activity=activity)
    status = get_status(state, running=activity is not None).replace("_", " ")
    tracker.apply_statuses({task: task_state["status"] for task, task_state in about["tasks"].items()})
    head = [("thread", thread), ("goal", values.get("goal") or ""), ("status", status)]
    head += [
        ("started", _format_local_time(values.get("started_at"))),
        ("changed", _format_local_time(state.created_at)),
    ]
    head += [("plan", f"revision {values['revision']}, {values.get('replans') or 0} replans")] if tracker.rows else []
    head += [("revised", _format_change(change)) for change in list_plan_changes(values)]
    head += [("replan", as_text(entry, width=_REASON_WIDTH)) for entry in values.get("replan_history") or ()]
    head += [("progress", _format_progress(about["progress"]))] if about["progress"] else []
    head += [("rollback", text) for text in _format_rollback(get_rollback(state))]
    for name, text in head:
        screen.say(f"{name:8} {text}")
    for phase in about["phases"]:
        screen.say(_format_phase(phase, current=phase["name"] == about["current_phase"]))
    if tracker.rows:
        print_plan_table(tracker, screen=screen)
    answer = values.get("answer") or ""
    for task, record in collect_results(state).items():
        if record.get("status") == "done" and not _is_result_in(answer, task):
            screen.say(f"{task}: {_format_result(record)}")
        for line in _format_failed_items(record):
            screen.say(f"{task}: {line}", style="yellow")
    for waiting in state.interrupts:
        show_interrupt(waiting.value, screen=screen)
    print_problems(state, screen=screen)
    if answer:
        screen.say("")
        print_answer(answer, screen=screen)


def _is_result_in(answer: str, task: str) -> bool:
    """Whether an answer has the whole result of a task, as it has where no model wrote it."""
    return re.search(rf"^\*\*.*\*\* \[{re.escape(task)}\]", answer, flags=re.MULTILINE) is not None


def _format_result(record: JsonRecord) -> str:
    artifact = record.get("artifact")
    if artifact is None:
        return as_text(record.get("output"), width=_PREVIEW_WIDTH)
    return f"{as_text(artifact['preview'], width=_PREVIEW_WIDTH)} ({format_size(artifact['size'])})"


def _format_failed_items(record: JsonRecord) -> list[str]:
    """Return a line for each failed item whose error is stored, and one that counts the others."""
    items = record.get("items")
    if not items:
        return []
    lines = [f"item {one['item']} failed: {as_text(one['error'], width=_PREVIEW_WIDTH)}" for one in items["errors"]]
    more = len(items["failed"]) - len(lines)
    return [*lines, *([f"{more:,} more items failed"] if more else [])]


def _format_progress(counts: TaskProgress) -> str:
    parts = [f"{counts[word]} {word}" for word in ("completed", "failed", "skipped", "waiting") if counts[word]]
    return f"{counts['percentage']:g} % of {counts['total']}: {', '.join(parts)}"


def _format_change(change: JsonRecord) -> str:
    who = change["model"] or "a human"
    return f"to revision {change['revision']} by {who}: {PlanDiff.model_validate(change['difference'])}"


def _format_rollback(report: JsonRecord | None) -> list[str]:
    if report is None:
        return []
    parts = [(", ".join(report["undone"]), "undone"), (", ".join(report["not_undone"]), "not undone")]
    return ["; ".join(f"{word}: {names}" for names, word in parts if names) or "nothing is undone yet"]


def _format_phase(phase: PhaseProgress, *, current: bool) -> str:
    about = f": {as_text(phase['description'], width=_PREVIEW_WIDTH)}" if phase["description"] else ""
    return f"{'phase':8} {phase['name']} {phase['percentage']:g} %{' (current)' if current else ''}{about}"


def _render_mermaid(state: StateSnapshot, ledger: list[LedgerRow], activity: Activity | None, *, thread: str) -> str:
    if build_thread_snapshot(state.values).compiled is None:
        raise UsageError(f"The thread {thread!r} has no plan to draw; look at it with `planwave show`.")
    running = activity or Activity()
    states = get_task_states(state, ledger=ledger, running=running.running, retrying=running.retrying)
    return to_mermaid(
        parse_stored_plan(state.values["plan"]), {task: task_state.status for task, task_state in states.items()}
    )


def _format_local_time(moment: str | None) -> str:
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else ""


def export_thread(thread: str, *, context: CommandContext, form: str) -> int:
    """Print where each result of a thread came from (`form="prov"`, PROV-JSON) or its record (`"xml"`); return 0.

    Raises `UsageError` if there is no such thread.
    """
    state, *_ = asyncio.run(_load_state(thread, context=context, full=True))
    if state is None:
        raise UsageError(f"The thread {thread!r} is another graph's and has no plan; see `planwave show {thread}`.")
    if form == "prov":
        print_json(to_prov_json(provenance_of(state.values, get_outcomes(state)), thread=thread))
    else:
        context.screen.console.out(to_xml(to_jsonable_python(build_run_record(state, thread=thread))), highlight=False)
    return 0
