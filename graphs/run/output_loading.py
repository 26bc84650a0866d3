"""The outputs that a node is about to look into, loaded into the state that it reads."""

from collections.abc import Collection

from agent.core.engine.approvals import needs_approval
from agent.core.engine.call_preparation import required_outputs
from agent.core.plan.limits import Limits
from agent.core.plan.references import find_producers
from agent.results.artifacts import Artifacts
from agent.tools.toolbox import Toolbox
from graphs.run.snapshots import RunCache, collect_former_tasks
from graphs.state import State, parse_stored_plan


async def load_all_outputs(state: State, *, artifacts: Artifacts, thread: str) -> State:
    """Return `state` with every output, for a replan or an answer, which look at all that came out."""
    return {**state, "results": await artifacts.load_results(state.get("results") or {}, thread=thread)}


async def load_outputs_for_approval(
    state: State, toolbox: Toolbox, *, limits: Limits, artifacts: Artifacts, thread: str, cache: RunCache
) -> State:
    """Return `state` with the outputs in the calls that a person has approved or can be asked about next.

    A dispatch looks into no other: what its tasks need is loaded where they run.
    """
    results, document = state.get("results") or {}, state.get("undo") or state.get("plan")
    cache.read_outcomes(results)
    if not document or state.get("problems") or not cache.has_offloaded_outputs:
        return state
    known = {*(state.get("approvals") or {}), *(state.get("doubts") or {})}
    read: set[str] = set()
    for task in parse_stored_plan(document).tasks:
        spec = toolbox.specs.get(task.tool)
        asked = task.id in known or (spec is not None and needs_approval(task, spec, limits))
        if asked and task.id not in results:
            read |= required_outputs(task)
    return await _load_outputs(state, read, artifacts=artifacts, thread=thread)


async def load_outputs_for_rollback(state: State, *, artifacts: Artifacts, thread: str) -> State:
    """Return `state` with the outputs in the calls that undo the tasks in `state["failed"]`.

    Without a rollback of its own, a task is undone by what it was given and what it returned.
    """
    undone = set(state.get("failed") or ())
    tasks = [*collect_former_tasks(state)[0].values(), *parse_stored_plan(state.get("plan")).tasks]
    read: set[str] = set()
    for task in [task for task in tasks if task.id in undone]:
        if task.rollback is None or task.for_each is not None:
            read |= {task.id, *required_outputs(task)}
        if task.rollback is not None:
            read |= {producer for value in task.rollback.args.values() for producer in find_producers(value)}
    return await _load_outputs(state, read, artifacts=artifacts, thread=thread)


async def _load_outputs(state: State, tasks: Collection[str], *, artifacts: Artifacts, thread: str) -> State:
    return {**state, "results": await artifacts.load_results(state.get("results") or {}, tasks, thread=thread)}
