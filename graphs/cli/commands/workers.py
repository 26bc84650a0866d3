"""The commands `worker`, `submit`, `workers` and `run --queue`."""

import asyncio
from collections.abc import Sequence
from typing import Any

from langgraph.types import Command
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from agent.errors import AnswerError, UsageError, describe_extra
from graphs.cli.commands.exit import report_end, report_stop
from graphs.cli.commands.given_answers import GivenAnswers, build_resume_values
from graphs.cli.commands.run import RunSession, build_thread_config, build_tracker, make_thread_id
from graphs.cli.commands.run_report import RunReporter
from graphs.cli.plan_commands.plan_file import parse_inputs, read_plan
from graphs.cli.terminal.command_context import CommandContext
from graphs.cli.terminal.live_view import create_display
from graphs.cli.terminal.report import load_full_results
from graphs.cli.terminal.run_options import RunOptions
from graphs.cli.terminal.screen import print_error, print_json
from graphs.cli.terminal.signals import SignalInterrupt, Stopper
from graphs.cli.terminal.units import format_duration
from graphs.persistence import Persistence
from graphs.plan_execute import build_graph
from graphs.stores.database import mask_password
from graphs.workers.client import ThreadQueue, open_queue
from graphs.workers.engine import require_engine
from graphs.workers.status import QueueStatus, WorkerStatus, load_queue_status, retry_set_aside

_WATCH_S = 0.5


def run_thread_worker(*, graph: str | None, slots: int, calls: str | None, context: CommandContext) -> int:
    """Be a worker until a signal; return 0. Raises `UsageError` for a wrong argument or without the extra."""
    try:
        from graphs.workers.worker import run_worker  # noqa: PLC0415 - an extra
    except ImportError:
        raise UsageError(f"Workers need {describe_extra('workers')}.") from None
    db = context.resolve_database_url()

    def say_started(name: str) -> None:
        what = "thread" if calls is None else "call"
        count = f"1 {what}" if slots == 1 else f"{slots} {what}s"
        context.screen.say(f"{name} runs up to {count} at a time from {mask_password(db)}; Ctrl-C stops it.")

    asyncio.run(run_worker(db, graph=graph, slots=slots, calls=calls, on_start=lambda each: say_started(each.name)))
    context.screen.say("Stopped; what was not finished is another worker's.")
    return 0


def submit_goal(
    goal: str | None, *, plan_file: str | None, inputs: Sequence[str], thread: str | None, context: CommandContext
) -> int:
    """Give a goal to the workers, print its thread and return 0. Raises `UsageError` for an empty goal."""
    given, name = _read_input(goal, plan_file=plan_file, inputs=inputs, thread=thread)

    async def submit_input() -> str:
        async with open_queue(context.resolve_database_url()) as threads:
            return await threads.submit(given, thread_id=name)

    submitted = asyncio.run(submit_input())
    if context.as_json:
        print_json({"thread_id": submitted})
    else:
        print(submitted)  # noqa: T201 - the one line that a script reads
    return 0


def run_queued(
    goal: str | None,
    *,
    plan_file: str | None,
    inputs: Sequence[str],
    thread: str | None,
    options: RunOptions,
    context: CommandContext,
) -> int:
    """Submit a goal, watch it, ask here what it asks, and return the exit status of its end.

    Raises `UsageError` for options of the run, which are those of its worker.
    """
    chosen = [name for name, value in options if value is not None]
    if chosen:
        raise UsageError(
            f"--{chosen[0].replace('_', '-')} is the worker's to choose; with --queue leave it out, and set it where "
            "`planwave worker` runs."
        )
    given, name = _read_input(goal, plan_file=plan_file, inputs=inputs, thread=thread)
    stopper = context.create_stopper()
    with stopper.catch_signals():
        return asyncio.run(_submit_and_watch(given, name, options=options, context=context, stopper=stopper))


async def _submit_and_watch(
    given: dict[str, Any], thread: str, *, options: RunOptions, context: CommandContext, stopper: Stopper
) -> int:
    async with open_queue(context.resolve_database_url()) as threads:
        await threads.submit(given, thread_id=thread)
        return await watch_thread(thread, threads, options=options, context=context, stopper=stopper)


async def watch_submitted(
    thread: str,
    stored: Persistence,
    *,
    answers: GivenAnswers,
    options: RunOptions,
    context: CommandContext,
    stopper: Stopper,
) -> int:
    """Do as `watch_thread` for `planwave resume`, whose answers go into the inbox of a submitted thread."""
    await asyncio.to_thread(require_engine, stored)
    threads = ThreadQueue(stored)
    if answers:
        waiting = (await threads.load_state(thread)).interrupts
        named_only = options.build_settings().require_named_answers
        await threads.answer(thread, build_resume_values(answers, waiting, thread=thread, named_only=named_only))
    return await watch_thread(thread, threads, options=options, context=context, stopper=stopper)


