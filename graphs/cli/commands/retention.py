"""The commands `threads delete`, `threads prune` and `migrate`."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final, TypedDict

from langgraph.types import StateSnapshot

from agent.errors import PersistenceError, ThreadBusyError, UsageError
from graphs.cli.commands.run import load_thread
from graphs.cli.terminal.approval_prompts import read_line
from graphs.cli.terminal.command_context import CommandContext
from graphs.cli.terminal.screen import print_json
from graphs.cli.terminal.units import parse_duration
from graphs.compiled_graph import PlanwaveGraph
from graphs.nested_runs import get_caller_status, load_nested_runs
from graphs.persistence import Persistence, migrate_database
from graphs.plan_execute import build_graph
from graphs.stores.tables.threads import ThreadRow
from graphs.thread_status import collect_results, get_status, is_unfinished

#: The statuses of a thread that will not go on.
_ENDED: Final = frozenset({"completed", "failed", "cancelled"})


class KeptThread(TypedDict):
    """An old thread that was not removed, and why."""

    thread_id: str
    why: str


def delete_thread(thread: str, *, context: CommandContext) -> int:
    """Delete a thread after asking and return the exit status: 0, or 1 if the answer was no.

    Raises `UsageError` if there is no such thread or nobody to ask, `ThreadBusyError` if the thread is running.
    """
    return asyncio.run(_delete(thread, context=context))


async def _delete(thread: str, *, context: CommandContext) -> int:
    async with context.open_database() as stored:
        if not await stored.has_thread(thread):
            raise UsageError(
                f"There is no thread {thread!r} in {stored.url}; `planwave threads` lists the existing ones."
            )
        if not context.auto_approve and not await _confirm_deletion(thread, stored=stored, context=context):
            context.screen.say("Nothing was deleted.")
            return 1
        await stored.delete(thread)
    if context.as_json:
        print_json({"removed": [thread]})
    context.screen.say(f"Deleted the thread {thread!r}. Files that it created stay where they are.")
    return 0


async def _confirm_deletion(thread: str, *, stored: Persistence, context: CommandContext) -> bool:
    if not context.screen.interactive:
        raise UsageError(f"Deleting asks first, and there is no terminal to ask at; add --yes to delete {thread!r}.")
    try:
        state, nested = await load_thread(thread, stored=stored)
        status = get_status(state) if state is not None else get_caller_status(nested)
        content = f"{len(collect_results(state))} results" if state is not None else f"{len(nested)} nested runs"
        about = f"{status.replace('_', ' ')}, {content}"
    except PersistenceError:
        about = "it cannot be read"
    answer = read_line(f"Delete the thread {thread!r} ({about}) for good? [y/N] ", screen=context.screen)
    return (answer or "").strip().lower() in {"y", "yes"}


def prune_threads(*, older_than: str, dry_run: bool, context: CommandContext) -> int:
    """Remove the threads that ended longer ago than `older_than`, such as `30d`; print them and return 0.

    Raises `UsageError` if `older_than` is not a duration.
    """
    age = parse_duration(older_than)
    removed, kept = asyncio.run(_prune(age, dry_run=dry_run, context=context))
    if context.as_json:
        print_json({"removed": removed, "kept": kept, "dry_run": dry_run})
    for thread in removed:
        context.screen.say(f"{'would remove' if dry_run else 'removed'} {thread}")
    for entry in kept:
        context.screen.say(f"kept {entry['thread_id']}: {entry['why']}", style="dim")
    count = "1 thread" if len(removed) == 1 else f"{len(removed)} threads"
    context.screen.say(f"{'Would remove' if dry_run else 'Removed'} {count} that ended more than {older_than} ago.")
    return 0


async def _prune(age: timedelta, *, dry_run: bool, context: CommandContext) -> tuple[list[str], list[KeptThread]]:
    removed: list[str] = []
    kept: list[KeptThread] = []
    before = datetime.now(UTC) - age
    async with context.open_database() as stored:
        graph = build_graph(tools=[], persistence=stored)
        rows = [row for row in reversed(await stored.list_threads()) if row.is_open or _has_changed(row, before=before)]
        ended = [row.thread for row in rows if not row.is_open and row.summary and row.summary["status"] in _ENDED]
        removed = await stored.remove_ended(ended, dry_run=dry_run)
        done = set(removed)
        # What is left waits, or must be looked at: a run that was killed, runs of other graphs, a write in doubt.
        for thread in (row.thread for row in rows if row.thread not in done):
            if not await stored.has_thread(thread):
                # Its run was killed before anything of it was stored.
                continue
            try:
                state = await _load_state(thread, graph)
                if state.created_at is not None and datetime.fromisoformat(state.created_at) > before:
                    continue
                nested = await load_nested_runs(thread, state, stored=stored, graph=graph)
                if any(run.changed_at and datetime.fromisoformat(run.changed_at) > before for run in nested):
                    continue
                why = await _remove_thread(thread, graph, stored=stored, dry_run=dry_run)
            except ThreadBusyError:
                why = "it is running"
            except PersistenceError as error:
                why = f"it cannot be read ({error}); delete it with `planwave threads delete`"
            if why is None:
                removed.append(thread)
            else:
                kept.append({"thread_id": thread, "why": why})
    return removed, kept


def _has_changed(row: ThreadRow, *, before: datetime) -> bool:
    changed_at = row.summary and row.summary["changed_at"]
    return not changed_at or datetime.fromisoformat(changed_at) <= before


async def _remove_thread(thread: str, graph: PlanwaveGraph, *, stored: Persistence, dry_run: bool) -> str | None:
    """Remove a thread, or return why not. Raises `ThreadBusyError`."""
    async with stored.saver.lease(thread, writes=False):
        # Read again, now that nobody else can start to run it.
        state = await _load_state(thread, graph)
        if state.interrupts:
            return "it waits for an answer"
        if is_unfinished(state):
            return "it was stopped before its end and can be resumed"
        nested = await load_nested_runs(thread, state, stored=stored, graph=graph)
        if any(run.is_open for run in nested):
            return "a run on it that another graph called waits, was stopped, or has a write in doubt"
        if not dry_run:
            await stored.saver.adelete_thread(thread)
    return None


async def _load_state(thread: str, graph: PlanwaveGraph) -> StateSnapshot:
    return await graph.aget_state({"configurable": {"thread_id": thread}})


def migrate_tables(*, context: CommandContext) -> int:
    """Create or upgrade the tables, print what was done, and return 0. Raises as `migrate_database`."""
    done = asyncio.run(migrate_database(context.resolve_database_url()))
    if context.as_json:
        print_json({"done": done})
    for sentence in done or ["The tables are up to date; nothing was done."]:
        context.screen.say(sentence)
    return 0
