"""`look_up`: the planner's questions are put to their tools before it plans."""

from pydantic import ValidationError

from agent.core.plan.document import Call
from agent.errors import BudgetError, PersistenceError
from agent.execution.call_log import MemoryCallLog
from agent.llm.usage import use_meter
from agent.planning.context import run_questions
from graphs.run.graceful_stop import interrupt_when_halted
from graphs.run.node_context import NodeContext
from graphs.run.state_updates import build_budget_stop_update, build_usage_update
from graphs.state import State, StateRecord


async def look_up(state: State, context: NodeContext) -> StateRecord:
    """Call what the planner asks for, and add the results to its context."""
    try:
        answers = await _answer_questions(state, context)
    except BudgetError as error:
        return {
            "context_requests": [],
            "problems": [str(error)],
            **build_budget_stop_update(error.budget),
            "usage": build_usage_update(context.meter.take_spending()),
        }
    return {
        "planning_context": "\n\n".join(filter(None, (state.get("planning_context"), answers))),
        "context_requests": [],
        "context_rounds": (state.get("context_rounds") or 0) + 1,
        "usage": build_usage_update(context.meter.take_spending()),
    }


async def _answer_questions(state: State, context: NodeContext) -> str:
    """Return what the tools say; interrupts the node if the run is stopped before. Raises `BudgetError`."""
    questions = _parse_questions(state)
    # A question is not a task: it is asked again, not resumed.
    executor = context.create_executor(calls=MemoryCallLog())
    with use_meter(context.meter), interrupt_when_halted(context.control):
        return await run_questions(
            questions,
            executor,
            context.toolbox,
            thread=context.thread,
            revision=state["revision"],
            slots=context.create_slots(),
            limits=context.limits,
            emit=context.emit,
        )


def _parse_questions(state: State) -> list[Call]:
    """Return the questions in the state. Raises `PersistenceError` for what is none."""
    stored = state.get("context_requests") or ()
    try:
        return [Call.model_validate(question) for question in stored]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise PersistenceError(f"The stored context requests cannot be read: {first['msg']}: {stored!r:.80}") from None
