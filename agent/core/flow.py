"""The only place that chooses: everything that has happened, and the next move."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from agent.core.approval import needs_approval
from agent.core.compile import CompiledPlan
from agent.core.limits import Limits
from agent.core.outcome import Done, Failed, Outcome, Rejected
from agent.core.plan import Task
from agent.core.progress import blocked
from agent.core.revision import failure_signature
from agent.core.schedule import closure, ready
from agent.core.undoing import can_be_undone, changed

EndStatus = Literal["completed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that has happened in a run, as facts."""

    #: None: the plan did not compile.
    compiled: CompiledPlan | None
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    #: Why there is no compiled plan, as sentences.
    problems: tuple[str, ...] = ()
    #: Tasks with a call of which nobody knows whether it took effect.
    doubts: frozenset[str] = frozenset()
    #: Tasks whose call, as it now stands, a person has approved.
    approved: frozenset[str] = frozenset()
    #: Failed or rejected tasks that the replanner chose to go on without.
    waived: frozenset[str] = frozenset()
    #: Signatures of the failures that were already replanned for.
    replanned: frozenset[str] = frozenset()
    replans: int = 0
    #: Seconds since the run began.
    elapsed_s: float = 0.0
    #: The replanner, a person or a signal ended the run: status and sentence.
    stop: tuple[EndStatus, str] | None = None
    #: The plan that undoes finished writes, once a rollback has begun.
    undo: CompiledPlan | None = None
    #: A rollback has begun; there may be nothing that can be undone.
    rollback_begun: bool = False
    #: The tasks of this run's earlier plans that the present one has not.
    former: Mapping[str, Task] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """Send these tasks to the executor, the most urgent first."""

    tasks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask a person about these tasks, all at once."""

    tasks: tuple[str, ...]
    #: They are in doubt and will not be run any more; what happened decides what is undone.
    to_undo: bool = False


@dataclass(frozen=True, slots=True)
class Replan:
    """These tasks failed or were rejected, and everything else that can run has run."""

    tasks: tuple[str, ...]
    signature: str


@dataclass(frozen=True, slots=True)
class Rollback:
    """Undo what these tasks changed, as far as it can be undone, then end."""

    tasks: tuple[str, ...]
    status: EndStatus
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything is settled; say what came out."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End without reaching the goal."""

    status: EndStatus
    reason: str


Move = Run | Ask | Replan | Rollback | Answer | GiveUp


def next_move(snapshot: Snapshot, limits: Limits) -> Move:
    """Choose what happens next; total, and a pure function of its arguments.

    Reading goes before asking, and mending before asking: a person is asked when nothing else can be done, about all
    that waits, and not about a plan that is to be changed.
    """
    if snapshot.compiled is None:
        return GiveUp("failed", " ".join(snapshot.problems) or "There is no plan.")
    if snapshot.undo is not None:
        return _undo(snapshot, snapshot.undo, limits)
    compiled, outcomes = snapshot.compiled, snapshot.outcomes
    if snapshot.stop is not None:
        return _end(snapshot, *snapshot.stop)
    if limits.deadline_s is not None and snapshot.elapsed_s >= limits.deadline_s:
        return GiveUp("failed", f"The deadline of {limits.deadline_s:g} s has passed after {snapshot.elapsed_s:.1f} s.")
    failed = unresolved(snapshot)
    for task in failed:
        if isinstance(outcomes[task], Failed) and compiled.tasks[task].on_failure == "abort":
            return _end(
                snapshot, "failed", f"Task {task!r} failed, and the plan says to abort then: {_error(outcomes[task])}"
            )
    runnable = _runnable(compiled, snapshot, limits)
    if runnable:
        return Run(runnable)
    doubtful = _doubtful(compiled, snapshot)
    if doubtful:
        return Ask(doubtful)
    if failed:
        return _mend(snapshot, failed, limits)
    waiting = _waiting_for_a_person(compiled, snapshot, limits)
    return Ask(waiting) if waiting else Answer()


