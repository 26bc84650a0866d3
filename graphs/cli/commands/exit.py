"""The last words of a command on a thread, and its exit status."""

from collections.abc import Callable

from langgraph.types import StateSnapshot

from agent.errors import DataError, NoModelError, PersistenceError, PlanwaveError, UsageError
from graphs.cli.terminal.command_context import Manner
from graphs.cli.terminal.escalation_prompts import impasse_of, show_waiting
from graphs.cli.terminal.report import (
    command,
    exit_status,
    failure_record,
    files_made,
    print_answer,
    run_record,
    status_of,
)
from graphs.cli.terminal.run_options import Wanted
from graphs.cli.terminal.run_view import Track
from graphs.cli.terminal.screen import Screen, complain, open_screen, print_json
from graphs.cli.terminal.signals import Interrupted
from graphs.cli.terminal.units import spell
from graphs.thread_status import results_of

#: What the caller can put right before trying again; everything else is a run that failed.
_BAD_USE = (UsageError, NoModelError, DataError, PersistenceError)


def tell_end(state: StateSnapshot, *, thread: str, wanted: Wanted, manner: Manner, track: Track | None = None) -> int:
    """Tell what a thread came to; `track` is of the run that has just ended, for its time."""
    screen, status = manner.screen, status_of(state)
    if manner.as_json:
        print_json(run_record(state, thread=thread))
    elif status == "awaiting_approval":
        _tell_waiting(state, thread=thread, manner=manner)
    else:
        screen.say("")
        answer = state.values.get("answer") or "There is no answer."
        print_answer(answer, screen=screen)
        screen.say("")
        tell_problems(state, screen=screen)
        made = files_made(results_of(state), folder=wanted.settings().output_folder)
        for file in [file for file in made if str(file) not in answer]:
            screen.say(f"made {file}", style="green")
    took = f" in {spell(track.clock() - track.began)}" if track is not None else ""
    word = status.replace("_", " ")
    screen.say(f"{word}{took}; look again with: {command('show', thread, db=manner.db)}", style="dim")
    return exit_status(state)


def tell_stop(state: StateSnapshot, *, thread: str, manner: Manner) -> None:
    """Say how to go on with a thread that a signal stopped."""
    if manner.as_json:
        print_json(run_record(state, thread=thread))
    if state.created_at is None:
        manner.screen.say("Stopped before anything was begun.")
        return
    done = sum(record.get("status") == "done" for record in results_of(state).values())
    manner.screen.say(
        f"Stopped; what is done ({done} tasks) is kept. Go on with: {_on(thread, manner)}", style="yellow"
    )


def tell_failure(error: PlanwaveError, *, thread: str | None, manner: Manner) -> int:
    """Say in one sentence what went wrong, and return the exit status: 2 for bad use, 1 for a run that failed."""
    complain(str(error))
    if manner.as_json:
        print_json(failure_record(str(error), thread=thread))
    return 2 if isinstance(error, _BAD_USE) else 1


def tell_problems(state: StateSnapshot, *, screen: Screen) -> None:
    """Print the problems that the answer does not name itself."""
    answer = state.values.get("answer") or ""
    for problem in state.values.get("problems") or ():
        if problem not in answer:
            screen.say(f"problem: {problem}", style="red")


def _tell_waiting(state: StateSnapshot, *, thread: str, manner: Manner) -> None:
    for waiting in state.interrupts:
        if waiting.value.get("error"):
            complain(str(waiting.value["error"]))
        if not manner.screen.interactive:
            show_waiting(waiting.value, screen=manner.screen)
    about = "an answer" if any(impasse_of(waiting.value) for waiting in state.interrupts) else "approval"
    manner.screen.say(f"Waiting for {about}; answer with: {_on(thread, manner)}", style="yellow")


def _on(thread: str, manner: Manner) -> str:
    return command("resume", thread, db=manner.db)


def leave_with(work: Callable[[Manner], int], *, as_json: bool, yes: bool, db: str | None, thread: str | None) -> int:
    """Return the exit status of `work`; an error of our tree is told, a signal before the run began too."""
    manner = Manner(screen=open_screen(as_json=as_json), as_json=as_json, yes=yes, db=db)
    try:
        return work(manner)
    except Interrupted as stop:
        sentence = "Stopped before anything was begun."
        complain(sentence)
        if as_json:
            print_json(failure_record(sentence, thread=thread, status="cancelled"))
        return stop.status
    except PlanwaveError as error:
        return tell_failure(error, thread=thread, manner=manner)
