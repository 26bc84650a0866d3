"""The head start of a run: made by its planner, used by its dispatches, ended with the run."""

from datetime import datetime, timedelta

from langgraph.errors import GraphBubbleUp
from langgraph.runtime import Runtime

from agent.core.plan.limits import Limits
from agent.errors import BudgetError
from agent.events import Emit
from agent.execution.concurrency import Slots
from agent.execution.early_execution import EarlyExecution
from agent.execution.executor import Executor
from agent.llm.models import Model
from agent.plan_check import PreflightChecker
from agent.settings import Settings
from agent.tools.toolbox import Toolbox
from graphs.run.graceful_stop import GracefulRunControl
from graphs.run.services import Context, Services
from graphs.state import State


def start_early_execution(
    services: Services,
    state: State,
    runtime: Runtime[Context],
    *,
    toolbox: Toolbox,
    model: Model,
    limits: Limits,
    thread: str,
    emit: Emit,
) -> EarlyExecution | None:
    """Return what begins a plan's reading tasks before it is whole; None where the settings or the run forbid it.

    Nothing of it outlives the run.
    """
    control, settings = runtime.control, services.resolve_settings(runtime.context)
    wanted = settings.stream_plan if model.scale == "large" else settings.plan_variants > 1
    if not (wanted and isinstance(control, GracefulRunControl)):
        return None
    if settings.max_cost is not None and not (settings.price_input or settings.price_output):
        # The cost that a server reports is lost in a stream.
        return None
    ahead = EarlyExecution(
        Executor(
            toolbox,
            settings,
            services.ledger,
            services.calls,
            propagate=(GraphBubbleUp, BudgetError),
            cache=services.memory,
        ),
        PreflightChecker(toolbox),
        limits=limits,
        slots=Slots(settings.max_concurrency),
        thread=thread,
        revision=state["revision"],
        emit=emit,
        until=_compute_deadline(state, settings),
    )
    control.early_execution = ahead
    control.on_end(ahead.cancel)
    control.on_stop(ahead.close)
    return ahead


def find_early_execution(runtime: Runtime[Context], *, revision: int) -> EarlyExecution | None:
    """Return the head start of this revision of the plan, if it has one; what is replanned is other work."""
    ahead = _get_early_execution(runtime)
    return ahead if ahead is not None and ahead.revision == revision else None


def get_slots(runtime: Runtime[Context], settings: Settings) -> Slots:
    """Return the places that a dispatch runs in: those in which calls run already, so that no bound is exceeded."""
    ahead = _get_early_execution(runtime)
    return ahead.slots if ahead else Slots(settings.max_concurrency)


def _get_early_execution(runtime: Runtime[Context]) -> EarlyExecution | None:
    return runtime.control.early_execution if isinstance(runtime.control, GracefulRunControl) else None


def _compute_deadline(state: State, settings: Settings) -> datetime | None:
    if settings.deadline_s is None:
        return None
    return datetime.fromisoformat(state["started_at"]) + timedelta(seconds=settings.deadline_s)
