"""What the planner wants to know, looked up between two of its replies."""

from typing import Any

from langgraph.errors import GraphBubbleUp, GraphInterrupt
from langgraph.runtime import Runtime

from agent.call_log import MemoryCallLog
from agent.core.plan import Call
from agent.errors import BudgetError
from agent.events import Emit
from agent.executor import Executor
from agent.metering import Meter, metered
from agent.questions import answers
from agent.slots import Halted, Slots
from graphs.draining import Control
from graphs.records import spent, without_plan
from graphs.state import State
from graphs.wiring import Context, Wiring


async def looked_up(
    state: State, wiring: Wiring, runtime: Runtime[Context], *, meter: Meter, thread: str, emit: Emit
) -> dict[str, Any]:
    """Put the planner's questions to their tools and return what that adds to the context."""
    toolbox, settings = await wiring.ready_toolbox(), wiring.settings_for(runtime.context)
    slots, control = Slots(settings.max_concurrency), runtime.control
    if isinstance(control, Control):
        control.watch(slots.halt)
    # Questions are no tasks whose calls would be taken up again: one that broke off is put anew.
    calls, let_through = MemoryCallLog(), (GraphBubbleUp, BudgetError)
    executor = Executor(toolbox, settings, wiring.ledger, calls, let_through=let_through, memory=wiring.memory)
    questions = [Call.model_validate(question) for question in state.get("wanted") or ()]
    try:
        with metered(meter):
            said = await answers(
                questions, executor, toolbox, thread=thread, revision=state["revision"], slots=slots, emit=emit
            )
    except BudgetError as error:
        return {"wanted": [], "problems": [str(error)], **without_plan(error.budget), "usage": spent(meter.take())}
    except Halted:
        if isinstance(control, Control):
            control.left_over = True
        raise GraphInterrupt(()) from None
    return {
        "context": "\n\n".join(filter(None, (state.get("context"), said))),
        "wanted": [],
        "context_rounds": (state.get("context_rounds") or 0) + 1,
        "usage": spent(meter.take()),
    }
