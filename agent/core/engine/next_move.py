"""The only place that chooses: everything that has happened, and the next move."""

from dataclasses import dataclass

from agent.core.compiler.compiler import CompiledPlan
from agent.core.engine.approvals import needs_approval
from agent.core.engine.budgets import Exhausted, model_budget
from agent.core.engine.call_preparation import failure_signature
from agent.core.engine.escalations import Impasse
from agent.core.engine.outcomes import Done, Failed, Outcome, Rejected
from agent.core.engine.rollback import can_be_undone, changed
from agent.core.engine.snapshot import EndStatus, Snapshot, asked_about, holds, late, tasks_run
from agent.core.plan.dependencies import closure
from agent.core.plan.limits import Limits


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


@dataclass(frozen=True, slots=True)
class PlanAgain:
    """A budget that kept a plan from being made has been raised: make it."""


@dataclass(frozen=True, slots=True)
class LookUp:
    """Put the planner's questions to their tools, and plan with the answers."""


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
class Escalate:
    """Ask a person how to go on at all."""

    impasse: Impasse


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
    #: The budget that ended the run; once it is raised, the run can go on from here.
    budget: Exhausted | None = None


Move = PlanAgain | LookUp | Run | Ask | Escalate | Replan | Rollback | Answer | GiveUp


def next_move(snapshot: Snapshot, limits: Limits) -> Move:
    """Choose what happens next; total, and a pure function of its arguments.

    Reading goes before asking, and mending before asking: a person is asked when nothing else can be done, about all
    that waits, and not about a plan that is to be changed.
    """
    compiled = snapshot.compiled
    if compiled is None:
        return _unplanned(snapshot, limits)
    snapshot = snapshot.with_frontier()
    if snapshot.undo is not None:
        return _undo(snapshot, snapshot.undo, limits)
    if snapshot.stop is not None:
        return GiveUp(*snapshot.stop) if snapshot.accepted else _end(snapshot, *snapshot.stop)
    if (held := _held_up(snapshot, limits)) is not None:
        return held
    failed = unresolved(snapshot)
    if (fatal := _fatal(compiled, snapshot, failed)) is not None:
        return _end(snapshot, "failed", fatal)
    left = limits.max_tasks - tasks_run(snapshot)
    if left > 0 and (tasks := runnable(compiled, snapshot, limits, most=left)):
        return Run(tasks)
    if doubts := doubtful(compiled, snapshot):
        return Ask(doubts)
    if (short := _short_of(compiled, snapshot, limits, left=left)) is not None:
        return _used_up(short, str(short), limits)
    if failed:
        return _mend(snapshot, failed, limits)
    waiting = waiting_for_a_person(compiled, snapshot, limits)
    return Ask(waiting) if waiting else Answer()


def _held_up(snapshot: Snapshot, limits: Limits) -> Move | None:
    """Return what keeps a plan from being run at all: the time, or that nobody is sure of it."""
    if (spent := late(snapshot, limits)) is not None:
        reason = f"The deadline of {spent.limit:g} s has passed after {spent.used:.1f} s."
        return _used_up(spent, reason, limits)
    asks = limits.can_escalate and limits.asks_if_unsure and not snapshot.outcomes
    return Escalate(Impasse(kind="unsure", reason=snapshot.unsure)) if asks and snapshot.unsure else None


def _unplanned(snapshot: Snapshot, limits: Limits) -> Move:
    if snapshot.stop is not None:
        return GiveUp(*snapshot.stop)
    if (snapshot.wanting or snapshot.anew) and snapshot.unplanned is None and not snapshot.problems:
        over = late(snapshot, limits)
        go_on = LookUp() if snapshot.wanting else PlanAgain()
        return go_on if over is None else _used_up(over, str(over), limits, planned=False)
    if snapshot.unplanned is None:
        return GiveUp("failed", " ".join(snapshot.problems) or "There is no plan.")
    short = holds(snapshot.unplanned, snapshot, limits)
    return PlanAgain() if short is None else _used_up(short, str(short), limits, planned=False)


