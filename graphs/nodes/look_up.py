"""What the planner is told of the world before it plans, and what it wants to know besides."""

from typing import Any

from langgraph.errors import GraphBubbleUp, GraphInterrupt
from langgraph.runtime import Runtime

from agent.core.plan.document import Call
from agent.errors import BudgetError
from agent.events import Emit
from agent.execution.call_log import MemoryCallLog
from agent.execution.concurrency import RunHalted, Slots
from agent.execution.executor import Executor
from agent.llm.usage import Meter, use_meter
from agent.planning.context import call_context_providers, run_questions
from agent.tools.toolbox import Toolbox
from graphs.run.graceful_stop import GracefulRunControl
from graphs.run.services import Context, Services
from graphs.run.state_updates import build_budget_stop_update, build_usage_update
from graphs.state import State


async def ask_context_tools(
    services: Services, runtime: Runtime[Context], *, thread: str, revision: int, emit: Emit
) -> str:
    """Return what the tools that give context say. Raises `GraphInterrupt` where the run is stopped before."""
    toolbox = await services.load_toolbox()
    executor, slots = _create_executor(services, runtime, toolbox)
    try:
        return await call_context_providers(toolbox, executor, thread=thread, revision=revision, slots=slots, emit=emit)
    except RunHalted:
        raise _interrupt_unstarted(runtime) from None


async def answer_questions(
    state: State, services: Services, runtime: Runtime[Context], *, meter: Meter, thread: str, emit: Emit
) -> dict[str, Any]:
    """Put the planner's questions to their tools and return what that adds to the context."""
    toolbox = await services.load_toolbox()
    executor, slots = _create_executor(services, runtime, toolbox)
    questions = [Call.model_validate(question) for question in state.get("wanted") or ()]
    try:
        with use_meter(meter):
            said = await run_questions(
                questions, executor, toolbox, thread=thread, revision=state["revision"], slots=slots, emit=emit
            )
    except BudgetError as error:
        return {
            "wanted": [],
            "problems": [str(error)],
            **build_budget_stop_update(error.budget),
            "usage": build_usage_update(meter.take_spending()),
        }
    except RunHalted:
        raise _interrupt_unstarted(runtime) from None
    return {
        "context": "\n\n".join(filter(None, (state.get("context"), said))),
        "wanted": [],
        "context_rounds": (state.get("context_rounds") or 0) + 1,
        "usage": build_usage_update(meter.take_spending()),
    }


def _create_executor(services: Services, runtime: Runtime[Context], toolbox: Toolbox) -> tuple[Executor, Slots]:
    settings = services.resolve_settings(runtime.context)
    slots = Slots(settings.max_concurrency)
    if isinstance(runtime.control, GracefulRunControl):
        runtime.control.on_stop(slots.halt)
    # Questions are no tasks whose calls would be taken up again: one that broke off is put anew.
    calls, let_through = MemoryCallLog(), (GraphBubbleUp, BudgetError)
    executor = Executor(toolbox, settings, services.ledger, calls, propagate=let_through, cache=services.memory)
    return executor, slots


def _interrupt_unstarted(runtime: Runtime[Context]) -> GraphInterrupt:
    if isinstance(runtime.control, GracefulRunControl):
        runtime.control.has_unstarted_tasks = True
    return GraphInterrupt(())
