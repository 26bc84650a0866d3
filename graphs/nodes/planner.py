"""The beginning of a run: a state without anything of an earlier goal on the thread, and its plan."""

from typing import Any
from uuid import uuid4

from langgraph.runtime import Runtime
from langgraph.types import Overwrite

from agent.core.compiler.compiler import CompiledPlan, assign_ranks
from agent.core.plan.limits import Limits
from agent.errors import BudgetError, ModelError
from agent.events import Emit
from agent.execution.executor import utc_now
from agent.llm.usage import Meter, use_meter
from agent.plan_check import CheckedPlan, check_plan
from agent.planning.context import questions_to_json
from agent.planning.planner import ContextRequest, PlanningFailure, PlanningResult, make_plan
from agent.tools.toolbox import Toolbox
from graphs.run.early_execution import start_early_execution
from graphs.run.plan_history import record_plan_author
from graphs.run.services import Context, Services
from graphs.run.snapshots import RunCache
from graphs.run.state_updates import (
    build_budget_stop_update,
    build_invalid_plan_update,
    build_plan_event,
    build_plan_update,
    build_usage_update,
)
from graphs.state import Output, State

#: A run returns these whether anything was written to them or not.
_OUTPUT_KEYS = frozenset(Output.__annotations__)


def reset_state(state: State, goal: str, *, given: bool, context: str, revision: int) -> dict[str, Any]:
    """Return what brings `state` to the beginning of a run; `given`: its plan came with the input.

    What reads as it should is left alone, returned fields aside: each that is ever written costs every superstep of
    the thread some 15 microseconds.
    """
    empty = {
        name: value
        for name, value in _build_empty_fields().items()
        if state.get(name) or (name in _OUTPUT_KEYS and not isinstance(value, Overwrite))
    }
    return {
        **empty,
        "run": uuid4().hex,
        "goal": goal,
        "status": "running",
        "given": given,
        "revision": revision,
        "context": context,
        "started_at": utc_now().isoformat(),
    }


def _build_empty_fields() -> dict[str, Any]:
    """Return every field that an earlier goal may have left something in, without it."""
    return {
        "answer": "",
        "problems": [],
        "results": Overwrite({}),
        "compiled": None,
        "replans": 0,
        "wanted": [],
        "context_rounds": 0,
        "approvals": {},
        "doubts": Overwrite({}),
        "cleared": {},
        "rejected": [],
        "pending": [],
        "failed": [],
        "waived": [],
        "replanned": [],
        "stuck": None,
        "question": None,
        "questions": 0,
        "guidance": [],
        "anew": False,
        "impasse": None,
        "impasses": 0,
        "cut": Overwrite({}),
        "raised": {},
        "accepted": False,
        "budget": None,
        "ended_at": None,
        "ended": [],
        "history": [],
        "difference": None,
        "stop": None,
        "undo": None,
        "rollback": None,
        "usage": Overwrite({}),
        "lineage": [],
        "written_by": None,
    }


async def check_given_plan(
    state: State, services: Services, *, limits: Limits, cache: RunCache, emit: Emit
) -> dict[str, Any]:
    """Check the plan that was given, and return what it sets."""
    toolbox = await services.load_toolbox()
    checked = await check_plan(state["plan"], toolbox, limits=limits)
    if not isinstance(checked, CheckedPlan):
        return build_invalid_plan_update(state["plan"], checked, limits=limits)
    emit(build_plan_event(checked.compiled, revision=state["revision"]))
    return await _accept_plan(checked.compiled, toolbox, services, cache)


async def _accept_plan(compiled: CompiledPlan, toolbox: Toolbox, services: Services, cache: RunCache) -> dict[str, Any]:
    """Return what a compiled plan sets; the dispatch that follows in this process need not compile it again."""
    stored = build_plan_update(compiled.plan)
    durations = await services.durations.get_estimates(frozenset(toolbox))
    cache.store_plan(stored["plan"], assign_ranks(compiled, durations=durations), mark=stored["compiled"])
    return stored


async def generate_plan(
    state: State,
    services: Services,
    runtime: Runtime[Context],
    *,
    limits: Limits,
    meter: Meter,
    thread: str,
    cache: RunCache,
    emit: Emit,
) -> dict[str, Any]:
    """Have a plan made, and return what it sets, or why there is none."""
    toolbox = await services.load_toolbox()
    try:
        model = await services.load_model(runtime.context)
    except ModelError as error:
        return {"problems": [str(error)]}
    ahead = start_early_execution(
        services, state, runtime, toolbox=toolbox, model=model, limits=limits, thread=thread, emit=emit
    )
    settings = services.resolve_settings(runtime.context)
    try:
        with use_meter(meter):
            made = await make_plan(
                state["goal"],
                context=state["context"],
                guidance=state.get("guidance") or (),
                toolbox=toolbox,
                model=model,
                settings=settings,
                limits=limits,
                emit=emit,
                early_execution=ahead,
                may_ask=(state.get("context_rounds") or 0) < settings.max_context_rounds,
            )
    except BudgetError as error:
        if ahead is not None:
            await ahead.cancel()
        return {
            "problems": [str(error)],
            **build_budget_stop_update(error.budget),
            "usage": build_usage_update(meter.take_spending()),
        }
    if ahead is not None:
        await (ahead.finish() if isinstance(made, PlanningResult) else ahead.cancel())
    usage = build_usage_update(meter.take_spending())
    if isinstance(made, ContextRequest):
        return {"wanted": questions_to_json(made.questions), "usage": usage}
    if isinstance(made, PlanningFailure):
        return {"problems": list(made.problems), "usage": usage}
    emit(build_plan_event(made.compiled, revision=state["revision"]))
    stored = await _accept_plan(made.compiled, toolbox, services, cache)
    return {**stored, **record_plan_author(model.name, stored, made.usage, doubt=made.doubt), "usage": usage}
