"""A task order carried out: the board found or made anew after a crash, and the job for the executor."""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.errors import GraphBubbleUp
from langgraph.runtime import Runtime

from agent.core.engine.approvals import needs_approval
from agent.core.engine.budgets import ExhaustedBudget, raise_limits
from agent.core.engine.call_preparation import required_outputs
from agent.core.engine.outcomes import Done, Outcome
from agent.core.plan.limits import Limits
from agent.errors import BudgetError
from agent.events import Emit
from agent.execution.call_log import CallLog
from agent.execution.concurrency import Slots
from agent.execution.executor import Executor, Job, utc_now
from agent.llm.usage import Meter, MeterRegistry, use_meter
from agent.results.artifacts import Artifacts, drop_stored_output
from agent.settings import Settings
from agent.tools.toolbox import Toolbox
from graphs.langgraph_internals import CONFIG_KEY_CHECKPOINTER, ChannelRead
from graphs.run.dispatch_board import DispatchBoard, create_board
from graphs.run.early_execution import find_early_execution
from graphs.run.grants import Grants
from graphs.run.services import Context, DurationEstimates, Services
from graphs.run.snapshots import RunCache, build_snapshot
from graphs.run.state_updates import build_finished_event, create_emitter
from graphs.state import State, merge_results, parse_spending


@dataclass(frozen=True, slots=True)
class TaskContext:
    """One task of a dispatch, and the parts by which its calls are made."""

    task: str
    board: DispatchBoard
    executor: Executor
    toolbox: Toolbox
    grants: Grants
    limits: Limits
    settings: Settings


_current_task: ContextVar[TaskContext] = ContextVar("planwave_at_work")


@contextmanager
def as_current_task(work: TaskContext) -> Iterator[None]:
    """Let the tool of a task make calls of its own, for the time of the context."""
    token = _current_task.set(work)
    try:
        yield
    finally:
        _current_task.reset(token)


def current_task() -> TaskContext | None:
    """Return what the task that is at work here may use; None outside of a dispatch."""
    return _current_task.get(None)


_STATE_KEYS = [
    "plan",
    "undo",
    "results",
    "revision",
    "approvals",
    "cleared",
    "rejected",
    "problems",
    "started_at",
    "run",
    "usage",
    "raised",
]


async def restore_board(
    config: RunnableConfig,
    toolbox: Toolbox,
    *,
    settings: Settings,
    meters: MeterRegistry,
    thread: str,
    durations: DurationEstimates,
    calls: CallLog,
) -> DispatchBoard:
    """Return the board of a superstep that another process began: the state, and what is finished of the superstep.

    LangGraph hands a `Send` its own argument only. The state is read through the channel reader that conditional edges
    use, the finished siblings from the pending writes of the checkpoint; a test pins both.
    """
    state: State = ChannelRead.do_read(config, select=_STATE_KEYS, fresh=False)
    finished = await _load_sibling_results(config)
    state = {**state, "results": merge_results(state.get("results") or {}, finished)}
    # Which approvals still hold is not asked here: their digests may rest on outputs that are not at hand.
    known = await durations.get_estimates(frozenset(toolbox))
    recall = RunCache()
    snapshot = build_snapshot(
        {**state, "approvals": {}}, toolbox, thread=thread, now=utc_now(), cache=recall, durations=known
    )
    meter = prepare_meter(meters, state, settings.build_limits(can_replan=False), settings=settings)
    board = create_board(state, snapshot, recall, Slots(settings.max_concurrency), meter=meter, thread=thread)
    for call in await calls.load_retryable_calls(thread, revision=board.revision):
        if call.item is None:
            board.earlier_attempts[call.task] = call
    return board


def prepare_meter(meters: MeterRegistry, state: State, limits: Limits, *, settings: Settings) -> Meter:
    """Return the meter of a run at the beginning of a step, with what the state knows to be spent."""
    prices = (settings.price_input or 0.0, settings.price_output or 0.0)
    bounds = raise_limits(limits, state.get("raised") or {})
    return meters.get_meter(state.get("run") or "").begin_step(bounds, parse_spending(state), prices=prices)


