"""The next move carried out: a state and a move become a command."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal, assert_never
from uuid import uuid4

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.runtime import Runtime
from langgraph.types import Command, Overwrite, Send

from agent.core.compiler.compiler import CompiledPlan
from agent.core.engine.call_preparation import standing
from agent.core.engine.next_move import Answer, Ask, Escalate, GiveUp, LookUp, Move, PlanAgain, Replan, Rollback, Run
from agent.core.engine.progress import blocked_by
from agent.core.engine.snapshot import Snapshot
from agent.core.plan.limits import Limits
from agent.events import Emit
from agent.execution.concurrency import Slots
from agent.execution.executor import reads_unasked
from agent.llm.usage import Meter
from agent.plan_check import Checked, check_plan
from agent.results.artifacts import Artifacts
from agent.settings import Settings
from agent.tools.toolbox import Toolbox
from graphs.run.approvals import requests_for
from graphs.run.dispatch_board import Board, active_plan, board_of, let_begin
from graphs.run.escalations import escalated
from graphs.run.graceful_stop import Control
from graphs.run.plan_history import changed_since_last
from graphs.run.services import Context, Wiring
from graphs.run.snapshots import Recall
from graphs.run.state_updates import finished_event, mark_of, plan_event, planned, record, unplanned
from graphs.run.task_runner import job_for, work_on
from graphs.state import State, TaskOrder, outcomes_in

Next = Literal[
    "planner", "look_up", "wave_dispatch", "tool_executor", "human_approval", "replanner", "rollback", "answer"
]


async def recompiled(
    state: State,
    toolbox: Toolbox,
    *,
    limits: Limits,
    artifacts: Artifacts,
    thread: str,
    recall: Recall,
    emit: Emit,
) -> dict[str, Any]:
    """Check a plan that did not come from a planner of this run (a fork, an edit): all that changes by it.

    A new revision makes every approval given for the old plan void, and `results` keeps what still holds.
    """
    plan = state.get("plan")
    if not plan or recall.mark.get(plan, lambda: mark_of(plan)) == state.get("compiled"):
        return {}
    checked = await check_plan(plan, toolbox, limits=limits)
    if not isinstance(checked, Checked):
        return unplanned(plan, checked, limits=limits)
    revision = (state.get("revision") or 0) + 1
    changes = changed_since_last(state, checked.compiled.plan)
    emit(plan_event(checked.compiled, revision=revision, difference=changes))
    results = await artifacts.in_full(state.get("results") or {}, thread=thread)
    kept = standing(checked.compiled, outcomes_in(results), revision=revision)
    return {
        **planned(checked.compiled.plan),
        "revision": revision,
        "difference": changes.model_dump(mode="json") if changes is not None else None,
        "problems": [],
        "approvals": {},
        "failed": [],
        "waived": [],
        "replanned": [],
        "stuck": None,
        "question": None,
        "cut": {},
        "stop": None,
        "results": {task: record(outcome) for task, outcome in kept.items()},
    }


def command_for(
    move: Move,
    *,
    state: State,
    snapshot: Snapshot,
    recall: Recall,
    slots: Slots,
    meter: Meter,
    thread: str,
    emit: Emit,
) -> tuple[Command[Next], Board | None]:
    """Return the command that carries out `move`, and the board where it sends tasks to the executor.

    The tasks run in `slots`, and their calls of models are counted by `meter`.
    """
    match move:
        case LookUp():
            return Command(goto="look_up"), None
        case Run(tasks):
            dispatch = uuid4().hex
            board = board_of(state, snapshot, recall, slots, meter=meter, thread=thread)
            sends = [Send("tool_executor", TaskOrder(task=task, dispatch=dispatch)) for task in tasks]
            return Command(goto=sends, update={"status": "running", "dispatch": dispatch}), board
        case Ask():
            return _asking(move, active_plan(snapshot), snapshot, state, thread=thread, emit=emit), None
        case Escalate(impasse):
            return Command(goto="human_approval", update=escalated(impasse, state)), None
        case PlanAgain():
            return Command(goto="planner", update={"problems": [], "cut": Overwrite({}), "anew": False}), None
        case Replan(tasks, signature):
            replanned = [*(state.get("replanned") or ()), signature]
            return Command(goto="replanner", update={"replanned": replanned, "failed": list(tasks)}), None
        case Rollback(tasks, status, reason):
            stop = {"status": status, "reason": reason}
            return Command(goto="rollback", update={"stop": stop, "failed": list(tasks)}), None
        case GiveUp(status, reason, budget):
            update = {"stop": {"status": status, "reason": reason}, "budget": budget and budget.model_dump()}
            return Command(goto="answer", update=update), None
        case Answer():
            return Command(goto="answer"), None
        case _:
            assert_never(move)


def _asking(
    ask: Ask, active: CompiledPlan, snapshot: Snapshot, state: State, *, thread: str, emit: Emit
) -> Command[Next]:
    """Ask about what can be asked; what turns out to need no question is settled instead."""
    settled, requests = requests_for(ask, active, snapshot, state, thread=thread)
    for task, outcome in settled.items():
        emit(finished_event(task, outcome))
    results = {task: record(outcome) for task, outcome in settled.items()}
    if not requests:
        return Command(goto="wave_dispatch", update={"results": results})
    pending = [request.model_dump(mode="json") for request in requests]
    # An edited plan may have got past what a person was asked before.
    update = {"status": "awaiting_approval", "impasse": None, "pending": pending, "results": results}
    return Command(goto="human_approval", update=update)


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
