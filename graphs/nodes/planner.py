"""`planner`: a plan that compiles, or the reasons why there is none."""

from agent.core.compiler.compiler import CompiledPlan, assign_ranks
from agent.errors import BudgetError, ModelError
from agent.events import Thinking
from agent.llm.models import Model
from agent.llm.usage import use_meter
from agent.planning.context import questions_to_json
from agent.planning.planner import ContextRequest, PlanningFailure, PlanningResult, make_plan
from agent.planning.signs_of_life import report_progress
from agent.programs.matching import match_programs
from agent.tools.plan_check import CheckedPlan, check_plan
from graphs.run.early_execution import start_early_execution
from graphs.run.node_context import NodeContext
from graphs.run.plan_history import record_plan_author, record_program
from graphs.run.state_updates import (
    build_budget_stop_update,
    build_invalid_plan_update,
    build_plan_event,
    build_plan_update,
    build_usage_update,
)
from graphs.state import State, StateRecord


async def planner(state: State, context: NodeContext) -> StateRecord:
    """Make a plan that compiles, or check the one that came with the input."""
    if state.get("plan") is not None:
        return await _check_given_plan(state, context)
    if (known := await _use_program(state, context)) is not None:
        return known
    try:
        # The embedded model's server takes seconds to start.
        async with report_progress(context.emit, role="planner"):
            model = await context.load_model()
    except ModelError as error:
        return {"problems": [str(error)], "model_failure": {"role": "planner", "reason": str(error)}}
    try:
        with use_meter(context.meter):
            planned = await _make_plan(state, model, context)
    except BudgetError as error:
        return {
            "problems": [str(error)],
            **build_budget_stop_update(error.budget),
            "usage": build_usage_update(context.meter.take_spending()),
        }
    usage = build_usage_update(context.meter.take_spending())
    if isinstance(planned, ContextRequest):
        return {"context_requests": questions_to_json(planned.questions), "usage": usage}
    if isinstance(planned, PlanningFailure):
        failure = None
        if planned.is_model_failure:
            context.services.discard_model(context.runtime.context)
            failure = {"role": "planner", "reason": " ".join(planned.problems)}
        return {"problems": list(planned.problems), "model_failure": failure, "usage": usage}
    stored = await _accept_plan(planned.compiled, planned.warnings, state, context)
    author = record_plan_author(
        model.name,
        stored,
        planned.usage,
        doubt=planned.doubt,
        confidence=planned.confidence,
        question=" ".join(planned.questions),
    )
    return {**stored, **author, "usage": usage}


async def _check_given_plan(state: State, context: NodeContext) -> StateRecord:
    checked = await check_plan(state["plan"], context.toolbox, limits=context.limits)
    if not isinstance(checked, CheckedPlan):
        return build_invalid_plan_update(state["plan"], checked, limits=context.limits)
    accepted = await _accept_plan(checked.compiled, checked.list_warnings(), state, context)
    return {**accepted, "program": state["plan"]} if checked.compiled.plan.inputs is not None else accepted


async def _use_program(state: State, context: NodeContext) -> StateRecord | None:
    """Return the update of a plan from the library that answers the goal; None if there is none, or not for sure.

    What a person has said about the plan, or a question that came up while it was made, is for a model.
    """
    library = context.services.library
    if library is None or state.get("guidance") or state.get("context_rounds"):
        return None
    match = match_programs(state["goal"], await library.list_programs())
    if match is None:
        return None
    document = {**match.program.plan, "input_values": {**match.values}}
    checked = await check_plan(document, context.toolbox, limits=context.limits)
    if not isinstance(checked, CheckedPlan):
        reason = " ".join(map(str, checked[:3]))
        context.emit(Thinking(role="planner", text=f"Not used: {match}; it does not compile any more: {reason}"))
        return None
    context.emit(Thinking(role="planner", text=f"No model is asked: the library has {match}."))
    stored = await _accept_plan(checked.compiled, checked.list_warnings(), state, context)
    return {**stored, **record_program(match, stored), "program": document, "plan_was_given": True}


async def _make_plan(
    state: State, model: Model, context: NodeContext
) -> PlanningResult | PlanningFailure | ContextRequest:
    """Have `model` make a plan, whose reading tasks may start while it is written. Raises `BudgetError`."""
    early = start_early_execution(state, model, context)
    try:
        planned = await make_plan(
            state["goal"],
            context=state["planning_context"],
            guidance=state.get("guidance") or (),
            toolbox=context.toolbox,
            model=model,
            settings=context.settings,
            limits=context.limits,
            emit=context.emit,
            early_execution=early,
            may_ask=(state.get("context_rounds") or 0) < context.settings.max_context_rounds,
        )
    except BudgetError:
        if early is not None:
            await early.cancel()
        raise
    if early is not None:
        await (early.finish() if isinstance(planned, PlanningResult) else early.cancel())
    return planned


async def _accept_plan(
    compiled: CompiledPlan, warnings: dict[str, list[str]], state: State, context: NodeContext
) -> StateRecord:
    """Report a compiled plan and return what it sets; the next dispatch of this process need not compile it again."""
    context.emit(build_plan_event(compiled, revision=state["revision"], warnings=warnings))
    stored = build_plan_update(compiled.plan, warnings=warnings)
    durations = await context.services.durations.get_estimates(frozenset(context.toolbox))
    context.cache.store_plan(
        stored["plan"], assign_ranks(compiled, durations=durations), mark=stored["checked_plan_digest"]
    )
    return stored
