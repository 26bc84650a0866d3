"""The first calls of a dispatch: reads that run while LangGraph still makes a task of every order.

From the end of a dispatch to the first line of the first task lie some milliseconds, and half a second where a
thousand orders are sent: LangGraph writes the checkpoint and makes every task before it runs one.
"""

from collections import Counter
from collections.abc import Iterable

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.runtime import Runtime

from agent.core.limits import Limits
from agent.core.move import Move, Run
from agent.core.progress import blocked_by
from agent.executor import reads_unasked
from agent.settings import Settings
from agent.tools.catalogue import Toolbox
from graphs.board import Board, let_begin
from graphs.draining import Control
from graphs.execution import job_for, work_on
from graphs.wiring import Context, Wiring


async def begin_first_calls(
    move: Move, board: Board, wiring: Wiring, toolbox: Toolbox, runtime: Runtime[Context]
) -> None:
    """Begin the calls of a dispatch that can run before their orders come, where the run allows it."""
    settings, control = wiring.settings_for(runtime.context), runtime.control
    if not (isinstance(move, Run) and isinstance(control, Control) and _unwatched(control, get_config(), settings)):
        return
    first = first_reads(move.tasks, board, limits=settings.limits(can_replan=False))
    if not first:
        return
    control.hold()
    control.watch(board.slots.halt)
    control.at_end(board.end_begun)
    for task in first:
        board.begin(task, work_on(task, board, wiring, toolbox, runtime))
        # Without it the most urgent call would not be inside its tool before all are prepared.
        await let_begin()


def _unwatched(control: Control, config: RunnableConfig, settings: Settings) -> bool:
    """Whether a dispatch may begin calls itself.

    Not where somebody watches the run node by node: with breakpoints nothing may be under way between two nodes, and
    a tracer files a call under the node that makes it. Nor where LangGraph itself bounds what runs at the same time.
    """
    callbacks = config.get("callbacks")
    watching = callbacks.handlers if isinstance(callbacks, BaseCallbackManager) else callbacks
    going_on = not control.stops_between and control.stopping is None
    return going_on and settings.dispatch == "eager" and not watching and config.get("max_concurrency") is None


def first_reads(tasks: Iterable[str], board: Board, *, limits: Limits) -> list[str]:
    """Return which of `tasks`, the most urgent first, can be called before their orders come.

    These are reads that nobody is asked about, as far as each would get a place at once: a place that an urgent write
    waits for is not given away.
    """
    taken = Counter[str]()
    found = []
    for task in tasks:
        if taken.total() >= board.slots.free:
            break
        if not _is_ready(task, board):
            continue
        job = job_for(task, board, limits=limits)
        if taken[job.spec.name] >= board.slots.most(job.spec):
            continue
        taken[job.spec.name] += 1
        if reads_unasked(job) and not job.spec.policy.dispatched_only and job.spec.policy.rate_per_s is None:
            found.append(task)
    return found


def _is_ready(task: str, board: Board) -> bool:
    needs = board.compiled.needs[task]
    settled = all(need in board.outcomes for need in needs)
    return settled and blocked_by(board.compiled.tasks[task], needs, outcomes=board.outcomes, blocked=()) is None
