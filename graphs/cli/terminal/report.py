"""The outcome of a thread, as a record for programs and as text for humans."""

import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from langgraph.types import StateSnapshot
from pydantic import JsonValue
from rich.cells import cell_len
from rich.markdown import Markdown
from rich.text import Text

from agent.core.engine.outcomes import Outcome, parse_outcome
from agent.results.artifacts import Artifacts
from graphs.cli.terminal.screen import Screen, escape_controls
from graphs.nodes.rollback import build_rollback_report
from graphs.run.plan_history import get_used_program
from graphs.stores.database import mask_password
from graphs.thread_status import collect_results, get_status

JsonRecord = dict[str, Any]

_EXIT_STATUSES: Mapping[str, int] = {"completed": 0, "failed": 1, "cancelled": 1, "awaiting_approval": 3}
#: No common system has longer paths.
_MAX_PATH_LENGTH = 4096


def build_run_record(state: StateSnapshot, *, thread: str, running: bool = False) -> JsonRecord:
    """Return the one JSON object of a run, its keys as in the README.

    `interrupt` is there only if the run waits for an answer, `program` only if the plan is one of the library,
    `confidence` only if a small model planned, `budget` only if one ended it, `rollback` only if something is rolled
    back.
    """
    values = state.values
    record: JsonRecord = {
        "status": get_status(state, running=running),
        "answer": values.get("answer") or "",
        "plan": values.get("plan"),
        "results": collect_results(state),
        "replans": values.get("replans") or 0,
        "problems": list(values.get("problems") or ()),
        "warnings": list(values.get("warnings") or ()),
        "thread_id": thread,
    }
    if (rollback := get_rollback(state)) is not None:
        record["rollback"] = rollback
    if state.interrupts:
        record["interrupt"] = state.interrupts[0].value
    if (program := get_used_program(values)) is not None:
        record["program"] = program
    if values.get("confidence"):
        record["confidence"] = values["confidence"]
    if values.get("budget"):
        record["budget"] = values["budget"]
    return record


def get_rollback(state: StateSnapshot) -> JsonRecord | None:
    """Return what is undone so far, and what is not with the reason; None if nothing is rolled back."""
    if get_status(state) in _EXIT_STATUSES and not state.interrupts:
        return state.values.get("rollback")
    return build_rollback_report(state.values, get_outcomes(state))


def build_failure_record(problem: str, *, thread: str | None, status: str = "failed") -> JsonRecord:
    """Return the JSON object of a run that failed before it had a state."""
    empty: JsonRecord = {"answer": "", "plan": None, "results": {}, "replans": 0}
    return {"status": status, **empty, "problems": [problem], "warnings": [], "thread_id": thread}


async def load_full_results(state: StateSnapshot, artifacts: Artifacts, *, thread: str) -> StateSnapshot:
    """Return the state with all results, every large output loaded."""
    results = await artifacts.load_results(collect_results(state), thread=thread)
    return state._replace(values={**state.values, "results": results})


def get_outcomes(state: StateSnapshot) -> dict[str, Outcome]:
    """Return the parsed results, by task."""
    return {task: parse_outcome(record) for task, record in collect_results(state).items()}


def get_exit_status(state: StateSnapshot) -> int:
    """Return 0 for completed, 3 for waiting, 1 for everything else."""
    return _EXIT_STATUSES.get(get_status(state), 1)


def find_output_files(results: Mapping[str, JsonRecord], *, folder: Path) -> list[Path]:
    """Return the existing files below `folder` whose paths occur in outputs, each once, in order."""
    root = folder.expanduser().absolute()
    files: dict[Path, None] = {}
    for record in results.values():
        for text in _iterate_texts(record.get("output")):
            if len(text) <= _MAX_PATH_LENGTH and "\0" not in text:
                path = Path(text)
                if path.is_absolute() and path.is_relative_to(root) and path.is_file():
                    files[path] = None
    return list(files)


def print_answer(answer: str, *, screen: Screen) -> None:
    """Print the answer, with its Markdown rendered if the screen is a terminal."""
    if screen.live:
        screen.console.print(Markdown(escape_controls(answer), hyperlinks=False))
    else:
        screen.say(answer)


def format_command(verb: str, thread: str, *, db: str | None) -> str:
    """Return the command line `planwave VERB THREAD` as one would type it, without the password of `db`.

    It repeats no database that the environment names.
    """
    named = db is not None and db != os.environ.get("PLANWAVE_DB")
    return shlex.join(["planwave", verb, thread, *(["--db", _remove_password(db)] if db and named else [])])


def print_hint(sentence: str, command: str, *, screen: Screen, style: str) -> None:
    """Print a sentence that ends with a command; one that does not fit stays whole on a line of its own, to copy."""
    line = f"{sentence} {command}"
    if not screen.live or cell_len(line) <= screen.console.width:
        screen.say(line, style=style)
        return
    screen.say(sentence, style=style)
    screen.console.print(Text(f"  {escape_controls(command)}", style=style), soft_wrap=True)


def _iterate_texts(value: JsonValue) -> Iterator[str]:
    stack = [value]
    while stack:
        top = stack.pop()
        if isinstance(top, str):
            yield top
        elif isinstance(top, dict):
            stack.extend(reversed(top.values()))
        elif isinstance(top, list):
            stack.extend(reversed(top))


def _remove_password(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    user, at, place = rest.rpartition("@")
    return mask_password(f"{scheme}{mark}{user.partition(':')[0]}{at}{place}" if mark and at else url)
