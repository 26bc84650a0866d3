"""The look into the library before anything is asked for a plan, and what a planner is told if there is none."""

from agent.core.compiler.compiler import CompiledPlan, assign_ranks
from agent.events import Thinking
from agent.execution.call_log import MemoryCallLog
from agent.planning.context import call_context_providers
from agent.programs.adoption import adopt_program
from graphs.run.graceful_stop import interrupt_when_halted
from graphs.run.node_context import NodeContext
from graphs.run.plan_history import record_program
from graphs.run.state_updates import build_plan_event, build_plan_update
from graphs.state import State, StateRecord


async def look_up_program(goal: str, context: NodeContext, *, revision: int) -> StateRecord | None:
    """Return the update of a plan from the library that answers the goal; None if there is none, or not for sure."""
    library = context.services.library
    if library is None or not goal or not context.settings.use_library:
        return None
    adopted, reasons = await adopt_program(goal, await library.list_programs(), context.toolbox, limits=context.limits)
    for reason in reasons:
        context.emit(Thinking(role="planner", text=reason))
    if adopted is None:
        return None
    context.emit(Thinking(role="planner", text=f"No model is asked: the library has {adopted.match}."))
    warnings = adopted.checked.list_warnings()
    stored = await accept_plan(adopted.checked.compiled, warnings, context, revision=revision)
    return {**stored, **record_program(adopted.match, stored), "program": adopted.document, "plan_was_given": True}


async def ask_context_tools(context: NodeContext, *, revision: int) -> str:
    """Return what the tools that give context say; interrupts the node if the run is stopped before."""
    # A question is not a task: it is asked again, not resumed.
    executor = context.create_executor(calls=MemoryCallLog())
    with interrupt_when_halted(context.control):
        return await call_context_providers(
            context.toolbox,
            executor,
            thread=context.thread,
            revision=revision,
            slots=context.create_slots(),
            emit=context.emit,
        )


async def load_planning_context(state: State, context: NodeContext) -> str:
    """Return what a planner or replanner is told of the goal's surroundings.

    If the run began with a program, for which no tool was asked, they are asked now.
    """
    known = state.get("planning_context") or ""
    if all(entry["author"] != "program" for entry in state.get("plan_history") or ()):
        return known
    asked = await ask_context_tools(context, revision=state.get("revision") or 1)
    return "\n\n".join(filter(None, (asked, known)))


async def accept_plan(
    compiled: CompiledPlan, warnings: dict[str, list[str]], context: NodeContext, *, revision: int
) -> StateRecord:
    """Report a compiled plan and return what it sets; the next dispatch of this process need not compile it again."""
    context.emit(build_plan_event(compiled, revision=revision, warnings=warnings))
    stored = build_plan_update(compiled.plan, warnings=warnings)
    durations = await context.services.durations.get_estimates(frozenset(context.toolbox))
    ranked = assign_ranks(compiled, durations=durations)
    context.cache.store_plan(stored["plan"], ranked, mark=stored["checked_plan_digest"])
    return stored
