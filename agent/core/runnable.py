"""Which tasks can run as things stand, and which wait for a person."""

from agent.core.approval import needs_approval
from agent.core.budget import model_budget
from agent.core.compile import CompiledPlan
from agent.core.limits import Limits
from agent.core.progress import blocked
from agent.core.schedule import closure, ready
from agent.core.snapshot import Snapshot


def doubtful(compiled: CompiledPlan, snapshot: Snapshot) -> tuple[str, ...]:
    """Return the tasks with a call of which nobody knows whether it took effect, in plan order."""
    return tuple(task for task in compiled.order if task in snapshot.doubts and task not in snapshot.outcomes)


def _gated(compiled: CompiledPlan, task: str, snapshot: Snapshot, limits: Limits) -> bool:
    return task not in snapshot.approved and needs_approval(compiled.tasks[task], compiled.spec(task), limits)


def _held(compiled: CompiledPlan, task: str, snapshot: Snapshot, limits: Limits) -> bool:
    if task in snapshot.cut and model_budget(snapshot.spending, limits) is not None:
        return True
    return task in snapshot.doubts or _gated(compiled, task, snapshot, limits)


def runnable(compiled: CompiledPlan, snapshot: Snapshot, limits: Limits, *, most: int | None = None) -> tuple[str, ...]:
    """Return the tasks that can be sent to the executor now, at most `most`, the most urgent first."""
    most = limits.max_dispatch if most is None else min(most, limits.max_dispatch)
    stuck = blocked(compiled, snapshot.outcomes)
    settled = snapshot.outcomes.keys() | stuck.keys()
    open_tasks = [task for task in compiled.order if task not in settled]
    if limits.dispatch == "wave":
        found = ready(compiled.needs, settled=settled, open_tasks=open_tasks)
        found = [task for task in found if not _held(compiled, task, snapshot, limits)][:most]
    else:
        found = closure(
            compiled.needs,
            settled=settled,
            runnable=lambda task: not _held(compiled, task, snapshot, limits),
            ordered=compiled.order,
            most=most,
        )
    return tuple(sorted(found, key=lambda task: (compiled.tasks[task].priority, -compiled.ranks[task])))


def waiting_for_a_person(compiled: CompiledPlan, snapshot: Snapshot, limits: Limits) -> tuple[str, ...]:
    """Return the tasks that could run if a person approved them."""
    stuck = blocked(compiled, snapshot.outcomes)
    settled = snapshot.outcomes.keys() | stuck.keys()
    open_tasks = [task for task in compiled.order if task not in settled]
    return tuple(
        task
        for task in ready(compiled.needs, settled=settled, open_tasks=open_tasks)
        if task not in snapshot.doubts and _gated(compiled, task, snapshot, limits)
    )


def to_approve(undo: CompiledPlan, snapshot: Snapshot, limits: Limits) -> tuple[str, ...]:
    """Return every undoing that needs an approval: its arguments are known, so none waits for another to be shown."""
    settled = snapshot.outcomes.keys() | blocked(undo, snapshot.outcomes).keys() | snapshot.doubts
    return tuple(task for task in undo.order if task not in settled and _gated(undo, task, snapshot, limits))
