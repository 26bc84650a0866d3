"""The snapshot that the next move is chosen by, built from the state; what was parsed before is cached."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Generic, TypeVar

from agent.core.compiler.compiler import NO_DURATIONS, CompiledPlan
from agent.core.engine.approvals import hash_approval_request
from agent.core.engine.call_preparation import PreparedTask, prepare
from agent.core.engine.frontier import Frontier
from agent.core.engine.outcomes import Done, Outcome
from agent.core.engine.snapshot import Snapshot
from agent.core.plan.dependencies import build_dependency_graph
from agent.core.plan.document import Task
from agent.tools.toolbox import Toolbox
from graphs.messages import Transcript
from graphs.run.plan_history import get_planner_doubt, get_planner_question
from graphs.state import (
    State,
    StateRecord,
    compute_elapsed_seconds,
    link_stored_plan,
    parse_budget,
    parse_outcomes,
    parse_spending,
    parse_stored_plan,
)

T = TypeVar("T")
_MAX_RUNS = 32


class Memo(Generic[T]):
    """The last value made from one field of the state."""

    def __init__(self) -> None:
        self._source: object = None
        self._value: tuple[T, ...] = ()

    def put(self, source: object, value: T) -> None:
        """Store a value that the caller has made of `source`."""
        self._value, self._source = (value,), source

    def get(self, source: object, make: Callable[[], T]) -> T:
        """Return the value made of this very object `source`, calling `make` if another was made last."""
        if not self._value or self._source is not source:
            self.put(source, make())
        return self._value[0]


class RunCache:
    """What this process has parsed and derived of one run."""

    def __init__(self) -> None:
        self.plan: Memo[CompiledPlan] = Memo()
        self.undo: Memo[CompiledPlan] = Memo()
        self.former_tasks: Memo[dict[str, Task]] = Memo()
        self.plan_digest: Memo[str | None] = Memo()
        self.reusable: Memo[dict[str, tuple[str, Done]]] = Memo()
        self.transcript: Transcript | None = None
        #: Whether an output among the results is stored outside the state.
        self.has_offloaded_outputs = False
        self._last_results: Mapping[str, StateRecord] | None = None
        self._records: dict[str, StateRecord] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._frontier: Frontier | None = None

    def store_plan(self, document: Mapping[str, object], compiled: CompiledPlan, *, mark: str) -> None:
        """Store a plan that was just compiled, with the document that is about to be in the state."""
        self.plan.put(document, compiled)
        self.plan_digest.put(document, mark)

    def read_outcomes(self, results: Mapping[str, StateRecord]) -> Mapping[str, Outcome]:
        """Return the outcomes in `results`; only those that are new since the last call are parsed.

        The same mapping is returned each time, updated in place. Raises `PersistenceError`.
        """
        if results is self._last_results:
            return self._outcomes
        records = self._records
        differing = {task: record for task, record in results.items() if records.get(task) is not record}
        new = parse_outcomes(differing)
        added = {task: outcome for task, outcome in new.items() if task not in records}
        if len(records) + len(added) > len(results) or not self._is_still_valid(new):
            self._records, self._outcomes, self._frontier = {}, {}, None
            return self.read_outcomes(results)
        self.has_offloaded_outputs = self.has_offloaded_outputs or any(
            isinstance(each, Done) and each.artifact for each in new.values()
        )
        self._records.update(differing)
        self._last_results = results
        self._outcomes.update(new)
        if self._frontier is not None:
            self._frontier.advance(added)
        return self._outcomes

    def _is_still_valid(self, new: Mapping[str, Outcome]) -> bool:
        """Whether what was derived from the known outcomes is still valid; a loaded output, say, changes nothing."""
        blocked = self._frontier.blocked if self._frontier is not None else set[str]()
        known = ((task, outcome, self._outcomes.get(task)) for task, outcome in new.items())
        return all(
            task not in blocked if before is None else _scheduling_key(outcome) == _scheduling_key(before)
            for task, outcome, before in known
        )

    def get_frontier(self, compiled: CompiledPlan) -> Frontier:
        """Return the frontier of `compiled` after the outcomes that were read last."""
        if self._frontier is None or self._frontier.compiled is not compiled:
            self._frontier = Frontier(compiled, self._outcomes)
        return self._frontier


def _scheduling_key(outcome: Outcome) -> tuple[object, ...]:
    return outcome.status, outcome.attempts, isinstance(outcome, Done) and outcome.reused_from


class RunCaches:
    """The caches of the runs that this process has in flight; of more than 32, the latest."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, RunCache] = OrderedDict()

    def get_or_create(self, run: str) -> RunCache:
        """Return the cache of a run, empty at first."""
        if run not in self._runs:
            self._runs[run] = RunCache()
        self._runs.move_to_end(run)
        while len(self._runs) > _MAX_RUNS:
            self._runs.popitem(last=False)
        return self._runs[run]

    def drop(self, run: str) -> None:
        """Drop the cache of a run that is over."""
        self._runs.pop(run, None)


