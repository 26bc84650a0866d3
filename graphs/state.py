"""The state of a run: its fields as plain JSON, their reducers, and the functions that parse them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, TypeAlias

from langchain_core.messages import AnyMessage
from langgraph.channels.binop import BinaryOperatorAggregate
from langgraph.channels.delta import DeltaChannel
from langgraph.types import Interrupt
from pydantic import Field, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from typing_extensions import TypedDict  # pydantic makes no schema of the one in `typing` before Python 3.12

from agent.core.compiler.compiler import NO_DURATIONS, CompiledPlan, link_plan
from agent.core.engine.budgets import ExhaustedBudget, Spending
from agent.core.engine.outcomes import Outcome, parse_outcome
from agent.core.plan.document import Plan
from agent.errors import PersistenceError, UsageError
from agent.tools.toolbox import Toolbox
from graphs.langgraph_internals import merge_messages

StateRecord = dict[str, Any]


def merge_results(
    results: Mapping[str, StateRecord], writes: Sequence[Mapping[str, StateRecord]]
) -> dict[str, StateRecord]:
    """Return `results` with the outcomes of `writes` by task id; the first one recorded of a task stays.

    Deterministic, and the same however the writes are batched, as `DeltaChannel` requires. Stored results pass here
    before a node reads them, so a damaged record raises `PersistenceError`.
    """
    for records in (results, *writes):
        # Each type is checked once: a plan that is dispatched level by level comes here once for each level.
        if not isinstance(records, Mapping) or not all(
            issubclass(each, Mapping) for each in set(map(type, records.values()))
        ):
            raise PersistenceError(f"The stored results cannot be read: {records!r:.80} is not a record by task id.")
    merged = dict(results)
    for write in writes:
        for task, record in write.items():
            merged.setdefault(task, record)
    return merged


def merge_doubts(
    doubts: Mapping[str, StateRecord] | None, write: Mapping[str, StateRecord | None]
) -> dict[str, StateRecord]:
    """Return `doubts` with those of `write` by task id; None removes one. Raises `PersistenceError`."""
    if not isinstance(write, Mapping):
        raise PersistenceError(f"The stored doubts cannot be read: {write!r:.80} is not a record by task id.")
    merged = {**(doubts or {}), **write}
    return {task: record for task, record in merged.items() if record is not None}


def merge_usage(usage: Mapping[str, Any] | None, write: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sums of `usage` and `write` by name. Raises `PersistenceError` for anything but numbers."""
    if not isinstance(write, Mapping) or not all(isinstance(value, int | float) for value in write.values()):
        raise PersistenceError(f"The stored usage cannot be read: {write!r:.80} is not a record of numbers.")
    before = usage or {}
    return {**before, **{name: before.get(name, 0) + value for name, value in write.items()}}


def merge_budget_stops(
    stopped: Mapping[str, StateRecord] | None, write: Mapping[str, StateRecord]
) -> dict[str, StateRecord]:
    """Return `stopped` with the tasks of `write` that a budget stopped. Raises `PersistenceError`."""
    if not isinstance(write, Mapping):
        raise PersistenceError(
            f"The stored tasks without budget cannot be read: {write!r:.80} is not a record by task id."
        )
    return {**(stopped or {}), **write}


GoalText: TypeAlias = Annotated[str, Field(title="Goal", description="What is to be found out or done, in a sentence.")]


class _PlanForm:
    """Shows a stored plan, which may be of any shape until it is checked, as the form of a plan document."""

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [handler(Plan.__pydantic_core_schema__), {"type": "null"}]}


