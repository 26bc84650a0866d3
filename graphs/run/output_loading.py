"""The outputs that a node is about to look into, loaded into the state that it reads."""

from collections.abc import Collection

from agent.core.engine.approvals import needs_approval
from agent.core.engine.call_preparation import looks_into
from agent.core.plan.limits import Limits
from agent.core.plan.references import producers
from agent.results.artifacts import Artifacts
from agent.tools.toolbox import Toolbox
from graphs.run.snapshots import Recall, former_plans
from graphs.state import State, plan_in


async def with_all_outputs(state: State, *, artifacts: Artifacts, thread: str) -> State:
    """Return `state` with every output, for a replan or an answer, which look at all that came out."""
    return {**state, "results": await artifacts.in_full(state.get("results") or {}, thread=thread)}


async def with_outputs_to_ask(
    state: State, toolbox: Toolbox, *, limits: Limits, artifacts: Artifacts, thread: str, recall: Recall
) -> State:
    """Return `state` with the outputs in the calls that a person has approved or can be asked about next.

    A dispatch looks into no other: what its tasks need is loaded where they run.
    """
    results, document = state.get("results") or {}, state.get("undo") or state.get("plan")
    recall.outcomes(results)
    if not document or state.get("problems") or not recall.some_away:
        return state
    known = {*(state.get("approvals") or {}), *(state.get("doubts") or {})}
    read: set[str] = set()
    for task in plan_in(document).tasks:
        spec = toolbox.specs.get(task.tool)
        asked = task.id in known or (spec is not None and needs_approval(task, spec, limits))
        if asked and task.id not in results:
            read |= looks_into(task)
    return await _with(state, read, artifacts=artifacts, thread=thread)


async def with_outputs_to_undo(state: State, *, artifacts: Artifacts, thread: str) -> State:
    """Return `state` with the outputs in the calls that undo the tasks in `state["failed"]`.

    Without a rollback of its own, a task is undone by what it was given and what it returned.
    """
    undone = set(state.get("failed") or ())
    tasks = [*former_plans(state)[0].values(), *plan_in(state.get("plan")).tasks]
    read: set[str] = set()
    for task in [task for task in tasks if task.id in undone]:
        if task.rollback is None or task.for_each is not None:
            read |= {task.id, *looks_into(task)}
        if task.rollback is not None:
            read |= {producer for value in task.rollback.args.values() for producer in producers(value)}
    return await _with(state, read, artifacts=artifacts, thread=thread)


async def _with(state: State, tasks: Collection[str], *, artifacts: Artifacts, thread: str) -> State:
    return {**state, "results": await artifacts.in_full(state.get("results") or {}, tasks, thread=thread)}
