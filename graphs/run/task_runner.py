"""A task order carried out: the board found or made anew after a crash, and the job for the executor."""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph._internal._constants import CONFIG_KEY_CHECKPOINTER
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.errors import GraphBubbleUp
from langgraph.pregel._read import ChannelRead
from langgraph.runtime import Runtime

from agent.core.engine.approvals import needs_approval
from agent.core.engine.budgets import Exhausted, with_raised
from agent.core.engine.call_preparation import looks_into
from agent.core.engine.outcomes import Done, Outcome
from agent.core.plan.limits import Limits
from agent.errors import BudgetError
from agent.events import Emit
from agent.execution.call_log import CallLog
from agent.execution.concurrency import Slots
from agent.execution.executor import Executor, Job, utc_now
from agent.llm.usage import Meter, Meters, metered
from agent.results.artifacts import Artifacts, put_away
from agent.settings import Settings
from agent.tools.toolbox import Toolbox
from graphs.run.dispatch_board import Board, board_of
from graphs.run.early_execution import ahead_of
from graphs.run.grants import Grants
from graphs.run.services import Context, Durations, Wiring
from graphs.run.snapshots import Recall, snapshot_of
from graphs.run.state_updates import emitter, finished_event
from graphs.state import State, merge_results, spending_in


@dataclass(frozen=True, slots=True)
class Work:
    """One task of a dispatch, and the parts by which its calls are made."""

    task: str
    board: Board
    executor: Executor
    toolbox: Toolbox
    grants: Grants
    limits: Limits
    settings: Settings


_at_work: ContextVar[Work] = ContextVar("planwave_at_work")


@contextmanager
def at_work(work: Work) -> Iterator[None]:
    """Let the tool of a task make calls of its own, for the time of the context."""
    token = _at_work.set(work)
    try:
        yield
    finally:
        _at_work.reset(token)


def work_now() -> Work | None:
    """Return what the task that is at work here may use; None outside of a dispatch."""
    return _at_work.get(None)


_READ = [
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


async def resumed_board(
    config: RunnableConfig,
    toolbox: Toolbox,
    *,
    settings: Settings,
    meters: Meters,
    thread: str,
    durations: Durations,
    calls: CallLog,
) -> Board:
    """Return the board of a superstep that another process began: the state, and what is finished of the superstep.

    LangGraph hands a `Send` its own argument only. The state is read through the channel reader that conditional edges
    use, the finished siblings from the pending writes of the checkpoint; a test pins both.
    """
    state: State = ChannelRead.do_read(config, select=_READ, fresh=False)
    finished = await _finished_siblings(config)
    state = {**state, "results": merge_results(state.get("results") or {}, finished)}
    # Which approvals still hold is not asked here: their digests may rest on outputs that are not at hand.
    known = await durations.known(frozenset(toolbox))
    recall = Recall()
    snapshot = snapshot_of(
        {**state, "approvals": {}}, toolbox, thread=thread, now=utc_now(), recall=recall, durations=known
    )
    meter = meter_of(meters, state, settings.limits(can_replan=False), settings=settings)
    board = board_of(state, snapshot, recall, Slots(settings.max_concurrency), meter=meter, thread=thread)
    for call in await calls.tried(thread, revision=board.revision):
        if call.item is None:
            board.tried[call.task] = call
    return board


def meter_of(meters: Meters, state: State, limits: Limits, *, settings: Settings) -> Meter:
    """Return the meter of a run at the beginning of a step, with what the state knows to be spent."""
    prices = (settings.price_input or 0.0, settings.price_output or 0.0)
    bounds = with_raised(limits, state.get("raised") or {})
    return meters.of(state.get("run") or "").hold(bounds, spending_in(state), prices=prices)


async def _finished_siblings(config: RunnableConfig) -> list[dict[str, Any]]:
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


async def load(task: str, board: Board, artifacts: Artifacts) -> None:
    """Put on the board the outputs that `task` looks into; what was put away by another dispatch is loaded once."""
    async with board.loading:
        board.outcomes.update(
            await artifacts.at_hand(board.outcomes, looks_into(board.compiled.tasks[task]), thread=board.thread)
        )


def work_on(
    task: str, board: Board, wiring: Wiring, toolbox: Toolbox, runtime: Runtime[Context]
) -> Callable[[], Coroutine[None, None, Outcome | Exhausted]]:
    """Return what does the work of a task, whose needs are settled by then, each time it is called."""
    settings = wiring.settings_for(runtime.context)
    executor = Executor(
        toolbox,
        settings,
        wiring.ledger,
        wiring.calls,
        let_through=(GraphBubbleUp, BudgetError),
        under_way=ahead_of(runtime, revision=board.revision),
        memory=wiring.memory,
    )
    here = Work(task, board, executor, toolbox, wiring.grants, settings.limits(can_replan=False), settings)
    emit = board.telling.through(emitter(runtime))
    return partial(_outcome, here, wiring.artifacts, wiring.durations, emit=emit)


async def _outcome(here: Work, artifacts: Artifacts, durations: Durations, *, emit: Emit) -> Outcome | Exhausted:
    """Make the calls of a task and tell of its end; a large output that no other task looks into is put away."""
    board = here.board
    await load(here.task, board, artifacts)
    job = job_for(here.task, board, limits=here.limits)
    try:
        with metered(board.meter), at_work(here):
            made = await here.executor.run(job, slots=board.slots, emit=emit)
    except BudgetError as error:
        return error.budget
    kept = await artifacts.kept(made, thread=board.thread, limit=here.settings.artifact_bytes)
    large = isinstance(kept, Done) and kept.artifact is not None
    outcome = put_away(kept) if large and not board.looked_into(here.task) else kept
    durations.note(job.task.tool, outcome)
    emit(finished_event(here.task, outcome))
    return outcome


def job_for(task: str, board: Board, *, limits: Limits) -> Job:
    """Return what the executor must know of a task whose needs are settled."""
    definition, spec = board.compiled.tasks[task], board.compiled.spec(task)
    return Job(
        task=definition,
        spec=spec,
        needs=board.compiled.needs[task],
        outcomes=board.outcomes,
        thread=board.thread,
        revision=board.revision,
        gated=needs_approval(definition, spec, limits),
        approved=board.approvals.get(task),
        reusable=board.reusable,
        rejected=board.rejected,
        cleared=board.cleared.get(task, {}),
        tried=board.tried.get(task),
        urgency=(definition.priority, -board.compiled.ranks[task]),
    )