PlanDocument: TypeAlias = Annotated[
    StateRecord | None,
    _PlanForm,
    Field(title="Plan", description="The plan that is carried out; a rollback has a plan of its own."),
]
RunStatus: TypeAlias = Annotated[
    str,
    Field(title="Status", description="'running', 'awaiting_approval', 'completed', 'failed' or 'cancelled'."),
]
AnswerText: TypeAlias = Annotated[str, Field(title="Answer", description="The answer to the goal, in Markdown.")]
Results = dict[str, StateRecord]
_MESSAGES: Final = Field(
    title="Messages",
    description="The conversation: goals, plans as tool calls, previews of their results, and answers. The last "
    "message of a human is the goal, unless one is given.",
)
_RESULTS: Final = Field(
    title="Results",
    description="By task id: status, output or error, attempts, times. The first recorded stays.",
)
ReplanCount: TypeAlias = Annotated[
    int, Field(title="Replans", description="How often the plan was revised after a failure.")
]
ProblemList: TypeAlias = Annotated[
    list[str], Field(title="Problems", description="Why there is no plan, or why the run failed, in sentences.")
]
WarningList: TypeAlias = Annotated[
    list[str],
    Field(title="Warnings", description="What is to be known of the results, such as data that were cut off."),
]
RevisionNumber: TypeAlias = Annotated[
    int, Field(title="Revision", description="Counts the plans of this thread, from 1; approvals are valid for one.")
]
RollbackReport: TypeAlias = Annotated[
    StateRecord | None,
    Field(title="Rollback", description="`undone`: task ids; `not_undone`: by task id, why. None without a rollback."),
]
UsageRecord = dict[str, int | float]
_USAGE: Final = Field(title="Usage", description="Calls, tokens and cost of the model; a write is added to them.")
_DOUBTS: Final = Field(
    title="Calls in doubt",
    description="By task id: calls that may or may not have taken effect. None removes an entry.",
)
_BUDGET_STOPS: Final = Field(
    title="Out of budget",
    description="By task id, or '' for the planning: the budget that stopped it before it had an outcome.",
)
BudgetRecord: TypeAlias = Annotated[
    StateRecord | None,
    Field(title="Budget", description="The budget that ended the run: `name`, `limit` and `used`; None if none did."),
]

PlanConfidence: TypeAlias = Annotated[
    StateRecord | None,
    Field(
        title="Confidence",
        description="How sure a small model's plan is: `level` (`sure`, `unsure` or `untested`) and `reason`; None for "
        "any other plan.",
    ),
]


RunId: TypeAlias = Annotated[
    str, Field(title="Run", description="A random id; with thread and namespace it names the run.")
]


def _describe_delta(reducer: Callable[[Any, Any], Any], value_type: Any, field: FieldInfo) -> DeltaChannel[Any]:  # noqa: ANN401
    """Return a delta channel whose title and description a server shows; LangGraph's own drops them."""

    class DescribedDelta(DeltaChannel[Any]):
        @property
        def UpdateType(self) -> Any:  # noqa: ANN401, N802 - LangGraph's name
            return Annotated[value_type, field]

    return DescribedDelta(reducer, value_type)


def _describe_reducer(
    reducer: Callable[[Any, Any], Any],
    value_type: Any,  # noqa: ANN401
    field: FieldInfo,
) -> BinaryOperatorAggregate[Any]:
    """Return a channel with a reducer whose title and description a server shows, as `_describe_delta` does."""

    class DescribedReducer(BinaryOperatorAggregate[Any]):
        @property
        def UpdateType(self) -> Any:  # noqa: ANN401, N802 - as above
            return Annotated[value_type, field]

    return DescribedReducer(value_type, reducer)


def merge_stored_messages(messages: Any, writes: Any) -> Any:  # noqa: ANN401 - as LangGraph's own
    """Return `messages` with those of `writes` as LangGraph merges them. Raises `PersistenceError`."""
    try:
        return merge_messages(messages, writes)
    except (NotImplementedError, ValueError, TypeError, LookupError, AttributeError) as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise PersistenceError(f"The stored messages cannot be read: {reason}.") from error


class Input(TypedDict, total=False):
    """What a run is started with: a goal, a message that says it, or a plan."""

    goal: GoalText
    messages: Annotated[list[AnyMessage], _MESSAGES]
    plan: Annotated[
        StateRecord | None,
        _PlanForm,
        Field(title="Plan", description="A plan document to run as it is; leave it out to have one made."),
    ]
    inputs: Annotated[
        StateRecord | None,
        Field(title="Inputs", description="By name: values for the inputs that the plan declares."),
    ]


class RunInput(Input, total=False):
    """What is stored of an input: with an id, so that a run that is begun again from its checkpoint is the same run."""

    run_id: RunId


class OutputState(TypedDict, total=False):
    """What of the state a run returns."""

    status: RunStatus
    answer: AnswerText
    plan: PlanDocument
    results: Annotated[Results, _RESULTS]
    replans: ReplanCount
    problems: ProblemList
    warnings: WarningList
    confidence: PlanConfidence
    revision: RevisionNumber
    rollback: RollbackReport
    usage: Annotated[UsageRecord, _USAGE]
    budget: BudgetRecord
    messages: Annotated[list[AnyMessage], _MESSAGES]


class Output(OutputState, total=False):
    """What `invoke` and `ainvoke` return; `__interrupt__` is there while a person is asked, and only then."""

    __interrupt__: list[Interrupt]


