"""The state of a run: plain JSON values, their reducer, and the one door back to types."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Required

from langgraph.channels.delta import DeltaChannel
from pydantic import Field
from typing_extensions import TypedDict  # pydantic makes no schema of the one in `typing` before Python 3.12

from agent.core.budget import Exhausted, Spending
from agent.core.compile import UNKNOWN, CompiledPlan, linked
from agent.core.outcome import Outcome, outcome_from
from agent.core.plan import Plan
from agent.errors import PersistenceError, UsageError
from agent.tools.catalogue import Toolbox
from graphs.reducers import merge_cut, merge_doubts, merge_results, merge_usage

Record = dict[str, Any]


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
    #: The calls whose results the planner wants before it plans, and how often it has wanted some.
    wanted: list[Record]
    context_rounds: int
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
    #: A person wants another plan in place of the one that was made.
    anew: bool
    #: What a person has said to the planner or the replanner.
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
    #: The model that wrote the plan last, with that plan's digest, the tokens it took, why the model is not sure of it,
    #: and whether a person has confirmed it.
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