def unresolved(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the failed and rejected tasks that something must still be done about, in plan order."""
    if snapshot.compiled is None:
        return ()
    tasks = snapshot.compiled.tasks
    return tuple(
        task
        for task in snapshot.compiled.order
        if task not in snapshot.waived
        and (
            (isinstance(outcome := snapshot.outcomes.get(task), Failed) and tasks[task].on_failure != "skip")
            or isinstance(outcome, Rejected)
        )
    )


def _doubtful(compiled: CompiledPlan, snapshot: Snapshot) -> tuple[str, ...]:
    return tuple(task for task in compiled.order if task in snapshot.doubts and task not in snapshot.outcomes)


def _gated(compiled: CompiledPlan, task: str, snapshot: Snapshot, limits: Limits) -> bool:
    return task not in snapshot.approved and needs_approval(compiled.tasks[task], compiled.spec(task), limits)


def _held(compiled: CompiledPlan, task: str, snapshot: Snapshot, limits: Limits) -> bool:
    return task in snapshot.doubts or _gated(compiled, task, snapshot, limits)


def _runnable(compiled: CompiledPlan, snapshot: Snapshot, limits: Limits) -> tuple[str, ...]:
    stuck = blocked(compiled, snapshot.outcomes)
    settled = snapshot.outcomes.keys() | stuck.keys()
    open_tasks = [task for task in compiled.order if task not in settled]
    if limits.dispatch == "wave":
        found = ready(compiled.needs, settled=settled, open_tasks=open_tasks)
        found = [task for task in found if not _held(compiled, task, snapshot, limits)][: limits.max_dispatch]
    else:
        found = closure(
            compiled.needs,
            settled=settled,
            runnable=lambda task: not _held(compiled, task, snapshot, limits),
            ordered=compiled.order,
            most=limits.max_dispatch,
        )
    return tuple(sorted(found, key=lambda task: (compiled.tasks[task].priority, -compiled.ranks[task])))


def _waiting_for_a_person(compiled: CompiledPlan, snapshot: Snapshot, limits: Limits) -> tuple[str, ...]:
    stuck = blocked(compiled, snapshot.outcomes)
    settled = snapshot.outcomes.keys() | stuck.keys()
    open_tasks = [task for task in compiled.order if task not in settled]
    return tuple(
        task
        for task in ready(compiled.needs, settled=settled, open_tasks=open_tasks)
        if task not in snapshot.doubts and _gated(compiled, task, snapshot, limits)
    )


def _to_approve(undo: CompiledPlan, snapshot: Snapshot, limits: Limits) -> tuple[str, ...]:
    """Return every undoing that needs an approval: its arguments are known, so none waits for another to be shown."""
    settled = snapshot.outcomes.keys() | blocked(undo, snapshot.outcomes).keys() | snapshot.doubts
    return tuple(task for task in undo.order if task not in settled and _gated(undo, task, snapshot, limits))


def _mend(snapshot: Snapshot, failed: tuple[str, ...], limits: Limits) -> Move:
    signature = failure_signature(snapshot.outcomes, failed)
    rejected = all(isinstance(snapshot.outcomes[task], Rejected) for task in failed)
    if not limits.can_replan or limits.max_replans == 0:
        return _without_replan(snapshot, failed, rejected=rejected)
    if signature in snapshot.replanned:
        return GiveUp("failed", f"The replan ran into the same failure again: {_reasons(snapshot, failed)}")
    if snapshot.replans >= limits.max_replans:
        return GiveUp("failed", f"{snapshot.replans} replans were not enough: {_reasons(snapshot, failed)}")
    return Replan(failed, signature)


def _without_replan(snapshot: Snapshot, failed: tuple[str, ...], *, rejected: bool) -> Move:
    if rejected:
        return _end(snapshot, "cancelled", f"A person rejected {_reasons(snapshot, failed)}")
    return GiveUp("failed", _reasons(snapshot, failed))


def _end(snapshot: Snapshot, status: EndStatus, reason: str) -> Move:
    """End on purpose: what was written is undone first, once it is known what was."""
    if snapshot.rollback_begun or snapshot.compiled is None:
        return GiveUp(status, reason)
    compiled = snapshot.compiled
    doubtful = tuple(
        task for task in _doubtful(compiled, snapshot) if can_be_undone(compiled.tasks[task], compiled.spec(task))
    )
    if doubtful:
        return Ask(doubtful, to_undo=True)
    left = changed_tasks(snapshot)
    return Rollback(left, status, reason) if left else GiveUp(status, reason)


def changed_tasks(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the tasks that changed something, or may have, the last one first; those of earlier plans come last.

    A result that was taken over from another task is one change, which the task that holds it now stands for.
    """
    compiled = snapshot.compiled
    if compiled is None:
        return ()
    tasks = {**snapshot.former, **compiled.tasks}
    found: dict[str, str] = {}
    for name in (*reversed(compiled.order), *reversed(list(snapshot.former))):
        outcome, spec = snapshot.outcomes.get(name), compiled.catalogue.get(tasks[name].tool)
        if changed(tasks[name], spec=spec, outcome=outcome, doubted=name in snapshot.doubts):
            source = outcome.reused_from if isinstance(outcome, Done) else None
            found.setdefault(source or name, name)
    return tuple(found.values())


def _undo(snapshot: Snapshot, undo: CompiledPlan, limits: Limits) -> Move:
    """Steer a rollback: every undoing that can run, then what a person must be asked, then the end."""
    runnable = _runnable(undo, snapshot, limits)
    if runnable:
        return Run(runnable)
    waiting = (*_doubtful(undo, snapshot), *_to_approve(undo, snapshot, limits))
    if waiting:
        return Ask(waiting)
    status, reason = snapshot.stop or ("failed", "The run was rolled back.")
    return GiveUp(status, reason)


def _reasons(snapshot: Snapshot, failed: tuple[str, ...]) -> str:
    return "; ".join(f"{task!r}: {_error(snapshot.outcomes[task])}" for task in failed)


def _error(outcome: Outcome) -> str:
    return (outcome.message or "rejected") if isinstance(outcome, Rejected) else outcome.error or outcome.status
