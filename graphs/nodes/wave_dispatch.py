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
from agent.core.engine.call_preparation import find_valid_outcomes
from agent.core.engine.next_move import (
    Answer,
    AskHuman,
    Escalate,
    GiveUp,
    LookUp,
    Move,
    PlanAgain,
    Replan,
    Rollback,
    RunTasks,
)
from agent.core.engine.progress import find_blocker
from agent.core.engine.snapshot import Snapshot
from agent.core.plan.limits import Limits
from agent.events import Emit
from agent.execution.concurrency import Slots
from agent.execution.executor import is_ungated_read
from agent.llm.usage import Meter
from agent.plan_check import CheckedPlan, check_plan
from agent.results.artifacts import Artifacts
from agent.settings import Settings
from agent.tools.toolbox import Toolbox
from graphs.run.approvals import build_requests
from graphs.run.dispatch_board import DispatchBoard, active_plan, create_board, yield_to_event_loop
from graphs.run.escalations import build_escalation_update
from graphs.run.graceful_stop import GracefulRunControl
from graphs.run.plan_history import diff_last_plan
from graphs.run.services import Context, Services
from graphs.run.snapshots import RunCache
from graphs.run.state_updates import (
    build_finished_event,
    build_invalid_plan_update,
    build_plan_event,
    build_plan_update,
    compute_plan_digest,
    outcome_to_json,
)
from graphs.run.task_runner import build_job, make_task_runner
from graphs.state import State, TaskOrder, parse_outcomes

NodeName = Literal[
    "planner", "look_up", "wave_dispatch", "tool_executor", "human_approval", "replanner", "rollback", "answer"
]


async def recompile_changed_plan(
    state: State,
    toolbox: Toolbox,
    *,
    limits: Limits,
    artifacts: Artifacts,
    thread: str,
    cache: RunCache,
    emit: Emit,
) -> dict[str, Any]:
    """Check a plan that did not come from a planner of this run (a fork, an edit): all that changes by it.

    A new revision makes every approval given for the old plan void, and `results` keeps what still holds.
    """
    plan = state.get("plan")
    if not plan or cache.plan_digest.get(plan, lambda: compute_plan_digest(plan)) == state.get("compiled"):
        return {}
    checked = await check_plan(plan, toolbox, limits=limits)
    if not isinstance(checked, CheckedPlan):
        return build_invalid_plan_update(plan, checked, limits=limits)
    revision = (state.get("revision") or 0) + 1
    changes = diff_last_plan(state, checked.compiled.plan)
    emit(build_plan_event(checked.compiled, revision=revision, difference=changes))
    results = await artifacts.load_results(state.get("results") or {}, thread=thread)
    kept = find_valid_outcomes(checked.compiled, parse_outcomes(results), revision=revision)
    return {
        **build_plan_update(checked.compiled.plan),
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
        "results": {task: outcome_to_json(outcome) for task, outcome in kept.items()},
    }


def build_command(
    move: Move,
    *,
    state: State,
    snapshot: Snapshot,
    cache: RunCache,
    slots: Slots,
    meter: Meter,
    thread: str,
    emit: Emit,
) -> tuple[Command[NodeName], DispatchBoard | None]:
    """Return the command that carries out `move`, and the board where it sends tasks to the executor.

    The tasks run in `slots`, and their calls of models are counted by `meter`.
    """
    match move:
        case LookUp():
            return Command(goto="look_up"), None
        case RunTasks(tasks):
            dispatch = uuid4().hex
            board = create_board(state, snapshot, cache, slots, meter=meter, thread=thread)
            sends = [Send("tool_executor", TaskOrder(task=task, dispatch=dispatch)) for task in tasks]
            return Command(goto=sends, update={"status": "running", "dispatch": dispatch}), board
        case AskHuman():
            return _request_approval(move, active_plan(snapshot), snapshot, state, thread=thread, emit=emit), None
        case Escalate(impasse):
            return Command(goto="human_approval", update=build_escalation_update(impasse, state)), None
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


def _request_approval(
    ask: AskHuman, active: CompiledPlan, snapshot: Snapshot, state: State, *, thread: str, emit: Emit
) -> Command[NodeName]:
    """Ask about what can be asked; what turns out to need no question is settled instead."""
    settled, requests = build_requests(ask, active, snapshot, state, thread=thread)
    for task, outcome in settled.items():
        emit(build_finished_event(task, outcome))
    results = {task: outcome_to_json(outcome) for task, outcome in settled.items()}
    if not requests:
        return Command(goto="wave_dispatch", update={"results": results})
    pending = [request.model_dump(mode="json") for request in requests]
    # An edited plan may have got past what a person was asked before.
    update = {"status": "awaiting_approval", "impasse": None, "pending": pending, "results": results}
    return Command(goto="human_approval", update=update)


async def start_early_reads(
    move: Move, board: DispatchBoard, services: Services, toolbox: Toolbox, runtime: Runtime[Context]
) -> None:
    """Begin the calls of a dispatch that can run before their orders come, where the run allows it."""
    settings, control = services.resolve_settings(runtime.context), runtime.control
    if not (
        isinstance(move, RunTasks)
        and isinstance(control, GracefulRunControl)
        and _can_start_early(control, get_config(), settings)
    ):
        return
    first = select_early_reads(move.tasks, board, limits=settings.build_limits(can_replan=False))
    if not first:
        return
    control.defer_drain()
    control.on_stop(board.slots.halt)
    control.on_end(board.cancel_early)
    for task in first:
        board.start_early(task, make_task_runner(task, board, services, toolbox, runtime))
        # Without it the most urgent call would not be inside its tool before all are prepared.
        await yield_to_event_loop()


def _can_start_early(control: GracefulRunControl, config: RunnableConfig, settings: Settings) -> bool:
    """Whether a dispatch may begin calls itself.

    Not where somebody watches the run node by node: with breakpoints nothing may be under way between two nodes, and
    a tracer files a call under the node that makes it. Nor where LangGraph itself bounds what runs at the same time.
    """
    callbacks = config.get("callbacks")
    watching = callbacks.handlers if isinstance(callbacks, BaseCallbackManager) else callbacks
    going_on = not control.has_breakpoints and control.stop_reason is None
    return going_on and settings.dispatch == "eager" and not watching and config.get("max_concurrency") is None


def select_early_reads(tasks: Iterable[str], board: DispatchBoard, *, limits: Limits) -> list[str]:
    """Return which of `tasks`, the most urgent first, can be called before their orders come.

    These are reads that nobody is asked about, as far as each would get a place at once: a place that an urgent write
    waits for is not given away.
    """
    taken = Counter[str]()
    found = []
    for task in tasks:
        if taken.total() >= board.slots.free_count:
            break
        if not _is_ready(task, board):
            continue
        job = build_job(task, board, limits=limits)
        if taken[job.spec.name] >= board.slots.get_tool_limit(job.spec):
            continue
        taken[job.spec.name] += 1
        if is_ungated_read(job) and not job.spec.policy.dispatched_only and job.spec.policy.rate_per_s is None:
            found.append(task)
    return found


def _is_ready(task: str, board: DispatchBoard) -> bool:
    needs = board.compiled.needs[task]
    settled = all(need in board.outcomes for need in needs)
    return settled and find_blocker(board.compiled.tasks[task], needs, outcomes=board.outcomes, blocked=()) is None
