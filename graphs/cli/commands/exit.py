"""What a command reports at its end, and its exit status."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from langgraph.types import StateSnapshot

from agent.errors import DataError, NoModelError, PersistenceError, PlanwaveError, UsageError
from agent.planning.draft_review import Confidence
from agent.settings import Settings
from graphs.cli.logs import configure_logging
from graphs.cli.options import verbosity
from graphs.cli.terminal.command_context import CommandContext
from graphs.cli.terminal.escalation_prompts import parse_escalation, show_interrupt
from graphs.cli.terminal.report import (
    build_failure_record,
    build_run_record,
    find_output_files,
    format_command,
    get_exit_status,
    print_answer,
    print_hint,
)
from graphs.cli.terminal.run_options import RunOptions
from graphs.cli.terminal.run_view import RunTracker
from graphs.cli.terminal.screen import Screen, open_screen, print_error, print_json
from graphs.cli.terminal.signals import SignalInterrupt
from graphs.cli.terminal.units import format_duration
from graphs.thread_status import collect_results, get_status

#: What the caller can correct before trying again; every other error is a run that failed.
_USAGE_ERRORS = (UsageError, NoModelError, DataError, PersistenceError)


def report_end(
    state: StateSnapshot,
    *,
    thread: str,
    options: RunOptions,
    context: CommandContext,
    tracker: RunTracker | None = None,
) -> int:
    """Print the outcome of a thread and return its exit status.

    `tracker` belongs to the run that has just ended; None if nothing was run.
    """
    screen, status = context.screen, get_status(state)
    if context.as_json:
        print_json(build_run_record(state, thread=thread))
    elif status == "awaiting_approval":
        _report_waiting(state, thread=thread, context=context)
    else:
        screen.say("")
        answer = state.values.get("answer") or "There is no answer."
        print_answer(answer, screen=screen)
        confidence = state.values.get("confidence")
        # That it is not certain, the answer says.
        if confidence and confidence["level"] != "unsure":
            screen.say(str(Confidence.model_validate(confidence)), style="dim")
        screen.say("")
        print_problems(state, screen=screen)
        created = find_output_files(collect_results(state), folder=options.build_settings().output_folder)
        for file in [file for file in created if str(file) not in answer]:
            screen.say(f"created {file}", style="green")
    took = f" in {format_duration(tracker.clock() - tracker.started_at)}" if tracker is not None else ""
    word = status.replace("_", " ")
    command = format_command("show", thread, db=context.db)
    print_hint(f"{word}{took}; look again with:", command, screen=screen, style="dim")
    return get_exit_status(state)


def report_stop(state: StateSnapshot, *, thread: str, context: CommandContext) -> None:
    """Say how to continue a thread that a signal stopped."""
    if context.as_json:
        print_json(build_run_record(state, thread=thread))
    if state.created_at is None:
        context.screen.say("Stopped before anything was started.")
        return
    done = sum(record.get("status") == "done" for record in collect_results(state).values())
    command, tasks = format_command("resume", thread, db=context.db), "1 task is" if done == 1 else f"{done} tasks are"
    sentence = f"Stopped; {tasks} finished and stored. Continue with:"
    print_hint(sentence, command, screen=context.screen, style="yellow")


def report_failure(error: PlanwaveError, *, thread: str | None, context: CommandContext) -> int:
    """Print an error as one sentence and return the exit status: 2 for bad use, 1 for a run that failed."""
    print_error(str(error))
    if context.as_json:
        print_json(build_failure_record(str(error), thread=thread))
    return 2 if isinstance(error, _USAGE_ERRORS) else 1


def print_problems(state: StateSnapshot, *, screen: Screen) -> None:
    """Print the problems that the answer does not mention."""
    answer = state.values.get("answer") or ""
    for problem in state.values.get("problems") or ():
        if problem not in answer:
            screen.say(f"problem: {problem}", style="red")


def _report_waiting(state: StateSnapshot, *, thread: str, context: CommandContext) -> None:
    for waiting in state.interrupts:
        if waiting.value.get("error"):
            print_error(str(waiting.value["error"]))
        if not context.screen.interactive:
            show_interrupt(waiting.value, screen=context.screen)
    about = "an answer" if any(parse_escalation(waiting.value) for waiting in state.interrupts) else "approval"
    command = format_command("resume", thread, db=context.db)
    print_hint(f"Waiting for {about}; answer with:", command, screen=context.screen, style="yellow")


def run_command(
    work: Callable[[CommandContext], int],
    *,
    thread: str | None = None,
    as_json: bool = False,
    yes: bool = False,
    db: str | None = None,
    report: Path | None = None,
    watch: bool = False,
) -> int:
    """Return the exit status of `work`; an error of our tree, or a signal before the run began, is reported.

    `thread` is named in the report; the other arguments are those of `CommandContext`.
    """
    context = CommandContext(
        screen=open_screen(as_json=as_json), as_json=as_json, auto_approve=yes, db=db, report=report, watch=watch
    )
    try:
        Settings()  # a wrong one is reported by every command, also by one that uses none
        configure_logging(verbosity.get())
        return work(context)
    except asyncio.CancelledError:
        # What `asyncio.run` raises after Ctrl-C instead, if a task group has cancelled the main task once more.
        raise KeyboardInterrupt from None
    except SignalInterrupt as stop:
        sentence = "Stopped before anything was started."
        print_error(sentence)
        if as_json:
            print_json(build_failure_record(sentence, thread=thread, status="cancelled"))
        return stop.status
    except PlanwaveError as error:
        return report_failure(error, thread=thread, context=context)
