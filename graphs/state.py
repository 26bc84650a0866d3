"""The state of a run: plain JSON values, their reducer, and the one door back to types."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Required, get_type_hints

from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.types import Interrupt, Overwrite
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic makes no schema of the one in `typing` before Python 3.12

from agent.core.compiler.compiler import NO_DURATIONS, CompiledPlan, link_plan
from agent.core.engine.approvals import ApprovalRequest
from agent.core.engine.budgets import ExhaustedBudget, Spending
from agent.core.engine.outcomes import InDoubt, Outcome, parse_outcome
from agent.core.plan.document import Plan
from agent.errors import PersistenceError, UsageError
from agent.tools.toolbox import Toolbox

StateRecord = dict[str, Any]


def merge_results(
    results: Mapping[str, StateRecord], writes: Sequence[Mapping[str, StateRecord]]
) -> dict[str, StateRecord]:
    """Add outcomes by task id; the first one recorded stays, so a task's result is single.

    Deterministic, and the same however the writes are batched, as `DeltaChannel` asks. What is stored comes by here
    before it comes to a node. Raises `PersistenceError` where it is not what was written.
    """
    for records in (results, *writes):
        # By their types at once: a plan that is dispatched level by level comes here as often as it has levels.
        if not isinstance(records, Mapping) or not all(
            issubclass(each, Mapping) for each in set(map(type, records.values()))
        ):
            raise PersistenceError(f"The stored results cannot be read: {records!r:.80} are none.")
    merged = dict(results)
    for write in writes:
        for task, record in write.items():
            merged.setdefault(task, record)
    return merged


def merge_doubts(
    doubts: Mapping[str, StateRecord] | None, write: Mapping[str, StateRecord | None]
) -> dict[str, StateRecord]:
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


def merge_budget_stops(
    cut: Mapping[str, StateRecord] | None, write: Mapping[str, StateRecord]
) -> dict[str, StateRecord]:
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


class OutputState(TypedDict, total=False):
    """What of the state a run returns."""

    status: str
    answer: str
    plan: dict[str, Any] | None
    results: dict[str, StateRecord]
    replans: int
    problems: list[str]
    revision: int
    rollback: dict[str, Any] | None
    usage: dict[str, int | float]
    budget: dict[str, Any] | None


class Output(OutputState, total=False):
    """What `invoke` and `ainvoke` return; `__interrupt__` is there while a person is asked, and only then."""

    __interrupt__: list[Interrupt]


class State(TypedDict, total=False):
    """Everything that a run has to know, as facts; what follows from them is derived."""

    #: Names the run where it has no thread.
    run: str
    goal: str
    plan: dict[str, Any] | None
    status: str
    answer: str
    problems: list[str]
    results: Annotated[dict[str, StateRecord], DeltaChannel(merge_results, dict)]
    #: Whether the plan came with the input.
    given: bool
    #: Digest of the plan that was checked; another plan in the state has not been checked yet.
    compiled: str | None
    revision: int
    replans: int
    #: What the tools said before planning.
    context: str
    #: The calls whose results the planner wants before it plans, and how often it has wanted some.
    wanted: list[StateRecord]
    context_rounds: int
    #: Approvals by task id: the digest that was approved.
    approvals: dict[str, str]
    #: By task id: calls of which nobody knows whether they took effect.
    doubts: Annotated[dict[str, StateRecord], merge_doubts]
    #: By task id and call: the ledger epochs of calls that a person said did not happen.
    cleared: dict[str, dict[str, int]]
    #: Digests of calls that a person rejected.
    rejected: list[str]
    #: The requests that `human_approval` puts to a person.
    pending: list[StateRecord]
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
    cut: Annotated[dict[str, StateRecord], merge_budget_stops]
    #: Budgets that a person raised, by name.
    raised: dict[str, int | float]
    #: Why the replanner found no way on, where it looked for one last.
    stuck: str | None
    #: What the replanner asks a person, and how often it has asked.
    question: str | None
    questions: int
    #: A person wants another plan in place of the one that was made.
    anew: bool
    #: What a person has said to the planner or the replanner.
    guidance: list[str]
    #: What a person is asked that is no approval, and how many such questions there were.
    impasse: StateRecord | None
    impasses: int
    #: A person chose to end with what there is.
    accepted: bool
    #: The budget that ended the run, and when; the tasks that have an outcome only because it ended.
    budget: StateRecord | None
    ended_at: str | None
    ended: list[str]
    #: The plans so far, in the order in which they came: who wrote each, when, and under which revision.
    lineage: list[StateRecord]
    #: The model that wrote the plan last, with that plan's digest, the tokens it took, why the model is not sure of it,
    #: and whether a person has confirmed it.
    written_by: dict[str, Any] | None


class TaskOrder(TypedDict):
    """What a `Send` carries to the executor; the task itself is in the state."""

    task: str
    dispatch: str


def parse_outcomes(results: Mapping[str, StateRecord] | None) -> dict[str, Outcome]:
    """Read the stored outcomes. Raises `PersistenceError` for a record that is none."""
    try:
        return {task: parse_outcome(record) for task, record in (results or {}).items()}
    except ValueError as error:
        raise PersistenceError(f"A stored result cannot be read: {error}") from error


def parse_spending(state: Mapping[str, Any]) -> Spending:
    """Return what the models of a run have used up, as far as it is stored."""
    return Spending.model_validate(state.get("usage") or {})


def compute_elapsed_seconds(state: Mapping[str, Any], *, now: datetime) -> float:
    """Return the seconds since a run began."""
    began = state.get("started_at")
    return max(0.0, (now - datetime.fromisoformat(began)).total_seconds()) if began else 0.0


def parse_budget(record: object) -> ExhaustedBudget | None:
    """Read a stored budget. Raises `PersistenceError`."""
    try:
        return None if record is None else ExhaustedBudget.model_validate(record)
    except ValueError as error:
        raise PersistenceError(f"The stored budget cannot be read: {error}") from error


def parse_stored_plan(document: object, *, kind: str = "plan") -> Plan:
    """Read a stored plan that compiled before. Raises `PersistenceError`."""
    try:
        return Plan.model_validate(document)
    except ValueError as error:
        raise PersistenceError(f"The stored {kind} cannot be read: {error}") from error


def link_stored_plan(
    document: object, toolbox: Toolbox, *, kind: str = "plan", durations: Mapping[str, float] = NO_DURATIONS
) -> CompiledPlan:
    """Read a stored plan and link it. Raises `UsageError` where this graph lacks one of its tools."""
    plan = parse_stored_plan(document, kind=kind)
    missing = sorted({task.tool for task in plan.tasks} - toolbox.keys())
    if missing:
        named = ", ".join(map(repr, missing))
        raise UsageError(f"The stored {kind} calls {named}, which this graph has not; build it with the same tools.")
    return link_plan(plan, toolbox.specs, durations=durations)


#: Reducers look at what is written to these themselves, and what is stored of `results` is not the value.
_REDUCER_KEYS = frozenset({"results", "doubts", "usage", "cut"})
_FIELD_VALIDATORS: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(hint, config=ConfigDict(strict=True))
    for name, hint in get_type_hints(State).items()
    if name not in _REDUCER_KEYS
} | {
    "pending": TypeAdapter(list[ApprovalRequest]),
    "started_at": TypeAdapter(datetime),
}
_DOUBTS_VALIDATOR = TypeAdapter(dict[str, InDoubt])


def validate_checkpoint(found: CheckpointTuple) -> None:
    """Raise `PersistenceError` where a checkpoint of a run, or a write that waits beside it, is not of its state."""
    if found.config["configurable"].get("checkpoint_ns"):
        return
    written = [(channel, value) for _, channel, value in found.pending_writes or () if not isinstance(value, Overwrite)]
    try:
        for channel, value in [*found.checkpoint["channel_values"].items(), *written]:
            if channel in _FIELD_VALIDATORS:
                _FIELD_VALIDATORS[channel].validate_python(value)
        _DOUBTS_VALIDATOR.validate_python(found.checkpoint["channel_values"].get("doubts", {}))
    except ValidationError as error:
        thread = found.config["configurable"].get("thread_id")
        raise PersistenceError(f"What is stored of thread {thread!r} is not the state of a run: {error}") from error
