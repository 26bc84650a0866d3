"""Editing the plan of a paused thread: checked before it is stored, and compiled again when the thread continues."""

from contextlib import AbstractAsyncContextManager, nullcontext

from langchain_core.runnables import RunnableConfig
from langgraph.types import StateSnapshot

from agent.core.compiler.editor import EditError, PlanEditor
from agent.core.engine.outcomes import Done, InDoubt
from agent.core.plan.document import Plan
from agent.core.plan.limits import Limits
from agent.errors import UsageError
from agent.execution.ledger import Ledger
from agent.tools.plan_check import CheckedPlan, check_plan
from agent.tools.toolbox import Toolbox
from graphs.compiled_graph import PlanwaveGraph
from graphs.run.state_updates import plan_to_json
from graphs.state import StateRecord, parse_outcomes, parse_stored_plan
from graphs.stores.single_thread import LeasedSaver
from graphs.thread_status import collect_results, find_asked_tasks, is_unfinished, select_own_rows


async def load_plan_editor(graph: PlanwaveGraph, config: RunnableConfig) -> PlanEditor:
    """Return an editor of the plan of a thread that waits or was stopped; finished tasks cannot be changed in it.

    Raises `UsageError` if the thread has ended, has no plan yet, or is being rolled back.
    """
    return _create_editor(await graph.aget_state(config))


async def replace_plan(
    graph: PlanwaveGraph, config: RunnableConfig, plan: Plan, *, toolbox: Toolbox, limits: Limits, ledger: Ledger
) -> None:
    """Replace the plan of a thread by an edited one; `await graph.ainvoke(None, config)` continues with it.

    This starts a new revision: finished work that still applies is kept, and every earlier approval is void. Raises
    `EditError` with every problem if the plan does not compile or changes finished tasks, `UsageError` as
    `load_plan_editor` and if a write is in doubt, `ThreadBusyError` if a run has the thread; then nothing is stored.
    """
    thread = str(config["configurable"]["thread_id"])
    async with _hold_thread(graph, thread):
        state = await graph.aget_state(config)
        edited = _create_editor(state).replace_plan(plan).plan
        await _require_settled_writes(state, ledger, thread=thread)
        removed = collect_results(state).keys() - {task.id for task in parse_stored_plan(state.values["plan"]).tasks}
        checked = await check_plan(plan_to_json(edited), toolbox, limits=limits, used=dict.fromkeys(removed))
        if not isinstance(checked, CheckedPlan):
            raise EditError(checked)
        # A changed state ends the superstep that was running; its finished results are carried over here.
        update: StateRecord = {"plan": plan_to_json(edited), "results": collect_results(state), "pending_approvals": []}
        await graph.aupdate_state(config, {**update, "status": "running"}, as_node="planner")


def _create_editor(state: StateSnapshot) -> PlanEditor:
    if not is_unfinished(state):
        raise UsageError("The thread has ended; export its plan, and run that.")
    if state.values.get("rollback_plan"):
        raise UsageError("The thread is being rolled back; its plan cannot be changed any more.")
    if not state.values.get("plan"):
        raise UsageError("The thread has no plan yet; resume it first.")
    outcomes = parse_outcomes(collect_results(state))
    finished = [task for task, outcome in outcomes.items() if isinstance(outcome, Done | InDoubt)]
    return PlanEditor(parse_stored_plan(state.values["plan"]), settled=finished)


async def _require_settled_writes(state: StateSnapshot, ledger: Ledger, *, thread: str) -> None:
    """Raise `UsageError` while a write is in doubt: under a new revision it would count as never started."""
    results = collect_results(state)
    started = {row.intent.task for row in select_own_rows(state, await ledger.list_rows(thread))}
    open_writes = sorted((started | (state.values.get("calls_in_doubt") or {}).keys()) - results.keys())
    if open_writes:
        named = ", ".join(map(repr, open_writes))
        remedy = "answer what is asked about it" if find_asked_tasks(state) & set(open_writes) else "resume the thread"
        raise UsageError(
            f"A write of {named} was started and its outcome is not recorded; {remedy} first, then edit the plan."
        )


def _hold_thread(graph: PlanwaveGraph, thread: str) -> AbstractAsyncContextManager[object]:
    return graph.checkpointer.lease(thread) if isinstance(graph.checkpointer, LeasedSaver) else nullcontext()