def _short_of(compiled: CompiledPlan, snapshot: Snapshot, limits: Limits, *, left: int) -> Exhausted | None:
    """Return the budget that alone keeps a task from running, if there is one."""
    if left <= 0 and runnable(compiled, snapshot, limits, most=1):
        return Exhausted(name="tasks", limit=limits.max_tasks, used=limits.max_tasks - left)
    waits = any(task in compiled.tasks and task not in snapshot.outcomes for task in snapshot.cut)
    return model_budget(snapshot.spending, limits) if waits else None


def _fatal(compiled: CompiledPlan, snapshot: Snapshot, failed: tuple[str, ...]) -> str | None:
    """Return the failure at which the plan says to abort."""
    for task in failed:
        outcome = snapshot.outcomes[task]
        if isinstance(outcome, Failed) and compiled.tasks[task].on_failure == "abort":
            return f"Task {task!r} failed, and the plan says to abort then: {_error(outcome)}"
    return None


def unresolved(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the failed and rejected tasks that something must still be done about, in plan order."""
    if snapshot.compiled is None:
        return ()
    tasks, found = snapshot.compiled.tasks, snapshot.frontier_of(snapshot.compiled)
    return tuple(
        task
        for task in found.in_order(found.failed - snapshot.waived)
        if isinstance(snapshot.outcomes[task], Rejected) or tasks[task].on_failure != "skip"
    )


def _used_up(
    budget: Exhausted,
    reason: str,
    limits: Limits,
    *,
    failed: tuple[str, ...] = (),
    signature: str | None = None,
    planned: bool = True,
) -> Escalate | GiveUp:
    """Put a budget that is used up to a person, or end by it where nobody is asked."""
    if not asked_about(budget, limits):
        return GiveUp("failed", reason, budget)
    return Escalate(
        Impasse(kind="budget", reason=reason, tasks=failed, signature=signature, budget=budget, planned=planned)
    )


def _mend(snapshot: Snapshot, failed: tuple[str, ...], limits: Limits) -> Move:
    signature = failure_signature(snapshot.outcomes, failed)
    rejected = all(isinstance(snapshot.outcomes[task], Rejected) for task in failed)
    if not limits.can_replan or limits.max_replans == 0:
        return _without_replan(snapshot, failed, rejected=rejected)
    if snapshot.question is not None and limits.can_escalate:
        return Escalate(Impasse(kind="question", reason=snapshot.question, tasks=failed, signature=signature))
    if snapshot.stuck is not None:
        if not limits.can_escalate:
            return _end(snapshot, "failed", snapshot.stuck)
        return Escalate(Impasse(kind="no_way_on", reason=snapshot.stuck, tasks=failed, signature=signature))
    if signature in snapshot.replanned:
        reason = f"The replan ran into the same failure again: {_reasons(snapshot, failed)}"
        if not limits.can_escalate:
            return GiveUp("failed", reason)
        return Escalate(Impasse(kind="same_failure", reason=reason, tasks=failed, signature=signature))
    if snapshot.replans >= limits.max_replans:
        spent = Exhausted(name="replans", limit=limits.max_replans, used=snapshot.replans)
        reason = f"{snapshot.replans} replans were not enough: {_reasons(snapshot, failed)}"
        return _used_up(spent, reason, limits, failed=failed, signature=signature)
    if (short := model_budget(snapshot.spending, limits)) is not None:
        return _used_up(short, f"{short} {_reasons(snapshot, failed)}", limits, failed=failed, signature=signature)
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
    doubts = tuple(
        task for task in doubtful(compiled, snapshot) if can_be_undone(compiled.tasks[task], compiled.spec(task))
    )
    if doubts:
        return Ask(doubts, to_undo=True)
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
    if tasks := runnable(undo, snapshot, limits):
        return Run(tasks)
    waiting = (*doubtful(undo, snapshot), *to_approve(undo, snapshot, limits))
    if waiting:
        return Ask(waiting)
    status, reason = snapshot.stop or ("failed", "The run was rolled back.")
    return GiveUp(status, reason)


def _reasons(snapshot: Snapshot, failed: tuple[str, ...]) -> str:
    return "; ".join(f"{task!r}: {_error(snapshot.outcomes[task])}" for task in failed)


def _error(outcome: Outcome) -> str:
    return (outcome.message or "rejected") if isinstance(outcome, Rejected) else outcome.error or outcome.status