async def _load_sibling_results(config: RunnableConfig) -> list[dict[str, Any]]:
    configurable = config["configurable"]
    saver = configurable.get(CONFIG_KEY_CHECKPOINTER)
    if not isinstance(saver, BaseCheckpointSaver):
        return []
    namespace = configurable.get("checkpoint_ns") or ""
    where = {
        "thread_id": configurable["thread_id"],
        "checkpoint_id": configurable["checkpoint_id"],
        "checkpoint_ns": namespace.rsplit("|", maxsplit=1)[0] if "|" in namespace else "",
    }
    found = await saver.aget_tuple({"configurable": where})
    return [value for _, channel, value in (found.pending_writes or ()) if channel == "results"] if found else []


async def load_inputs(task: str, board: DispatchBoard, artifacts: Artifacts) -> None:
    """Put on the board the outputs that `task` looks into; what was put away by another dispatch is loaded once."""
    async with board.load_lock:
        board.outcomes.update(
            await artifacts.load_outputs(
                board.outcomes, required_outputs(board.compiled.tasks[task]), thread=board.thread
            )
        )


def make_task_runner(
    task: str, board: DispatchBoard, services: Services, toolbox: Toolbox, runtime: Runtime[Context]
) -> Callable[[], Coroutine[None, None, Outcome | ExhaustedBudget]]:
    """Return what does the work of a task, whose needs are settled by then, each time it is called."""
    settings = services.resolve_settings(runtime.context)
    executor = Executor(
        toolbox,
        settings,
        services.ledger,
        services.calls,
        propagate=(GraphBubbleUp, BudgetError),
        early_outcomes=find_early_execution(runtime, revision=board.revision),
        cache=services.memory,
    )
    here = TaskContext(
        task, board, executor, toolbox, services.grants, settings.build_limits(can_replan=False), settings
    )
    emit = board.progress_reporter.wrap_emit(create_emitter(runtime))
    return partial(_run_task, here, services.artifacts, services.durations, emit=emit)


async def _run_task(
    here: TaskContext, artifacts: Artifacts, durations: DurationEstimates, *, emit: Emit
) -> Outcome | ExhaustedBudget:
    """Make the calls of a task and tell of its end; a large output that no other task looks into is put away."""
    board = here.board
    await load_inputs(here.task, board, artifacts)
    job = build_job(here.task, board, limits=here.limits)
    try:
        with use_meter(board.meter), as_current_task(here):
            made = await here.executor.run(job, slots=board.slots, emit=emit)
    except BudgetError as error:
        return error.budget
    kept = await artifacts.store_large_output(made, thread=board.thread, limit=here.settings.artifact_bytes)
    large = isinstance(kept, Done) and kept.artifact is not None
    outcome = drop_stored_output(kept) if large and not board.is_output_read(here.task) else kept
    durations.record_call(job.task.tool, outcome)
    emit(build_finished_event(here.task, outcome))
    return outcome


def build_job(task: str, board: DispatchBoard, *, limits: Limits) -> Job:
    """Return what the executor must know of a task whose needs are settled."""
    definition, spec = board.compiled.tasks[task], board.compiled.get_spec(task)
    return Job(
        task=definition,
        spec=spec,
        needs=board.compiled.needs[task],
        outcomes=board.outcomes,
        thread=board.thread,
        revision=board.revision,
        gated=needs_approval(definition, spec, limits),
        approved_digest=board.approvals.get(task),
        reusable=board.reusable,
        rejected_digests=board.rejected,
        takeover_epochs=board.cleared.get(task, {}),
        logged_attempts=board.earlier_attempts.get(task),
        urgency=(definition.priority, -board.compiled.ranks[task]),
    )
