"""The way out of every command: an exit status, and no traceback for what a person can put right."""

from collections.abc import Callable

from agent.errors import PlanwaveError
from graphs.console.ending import tell_failure
from graphs.console.manner import Manner
from graphs.console.report import failure_record
from graphs.console.screen import complain, open_screen, print_json
from graphs.console.stopping import Interrupted


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
