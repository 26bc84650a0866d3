"""One task of a dispatch: the board it runs on, created or restored after a crash, and the calls it makes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from langgraph.config import get_config
from langgraph.prebuilt import ToolRuntime
from langgraph.runtime import Runtime
from pydantic import JsonValue

from agent.core.engine.approvals import needs_approval
from agent.core.engine.budgets import ExhaustedBudget
from agent.core.engine.call_preparation import find_reusable_results, required_outputs
from agent.core.engine.outcomes import Cut, Done, Outcome
from agent.core.engine.snapshot import Snapshot
from agent.core.plan.limits import Limits
from agent.errors import BudgetError
from agent.execution.executor import Executor, Job
from agent.llm.usage import use_meter
from agent.results.artifacts import Artifacts, drop_stored_output
from agent.settings import Settings
from agent.telemetry import TaskSpan
from agent.tools.injected_arguments import CallValues, use_call_values
from agent.tools.toolbox import Toolbox
from graphs.langgraph_internals import ChannelRead
from graphs.nesting import load_pending_writes
from graphs.run.dispatch_board import DispatchBoard, ProgressReporter
from graphs.run.early_execution import find_deadline, find_early_execution, get_slots
from graphs.run.grants import Grants
from graphs.run.node_context import NodeContext, create_node_context
from graphs.run.services import Context, Services
from graphs.run.snapshots import get_active_plan
from graphs.run.state_updates import build_finished_event, outcome_to_json
from graphs.state import STATE_FIELDS_FOR_TOOLS, State, merge_results


@dataclass(slots=True)
class WorkerReport:
    """What a worker tells beside its output, if that has a schema of its own."""

    steps: tuple[dict[str, JsonValue], ...] = ()
    #: What was cut off in the results that it saw, a clause each.
    cuts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskContext:
    """The task that is running, and what its tool may use to make calls of its own."""

    task: str
    board: DispatchBoard
    executor: Executor
    toolbox: Toolbox
    grants: Grants
    limits: Limits
    settings: Settings
    report: WorkerReport = field(default_factory=WorkerReport)


_current_task: ContextVar[TaskContext] = ContextVar("planwave_current_task")


@contextmanager
def as_current_task(work: TaskContext) -> Iterator[None]:
    """Make `work` the current task within the block."""
    token = _current_task.set(work)
    try:
        yield
    finally:
        _current_task.reset(token)


def current_task() -> TaskContext | None:
    """Return the task that is running here; None outside of a dispatch."""
    return _current_task.get(None)


def create_board(state: State, snapshot: Snapshot, context: NodeContext) -> DispatchBoard:
    """Return the board of a dispatch that continues from `state`, whose snapshot was made with the context's cache."""
    revision, active, cache = state.get("revision") or 1, get_active_plan(snapshot), context.cache
    frontier = snapshot.get_frontier(active)
    # While one plan is carried out, no work of an earlier revision is added.
    done_before = cache.reusable.get(active, lambda: find_reusable_results(snapshot.outcomes, revision=revision))
    return DispatchBoard(
        compiled=active,
        outcomes=dict(snapshot.outcomes),
        slots=get_slots(context),
        meter=context.meter,
        limits=context.limits,
        revision=revision,
        thread=context.thread,
        approvals=state.get("approvals") or {},
        # An undo call is made even if an earlier plan has made the same call.
        reusable={} if snapshot.undo is not None else done_before,
        rejected=state.get("rejected_calls") or (),
        warnings=state.get("plan_warnings") or {},
        progress_reporter=ProgressReporter(frontier.count_by_status(), total=len(active.tasks)),
        blocked=frozenset(frontier.blocked),
        # What was written is undone even if that takes longer.
        deadline=None if snapshot.undo is not None else find_deadline(state, context.limits),
    )


#: What a board and a node's context are made from.
_STATE_KEYS = [
    "plan",
    "rollback_plan",
    "results",
    "revision",
    "approvals",
    "rejected_calls",
    "problems",
    "started_at",
    "run_id",
    "usage",
    "raised_budgets",
    "plan_warnings",
]


async def restore_board(runtime: Runtime[Context], services: Services) -> DispatchBoard:
    """Return the board of a superstep that another run started: its state, and the tasks that are finished already.

    LangGraph gives a `Send` its own argument only. So the state is read through the channel reader that conditional
    edges use, and the finished siblings from the pending writes of the checkpoint; a test pins both.
    """
    config = get_config()
    state: State = ChannelRead.do_read(config, select=_STATE_KEYS, fresh=False)
    finished = [value for _, channel, value in await load_pending_writes(config) if channel == "results"]
    state = {**state, "results": merge_results(state.get("results") or {}, finished)}
    context = await create_node_context(state, runtime, services)
    # Approvals are not compared with their calls here: these may depend on outputs that are not loaded.
    snapshot = context.build_snapshot(
        {**state, "approvals": {}},
        cache=context.cache,
        durations=await services.durations.get_estimates(frozenset(context.toolbox)),
    )
    board = create_board(state, snapshot, context)
    for call in await services.calls.load_retryable_calls(board.thread, revision=board.revision):
        if call.item is None:
            board.earlier_attempts[call.task] = call
    return board


