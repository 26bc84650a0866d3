"""The only place that decides: takes everything that has happened and returns the next move."""

from dataclasses import dataclass

from agent.core.compiler.compiler import CompiledPlan
from agent.core.engine.approvals import needs_approval
from agent.core.engine.budgets import ExhaustedBudget, find_exhausted_model_budget
from agent.core.engine.call_preparation import compute_failure_signature
from agent.core.engine.escalations import Escalation
from agent.core.engine.outcomes import Done, Failed, Outcome, Rejected
from agent.core.engine.rollback import can_be_undone, may_have_effect
from agent.core.engine.snapshot import EndStatus, Snapshot, check_deadline, count_tasks_run, exhausted, needs_escalation
from agent.core.plan.dependencies import find_runnable_closure
from agent.core.plan.limits import Limits


@dataclass(frozen=True, slots=True)
class PlanAgain:
    """Plan again: the budget that stopped planning was raised, or a human asked for another plan."""


@dataclass(frozen=True, slots=True)
class LookUp:
    """Call the tools that answer the planner's questions, and plan with the answers."""


@dataclass(frozen=True, slots=True)
class RunTasks:
    """Send these tasks to the executor, the most urgent first."""

    tasks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AskHuman:
    """Ask a human about these tasks, all in one request."""

    tasks: tuple[str, ...]
    #: The tasks are in doubt and will not run again; the answer decides what is undone.
    to_undo: bool = False


@dataclass(frozen=True, slots=True)
class Escalate:
    """Ask a human how the run is to go on."""

    escalation: Escalation


@dataclass(frozen=True, slots=True)
class Replan:
    """Replan: these tasks failed or were rejected, and everything else that can run has run."""

    tasks: tuple[str, ...]
    signature: str


@dataclass(frozen=True, slots=True)
class Rollback:
    """Undo what these tasks changed, as far as possible, then end."""

    tasks: tuple[str, ...]
    status: EndStatus
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything is settled: write the answer."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End without reaching the goal."""

    status: EndStatus
    reason: str
    #: The budget that ended the run; if it is raised, the run can go on from here.
    budget: ExhaustedBudget | None = None


Move = PlanAgain | LookUp | RunTasks | AskHuman | Escalate | Replan | Rollback | Answer | GiveUp


def next_move(snapshot: Snapshot, limits: Limits) -> Move:
    """Decide what happens next; a total and pure function.

    Running and replanning go before asking: a human is asked when nothing else can be done, about everything that
    waits, and not about a plan that is about to change.
    """
    compiled = snapshot.compiled
    if compiled is None:
        return _next_move_without_plan(snapshot, limits)
    snapshot = snapshot.with_frontier()
    if snapshot.undo is not None:
        return _next_rollback_move(snapshot, snapshot.undo, limits)
    if snapshot.stop is not None:
        return GiveUp(*snapshot.stop) if snapshot.accepted else _end_run(snapshot, *snapshot.stop)
    move = _next_move_in_time(snapshot, compiled, limits)
    if isinstance(move, Answer) or (spent := check_deadline(snapshot, limits)) is None:
        # Nothing is left to begin, so a deadline that has passed since changes nothing.
        return move
    reason = f"The deadline of {spent.limit:g} s has passed after {spent.used:.1f} s."
    return _handle_exhausted_budget(spent, reason, limits)


def _next_move_in_time(snapshot: Snapshot, compiled: CompiledPlan, limits: Limits) -> Move:
    """Return the move as if there were no deadline."""
    if snapshot.missing_value and not snapshot.outcomes:
        # A value that nobody gave is not made up, also where nobody can be asked.
        asked = Escalation(kind="unsure", reason=snapshot.missing_value)
        return Escalate(asked) if limits.can_escalate else GiveUp("failed", snapshot.missing_value)
    if limits.can_escalate and limits.asks_if_unsure and not snapshot.outcomes and snapshot.unsure:
        return Escalate(Escalation(kind="unsure", reason=snapshot.unsure))
    failed = find_unresolved_failures(snapshot)
    if (fatal := _find_abort_reason(compiled, snapshot, failed)) is not None:
        return _end_run(snapshot, "failed", fatal)
    left = limits.max_tasks - count_tasks_run(snapshot)
    if left > 0 and (tasks := find_runnable_tasks(compiled, snapshot, limits, limit=left)):
        return RunTasks(tasks)
    if doubts := find_doubtful_tasks(compiled, snapshot):
        return AskHuman(doubts)
    if (short := _find_blocking_budget(compiled, snapshot, limits, left=left)) is not None:
        return _handle_exhausted_budget(short, str(short), limits)
    if failed:
        return _replan_or_escalate(snapshot, failed, limits)
    waiting = find_tasks_awaiting_approval(compiled, snapshot, limits)
    return AskHuman(waiting) if waiting else Answer()


