"""The next move carried out: a state and a move become a command."""

from typing import Any, Literal, assert_never
from uuid import uuid4

from langgraph.types import Command, Overwrite, Send

from agent.artifacts import Artifacts
from agent.check import Checked, check_plan
from agent.core.compile import CompiledPlan
from agent.core.edited import standing
from agent.core.limits import Limits
from agent.core.move import Answer, Ask, Escalate, GiveUp, LookUp, Move, PlanAgain, Replan, Rollback, Run
from agent.core.revision import reusable
from agent.core.snapshot import Snapshot
from agent.events import Emit
from agent.metering import Meter
from agent.slots import Slots
from agent.tools.catalogue import Toolbox
from graphs.approvals import requests_for
from graphs.board import Board
from graphs.escalations import escalated
from graphs.lineage import changed_since_last
from graphs.recall import Recall
from graphs.records import finished_event, mark_of, plan_event, planned, record, unplanned
from graphs.state import State, TaskOrder, outcomes_in
from graphs.telling import Telling

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


def active_plan(snapshot: Snapshot) -> CompiledPlan:
    """Return the plan that is being carried out: the rollback's, once there is one."""
    active = snapshot.undo or snapshot.compiled
    if active is None:
        raise AssertionError("only a compiled plan is dispatched")
    return active


def board_of(state: State, snapshot: Snapshot, recall: Recall, slots: Slots, *, meter: Meter, thread: str) -> Board:
    """Return the board for a dispatch of what stands in the state; `recall` is that of the snapshot."""
    revision, active = state.get("revision") or 1, active_plan(snapshot)
    frontier = snapshot.frontier_of(active)
    # No work of an earlier revision is added while a plan is carried out.
    done_before = recall.reusable.get(active, lambda: reusable(snapshot.outcomes, revision=revision))
    return Board(
        compiled=active,
        outcomes=dict(snapshot.outcomes),
        slots=slots,
        meter=meter,
        revision=revision,
        thread=thread,
        approvals=state.get("approvals") or {},
        cleared=state.get("cleared") or {},
        # An undoing is made although an earlier plan may have made the same call.
        reusable={} if snapshot.undo is not None else done_before,
        rejected=state.get("rejected") or (),
        telling=Telling(frontier.counts(), total=len(active.tasks)),
        stuck=frozenset(frontier.blocked),
    )


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
