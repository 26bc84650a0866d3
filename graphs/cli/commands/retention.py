"""The commands that take away what is stored: `threads delete`, `threads prune`; and `migrate`."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TypedDict

from langgraph.types import StateSnapshot

from agent.errors import PersistenceError, ThreadBusyError, UsageError
from agent.settings import Settings
from graphs.cli.commands.run import thread_state
from graphs.cli.terminal.approval_prompts import read_line
from graphs.cli.terminal.command_context import Manner
from graphs.cli.terminal.report import status_of
from graphs.cli.terminal.screen import print_json
from graphs.cli.terminal.units import read_span
from graphs.compiled_graph import PlanwaveGraph
from graphs.persistence import Persistence, migrate, open_persistence
from graphs.plan_execute import build_graph
from graphs.thread_status import results_of


class Kept(TypedDict):
    """An old thread that was not removed, and why."""

    thread_id: str
    why: str


def delete_thread(thread: str, *, settings: Settings, manner: Manner) -> int:
    """Delete a thread after asking and return the exit status: 0, or 1 where the person said no.

    Raises `UsageError` for a thread that is not there or where nobody can be asked, `ThreadBusyError` for one that is
    being run.
    """
    return asyncio.run(_delete(thread, settings=settings, manner=manner))


async def _delete(thread: str, *, settings: Settings, manner: Manner) -> int:
    async with open_persistence(manner.database(settings)) as stored:
        if not await stored.has(thread):
            raise UsageError(f"There is no thread {thread!r} in {stored.url}; `planwave threads` lists those that are.")
        if not manner.yes and not await _agreed(thread, stored=stored, manner=manner):
            manner.screen.say("Nothing was deleted.")
            return 1
        await stored.delete(thread)
    if manner.as_json:
        print_json({"removed": [thread]})
    manner.screen.say(f"Deleted the thread {thread!r}. Files that it made stay where they are.")
    return 0


async def _agreed(thread: str, *, stored: Persistence, manner: Manner) -> bool:
    if not manner.screen.interactive:
        raise UsageError(f"Deleting asks first, and there is no one to ask; add --yes to delete {thread!r}.")
    try:
        state = await thread_state(thread, stored=stored)
        about = f"{status_of(state).replace('_', ' ')}, {len(results_of(state))} results"
    except PersistenceError:
        about = "it cannot be read"
    answer = read_line(f"Delete the thread {thread!r} ({about}) for good? [y/N] ", screen=manner.screen)
    return (answer or "").strip().lower() in {"y", "yes"}


def prune_threads(*, older_than: str, dry_run: bool, settings: Settings, manner: Manner) -> int:
    """Remove the threads that ended longer than a span of time ago, say which, and return the exit status 0.

    Raises `UsageError` for a span that is none.
    """
    age = read_span(older_than)
    removed, kept = asyncio.run(_prune(age, dry_run=dry_run, settings=settings, manner=manner))
    if manner.as_json:
        print_json({"removed": removed, "kept": kept, "dry_run": dry_run})
    for thread in removed:
        manner.screen.say(f"{'would remove' if dry_run else 'removed'} {thread}")
    for one in kept:
        manner.screen.say(f"kept {one['thread_id']}: {one['why']}", style="dim")
    count = "1 thread" if len(removed) == 1 else f"{len(removed)} threads"
    manner.screen.say(f"{'Would remove' if dry_run else 'Removed'} {count} that ended more than {older_than} ago.")
    return 0


async def _prune(age: timedelta, *, dry_run: bool, settings: Settings, manner: Manner) -> tuple[list[str], list[Kept]]:
    removed: list[str] = []
    kept: list[Kept] = []
    before = datetime.now(UTC) - age
    async with open_persistence(manner.database(settings)) as stored:
        graph = build_graph(tools=[], persistence=stored)
        for thread in reversed(await stored.threads()):
            try:
                state = await _state(thread, graph)
                if state.created_at is not None and datetime.fromisoformat(state.created_at) > before:
                    # They come by age, the oldest first.
                    break
                why = await _removed(thread, graph, stored=stored, dry_run=dry_run)
            except ThreadBusyError:
                why = "it is being run"
            except PersistenceError as error:
                why = f"it cannot be read ({error}); delete it with `planwave threads delete`"
            if why is None:
                removed.append(thread)
            else:
                kept.append({"thread_id": thread, "why": why})
    return removed, kept


async def _removed(thread: str, graph: PlanwaveGraph, *, stored: Persistence, dry_run: bool) -> str | None:
    """Remove a thread, or return why not. Raises `ThreadBusyError`."""
    async with stored.lease(thread):
        # Read once more, now that nobody can begin to run it.
        state = await _state(thread, graph)
        if state.interrupts:
            return "it waits for an answer"
        if state.next:
            return "it was stopped before its end and can be resumed"
        if not dry_run:
            await stored.saver.adelete_thread(thread)
    return None


async def _state(thread: str, graph: PlanwaveGraph) -> StateSnapshot:
    return await graph.aget_state({"configurable": {"thread_id": thread}})


def migrate_tables(*, settings: Settings, manner: Manner) -> int:
    """Make or upgrade the tables, say what was done, and return the exit status 0. Raises as `migrate`."""
    done = asyncio.run(migrate(manner.database(settings)))
    if manner.as_json:
        print_json({"done": done})
    for sentence in done or ["The tables are up to date; nothing was done."]:
        manner.screen.say(sentence)
    return 0
