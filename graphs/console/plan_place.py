"""A plan where it is kept: in a file, or on a thread."""

from collections.abc import Mapping
from dataclasses import dataclass

from langgraph.types import StateSnapshot
from pydantic import JsonValue

from agent.core.status import Status
from agent.errors import UsageError
from agent.settings import Settings
from graphs.console.manner import Manner
from graphs.console.plan_file import read_plan
from graphs.console.runs import thread_state
from graphs.persistence import open_persistence
from graphs.standing import thread_standings


@dataclass(frozen=True, slots=True)
class KeptPlan:
    """A plan document as it was found; it may be no plan that runs."""

    document: dict[str, JsonValue]
    goal: str
    #: Where it is, for sentences.
    name: str
    #: Of a thread's tasks; empty for a file.
    statuses: Mapping[str, Status]


async def kept_plan(file: str | None, *, thread: str | None, settings: Settings, manner: Manner) -> KeptPlan:
    """Read the plan of a file or of a thread. Raises `UsageError` where there is none, or where both are named."""
    require_one(file, thread)
    if thread is None:
        given = read_plan(file or "-")
        return KeptPlan(given.document, given.goal or "", _name(file), {})
    async with open_persistence(manner.database(settings)) as stored:
        state = await thread_state(thread, stored=stored)
        # What a run that has the thread began is under way, and else in doubt.
        ledger = [] if await stored.busy(thread) else await stored.ledger.rows(thread)
    return KeptPlan(
        document=document_of(state, thread=thread),
        goal=state.values.get("goal") or "",
        name=f"thread {thread!r}",
        statuses={task: standing.status for task, standing in thread_standings(state, ledger=ledger).items()},
    )


def require_one(file: str | None, thread: str | None) -> None:
    """Raise `UsageError` unless either a file or a thread is named."""
    if file is not None and thread is not None:
        raise UsageError(f"Both the file {file!r} and the thread {thread!r} are named; name one of them.")
    if file is None and thread is None:
        raise UsageError("No plan is named; name a plan file, or a thread with --thread.")


def document_of(state: StateSnapshot, *, thread: str) -> dict[str, JsonValue]:
    """Return the plan document of a thread. Raises `UsageError` where it has none."""
    document = state.values.get("plan")
    if not isinstance(document, dict):
        raise UsageError(f"The thread {thread!r} has no plan yet; look at it with: planwave show {thread}")
    return document


def _name(file: str | None) -> str:
    return "standard input" if file in {None, "-"} else str(file)
