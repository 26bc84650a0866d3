"""A replan carried out: what the replanner chose becomes the next revision, or the end."""

from typing import Any

from agent.core.flow import Snapshot
from agent.core.outcome import Rejected
from agent.core.revision import difference
from agent.errors import ModelError
from agent.events import Emit, Replanning
from agent.replanner import Revised, make_revision
from agent.tools.catalogue import Toolbox
from graphs.lineage import written_by
from graphs.records import added, plan_event, planned
from graphs.state import State
from graphs.wiring import Context, Wiring


async def replanned_update(
    wiring: Wiring, state: State, snapshot: Snapshot, toolbox: Toolbox, context: Context | None, *, emit: Emit
) -> dict[str, Any]:
    """Ask the replanner and return what changes. A replan that failed counts as one."""
    compiled = snapshot.compiled
    if compiled is None:
        raise AssertionError("only a compiled plan is replanned")
    failed = tuple(state.get("failed") or ())
    count, revision = (state.get("replans") or 0) + 1, (state.get("revision") or 1) + 1
    reason = "; ".join(_why(snapshot, task) for task in failed)
    emit(Replanning(replan=count, tasks=list(failed), reason=reason))
    entry = f"Replan {count}: {reason}"
    base: dict[str, Any] = {"replans": count, "failed": []}
    try:
        model = await wiring.model_for(context)
    except ModelError as error:
        return {
            **base,
            "history": [*(state.get("history") or ()), entry],
            "stop": {"status": "failed", "reason": str(error)},
        }
    settings = wiring.settings_for(context)
    made = await make_revision(
        state["goal"],
        compiled=compiled,
        outcomes=snapshot.outcomes,
        failed=failed,
        history=state.get("history") or (),
        context=state.get("context") or "",
        toolbox=toolbox,
        model=model,
        settings=settings,
        limits=wiring.limits_for(context, given=bool(state.get("given"))),
        emit=emit,
        waived=snapshot.waived,
    )
    base["usage"] = added(state, made.usage)
    if not isinstance(made, Revised):
        history = [*(state.get("history") or ()), f"{entry}. Given up: {made.reason}"]
        return {**base, "history": history, "stop": {"status": "failed", "reason": made.reason}}
    changes = difference(compiled.plan, made.compiled.plan)
    emit(plan_event(made.compiled, revision=revision, difference=changes))
    stored = planned(made.compiled.plan)
    return {
        **base,
        **stored,
        **written_by(model.name, stored, made.usage),
        "revision": revision,
        "approvals": {},
        "waived": sorted(made.waived),
        "history": [*(state.get("history") or ()), f"{entry}. {made.note}".strip()],
        "difference": changes.model_dump(mode="json"),
    }


def _why(snapshot: Snapshot, task: str) -> str:
    outcome = snapshot.outcomes[task]
    if isinstance(outcome, Rejected):
        return f"{task!r} was rejected by a person" + (f": {outcome.message}" if outcome.message else "")
    return f"{task!r} failed: {outcome.error}"
