"""A run that a budget ended, taken up where it was left once the budget is raised."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from langgraph.types import Command, Overwrite

from agent.core.bounds import holds
from agent.core.budget import Exhausted, with_raised
from agent.core.limits import Limits
from agent.executor import utc_now
from graphs.standing import thread_snapshot
from graphs.state import Record, budget_in, elapsed_in, spending_in


def allowed_since(values: Mapping[str, Any], limits: Limits) -> bool:
    """Whether a thread asks a person about a budget that these limits have raised, so that it can go on unasked."""
    asked = values.get("impasse")
    budget = budget_in(asked.get("budget")) if asked else None
    return budget is not None and not _holds(budget, values, limits)


def _holds(budget: Exhausted, values: Mapping[str, Any], limits: Limits) -> bool:
    snapshot = replace(
        thread_snapshot(values),
        replans=values.get("replans") or 0,
        spending=spending_in(values),
        elapsed_s=elapsed_in(values, now=utc_now()),
    )
    return holds(budget, snapshot, with_raised(limits, values.get("raised") or {})) is not None


def reopened(values: Mapping[str, Any], limits: Limits) -> Command[Any] | None:
    """Return what takes an ended run up again; None where no budget ended it, or the budget is still used up.

    What is done stays done. Tasks that have an outcome only because the run ended lose it, and the time since then
    does not count.
    """
    budget = budget_in(values.get("budget"))
    if budget is None:
        return None
    began = values.get("started_at")
    ended = values.get("ended_at")
    rested = utc_now() - datetime.fromisoformat(ended) if ended else None
    update: Record = {"started_at": (datetime.fromisoformat(began) + rested).isoformat()} if began and rested else {}
    if _holds(budget, {**values, **update}, limits):
        return None
    gone = set(values.get("ended") or ())
    results = {task: record for task, record in (values.get("results") or {}).items() if task not in gone}
    planned = "" not in (values.get("cut") or {})
    return Command(
        goto="wave_dispatch",
        update={
            **update,
            "status": "running",
            "answer": "",
            "stop": None,
            "accepted": False,
            "budget": None,
            "ended": [],
            "results": Overwrite(results),
            **({"problems": []} if planned else {}),
        },
    )