async def watch_thread(
    thread: str, threads: ThreadQueue, *, options: RunOptions, context: CommandContext, stopper: Stopper
) -> int:
    """Show a thread that workers run, put the answers that are given here into its inbox, and return its exit status.

    A signal ends the watching; the workers go on.
    """
    stored = threads.persistence
    graph = build_graph(tools=[], persistence=stored)
    while True:
        try:
            await stopper.run(_watch_until_blocked(thread, threads, context=context))
        except SignalInterrupt as stop:
            state = await load_full_results(await threads.load_state(thread), stored.artifacts, thread=thread)
            report_stop(state, thread=thread, context=context)
            return stop.status
        submission, state = await threads.load(thread), await threads.load_state(thread)
        if submission is not None and submission.state == "set_aside":
            print_error(f"The thread {thread!r} was set aside: {submission.reason}.")
            state = state._replace(values={**state.values, "status": "failed"}, tasks=(), interrupts=())
        tracker = build_tracker(state)
        config, display = build_thread_config(thread, options), create_display(context.screen, tracker)
        reporter = RunReporter(graph, config, stored=stored, context=context)
        session = RunSession(graph, config, context, display, stopper, reporter)
        answers = session.collect_answers(state)
        if answers is None:
            state = await load_full_results(state, stored.artifacts, thread=thread)
            return report_end(state, thread=thread, options=options, context=context, tracker=tracker)
        try:
            await threads.answer(thread, Command(resume=answers).resume)
        except AnswerError as error:
            if not context.screen.interactive or context.auto_approve:
                raise
            context.screen.say(str(error), style="bold red")


async def _watch_until_blocked(thread: str, threads: ThreadQueue, *, context: CommandContext) -> None:
    """Say what workers have finished, and why nothing happens, until the thread ends or asks."""
    seen: set[str] = set()
    reason: str | None = None
    status = await asyncio.to_thread(load_queue_status, threads.persistence.backend.database)
    if not any(worker.state == "alive" for worker in status.workers):
        context.screen.say("No worker is running; start one with: planwave worker --db URL", style="yellow")
    while True:
        submission, state = await threads.load(thread), await threads.load_state(thread)
        for task, record in (state.values.get("results") or {}).items():
            if task not in seen:
                seen.add(task)
                context.screen.say(f"{record.get('status', 'done'):8} {task}", style="dim")
        if submission is None or submission.state != "queued":
            return
        if submission.reason and submission.reason != reason:
            context.screen.say(f"Waits: {submission.reason}.", style="yellow")
        reason = submission.reason
        await asyncio.sleep(_WATCH_S)


def print_workers(*, context: CommandContext) -> int:
    """Print who lives, what each runs and what waits; return 0."""

    async def load_status() -> QueueStatus:
        async with open_queue(context.resolve_database_url()) as threads:
            return await asyncio.to_thread(load_queue_status, threads.persistence.backend.database)

    status = asyncio.run(load_status())
    if context.as_json:
        print_json(status.to_record())
        return 0
    screen = context.screen
    if status.workers:
        screen.console.print(_build_worker_table(status.workers))
    else:
        screen.say("There is no worker; start one with: planwave worker --db URL")
    counts = ", ".join(f"{count} {name}" for name, count in status.depth.items() if count)
    screen.say(f"threads: {counts or 'none'}")
    for thread, reason in status.explained.items():
        screen.say(f"{thread}: {reason}", style="yellow")
    return 0


def retry_thread(thread: str, *, context: CommandContext) -> int:
    """Put a thread that was set aside into the queue again; return 0. Raises `UsageError` if it was not."""

    async def retry() -> bool:
        async with open_queue(context.resolve_database_url()) as threads:
            return await asyncio.to_thread(retry_set_aside, threads.persistence.backend.database, thread)

    if not asyncio.run(retry()):
        raise UsageError(f"The thread {thread!r} was not set aside; `planwave workers` lists those that were.")
    if context.as_json:
        print_json({"thread_id": thread})
    context.screen.say(f"The thread {thread!r} is in the queue again.")
    return 0


def _read_input(
    goal: str | None, *, plan_file: str | None, inputs: Sequence[str], thread: str | None
) -> tuple[dict[str, Any], str]:
    given = read_plan(plan_file) if plan_file is not None else None
    text = (goal if goal is not None else (given.goal if given else None) or "").strip()
    if not text and given is None:
        raise UsageError('The goal is empty; say what to find out or do: planwave submit "..."')
    if inputs and given is None:
        raise UsageError("--input is for a plan that declares inputs; give it with --plan.")
    values = parse_inputs(inputs, given.document) if given is not None else {}
    document = given.document if given else None
    return {"goal": text, "plan": document, "inputs": values}, thread or make_thread_id(text)


def _build_worker_table(workers: list[WorkerStatus]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("worker", "where", "state", "since", "runs", "tools"):
        table.add_column(name, overflow="fold")
    for worker in workers:
        doing = f"{len(worker.doing)}/{worker.slots} {', '.join(worker.doing)}"
        since = format_duration(worker.age_s)
        where = f"{worker.host} pid {worker.pid}"
        cells = (worker.name, where, worker.state, since, doing, str(len(worker.tools)))
        table.add_row(*map(Text, cells))
    return table
