"""The commands `threads` and `show`."""

import asyncio
from datetime import datetime

from langgraph.types import StateSnapshot
from pydantic_core import to_jsonable_python
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.core.engine.call_preparation import Difference
from agent.core.engine.progress import PhaseProgress, Progress
from agent.core.mermaid import mermaid
from agent.core.provenance.prov_json import prov_json
from agent.core.provenance.xml_export import as_xml
from agent.errors import UsageError
from agent.execution.ledger import LedgerRow
from agent.settings import Settings
from graphs.cli.commands.exit import tell_problems
from graphs.cli.commands.run import thread_state, track_of
from graphs.cli.terminal.command_context import Manner
from graphs.cli.terminal.escalation_prompts import show_waiting
from graphs.cli.terminal.plan_table import plan_table
from graphs.cli.terminal.report import Record, in_full, outcomes_of, print_answer, rollback_of, run_record, status_of
from graphs.cli.terminal.screen import Screen, as_text, print_json, visible
from graphs.cli.terminal.units import spell_size
from graphs.persistence import open_persistence
from graphs.run.plan_history import changes_of, provenance_of
from graphs.state import plan_in
from graphs.thread_status import overview, results_of, thread_snapshot, thread_standings

_PREVIEW = 160
_REASON = 300


def list_threads(*, settings: Settings, manner: Manner, most: int) -> int:
    """Print the newest threads, the one that changed last first; return the exit status."""
    found = asyncio.run(_threads(settings=settings, manner=manner, most=most))
    if manner.as_json:
        print_json({"threads": found})
    elif not found:
        manner.screen.say('There are no threads yet; make one with: planwave run "..."')
    else:
        _print_threads(found, console=manner.screen.console)
    return 0


def show_thread(thread: str, *, settings: Settings, manner: Manner, picture: bool) -> int:
    """Print what a thread has come to; with `picture`, only its plan as Mermaid. Return the exit status 0.

    Raises `UsageError` for a thread that is not there, or that has no plan to draw.
    """
    full = manner.as_json and not picture
    state, ledger = asyncio.run(_state(thread, settings=settings, manner=manner, full=full))
    if picture:
        manner.screen.console.out(_picture(state, ledger, thread=thread), end="", highlight=False)
    elif manner.as_json:
        about = {
            "goal": state.values.get("goal") or "",
            **overview(state, ledger=ledger),
            "changes": changes_of(state.values),
            "history": list(state.values.get("history") or ()),
        }
        print_json({**run_record(state, thread=thread), **about})
    else:
        _print_thread(state, ledger, thread=thread, screen=manner.screen)
    return 0


async def _state(
    thread: str, *, settings: Settings, manner: Manner, full: bool
) -> tuple[StateSnapshot, list[LedgerRow]]:
    """Return the state of a thread, and its rows of the ledger where no run has it: what it began is in doubt then."""
    async with open_persistence(manner.database(settings)) as stored:
        state = await thread_state(thread, stored=stored)
        rows = [] if await stored.busy(thread) else await stored.ledger.rows(thread)
        return await in_full(state, stored.artifacts, thread=thread) if full else state, rows


async def _threads(*, settings: Settings, manner: Manner, most: int) -> list[Record]:
    async with open_persistence(manner.database(settings)) as stored:
        return [
            _summary(await thread_state(thread, stored=stored), thread=thread)
            for thread in (await stored.threads())[:most]
        ]


def _summary(state: StateSnapshot, *, thread: str) -> Record:
    results, plan = results_of(state), state.values.get("plan")
    return {
        "thread_id": thread,
        "status": status_of(state),
        "goal": state.values.get("goal") or "",
        "done": sum(record.get("status") == "done" for record in results.values()),
        "tasks": len(plan.get("tasks") or ()) if isinstance(plan, dict) else 0,
        "changed_at": state.created_at,
    }


def _print_threads(found: list[Record], *, console: Console) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, expand=console.is_terminal)
    table.add_column("thread", no_wrap=True, overflow="fold")
    table.add_column("status", no_wrap=True)
    table.add_column("done", justify="right", no_wrap=True)
    table.add_column("changed", no_wrap=True)
    table.add_column("goal", ratio=1, overflow="ellipsis", no_wrap=True)
    for thread in found:
        table.add_row(
            Text(visible(thread["thread_id"])),
            thread["status"].replace("_", " "),
            f"{thread['done']}/{thread['tasks']}",
            _local(thread["changed_at"]),
            Text(as_text(thread["goal"], width=_PREVIEW)),
        )
    console.print(table)


