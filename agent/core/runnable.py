"""Which tasks can run as things stand, and which wait for a person."""

from agent.core.approval import needs_approval
from agent.core.budget import model_budget
from agent.core.compile import CompiledPlan
from agent.core.limits import Limits
from agent.core.schedule import closure
from agent.core.snapshot import Snapshot


def doubtful(compiled: CompiledPlan, snapshot: Snapshot) -> tuple[str, ...]:
    """Return the tasks with a call of which nobody knows whether it took effect, in plan order."""
    return tuple(snapshot.frontier_of(compiled).in_order(snapshot.doubts - snapshot.outcomes.keys()))


def _gated(compiled: CompiledPlan, task: str, snapshot: Snapshot, limits: Limits) -> bool:
    return task not in snapshot.approved and needs_approval(compiled.tasks[task], compiled.spec(task), limits)


def _held(compiled: CompiledPlan, task: str, snapshot: Snapshot, limits: Limits) -> bool:
    if task in snapshot.cut and model_budget(snapshot.spending, limits) is not None:
        return True
    return task in snapshot.doubts or _gated(compiled, task, snapshot, limits)


def runnable(compiled: CompiledPlan, snapshot: Snapshot, limits: Limits, *, most: int | None = None) -> tuple[str, ...]:
    """Return the tasks that can be sent to the executor now, at most `most`, the most urgent first."""
    most = limits.max_dispatch if most is None else min(most, limits.max_dispatch)
    frontier = snapshot.frontier_of(compiled)
    if limits.dispatch == "wave":
        found = [task for task in frontier.ready() if not _held(compiled, task, snapshot, limits)][:most]
    else:
        found = closure(
            compiled.needs,
            is_settled=frontier.is_settled,
            runnable=lambda task: not _held(compiled, task, snapshot, limits),
            ordered=compiled.order,
            most=most,
        )
    return tuple(sorted(found, key=lambda task: (compiled.tasks[task].priority, -compiled.ranks[task])))


def waiting_for_a_person(compiled: CompiledPlan, snapshot: Snapshot, limits: Limits) -> tuple[str, ...]:
    """Return the tasks that could run if a person approved them."""
    return tuple(
        task
        for task in snapshot.frontier_of(compiled).ready()
        if task not in snapshot.doubts and _gated(compiled, task, snapshot, limits)
    )


def to_approve(undo: CompiledPlan, snapshot: Snapshot, limits: Limits) -> tuple[str, ...]:
    """Return every undoing that needs an approval: its arguments are known, so none waits for another to be shown."""
    frontier = snapshot.frontier_of(undo)
    return tuple(
        task
        for task in undo.order
        if task not in snapshot.doubts and not frontier.is_settled(task) and _gated(undo, task, snapshot, limits)
    )
