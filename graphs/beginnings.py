"""The beginning of a run: a state without anything of an earlier goal on the thread, and its plan."""

from typing import Any
from uuid import uuid4

from langgraph.runtime import Runtime
from langgraph.types import Overwrite

from agent.check import Checked, check_plan
from agent.core.limits import Limits
from agent.errors import BudgetError, ModelError
from agent.events import Emit
from agent.executor import utc_now
from agent.metering import Meter, metered
from agent.planner import NotPlanned, Planned, Wanting, make_plan
from agent.questions import as_stored
from graphs.head_starts import begun
from graphs.lineage import written_by
from graphs.records import plan_event, planned, spent, unplanned, without_plan
from graphs.state import State
from graphs.wiring import Context, Wiring


def fresh(goal: str, *, given: bool, context: str, revision: int) -> dict[str, Any]:
    """Return the state at the beginning of a run; `given`: its plan came with the input."""
    return {
        "run": uuid4().hex,
        "goal": goal,
        "status": "running",
        "answer": "",
        "problems": [],
        "results": Overwrite({}),
        "given": given,
        "compiled": None,
        "revision": revision,
        "replans": 0,
        "context": context,
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
        "started_at": utc_now().isoformat(),
        "usage": Overwrite({}),
        "lineage": [],
        "written_by": None,
    }


async def taken_plan(state: State, wiring: Wiring, *, limits: Limits, emit: Emit) -> dict[str, Any]:
    """Check the plan that was given, and return what it sets."""
    checked = await check_plan(state["plan"], await wiring.ready_toolbox(), limits=limits)
    if not isinstance(checked, Checked):
        return unplanned(state["plan"], checked, limits=limits)
    emit(plan_event(checked.compiled, revision=state["revision"]))
    return planned(checked.compiled.plan)


async def made_plan(
    state: State,
    wiring: Wiring,
    runtime: Runtime[Context],
    *,
    limits: Limits,
    meter: Meter,
    thread: str,
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
    stored = planned(made.compiled.plan)
    return {**stored, **written_by(model.name, stored, made.usage, unsure=made.unsure), "usage": usage}
