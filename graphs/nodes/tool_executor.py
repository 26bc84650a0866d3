"""`tool_executor`: one task of a dispatch, run when its own dependencies are settled."""

from langgraph.errors import GraphInterrupt
from langgraph.runtime import Runtime

from agent.core.engine.budgets import ExhaustedBudget, Spending
from agent.core.engine.outcomes import InDoubt, Outcome
from graphs.run.dispatch_board import DispatchBoard, Suspended
from graphs.run.graceful_stop import interrupt_when_halted
from graphs.run.node_context import NodeContext, create_task_context
from graphs.run.services import Context, Services
from graphs.run.state_updates import build_usage_update, outcome_to_json
from graphs.run.task_runner import restore_board, run_task
from graphs.state import StateRecord, TaskOrder


async def tool_executor(order: TaskOrder, runtime: Runtime[Context], services: Services) -> StateRecord:
    """Run one task when its own dependencies are settled, and record its outcome."""
    task, board = order["task"], await _find_board(order["dispatch"], runtime, services)
    context = await create_task_context(board, runtime, services)
    if context.control is not None:
        context.control.allow_drain()
        context.control.on_stop(board.slots.halt)
    await services.grants.adopt_checkpoint_approval(
        task, board.approvals.get(task), thread=board.thread, revision=board.revision
    )
    outcome = await _run_when_ready(task, board, context)
    spending = board.meter.take_spending()
    usage = {"usage": build_usage_update(spending)} if spending != Spending() else {}
    if outcome is None:
        return usage
    if isinstance(outcome, ExhaustedBudget):
        return {**usage, "out_of_budget_tasks": {task: outcome.model_dump()}}
    channel = "calls_in_doubt" if isinstance(outcome, InDoubt) else "results"
    return {**usage, channel: {task: outcome_to_json(outcome)}}


async def _find_board(dispatch: str, runtime: Runtime[Context], services: Services) -> DispatchBoard:
    """Return the board of this run's dispatch; if another run started it, the first of its tasks restores it."""
    boards, run = services.boards, runtime.control
    if (board := boards.get(dispatch, run=run)) is not None:
        return board
    async with boards.lock(dispatch):
        board = boards.get(dispatch, run=run)
        return board or boards.put(dispatch, await restore_board(runtime, services), run=run)


async def _run_when_ready(task: str, board: DispatchBoard, context: NodeContext) -> Outcome | ExhaustedBudget | None:
    """Return what became of a task; None if a dependency blocks it.

    Interrupts the node, to run again at resume, if a dependency asks a human or the run is stopped before its call.
    """
    outcome: Outcome | ExhaustedBudget | None = None
    try:
        with interrupt_when_halted(context.control), board.track(task):
            if await board.wait_for_needs(task):
                outcome = await board.wait_for_early_outcome(task)
                if outcome is None:
                    outcome = await run_task(task, board, context)
    except Suspended:
        raise GraphInterrupt(()) from None
    await board.settle(task, outcome)
    return outcome
