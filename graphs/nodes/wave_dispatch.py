"""`wave_dispatch`: the only node with a choice. `next_move` makes it, and what it returns becomes a `Command`."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, assert_never
from uuid import uuid4

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.types import Command, Overwrite, Send

from agent.core.engine.approvals import needs_approval
from agent.core.engine.call_preparation import find_valid_outcomes, required_outputs
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
    next_move,
)
from agent.core.engine.progress import find_blocker
from agent.core.engine.snapshot import Snapshot
from agent.events import PlanProgress
from agent.execution.executor import is_ungated_read
from agent.execution.ledger import create_run_id
from agent.settings import Settings
from agent.tools.plan_check import CheckedPlan, check_plan
from graphs.messages import is_human
from graphs.run.approvals import build_requests
from graphs.run.dispatch_board import DispatchBoard, yield_to_event_loop
from graphs.run.escalations import build_escalation_update
from graphs.run.graceful_stop import GracefulRunControl
from graphs.run.node_context import NodeContext, build_scope
from graphs.run.plan_history import diff_last_plan, update_plan_history
from graphs.run.state_updates import (
    build_finished_event,
    build_invalid_plan_update,
    build_plan_event,
    build_plan_update,
    compute_plan_digest,
    name_plan,
    outcome_to_json,
)
from graphs.run.task_runner import build_job, create_board, run_task
from graphs.state import State, StateRecord, TaskOrder, merge_results, parse_outcomes, parse_stored_plan

NodeName = Literal[
    "planner", "look_up", "wave_dispatch", "tool_executor", "human_approval", "replanner", "rollback", "answer"
]


async def wave_dispatch(state: State, context: NodeContext) -> Command[NodeName]:
    """Choose the next move, and carry it out."""
    context.services.boards.drop(state.get("dispatch_id") or "")
    named, context = await _name_run(state, context)
    changed = {**named, **await _recompile_changed_plan(state, context)}
    state = await _load_outputs_for_approval({**state, **changed}, context)  # type: ignore[typeddict-item]  # a part of the same state
    snapshot = await _build_snapshot(state, context)

    move = next_move(snapshot, context.limits)

    command = await _build_command(move, state, snapshot, context)
    update: StateRecord = {**changed, **update_plan_history(state), **(command.update or {})}
    messages = _build_messages(move, state, snapshot, context)
    if messages:
        update["messages"] = messages
    if "results" in changed:
        update["results"] = Overwrite(merge_results(changed["results"], [update.get("results", {})]))
        update["out_of_budget_tasks"] = Overwrite({})
    if isinstance(move, RunTasks):
        board = create_board(state, snapshot, context)
        context.services.boards.put(update["dispatch_id"], board, run=context.runtime.control)
        await _start_early_reads(move.tasks, board, context)
    return Command(goto=command.goto, update=update)


def _build_messages(move: Move, state: State, snapshot: Snapshot, context: NodeContext) -> list[BaseMessage]:
    """Return what is new since the last dispatch, for those who read messages."""
    transcript, earlier = context.get_transcript(state), state.get("messages") or []
    active = snapshot.undo or snapshot.compiled
    messages = transcript.continue_with(earlier, active, snapshot.outcomes, plan=name_plan(state))
    if isinstance(move, Escalate) and not messages and earlier and is_human(earlier[-1]):
        # Agent Chat UI shows what waits under the last message if that is no human's.
        number = (state.get("escalation_count") or 0) + 1
        messages = [transcript.make_question(move.escalation.reason, number=number)]
    return messages


async def _name_run(state: State, context: NodeContext) -> tuple[StateRecord, NodeContext]:
    """Give a run that was not begun by `gather_context`, but put here by a caller, an id; return it with its context.

    A run that was stored before runs had ids keeps its scope, the thread, as soon as it has written anything.
    """
    if state.get("run_id") or await context.services.ledger.list_rows(context.thread):
        return {}, context
    run_id = create_run_id()
    return {"run_id": run_id}, replace(context, thread=build_scope(context.runtime, run_id))


async def _build_command(move: Move, state: State, snapshot: Snapshot, context: NodeContext) -> Command[NodeName]:
    """Return the command that carries out `move`."""
    match move:
        case LookUp():
            return Command(goto="look_up")
        case RunTasks(tasks):
            dispatch = uuid4().hex
            sends = [Send("tool_executor", TaskOrder(task=task, dispatch=dispatch)) for task in tasks]
            return Command(goto=sends, update={"status": "running", "dispatch_id": dispatch})
        case AskHuman():
            return await _request_approval(move, state, snapshot, context)
        case Escalate(escalation):
            return Command(goto="human_approval", update=build_escalation_update(escalation, state))
        case PlanAgain():
            return Command(
                goto="planner", update={"problems": [], "out_of_budget_tasks": Overwrite({}), "replan_requested": False}
            )
        case Replan(tasks, signature):
            replanned = [*(state.get("replanned_failures") or ()), signature]
            return Command(goto="replanner", update={"replanned_failures": replanned, "target_tasks": list(tasks)})
        case Rollback(tasks, status, reason):
            stop = {"status": status, "reason": reason}
            return Command(goto="rollback", update={"termination": stop, "target_tasks": list(tasks)})
        case GiveUp(status, reason, budget):
            update = {"termination": {"status": status, "reason": reason}, "budget": budget and budget.model_dump()}
            return Command(goto="answer", update=update)
        case Answer():
            return Command(goto="answer")
        case _:
            assert_never(move)


async def _request_approval(
    move: AskHuman, state: State, snapshot: Snapshot, context: NodeContext
) -> Command[NodeName]:
    """Ask about the calls that can be shown; tasks that turn out to need no question are settled instead."""
    settled, requests = build_requests(move, state, snapshot, context)
    for task, outcome in settled.items():
        context.emit(build_finished_event(task, outcome))
    results = {task: outcome_to_json(outcome) for task, outcome in settled.items()}
    if not requests:
        return Command(goto="wave_dispatch", update={"results": results})
    revision = state.get("revision") or 1
    noted = await context.services.grants.note_made_calls(requests, thread=context.thread, revision=revision)
    pending = [request.model_dump(mode="json") for request in noted]
    # An edited plan may have passed by what a human was asked before.
    update = {"status": "awaiting_approval", "escalation": None, "pending_approvals": pending, "results": results}
    return Command(goto="human_approval", update=update)


async def _build_snapshot(state: State, context: NodeContext) -> Snapshot:
    """Return what has happened up to now, and report the progress."""
    services = context.services
    snapshot = context.build_snapshot(
        state,
        cache=context.cache,
        granted=await services.grants.get_valid_digests(state.get("approvals") or {}),
        durations=await services.durations.get_estimates(frozenset(context.toolbox)),
    )
    if snapshot.frontier is not None:
        context.emit(PlanProgress(progress=snapshot.frontier.get_progress()))
    return snapshot


async def _recompile_changed_plan(state: State, context: NodeContext) -> StateRecord:
    """Check a plan that did not come from a planner of this run (a fork, an edit); return everything that it changes.

    A new revision voids every approval given for the old plan, and `results` keeps what is still valid.
    """
    plan, cache = state.get("plan"), context.cache
    if not plan or cache.plan_digest.get(plan, lambda: compute_plan_digest(plan)) == state.get("checked_plan_digest"):
        return {}
    checked = await check_plan(plan, context.toolbox, limits=context.limits)
    if not isinstance(checked, CheckedPlan):
        return build_invalid_plan_update(plan, checked, limits=context.limits)
    revision = (state.get("revision") or 0) + 1
    changes = diff_last_plan(state, checked.compiled.plan)
    warnings = checked.list_warnings()
    context.emit(build_plan_event(checked.compiled, revision=revision, warnings=warnings, difference=changes))
    results = (await context.load_outputs(state))["results"]
    valid = find_valid_outcomes(checked.compiled, parse_outcomes(results), revision=revision)
    return {
        **build_plan_update(checked.compiled.plan, warnings=warnings),
        "revision": revision,
        "plan_changes": changes.model_dump(mode="json") if changes is not None else None,
        "problems": [],
        "approvals": {},
        "target_tasks": [],
        "waived_tasks": [],
        "replanned_failures": [],
        "dead_end_reason": None,
        "clarification_question": None,
        "out_of_budget_tasks": {},
        "termination": None,
        "results": {task: outcome_to_json(outcome) for task, outcome in valid.items()},
    }


async def _load_outputs_for_approval(state: State, context: NodeContext) -> State:
    """Return `state` with the outputs in the calls that a human has approved or can be asked about next.

    A dispatch reads no others: the outputs that its tasks need are loaded where the tasks run.
    """
    results, document = state.get("results") or {}, state.get("rollback_plan") or state.get("plan")
    context.cache.read_outcomes(results)
    if not document or state.get("problems") or not context.cache.has_offloaded_outputs:
        return state
    known = {*(state.get("approvals") or {}), *(state.get("calls_in_doubt") or {})}
    read: set[str] = set()
    for task in parse_stored_plan(document).tasks:
        spec = context.toolbox.specs.get(task.tool)
        is_asked = task.id in known or (spec is not None and needs_approval(task, spec, context.limits))
        if is_asked and task.id not in results:
            read |= required_outputs(task)
    return await context.load_outputs(state, read)


async def _start_early_reads(tasks: Iterable[str], board: DispatchBoard, context: NodeContext) -> None:
    """Start the calls of a dispatch that can run before their orders arrive, if the run allows it."""
    control = context.control
    if control is None or not _can_start_early(control, get_config(), context.settings):
        return
    reads = _select_early_reads(tasks, board)
    if not reads:
        return
    control.defer_drain()
    control.on_stop(board.slots.halt)
    control.on_end(board.cancel_early)
    for task in reads:
        board.start_early(task, run_task(task, board, context))
        # Without it the most urgent call would not be inside its tool before all are prepared.
        await yield_to_event_loop()


def _can_start_early(control: GracefulRunControl, config: RunnableConfig, settings: Settings) -> bool:
    """Whether a dispatch may start calls itself.

    Not if the run is watched node by node: with breakpoints nothing may run between two nodes, and a tracer records a
    call under the node that makes it. Nor if LangGraph itself limits what runs at the same time.
    """
    callbacks = config.get("callbacks")
    watchers = callbacks.handlers if isinstance(callbacks, BaseCallbackManager) else callbacks
    goes_on = not control.has_breakpoints and control.stop_reason is None
    return goes_on and settings.dispatch == "eager" and not watchers and config.get("max_concurrency") is None


def _select_early_reads(tasks: Iterable[str], board: DispatchBoard) -> list[str]:
    """Return which of `tasks`, the most urgent first, can be called before their orders arrive.

    These are reads that need no approval, as far as each gets a slot immediately: a slot that an urgent write waits for
    is not given away.
    """
    taken = Counter[str]()
    selected = []
    for task in tasks:
        if taken.total() >= board.slots.free_count:
            break
        if not _is_ready(task, board):
            continue
        job = build_job(task, board)
        if taken[job.spec.name] >= board.slots.get_tool_limit(job.spec):
            continue
        taken[job.spec.name] += 1
        if is_ungated_read(job) and not job.spec.policy.dispatched_only and job.spec.policy.rate_per_s is None:
            selected.append(task)
    return selected


def _is_ready(task: str, board: DispatchBoard) -> bool:
    needs = board.compiled.needs[task]
    settled = all(need in board.outcomes for need in needs)
    return settled and find_blocker(board.compiled.tasks[task], needs, outcomes=board.outcomes, blocked=()) is None
