"""What a thread has come to, as a record for programs and as words for people."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from langgraph.types import StateSnapshot
from pydantic import JsonValue
from rich.markdown import Markdown

from agent.core.engine.outcomes import Outcome, outcome_from
from agent.results.artifacts import Artifacts
from graphs.cli.terminal.screen import Screen, visible
from graphs.nodes.rollback import rollback_report
from graphs.stores.database import without_password
from graphs.thread_status import results_of

Record = dict[str, Any]

_EXIT: Mapping[str, int] = {"completed": 0, "failed": 1, "cancelled": 1, "awaiting_approval": 3}
#: A path is no longer than this on any system we know.
_LONGEST_PATH = 4096


def run_record(state: StateSnapshot, *, thread: str) -> Record:
    """Return the one JSON object of a run, its keys as in the README.

    `interrupt` only where it waits for an answer, `budget` only where one ended it.
    """
    values = state.values
    record: Record = {
        "status": status_of(state),
        "answer": values.get("answer") or "",
        "plan": values.get("plan"),
        "results": results_of(state),
        "replans": values.get("replans") or 0,
        "problems": list(values.get("problems") or ()),
        "thread_id": thread,
    }
    if (rollback := rollback_of(state)) is not None:
        record["rollback"] = rollback
    if state.interrupts:
        record["interrupt"] = state.interrupts[0].value
    if values.get("budget"):
        record["budget"] = values["budget"]
    return record


def rollback_of(state: StateSnapshot) -> Record | None:
    """Return what is undone so far and what is not, with the reason; None where nothing is rolled back."""
    if status_of(state) in _EXIT and not state.interrupts:
        return state.values.get("rollback")
    return rollback_report(state.values, outcomes_of(state))


def failure_record(problem: str, *, thread: str | None, status: str = "failed") -> Record:
    """Return the JSON object of a run that did not come as far as a state of its own."""
    empty: Record = {"answer": "", "plan": None, "results": {}, "replans": 0}
    return {"status": status, **empty, "problems": [problem], "thread_id": thread}


def status_of(state: StateSnapshot) -> str:
    """Return the status: the graph's own word, or `interrupted` where steps are left and nothing waits."""
    if state.interrupts:
        return "awaiting_approval"
    return "interrupted" if state.next else str(state.values.get("status") or "failed")


async def in_full(state: StateSnapshot, artifacts: Artifacts, *, thread: str) -> StateSnapshot:
    """Return the state with all results and every output of them."""
    results = await artifacts.in_full(results_of(state), thread=thread)
    return state._replace(values={**state.values, "results": results})


def outcomes_of(state: StateSnapshot) -> dict[str, Outcome]:
    """Return the results as outcomes."""
    return {task: outcome_from(record) for task, record in results_of(state).items()}


def exit_status(state: StateSnapshot) -> int:
    """Return 0 for completed, 3 for waiting, 1 for everything else."""
    return _EXIT.get(status_of(state), 1)


def files_made(results: Mapping[str, Record], *, folder: Path) -> list[Path]:
    """Return the files below `folder` that outputs name, each once, in order."""
    root = folder.expanduser().absolute()
    found: dict[Path, None] = {}
    for record in results.values():
        for text in _texts(record.get("output")):
            if len(text) <= _LONGEST_PATH and "\0" not in text:
                path = Path(text)
                if path.is_absolute() and path.is_relative_to(root) and path.is_file():
                    found[path] = None
    return list(found)


def print_answer(answer: str, *, screen: Screen) -> None:
    """Print the answer, its Markdown laid out where there is a terminal."""
    if screen.live:
        screen.console.print(Markdown(visible(answer), hyperlinks=False))
    else:
        screen.say(answer)


def command(verb: str, thread: str, *, db: str | None) -> str:
    """Return a command line on a thread as a person would type it, without the password of `db`."""
    words = ["planwave", verb, thread, *(["--db", _as_typed(db)] if db else [])]
    return shlex.join(words)


def _texts(value: JsonValue) -> Iterator[str]:
    stack = [value]
    while stack:
        top = stack.pop()
        if isinstance(top, str):
            yield top
        elif isinstance(top, dict):
            stack.extend(reversed(top.values()))
        elif isinstance(top, list):
            stack.extend(reversed(top))


def _as_typed(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    user, at, place = rest.rpartition("@")
    return without_password(f"{scheme}{mark}{user.partition(':')[0]}{at}{place}" if mark and at else url)