def build_snapshot(
    state: State,
    toolbox: Toolbox,
    *,
    thread: str,
    now: datetime,
    granted: Collection[str] | None = None,
    cache: RunCache | None = None,
    durations: Mapping[str, float] = NO_DURATIONS,
) -> Snapshot:
    """Return the snapshot that `next_move` chooses by.

    `granted` are the approved digests that may still be used; None: all. `cache` is that of the run, None: a new one.
    `durations` are seconds by tool. Raises `PersistenceError` for a state that cannot be read, `UsageError` if
    `toolbox` lacks a tool of its plan.
    """
    cache = cache or RunCache()
    problems = tuple(state.get("problems") or ())
    outcomes = cache.read_outcomes(state.get("results") or {})
    document, undo_document = state.get("plan"), state.get("rollback_plan")
    compiled = (
        cache.plan.get(document, lambda: link_stored_plan(document, toolbox, durations=durations))
        if document and not problems
        else None
    )
    undo = (
        cache.undo.get(
            undo_document, lambda: link_stored_plan(undo_document, toolbox, kind="rollback", durations=durations)
        )
        if undo_document
        else None
    )
    termination, out_of_budget = state.get("termination"), state.get("out_of_budget_tasks") or {}
    active = undo or compiled
    return Snapshot(
        compiled=compiled,
        outcomes=outcomes,
        problems=problems,
        needs_lookup=bool(state.get("context_requests")),
        needs_new_plan=bool(state.get("replan_requested")),
        unsure=get_planner_doubt(state) or None,
        missing_value=get_planner_question(state) or None,
        approved=_find_valid_approvals(state, active, outcomes, thread, granted) if active else frozenset(),
        doubts=frozenset(state.get("calls_in_doubt") or ()),
        planning_budget=parse_budget(out_of_budget.get("")),
        out_of_budget=frozenset(out_of_budget),
        dead_end_reason=state.get("dead_end_reason"),
        question=state.get("clarification_question"),
        spending=parse_spending(state),
        accepted=bool(state.get("partial_result_accepted")),
        waived=frozenset(state.get("waived_tasks") or ()),
        replanned_signatures=frozenset(state.get("replanned_failures") or ()),
        replans=state.get("replans") or 0,
        elapsed_s=compute_elapsed_seconds(state, now=now),
        stop=(termination["status"], termination["reason"]) if termination else None,  # type: ignore[arg-type]  # the closed words of EndStatus
        undo=undo,
        rollback_begun=state.get("rollback") is not None,
        # A plan that does not compile may be of any form.
        frontier=cache.get_frontier(active) if active else None,
        former_tasks=cache.former_tasks.get(state.get("plan_history"), lambda: collect_former_tasks(state)[0])
        if compiled
        else {},
    )


def get_active_plan(snapshot: Snapshot) -> CompiledPlan:
    """Return the plan that is being carried out: the rollback's, once there is one."""
    active = snapshot.undo or snapshot.compiled
    if active is None:
        raise AssertionError("only a compiled plan is dispatched")
    return active


def collect_former_tasks(state: State) -> tuple[dict[str, Task], dict[str, tuple[str, ...]]]:
    """Return the tasks of this run's earlier plans that are not in the present one, and their dependencies.

    A task that a replan or an edit dropped may have been done before, and what it changed is still in effect.
    """
    entries = [entry for entry in state.get("plan_history") or () if entry["author"] != "rollback"]
    present = {task["id"] for task in (state.get("plan") or {}).get("tasks", ())}
    tasks: dict[str, Task] = {}
    needs: dict[str, tuple[str, ...]] = {}
    for entry in entries[:-1]:
        plan = parse_stored_plan(entry["plan"])
        tasks |= {task.id: task for task in plan.tasks if task.id not in present}
        needs |= {task: needed for task, needed in build_dependency_graph(plan).items() if task not in present}
    return tasks, needs


def _find_valid_approvals(
    state: State,
    compiled: CompiledPlan,
    outcomes: Mapping[str, Outcome],
    thread: str,
    granted: Collection[str] | None,
) -> frozenset[str]:
    """Return the tasks whose approval is valid for the present call; a changed call is asked about again.

    A call that was in doubt used up its approval when it was started; a human has said since that it may be made.
    """
    approvals, resolved = state.get("approvals") or {}, state.get("resolved_doubts") or {}
    open_tasks = [task for task in approvals if task in compiled.tasks and task not in outcomes]
    return frozenset(
        task
        for task in open_tasks
        if (granted is None or approvals[task] in granted or task in resolved)
        and compute_approval_digest(task, compiled, outcomes, state, thread) == approvals[task]
    )


def compute_approval_digest(
    task: str, compiled: CompiledPlan, outcomes: Mapping[str, Outcome], state: State, thread: str
) -> str | None:
    """Return the digest that an approval of `task` must have now; None if its call cannot be made."""
    revision = state.get("revision") or 1
    ready = prepare(
        compiled.tasks[task], compiled.get_spec(task), needs=compiled.needs[task], outcomes=outcomes, revision=revision
    )
    if not isinstance(ready, PreparedTask):
        return None
    return hash_approval_request(
        thread=thread, revision=revision, task=task, tool=compiled.tasks[task].tool, calls=ready.calls
    )