class State(TypedDict, total=False):
    """Everything that a run needs to know, as facts; status and progress of tasks are derived from them."""

    goal: GoalText
    plan: PlanDocument
    status: RunStatus
    answer: AnswerText
    problems: ProblemList
    warnings: WarningList
    confidence: PlanConfidence
    results: Annotated[Results, _RESULTS, _describe_delta(merge_results, Results, _RESULTS)]
    replans: ReplanCount
    revision: RevisionNumber
    rollback: RollbackReport
    usage: Annotated[UsageRecord, _USAGE, _describe_reducer(merge_usage, UsageRecord, _USAGE)]
    budget: BudgetRecord
    messages: Annotated[
        list[AnyMessage], _MESSAGES, _describe_delta(merge_stored_messages, list[AnyMessage], _MESSAGES)
    ]

    run_id: RunId
    started_at: Annotated[str, Field(title="Started at", description="When the run began, ISO 8601.")]
    planning_context: Annotated[
        str, Field(title="Planning context", description="What tools said before planning, in Markdown.")
    ]
    context_requests: Annotated[
        list[StateRecord],
        Field(title="Context requests", description="The calls whose results the planner wants before it plans."),
    ]
    context_rounds: Annotated[
        int, Field(title="Context rounds", description="How often the planner has asked for context.")
    ]
    guidance: Annotated[
        list[str], Field(title="Guidance", description="What a human has said to the planner or the replanner.")
    ]

    plan_was_given: Annotated[bool, Field(title="Plan was given", description="Whether the plan came with the input.")]
    plan_warnings: Annotated[
        dict[str, list[str]],
        Field(title="Plan warnings", description="By task id: what its check changed in the arguments or doubts."),
    ]
    program: Annotated[
        StateRecord | None,
        Field(title="Program", description="The plan as it was given, if it declares inputs: without their values."),
    ]
    checked_plan_digest: Annotated[
        str | None,
        Field(
            title="Checked plan",
            description="Digest of the plan that was checked last; the next dispatch checks any other.",
        ),
    ]
    plan_author: Annotated[
        StateRecord | None,
        Field(
            title="Plan author",
            description="The model that wrote a plan last: `model`, the plan's digest (`compiled`), `usage` in tokens, "
            "why it is not sure (`doubt`), how sure it is (`confidence`), "
            "and whether a human has confirmed the plan (`confirmed`).",
        ),
    ]
    plan_history: Annotated[
        list[StateRecord],
        Field(title="Plan history", description="Every plan of the run in order: its revision, author and time."),
    ]
    plan_changes: Annotated[
        StateRecord | None,
        Field(
            title="Plan changes",
            description="Task ids that the last revision `kept`, `changed`, added (`new`) and `dropped`.",
        ),
    ]
    dispatch_id: Annotated[
        str, Field(title="Dispatch", description="Names the last dispatch, whose tasks wait for each other.")
    ]

    approvals: Annotated[
        dict[str, str], Field(title="Approvals", description="By task id: the digest of the call that was approved.")
    ]
    pending_approvals: Annotated[
        list[StateRecord], Field(title="Pending approvals", description="The calls that a human is asked to approve.")
    ]
    rejected_calls: Annotated[
        list[str], Field(title="Rejected calls", description="Digests of the calls that a human rejected.")
    ]
    calls_in_doubt: Annotated[Results, _DOUBTS, _describe_reducer(merge_doubts, Results, _DOUBTS)]
    resolved_doubts: Annotated[
        dict[str, dict[str, int]],
        Field(
            title="Resolved doubts",
            description="By task id and call: ledger epochs of calls in doubt that a human said did not happen. Only "
            "what the ledger has of it lets a call be made again.",
        ),
    ]

    target_tasks: Annotated[
        list[str], Field(title="Target tasks", description="The tasks that the replanner or the rollback works on.")
    ]
    replan_history: Annotated[
        list[str], Field(title="Replan history", description="A sentence for each replan, for the replanner.")
    ]
    replanned_failures: Annotated[
        list[str],
        Field(title="Replanned failures", description="Signatures of the failures that were replanned for."),
    ]
    waived_tasks: Annotated[
        list[str], Field(title="Waived tasks", description="Failed tasks that the replanner went on without.")
    ]
    dead_end_reason: Annotated[
        str | None, Field(title="Dead end", description="Why the last replan found no way to go on.")
    ]
    clarification_question: Annotated[
        str | None, Field(title="Clarification question", description="What the replanner asks a human.")
    ]
    clarification_count: Annotated[
        int, Field(title="Clarifications", description="How often the replanner has asked a human.")
    ]
    replan_requested: Annotated[
        bool,
        Field(title="Replan requested", description="A human wants another plan in place of the one that was made."),
    ]

    escalation: Annotated[
        StateRecord | None,
        Field(title="Escalation", description="Why the run cannot go on by itself; a human is asked how to go on."),
    ]
    escalation_count: Annotated[int, Field(title="Escalations", description="How many escalations the run has had.")]
    raised_budgets: Annotated[
        UsageRecord, Field(title="Raised budgets", description="By name: the limits that a human has raised.")
    ]
    out_of_budget_tasks: Annotated[
        Results, _BUDGET_STOPS, _describe_reducer(merge_budget_stops, Results, _BUDGET_STOPS)
    ]
    budget_ended_tasks: Annotated[
        list[str],
        Field(
            title="Ended by a budget",
            description="Tasks that have an outcome only because a budget, or the lack of a model, ended the run.",
        ),
    ]
    model_failure: Annotated[
        StateRecord | None,
        Field(
            title="Model failure",
            description="Why the run ended only for lack of a model: `role` and `reason`; it can be resumed once that "
            "is mended. `replans` and `replanned_failures` are those before it.",
        ),
    ]
    ended_at: Annotated[
        str | None, Field(title="Ended at", description="When a run ended that can be resumed, ISO 8601.")
    ]
    partial_result_accepted: Annotated[
        bool, Field(title="Partial result accepted", description="A human chose to end with what there is.")
    ]
    termination: Annotated[
        dict[str, str] | None,
        Field(title="Termination", description="`status` and `reason` with which the run is to end."),
    ]
    rollback_plan: Annotated[
        StateRecord | None,
        Field(title="Rollback plan", description="The plan that undoes finished writes, once a rollback has begun."),
    ]


