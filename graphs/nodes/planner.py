"""The beginning of a run: a state without anything of an earlier goal on the thread, and its plan."""

from typing import Any
from uuid import uuid4

from langgraph.runtime import Runtime
from langgraph.types import Overwrite

from agent.core.compiler.compiler import CompiledPlan, timed
from agent.core.plan.limits import Limits
from agent.errors import BudgetError, ModelError
from agent.events import Emit
from agent.execution.executor import utc_now
from agent.llm.usage import Meter, metered
from agent.plan_check import Checked, check_plan
from agent.planning.context import as_stored
from agent.planning.planner import NotPlanned, Planned, Wanting, make_plan
from agent.tools.toolbox import Toolbox
from graphs.run.early_execution import begun
from graphs.run.plan_history import written_by
from graphs.run.services import Context, Wiring
from graphs.run.snapshots import Recall
from graphs.run.state_updates import plan_event, planned, spent, unplanned, without_plan
from graphs.state import Output, State

#: A run returns these whether anything was written to them or not.
_RETURNED = frozenset(Output.__annotations__)


def fresh(state: State, goal: str, *, given: bool, context: str, revision: int) -> dict[str, Any]:
    """Return what brings `state` to the beginning of a run; `given`: its plan came with the input.

    What reads as it should is left alone, returned fields aside: each that is ever written costs every superstep of
    the thread some 15 microseconds.
    """
    empty = {
        name: value
        for name, value in _empty().items()
        if state.get(name) or (name in _RETURNED and not isinstance(value, Overwrite))
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


def _empty() -> dict[str, Any]:
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


async def taken_plan(state: State, wiring: Wiring, *, limits: Limits, recall: Recall, emit: Emit) -> dict[str, Any]:
    """Check the plan that was given, and return what it sets."""
    toolbox = await wiring.ready_toolbox()
    checked = await check_plan(state["plan"], toolbox, limits=limits)
    if not isinstance(checked, Checked):
        return unplanned(state["plan"], checked, limits=limits)
    emit(plan_event(checked.compiled, revision=state["revision"]))
    return await _stored(checked.compiled, toolbox, wiring, recall)


async def _stored(compiled: CompiledPlan, toolbox: Toolbox, wiring: Wiring, recall: Recall) -> dict[str, Any]:
    """Return what a compiled plan sets; the dispatch that follows in this process need not compile it again."""
    stored = planned(compiled.plan)
    durations = await wiring.durations.known(frozenset(toolbox))
    recall.take_plan(stored["plan"], timed(compiled, durations=durations), mark=stored["compiled"])
    return stored


async def made_plan(
    state: State,
    wiring: Wiring,
    runtime: Runtime[Context],
    *,
    limits: Limits,
    meter: Meter,
    thread: str,
    recall: Recall,
    emit: Emit,
) -> dict[str, Any]:
    """Have a plan made, and return what it sets, or why there is none."""
    toolbox = await wiring.ready_toolbox()
    try:
        model = await wiring.model_for(runtime.context)
    except ModelError as error:
        return {"problems": [str(error)]}
    ahead = begun(wiring, state, runtime, toolbox=toolbox, model=model, limits=limits, thread=thread, emit=emit)
    settings = wiring.settings_for(runtime.context)
    try:
        with metered(meter):
            made = await make_plan(
                state["goal"],
                context=state["context"],
                guidance=state.get("guidance") or (),
                toolbox=toolbox,
                model=model,
                settings=settings,
                limits=limits,
                emit=emit,
                ahead=ahead,
                may_ask=(state.get("context_rounds") or 0) < settings.max_context_rounds,
            )
    except BudgetError as error:
        if ahead is not None:
            await ahead.cancel()
        return {"problems": [str(error)], **without_plan(error.budget), "usage": spent(meter.take())}
    if ahead is not None:
        await (ahead.finish() if isinstance(made, Planned) else ahead.cancel())
    usage = spent(meter.take())
    if isinstance(made, Wanting):
        return {"wanted": as_stored(made.questions), "usage": usage}
    if isinstance(made, NotPlanned):
        return {"problems": list(made.problems), "usage": usage}
    emit(plan_event(made.compiled, revision=state["revision"]))
    stored = await _stored(made.compiled, toolbox, wiring, recall)
    return {**stored, **written_by(model.name, stored, made.usage, doubt=made.doubt), "usage": usage}
