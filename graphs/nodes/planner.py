"""`planner`: a plan that compiles, or the reasons why there is none."""

from agent.errors import BudgetError, ModelError
from agent.llm.models import Model
from agent.llm.usage import use_meter
from agent.planning.context import questions_to_json
from agent.planning.planner import ContextRequest, PlanningFailure, PlanningResult, make_plan
from agent.planning.signs_of_life import report_progress
from agent.tools.plan_check import CheckedPlan, check_plan
from graphs.nodes.program_lookup import accept_plan, load_planning_context
from graphs.run.early_execution import start_early_execution
from graphs.run.node_context import NodeContext
from graphs.run.plan_history import record_plan_author
from graphs.run.state_updates import (
    build_budget_stop_update,
    build_invalid_plan_update,
    build_usage_update,
    compute_plan_digest,
)
from graphs.state import State, StateRecord


async def planner(state: State, context: NodeContext) -> StateRecord:
    """Make a plan that compiles, or check the one that came with the input."""
    if state.get("plan") is not None:
        mark = state.get("checked_plan_digest")
        is_checked = mark is not None and mark == compute_plan_digest(state["plan"])
        # A program of the library is checked before anything is asked for a plan.
        return {} if is_checked else await _check_given_plan(state, context)
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
    stored = await accept_plan(planned.compiled, planned.warnings, context, revision=state["revision"])
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
    accepted = await accept_plan(checked.compiled, checked.list_warnings(), context, revision=state["revision"])
    return {**accepted, "program": state["plan"]} if checked.compiled.plan.inputs is not None else accepted


async def _make_plan(
    state: State, model: Model, context: NodeContext
) -> PlanningResult | PlanningFailure | ContextRequest:
    """Have `model` make a plan, whose reading tasks may start while it is written. Raises `BudgetError`."""
    known = await load_planning_context(state, context)
    early = start_early_execution(state, model, context)
    try:
        planned = await make_plan(
            state["goal"],
            context=known,
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