class TaskOrder(TypedDict):
    """The argument of a `Send` to the executor; the task itself is in the state."""

    task: Annotated[str, Field(title="Task", description="The task that the executor is to run.")]
    dispatch: Annotated[str, Field(title="Dispatch of the task", description="Names the dispatch that sent the task.")]


#: The parts of the state that a tool may ask for: what goes in and what comes out.
STATE_FIELDS_FOR_TOOLS: Final = State.__annotations__.keys() & (
    Input.__annotations__.keys() | OutputState.__annotations__.keys()
)


def parse_outcomes(results: Mapping[str, StateRecord] | None) -> dict[str, Outcome]:
    """Return the stored outcomes by task id. Raises `PersistenceError` for a record that is not an outcome."""
    try:
        return {task: parse_outcome(record) for task, record in (results or {}).items()}
    except ValueError as error:
        raise PersistenceError(f"A stored result cannot be read: {error}") from error


def parse_spending(state: Mapping[str, Any]) -> Spending:
    """Return what the models of a run have used, as far as it is stored."""
    return Spending.model_validate(state.get("usage") or {})


def compute_elapsed_seconds(state: Mapping[str, Any], *, now: datetime) -> float:
    """Return the seconds since a run started_at."""
    started_at = state.get("started_at")
    return max(0.0, (now - datetime.fromisoformat(started_at)).total_seconds()) if started_at else 0.0


def parse_budget(record: object) -> ExhaustedBudget | None:
    """Return a stored budget; None for None. Raises `PersistenceError`."""
    try:
        return None if record is None else ExhaustedBudget.model_validate(record)
    except ValueError as error:
        raise PersistenceError(f"The stored budget cannot be read: {error}") from error


def parse_stored_plan(document: object, *, kind: str = "plan") -> Plan:
    """Return a stored plan, which has compiled before. Raises `PersistenceError`."""
    try:
        return Plan.model_validate(document)
    except ValueError as error:
        raise PersistenceError(f"The stored {kind} cannot be read: {error}") from error


def link_stored_plan(
    document: object, toolbox: Toolbox, *, kind: str = "plan", durations: Mapping[str, float] = NO_DURATIONS
) -> CompiledPlan:
    """Return a stored plan linked to its tools; `durations` are seconds by tool.

    Raises `UsageError` if this graph lacks one of its tools, `PersistenceError` as `parse_stored_plan`.
    """
    plan = parse_stored_plan(document, kind=kind)
    missing = sorted({task.tool for task in plan.tasks} - toolbox.keys())
    if missing:
        named = ", ".join(map(repr, missing))
        raise UsageError(
            f"The stored {kind} calls {named}, which this graph does not have; build it with the same tools."
        )
    return link_plan(plan, toolbox.specs, durations=durations)
