"""A task order carried out: the board found or made anew after a crash, and the job for the executor."""

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph._internal._constants import CONFIG_KEY_CHECKPOINTER
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.pregel._read import ChannelRead

from agent.artifacts import Artifacts
from agent.call_log import CallLog
from agent.core.approval import needs_approval
from agent.core.budget import with_raised
from agent.core.call import looks_into
from agent.core.limits import Limits
from agent.executor import Job, utc_now
from agent.metering import Meter, Meters
from agent.settings import Settings
from agent.slots import Slots
from agent.tools.catalogue import Toolbox
from graphs.board import Board
from graphs.dispatch import board_of
from graphs.durations import Durations
from graphs.facts import snapshot_of
from graphs.recall import Recall
from graphs.reducers import merge_results
from graphs.state import State, spending_in

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
