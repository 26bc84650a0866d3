"""The state of a run: plain JSON values, their reducer, and the one door back to types."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Required

from langgraph.channels.delta import DeltaChannel
from pydantic import Field
from typing_extensions import TypedDict  # pydantic makes no schema of the one in `typing` before Python 3.12

from agent.core.approval import approval_digest
from agent.core.budget import Exhausted, Spending
from agent.core.call import Ready, prepare
from agent.core.compile import UNKNOWN, CompiledPlan, linked
from agent.core.outcome import Outcome, outcome_from
from agent.core.plan import Plan, Task
from agent.core.schedule import plan_needs
from agent.core.snapshot import Snapshot
from agent.errors import PersistenceError, UsageError
from agent.tools.catalogue import Toolbox
from graphs.recall import Recall

Record = dict[str, Any]


def merge_results(results: Mapping[str, Record], writes: Sequence[Mapping[str, Record]]) -> dict[str, Record]:
    """Add outcomes by task id; the first one recorded stays, so a task's result is single.

    Deterministic, and the same however the writes are batched, as `DeltaChannel` asks. What is stored comes by here
    before it comes to a node. Raises `PersistenceError` where it is not what was written.
    """
    for records in (results, *writes):
        if not isinstance(records, Mapping) or not all(isinstance(record, Mapping) for record in records.values()):
            raise PersistenceError(f"The stored results cannot be read: {records!r:.80} are none.")
    merged = dict(results)
    for write in writes:
        for task, record in write.items():
            merged.setdefault(task, record)
    return merged


def merge_doubts(doubts: Mapping[str, Record] | None, write: Mapping[str, Record | None]) -> dict[str, Record]:
    """Add doubts by task id; None takes one away. Raises `PersistenceError` as `merge_results`."""
    if not isinstance(write, Mapping):
        raise PersistenceError(f"The stored doubts cannot be read: {write!r:.80} are none.")
    merged = {**(doubts or {}), **write}
    return {task: record for task, record in merged.items() if record is not None}


def merge_usage(usage: Mapping[str, Any] | None, write: Mapping[str, Any]) -> dict[str, Any]:
    """Add what was spent. Raises `PersistenceError` where it is no record of numbers."""
    if not isinstance(write, Mapping) or not all(isinstance(value, int | float) for value in write.values()):
        raise PersistenceError(f"The stored usage cannot be read: {write!r:.80} is none.")
    before = usage or {}
    return {**before, **{name: before.get(name, 0) + value for name, value in write.items()}}


def merge_cut(cut: Mapping[str, Record] | None, write: Mapping[str, Record]) -> dict[str, Record]:
    """Add tasks that a budget stopped. Raises `PersistenceError` as `merge_results`."""
    if not isinstance(write, Mapping):
        raise PersistenceError(f"The stored tasks without budget cannot be read: {write!r:.80} are none.")
    return {**(cut or {}), **write}


class Input(TypedDict, total=False):
    """What a run is started with."""

    goal: Required[Annotated[str, Field(title="Goal", description="What is to be found out or done, in a sentence.")]]
    plan: Annotated[
        dict[str, Any] | None,
        Field(title="Plan", description="A plan document to run as it is; leave it out to have one made."),
    ]


class Output(TypedDict, total=False):
    """What a run returns."""

    status: str
    answer: str
    plan: dict[str, Any] | None
    results: dict[str, Record]
    replans: int
    problems: list[str]
    revision: int
    rollback: dict[str, Any] | None
    usage: dict[str, int | float]
    budget: dict[str, Any] | None


class State(TypedDict, total=False):
    """Everything that a run has to know, as facts; what follows from them is derived."""

    #: Names the run where it has no thread.
    run: str
    goal: str
    plan: dict[str, Any] | None
    status: str
    answer: str
    problems: list[str]
    results: Annotated[dict[str, Record], DeltaChannel(merge_results, dict)]
    #: Whether the plan came with the input.
    given: bool
    #: Digest of the plan that was checked; another plan in the state has not been checked yet.
    compiled: str | None
    revision: int
    replans: int
    #: What the tools said before planning.
    context: str
    #: Approvals by task id: the digest that was approved.
    approvals: dict[str, str]
    #: By task id: calls of which nobody knows whether they took effect.
    doubts: Annotated[dict[str, Record], merge_doubts]
    #: By task id and call: the ledger epochs of calls that a person said did not happen.
    cleared: dict[str, dict[str, int]]
    #: Digests of calls that a person rejected.
    rejected: list[str]
    #: The requests that `human_approval` puts to a person.
    pending: list[Record]
    #: The tasks that the replanner or the rollback is about.
    failed: list[str]
    waived: list[str]
    #: Signatures of failures that were replanned for.
    replanned: list[str]
    #: One sentence for each replan so far, for the replanner.
    history: list[str]
    #: How the last revision differs from the one before.
    difference: dict[str, Any] | None
    stop: dict[str, str] | None
    #: The plan that undoes finished writes, once a rollback has begun.
    undo: dict[str, Any] | None
    rollback: dict[str, Any] | None
    #: ISO 8601.
    started_at: str
    #: Names the board of the last dispatch.
    dispatch: str
    #: Calls, tokens and cost of the model so far; what is written is added.
    usage: Annotated[dict[str, int | float], merge_usage]
    #: By task, or "" for the plan: the budget that kept it from going on; it has no outcome.
    cut: Annotated[dict[str, Record], merge_cut]
    #: Budgets that a person raised, by name.
    raised: dict[str, int | float]
    #: Why the replanner found no way on, where it looked for one last.
    stuck: str | None
    #: What the replanner asks a person, and how often it has asked.
    question: str | None
    questions: int
    #: What a person has said to the replanner.
    guidance: list[str]
    #: What a person is asked that is no approval, and how many such questions there were.
    impasse: Record | None
    impasses: int
    #: A person chose to end with what there is.
    accepted: bool
    #: The budget that ended the run, and when; the tasks that have an outcome only because it ended.
    budget: Record | None
    ended_at: str | None
    ended: list[str]
    #: The plans so far, in the order in which they came: who wrote each, when, and under which revision.
    lineage: list[Record]
    #: The model that wrote the plan last, with that plan's digest and the tokens it took.
    written_by: dict[str, Any] | None


class TaskOrder(TypedDict):
    """What a `Send` carries to the executor; the task itself is in the state."""

    task: str
    dispatch: str


def outcomes_in(results: Mapping[str, Record] | None) -> dict[str, Outcome]:
    """Read the stored outcomes. Raises `PersistenceError` for a record that is none."""
    try:
        return {task: outcome_from(record) for task, record in (results or {}).items()}
    except ValueError as error:
        raise PersistenceError(f"A stored result cannot be read: {error}") from error


def spending_in(state: Mapping[str, Any]) -> Spending:
    """Return what the models of a run have used up, as far as it is stored."""
    return Spending.model_validate(state.get("usage") or {})


def elapsed_in(state: Mapping[str, Any], *, now: datetime) -> float:
    """Return the seconds since a run began."""
    began = state.get("started_at")
    return max(0.0, (now - datetime.fromisoformat(began)).total_seconds()) if began else 0.0


def budget_in(record: object) -> Exhausted | None:
    """Read a stored budget. Raises `PersistenceError`."""
    try:
        return None if record is None else Exhausted.model_validate(record)
    except ValueError as error:
        raise PersistenceError(f"The stored budget cannot be read: {error}") from error


def plan_in(document: object, *, word: str = "plan") -> Plan:
    """Read a stored plan that compiled before. Raises `PersistenceError`."""
    try:
        return Plan.model_validate(document)
    except ValueError as error:
        raise PersistenceError(f"The stored {word} cannot be read: {error}") from error


def compiled_in(
    document: object, toolbox: Toolbox, *, word: str = "plan", durations: Mapping[str, float] = UNKNOWN
) -> CompiledPlan:
    """Read a stored plan and link it. Raises `UsageError` where this graph lacks one of its tools."""
    plan = plan_in(document, word=word)
    missing = sorted({task.tool for task in plan.tasks} - toolbox.keys())
    if missing:
        named = ", ".join(map(repr, missing))
        raise UsageError(f"The stored {word} calls {named}, which this graph has not; build it with the same tools.")
    return linked(plan, toolbox.specs, durations=durations)


def snapshot_of(
    state: State,
    toolbox: Toolbox,
    *,
    thread: str,
    now: datetime,
    granted: Collection[str] | None = None,
    recall: Recall | None = None,
    durations: Mapping[str, float] = UNKNOWN,
) -> Snapshot:
    """Make the snapshot that `next_move` chooses by; `granted` are the approvals that the ledger holds, None: all.

    `recall` keeps what is read for the next snapshot of the same run. `durations` are seconds by tool.
    """
    recall = recall or Recall()
    problems = tuple(state.get("problems") or ())
    outcomes: dict[str, Outcome] = recall.outcomes(state.get("results") or {}, outcomes_in)
    document, undoing = state.get("plan"), state.get("undo")
    compiled = (
        recall.plan.get(document, lambda: compiled_in(document, toolbox, durations=durations))
        if document and not problems
        else None
    )
    undo = (
        recall.undo.get(undoing, lambda: compiled_in(undoing, toolbox, word="rollback", durations=durations))
        if undoing
        else None
    )
    stop, cut = state.get("stop"), state.get("cut") or {}
    active = undo or compiled
    return Snapshot(
        compiled=compiled,
        outcomes=outcomes,
        problems=problems,
        approved=_still_approved(state, active, outcomes, thread, granted) if active else frozenset(),
        doubts=frozenset(state.get("doubts") or ()),
        unplanned=budget_in(cut.get("")),
        cut=frozenset(cut),
        stuck=state.get("stuck"),
        question=state.get("question"),
        spending=spending_in(state),
        accepted=bool(state.get("accepted")),
        waived=frozenset(state.get("waived") or ()),
        replanned=frozenset(state.get("replanned") or ()),
        replans=state.get("replans") or 0,
        elapsed_s=elapsed_in(state, now=now),
        stop=(stop["status"], stop["reason"]) if stop else None,  # type: ignore[arg-type]  # the closed words of EndStatus
        undo=undo,
        rollback_begun=state.get("rollback") is not None,
        former=recall.former.get(state.get("lineage"), lambda: former_plans(state)[0]),
    )


def former_plans(state: State) -> tuple[dict[str, Task], dict[str, tuple[str, ...]]]:
    """Return the tasks of this run's earlier plans that the present one has not, as they last stood, with their needs.

    A task that a replan or an edit dropped may have been done before, and what it changed is still in effect.
    """
    entries = [entry for entry in state.get("lineage") or () if entry["author"] != "rollback"]
    present = {task["id"] for task in (state.get("plan") or {}).get("tasks", ())}
    tasks: dict[str, Task] = {}
    needs: dict[str, tuple[str, ...]] = {}
    for entry in entries[:-1]:
        plan = plan_in(entry["plan"])
        tasks |= {task.id: task for task in plan.tasks if task.id not in present}
        needs |= {task: needed for task, needed in plan_needs(plan).items() if task not in present}
    return tasks, needs


def _still_approved(
    state: State,
    compiled: CompiledPlan,
    outcomes: Mapping[str, Outcome],
    thread: str,
    granted: Collection[str] | None,
) -> frozenset[str]:
    """Return the tasks whose approval holds for the call as it now stands; a changed call is asked about again.

    A call that was in doubt used up its approval when it was begun, and a person has said since that it may be made.
    """
    approvals, cleared = state.get("approvals") or {}, state.get("cleared") or {}
    open_tasks = [task for task in approvals if task in compiled.tasks and task not in outcomes]
    return frozenset(
        task
        for task in open_tasks
        if (granted is None or approvals[task] in granted or task in cleared)
        and digest_of(task, compiled, outcomes, state, thread) == approvals[task]
    )


def digest_of(
    task: str, compiled: CompiledPlan, outcomes: Mapping[str, Outcome], state: State, thread: str
) -> str | None:
    """Return the digest that an approval of `task` must carry now; None where its call cannot be made."""
    revision = state.get("revision") or 1
    ready = prepare(
        compiled.tasks[task], compiled.spec(task), needs=compiled.needs[task], outcomes=outcomes, revision=revision
    )
    if not isinstance(ready, Ready):
        return None
    return approval_digest(
        thread=thread, revision=revision, task=task, tool=compiled.tasks[task].tool, calls=ready.calls
    )
