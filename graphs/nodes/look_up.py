"""What the planner is told of the world before it plans, and what it wants to know besides."""

from typing import Any

from langgraph.errors import GraphBubbleUp, GraphInterrupt
from langgraph.runtime import Runtime

from agent.core.plan.document import Call
from agent.errors import BudgetError
from agent.events import Emit
from agent.execution.call_log import MemoryCallLog
from agent.execution.concurrency import Halted, Slots
from agent.execution.executor import Executor
from agent.llm.usage import Meter, metered
from agent.planning.context import answers, gathered
from agent.tools.toolbox import Toolbox
from graphs.run.graceful_stop import Control
from graphs.run.services import Context, Wiring
from graphs.run.state_updates import spent, without_plan
from graphs.state import State


async def world_told(wiring: Wiring, runtime: Runtime[Context], *, thread: str, revision: int, emit: Emit) -> str:
    """Return what the tools that give context say. Raises `GraphInterrupt` where the run is stopped before."""
    toolbox = await wiring.ready_toolbox()
    executor, slots = _asking(wiring, runtime, toolbox)
    try:
        return await gathered(toolbox, executor, thread=thread, revision=revision, slots=slots, emit=emit)
    except Halted:
        raise _left_over(runtime) from None


async def looked_up(
    state: State, wiring: Wiring, runtime: Runtime[Context], *, meter: Meter, thread: str, emit: Emit
) -> dict[str, Any]:
    """Put the planner's questions to their tools and return what that adds to the context."""
    toolbox = await wiring.ready_toolbox()
    executor, slots = _asking(wiring, runtime, toolbox)
    questions = [Call.model_validate(question) for question in state.get("wanted") or ()]
    try:
        with metered(meter):
            said = await answers(
                questions, executor, toolbox, thread=thread, revision=state["revision"], slots=slots, emit=emit
            )
    except BudgetError as error:
        return {"wanted": [], "problems": [str(error)], **without_plan(error.budget), "usage": spent(meter.take())}
    except Halted:
        raise _left_over(runtime) from None
    return {
        "context": "\n\n".join(filter(None, (state.get("context"), said))),
        "wanted": [],
        "context_rounds": (state.get("context_rounds") or 0) + 1,
        "usage": spent(meter.take()),
    }


def _asking(wiring: Wiring, runtime: Runtime[Context], toolbox: Toolbox) -> tuple[Executor, Slots]:
    settings = wiring.settings_for(runtime.context)
    slots = Slots(settings.max_concurrency)
    if isinstance(runtime.control, Control):
        runtime.control.watch(slots.halt)
    # Questions are no tasks whose calls would be taken up again: one that broke off is put anew.
    calls, let_through = MemoryCallLog(), (GraphBubbleUp, BudgetError)
    executor = Executor(toolbox, settings, wiring.ledger, calls, let_through=let_through, memory=wiring.memory)
    return executor, slots


def _left_over(runtime: Runtime[Context]) -> GraphInterrupt:
    if isinstance(runtime.control, Control):
        runtime.control.left_over = True
    return GraphInterrupt(())
