"""The runs on a thread that graphs around them called: read from their checkpoints and from the ledger."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from langgraph.types import StateSnapshot

from agent.errors import PersistenceError
from agent.execution.ledger import LedgerRow, split_scope
from graphs.compiled_graph import PlanwaveGraph
from graphs.langgraph_internals import CONFIG_KEY_CHECKPOINTER
from graphs.persistence import Persistence
from graphs.thread_status import collect_results, get_run_name, is_unfinished

#: In a namespace: the ids of the tasks of the graphs around a run, each after the name of its node.
_TASK_IDS: Final = re.compile(":[0-9a-f-]{36}")


@dataclass(frozen=True, slots=True)
class NestedRun:
    """A run that a graph around it called."""

    #: Its part of the scope: `[namespace/]run id`.
    name: str
    #: None if its checkpoints are in another place, where the graph around it has them.
    state: StateSnapshot | None
    rows: tuple[LedgerRow, ...]
    #: Whether the graph around it still is at the task that called it; then the run can be resumed with it.
    is_current: bool = False

    @property
    def place(self) -> str:
        """Return the nodes by which it was called, such as `support|reminders`."""
        return _TASK_IDS.sub("", self.name.rpartition("/")[0])

    @property
    def status(self) -> str:
        """Return its status; of a run whose state is not here, what the ledger says."""
        if self.state is None:
            return "in_doubt" if any(row.state == "started" for row in self.rows) else "done"
        if self.state.interrupts:
            return "awaiting_approval"
        return "interrupted" if is_unfinished(self.state) else str(self.state.values.get("status") or "failed")

    @property
    def is_open(self) -> bool:
        """Whether it waits, was stopped before its end, or may have a write in doubt."""
        if self.state is None:
            return self.status == "in_doubt"
        return self.is_current and bool(self.state.interrupts or is_unfinished(self.state))

    @property
    def changed_at(self) -> str | None:
        """Return when it changed last, as far as that is stored here."""
        if self.state is not None:
            return self.state.created_at
        return max((row.finished_at or row.since for row in self.rows), default=None)

    def summarize(self) -> dict[str, Any]:
        """Return the run as one JSON record."""
        values = self.state.values if self.state is not None else {}
        results = collect_results(self.state) if self.state is not None else {}
        done = sum(record.get("status") == "done" for record in results.values())
        plan = values.get("plan")
        return {
            "run": self.name,
            "called_by": self.place,
            "status": self.status,
            "goal": values.get("goal") or "",
            "done": done if self.state is not None else sum(row.state == "done" for row in self.rows),
            "tasks": len(plan.get("tasks") or ()) if isinstance(plan, dict) else len(self.rows),
            "changed_at": self.changed_at,
        }


async def load_nested_runs(
    thread: str, root: StateSnapshot, *, stored: Persistence, graph: PlanwaveGraph
) -> list[NestedRun]:
    """Return the nested runs on a thread, the ones without checkpoints last; `root` is the thread's own state."""
    by_run: dict[str, list[LedgerRow]] = {}
    for row in await stored.ledger.list_rows(thread):
        by_run.setdefault(split_scope(row.intent.thread)[1], []).append(row)
    by_run.pop(get_run_name(root), None)
    by_run.pop("", None)
    newest = (root.config.get("configurable") or {}).get("checkpoint_id")
    found = []
    for namespace in await stored.list_nested_namespaces(thread):
        config = {"thread_id": thread, "checkpoint_ns": namespace, CONFIG_KEY_CHECKPOINTER: stored.saver}
        try:
            state = await graph.aget_state({"configurable": config})
        except PersistenceError:
            # Another graph's, such as a worker's.
            continue
        name = get_run_name(state)
        if name:
            parents: dict[str, str] = (state.metadata or {}).get("parents") or {}
            rows = by_run.pop(name, [])
            found.append(NestedRun(name, state, tuple(rows), is_current=parents.get("") == newest))
    return [*found, *_list_runs_without_state(by_run.items())]


def get_caller_status(runs: Sequence[NestedRun]) -> str:
    """Return the status of a thread by its nested runs, when its own state is another graph's or not here."""
    waiting = [run.status for run in runs if run.is_open]
    for status in ("awaiting_approval", "interrupted", "in_doubt"):
        if status in waiting:
            return status
    return max(runs, key=lambda run: run.changed_at or "").status if runs else "done"


def _list_runs_without_state(runs: Iterable[tuple[str, list[LedgerRow]]]) -> Iterable[NestedRun]:
    for name, rows in runs:
        yield NestedRun(name, None, tuple(rows))
