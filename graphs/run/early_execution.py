"""The early execution of a run's plan: started by its planner, used by its dispatches, ended with the run."""

from datetime import datetime, timedelta

from agent.core.engine.budgets import Deadline
from agent.core.plan.limits import Limits
from agent.execution.concurrency import Slots
from agent.execution.early_execution import EarlyExecution
from agent.llm.models import Model
from agent.tools.plan_check import PreflightChecker
from graphs.run.node_context import NodeContext
from graphs.state import State


def start_early_execution(state: State, model: Model, context: NodeContext) -> EarlyExecution | None:
    """Return what starts the reading tasks of a plan while it is being written; None if settings or run forbid it.

    Nothing of it outlives the run.
    """
    control, settings = context.control, context.settings
    is_enabled = settings.stream_plan if model.scale == "large" else settings.plan_variants > 1
    if not is_enabled or control is None:
        return None
    if settings.max_cost is not None and not (settings.price_input or settings.price_output):
        # The cost that a server reports is lost in a stream.
        return None
    deadline = find_deadline(state, context.limits)
    early = EarlyExecution(
        context.create_executor(deadline=deadline),
        PreflightChecker(context.toolbox, goal=_get_model_goal(state, context)),
        limits=context.limits,
        slots=Slots(settings.max_concurrency),
        thread=context.thread,
        revision=state["revision"],
        emit=context.emit,
        until=deadline.started_at + timedelta(seconds=deadline.limit_s) if deadline is not None else None,
    )
    control.early_execution = early
    control.on_end(early.cancel)
    control.on_stop(early.close)
    return early


def _get_model_goal(state: State, context: NodeContext) -> str | None:
    """Return what a model writes arguments for, as its planning session has it; None if they are not to be repaired."""
    if not context.settings.sql_repair:
        return None
    return " ".join([state["goal"], *(state.get("guidance") or ())])


def find_early_execution(context: NodeContext, *, revision: int) -> EarlyExecution | None:
    """Return the early execution of this revision of the plan; a replanned one has none."""
    early = _get_early_execution(context)
    return early if early is not None and early.revision == revision else None


def get_slots(context: NodeContext) -> Slots:
    """Return the slots of a dispatch: those in which calls run already, so that `max_concurrency` is not exceeded."""
    early = _get_early_execution(context)
    return early.slots if early is not None else Slots(context.settings.max_concurrency)


def _get_early_execution(context: NodeContext) -> EarlyExecution | None:
    return context.control.early_execution if context.control is not None else None


def find_deadline(state: State, limits: Limits) -> Deadline | None:
    """Return the deadline of a run; None if it has none."""
    started_at = state.get("started_at")
    if limits.deadline_s is None or not started_at:
        return None
    return Deadline(datetime.fromisoformat(started_at), limits.deadline_s)