def _print_thread(state: StateSnapshot, ledger: list[LedgerRow], *, thread: str, screen: Screen) -> None:
    track, values = track_of(state), state.values
    about = overview(state, ledger=ledger)
    track.correct({task: standing["status"] for task, standing in about["tasks"].items()})
    head = [("thread", thread), ("goal", values.get("goal") or ""), ("status", status_of(state).replace("_", " "))]
    head += [("started", _local(values.get("started_at"))), ("changed", _local(state.created_at))]
    head += [("plan", f"revision {values['revision']}, {values.get('replans') or 0} replans")] if track.rows else []
    head += [("revised", _change(change)) for change in changes_of(values)]
    head += [("replan", as_text(told, width=_REASON)) for told in values.get("history") or ()]
    head += [("progress", _progress(about["progress"]))] if about["progress"] else []
    head += [("rollback", text) for text in _rollback(rollback_of(state))]
    for name, text in head:
        screen.say(f"{name:8} {text}")
    for phase in about["phases"]:
        screen.say(_phase(phase, current=phase["name"] == about["current_phase"]))
    if track.rows:
        screen.console.print(plan_table(track, width=screen.console.width))
    for task, record in results_of(state).items():
        if record.get("status") == "done":
            screen.say(f"{task}: {_result(record)}")
        for line in _failed_items(record):
            screen.say(f"{task}: {line}", style="yellow")
    for waiting in state.interrupts:
        show_waiting(waiting.value, screen=screen)
    tell_problems(state, screen=screen)
    if values.get("answer"):
        screen.say("")
        print_answer(values["answer"], screen=screen)


def _result(record: Record) -> str:
    artifact = record.get("artifact")
    if artifact is None:
        return as_text(record.get("output"), width=_PREVIEW)
    return f"{as_text(artifact['preview'], width=_PREVIEW)} ({spell_size(artifact['size'])})"


def _failed_items(record: Record) -> list[str]:
    """Return a line for each failure of an item that is told, and one for the others."""
    items = record.get("items")
    if not items:
        return []
    told = [f"item {one['item']} failed: {as_text(one['error'], width=_PREVIEW)}" for one in items["errors"]]
    more = len(items["failed"]) - len(told)
    return [*told, *([f"{more:,} more items failed"] if more else [])]


def _progress(counts: Progress) -> str:
    parts = [f"{counts[word]} {word}" for word in ("completed", "failed", "skipped", "waiting") if counts[word]]
    return f"{counts['percentage']:g} % of {counts['total']}: {', '.join(parts)}"


def _change(change: Record) -> str:
    who = change["model"] or "a person"
    return f"to revision {change['revision']} by {who}: {Difference.model_validate(change['difference'])}"


def _rollback(report: Record | None) -> list[str]:
    if report is None:
        return []
    parts = [(", ".join(report["undone"]), "undone"), (", ".join(report["not_undone"]), "not undone")]
    return ["; ".join(f"{word}: {names}" for names, word in parts if names) or "nothing is undone yet"]


def _phase(phase: PhaseProgress, *, current: bool) -> str:
    about = f": {as_text(phase['description'], width=_PREVIEW)}" if phase["description"] else ""
    return f"{'phase':8} {phase['name']} {phase['percentage']:g} %{' (current)' if current else ''}{about}"


def _picture(state: StateSnapshot, ledger: list[LedgerRow], *, thread: str) -> str:
    if thread_snapshot(state.values).compiled is None:
        raise UsageError(f"The thread {thread!r} has no plan that could be drawn; look at it with `planwave show`.")
    found = thread_standings(state, ledger=ledger)
    return mermaid(plan_in(state.values["plan"]), {task: standing.status for task, standing in found.items()})


def _local(moment: str | None) -> str:
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else ""


def export_thread(thread: str, *, settings: Settings, manner: Manner, form: str) -> int:
    """Print where each result of a thread came from (`prov`, as PROV-JSON) or its record (`xml`); return 0.

    Raises `UsageError` for a thread that is not there.
    """
    state = asyncio.run(_exported_state(thread, settings=settings, manner=manner))
    if form == "prov":
        print_json(prov_json(provenance_of(state.values, outcomes_of(state)), thread=thread))
    else:
        manner.screen.console.out(as_xml(to_jsonable_python(run_record(state, thread=thread))), highlight=False)
    return 0


async def _exported_state(thread: str, *, settings: Settings, manner: Manner) -> StateSnapshot:
    async with open_persistence(manner.database(settings)) as stored:
        return await in_full(await thread_state(thread, stored=stored), stored.artifacts, thread=thread)