async def run_task(task: str, board: DispatchBoard, context: NodeContext) -> Outcome | ExhaustedBudget:
    """Make the calls of a task whose dependencies are settled, and report its end.

    Returns its outcome, or the budget that kept it from making its calls, or its tool from calling a model. An output
    larger than the settings' `artifact_bytes` is stored outside the state, and dropped from memory if no other task
    reads it.
    """
    services = context.services
    early = find_early_execution(context, revision=board.revision)
    executor = context.create_executor(early_outcomes=early, deadline=board.deadline)
    emit = board.progress_reporter.wrap_emit(context.emit)
    await _load_inputs(task, board, services.artifacts)
    job = build_job(task, board)
    work = TaskContext(task, board, executor, context.toolbox, services.grants, context.limits, context.settings)
    try:
        values = use_call_values(_build_call_values(board, context))
        with use_meter(board.meter), as_current_task(work), values, TaskSpan(job).make_current() as span:
            outcome = await executor.run(job, slots=board.slots, emit=span.wrap_emit(emit))
            span.finish(outcome)
    except BudgetError as error:
        return error.budget
    outcome = _add_warnings(_add_report(outcome, work.report, task=task), board.warnings.get(task, ()))
    if context.has_thread:
        outcome = await services.artifacts.store_large_output(
            outcome, thread=board.thread, limit=context.settings.artifact_bytes
        )
    if isinstance(outcome, Done) and outcome.artifact is not None and not board.is_output_read(task):
        outcome = drop_stored_output(outcome)
    services.durations.record_call(job.task.tool, outcome)
    emit(build_finished_event(task, outcome))
    return outcome


def _add_report(outcome: Outcome, report: WorkerReport, *, task: str) -> Outcome:
    """Return an outcome with the steps of its worker, and with what was cut off in the results that the worker saw."""
    if not isinstance(outcome, Done) or not (report.steps or report.cuts):
        return outcome
    cuts = tuple(
        Cut(task=task, what=f"the result of {task!r} is made from incomplete data: {what}") for what in report.cuts
    )
    told = tuple(dict.fromkeys((*outcome.warnings, *map(str, cuts))))
    return outcome.model_copy(update={"steps": report.steps, "cuts": (*outcome.cuts, *cuts), "warnings": told})


def _build_call_values(board: DispatchBoard, context: NodeContext) -> CallValues:
    """Return what LangGraph's `ToolNode` would fill into the calls of a task."""
    config, runtime = get_config(), context.runtime
    store = runtime.store or context.services.store

    def read_state() -> Mapping[str, Any]:
        state: dict[str, Any] = ChannelRead.do_read(config, select=sorted(STATE_FIELDS_FOR_TOOLS), fresh=False)
        # Tasks of this dispatch are not in the state yet.
        results = {task: outcome_to_json(outcome) for task, outcome in board.outcomes.items()}
        # A copy: what a tool changes in it must not change the run.
        return deepcopy({**state, "results": {**(state.get("results") or {}), **results}})

    def make_runtime(call_id: str) -> object:
        return ToolRuntime(
            state=read_state(),
            context=runtime.context,
            config=config,
            stream_writer=runtime.stream_writer,
            tool_call_id=call_id,
            store=store,
            tools=list(context.toolbox.values()),
            execution_info=runtime.execution_info,
            server_info=runtime.server_info,
        )

    return CallValues(read_state=read_state, store=store, make_runtime=make_runtime)


def _add_warnings(outcome: Outcome, warnings: Sequence[str]) -> Outcome:
    """Return an outcome that tells also what was changed in the arguments of its call, or looked wrong in them."""
    told = tuple(dict.fromkeys((*warnings, *outcome.warnings)))
    return outcome if told == outcome.warnings else outcome.model_copy(update={"warnings": told})


async def _load_inputs(task: str, board: DispatchBoard, artifacts: Artifacts) -> None:
    """Put on the board the outputs that `task` reads; what another dispatch stored is loaded once."""
    async with board.load_lock:
        board.outcomes.update(
            await artifacts.load_outputs(
                board.outcomes, required_outputs(board.compiled.tasks[task]), thread=board.thread
            )
        )


def build_job(task: str, board: DispatchBoard) -> Job:
    """Return what the executor needs to know of a task whose dependencies are settled."""
    definition, spec = board.compiled.tasks[task], board.compiled.get_spec(task)
    return Job(
        task=definition,
        spec=spec,
        needs=board.compiled.needs[task],
        outcomes=board.outcomes,
        thread=board.thread,
        revision=board.revision,
        gated=needs_approval(definition, spec, board.limits),
        approved_digest=board.approvals.get(task),
        reusable=board.reusable,
        rejected_digests=board.rejected,
        logged_attempts=board.earlier_attempts.get(task),
        urgency=(definition.priority, -board.compiled.ranks[task]),
    )