def _next_move_without_plan(snapshot: Snapshot, limits: Limits) -> Move:
    if snapshot.stop is not None:
        return GiveUp(*snapshot.stop)
    if (
        (snapshot.needs_lookup or snapshot.needs_new_plan)
        and snapshot.planning_budget is None
        and not snapshot.problems
    ):
        over = check_deadline(snapshot, limits)
        go_on = LookUp() if snapshot.needs_lookup else PlanAgain()
        return go_on if over is None else _handle_exhausted_budget(over, str(over), limits, planned=False)
    if snapshot.planning_budget is None:
        return GiveUp("failed", " ".join(snapshot.problems) or "There is no plan.")
    short = exhausted(snapshot.planning_budget, snapshot, limits)
    return PlanAgain() if short is None else _handle_exhausted_budget(short, str(short), limits, planned=False)


def _find_abort_reason(compiled: CompiledPlan, snapshot: Snapshot, failed: tuple[str, ...]) -> str | None:
    """Return the failure for which the plan says to abort, as a sentence."""
    for task in failed:
        outcome = snapshot.outcomes[task]
        if isinstance(outcome, Failed) and compiled.tasks[task].on_failure == "abort":
            return f"Task {task!r} failed, and the plan says to abort then: {_describe_error(outcome)}"
    return None


def _find_blocking_budget(
    compiled: CompiledPlan, snapshot: Snapshot, limits: Limits, *, left: int
) -> ExhaustedBudget | None:
    """Return the budget that is the only thing that keeps a task from running, if there is one."""
    if left <= 0 and find_runnable_tasks(compiled, snapshot, limits, limit=1):
        return ExhaustedBudget(name="tasks", limit=limits.max_tasks, used=limits.max_tasks - left)
    waits = any(task in compiled.tasks and task not in snapshot.outcomes for task in snapshot.out_of_budget)
    return find_exhausted_model_budget(snapshot.spending, limits) if waits else None


def _replan_or_escalate(snapshot: Snapshot, failed: tuple[str, ...], limits: Limits) -> Move:
    signature = compute_failure_signature(snapshot.outcomes, failed)
    rejected = all(isinstance(snapshot.outcomes[task], Rejected) for task in failed)
    if not limits.can_replan or limits.max_replans == 0:
        return _end_without_replan(snapshot, failed, rejected=rejected)
    if snapshot.question is not None and limits.can_escalate:
        return Escalate(Escalation(kind="question", reason=snapshot.question, tasks=failed, signature=signature))
    if snapshot.dead_end_reason is not None:
        if not limits.can_escalate:
            return _end_run(snapshot, "failed", snapshot.dead_end_reason)
        return Escalate(
            Escalation(kind="no_way_on", reason=snapshot.dead_end_reason, tasks=failed, signature=signature)
        )
    if signature in snapshot.replanned_signatures:
        reason = f"The replan ran into the same failure again: {_describe_failures(snapshot, failed)}"
        if not limits.can_escalate:
            return GiveUp("failed", reason)
        return Escalate(Escalation(kind="same_failure", reason=reason, tasks=failed, signature=signature))
    if snapshot.replans >= limits.max_replans:
        spent = ExhaustedBudget(name="replans", limit=limits.max_replans, used=snapshot.replans)
        reason = f"{snapshot.replans} replans were not enough: {_describe_failures(snapshot, failed)}"
        return _handle_exhausted_budget(spent, reason, limits, failed=failed, signature=signature)
    if (short := find_exhausted_model_budget(snapshot.spending, limits)) is not None:
        return _handle_exhausted_budget(
            short, f"{short} {_describe_failures(snapshot, failed)}", limits, failed=failed, signature=signature
        )
    return Replan(failed, signature)


def _end_without_replan(snapshot: Snapshot, failed: tuple[str, ...], *, rejected: bool) -> Move:
    if rejected:
        return _end_run(snapshot, "cancelled", f"A human rejected {_describe_failures(snapshot, failed)}")
    return GiveUp("failed", _describe_failures(snapshot, failed))


def _handle_exhausted_budget(
    budget: ExhaustedBudget,
    reason: str,
    limits: Limits,
    *,
    failed: tuple[str, ...] = (),
    signature: str | None = None,
    planned: bool = True,
) -> Escalate | GiveUp:
    """Ask a human about an exhausted budget, or end the run if nobody is asked."""
    if not needs_escalation(budget, limits):
        return GiveUp("failed", reason, budget)
    return Escalate(
        Escalation(kind="budget", reason=reason, tasks=failed, signature=signature, budget=budget, planned=planned)
    )


def _end_run(snapshot: Snapshot, status: EndStatus, reason: str) -> Move:
    """End on purpose: first ask about the writes in doubt that could be undone, then undo what was written."""
    if snapshot.rollback_begun or snapshot.compiled is None:
        return GiveUp(status, reason)
    compiled = snapshot.compiled
    doubts = tuple(
        task
        for task in find_doubtful_tasks(compiled, snapshot)
        if can_be_undone(compiled.tasks[task], compiled.get_spec(task))
    )
    if doubts:
        return AskHuman(doubts, to_undo=True)
    left = find_changed_tasks(snapshot)
    return Rollback(left, status, reason) if left else GiveUp(status, reason)


def _next_rollback_move(snapshot: Snapshot, undo: CompiledPlan, limits: Limits) -> Move:
    """Return the next move of a rollback: run every undo task that can run, then ask a human, then end."""
    if tasks := find_runnable_tasks(undo, snapshot, limits):
        return RunTasks(tasks)
    waiting = (*find_doubtful_tasks(undo, snapshot), *find_undo_tasks_to_approve(undo, snapshot, limits))
    if waiting:
        return AskHuman(waiting)
    status, reason = snapshot.stop or ("failed", "The run was rolled back.")
    return GiveUp(status, reason)


def find_runnable_tasks(
    compiled: CompiledPlan, snapshot: Snapshot, limits: Limits, *, limit: int | None = None
) -> tuple[str, ...]:
    """Return the tasks that can be sent to the executor now, at most `limit`, the most urgent first."""
    limit = limits.max_dispatch if limit is None else min(limit, limits.max_dispatch)
    frontier = snapshot.get_frontier(compiled)
    if limits.dispatch == "wave":
        found = [task for task in frontier.list_ready() if not _is_held_back(compiled, task, snapshot, limits)][:limit]
    else:
        found = find_runnable_closure(
            compiled.needs,
            is_settled=frontier.is_settled,
            is_runnable=lambda task: not _is_held_back(compiled, task, snapshot, limits),
            ordered=compiled.order,
            limit=limit,
        )
    return tuple(sorted(found, key=lambda task: (compiled.tasks[task].priority, -compiled.ranks[task])))


def find_doubtful_tasks(compiled: CompiledPlan, snapshot: Snapshot) -> tuple[str, ...]:
    """Return the tasks with a call of which it is unknown whether it took effect, in plan order."""
    return tuple(snapshot.get_frontier(compiled).sort_in_plan_order(snapshot.doubts - snapshot.outcomes.keys()))


def find_tasks_awaiting_approval(compiled: CompiledPlan, snapshot: Snapshot, limits: Limits) -> tuple[str, ...]:
    """Return the tasks that could run if a human approved them."""
    return tuple(
        task
        for task in snapshot.get_frontier(compiled).list_ready()
        if task not in snapshot.doubts and _is_gated(compiled, task, snapshot, limits)
    )


def find_undo_tasks_to_approve(undo: CompiledPlan, snapshot: Snapshot, limits: Limits) -> tuple[str, ...]:
    """Return every undo task that needs approval: their arguments are known, so all can be shown at the same time."""
    frontier = snapshot.get_frontier(undo)
    return tuple(
        task
        for task in undo.order
        if task not in snapshot.doubts and not frontier.is_settled(task) and _is_gated(undo, task, snapshot, limits)
    )


def _is_held_back(compiled: CompiledPlan, task: str, snapshot: Snapshot, limits: Limits) -> bool:
    if task in snapshot.out_of_budget and find_exhausted_model_budget(snapshot.spending, limits) is not None:
        return True
    return task in snapshot.doubts or _is_gated(compiled, task, snapshot, limits)


def _is_gated(compiled: CompiledPlan, task: str, snapshot: Snapshot, limits: Limits) -> bool:
    return task not in snapshot.approved and needs_approval(compiled.tasks[task], compiled.get_spec(task), limits)


def find_unresolved_failures(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the failed and rejected tasks that are not waived or marked `on_failure: skip`, in plan order."""
    if snapshot.compiled is None:
        return ()
    tasks, found = snapshot.compiled.tasks, snapshot.get_frontier(snapshot.compiled)
    return tuple(
        task
        for task in found.sort_in_plan_order(found.failed - snapshot.waived)
        if isinstance(snapshot.outcomes[task], Rejected) or tasks[task].on_failure != "skip"
    )


def find_changed_tasks(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the tasks that changed something, or may have, the last one first; those of earlier plans come last.

    If one task reused the result of another, both are one change, and the task with the reused result is returned.
    """
    compiled = snapshot.compiled
    if compiled is None:
        return ()
    tasks = {**snapshot.former_tasks, **compiled.tasks}
    found: dict[str, str] = {}
    for name in (*reversed(compiled.order), *reversed(list(snapshot.former_tasks))):
        outcome, spec = snapshot.outcomes.get(name), compiled.catalogue.get(tasks[name].tool)
        if may_have_effect(tasks[name], spec=spec, outcome=outcome, doubted=name in snapshot.doubts):
            source = outcome.reused_from if isinstance(outcome, Done) else None
            found.setdefault(source or name, name)
    return tuple(found.values())


def _describe_failures(snapshot: Snapshot, failed: tuple[str, ...]) -> str:
    return "; ".join(f"{task!r}: {_describe_error(snapshot.outcomes[task])}" for task in failed)


def _describe_error(outcome: Outcome) -> str:
    return (outcome.message or "rejected") if isinstance(outcome, Rejected) else outcome.error or outcome.status
