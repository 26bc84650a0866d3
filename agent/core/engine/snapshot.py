"""All that has happened in a run, as facts for `next_move`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, assert_never

from agent.core.compiler.compiler import CompiledPlan
from agent.core.engine.budgets import ExhaustedBudget, Spending, find_exhausted_model_budget, get_budget_limit
from agent.core.engine.frontier import Frontier, was_executed
from agent.core.engine.outcomes import Outcome
from agent.core.plan.document import Task
from agent.core.plan.limits import Limits

EndStatus = Literal["completed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that has happened in a run, as facts."""

    #: None: the plan did not compile.
    compiled: CompiledPlan | None
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    #: Why there is no compiled plan, as sentences.
    problems: tuple[str, ...] = ()
    #: The planner wants to know more before it plans.
    needs_lookup: bool = False
    #: A person wants another plan in place of the one that was made.
    needs_new_plan: bool = False
    #: Why the planner is not sure of its plan; None where it is, or a person has confirmed it.
    unsure: str | None = None
    #: The budget that kept a plan from being made or taken.
    planning_budget: ExhaustedBudget | None = None
    #: Tasks with a call of which nobody knows whether it took effect.
    doubts: frozenset[str] = frozenset()
    #: Tasks whose call, as it now stands, a person has approved.
    approved: frozenset[str] = frozenset()
    #: Failed or rejected tasks that the replanner chose to go on without.
    waived: frozenset[str] = frozenset()
    #: Tasks that stopped without an outcome, because the budget allowed no further call of a model.
    out_of_budget: frozenset[str] = frozenset()
    #: Signatures of the failures that were already replanned for.
    replanned_signatures: frozenset[str] = frozenset()
    replans: int = 0
    #: Why the replanner found no way on, where it looked for one last.
    dead_end_reason: str | None = None
    #: What the replanner asks a person.
    question: str | None = None
    spending: Spending = field(default_factory=Spending)
    #: Seconds since the run began.
    elapsed_s: float = 0.0
    #: The replanner, a person or a signal ended the run: status and sentence.
    stop: tuple[EndStatus, str] | None = None
    #: A person chose to end with what there is, so nothing is undone.
    accepted: bool = False
    #: The plan that undoes finished writes, once a rollback has begun.
    undo: CompiledPlan | None = None
    #: A rollback has begun; there may be nothing that can be undone.
    rollback_begun: bool = False
    #: The tasks of this run's earlier plans that the present one has not.
    former_tasks: Mapping[str, Task] = field(default_factory=dict)
    #: What follows from the outcomes, where it was kept from the move before; None: it is derived.
    frontier: Frontier | None = field(default=None, compare=False)

    def get_frontier(self, compiled: CompiledPlan) -> Frontier:
        """Return what follows from the outcomes for one of this run's plans."""
        kept = self.frontier
        return kept if kept is not None and kept.compiled is compiled else Frontier(compiled, self.outcomes)

    def with_frontier(self) -> "Snapshot":
        """Return this snapshot with what follows from it for the plan that is being carried out."""
        active = self.undo or self.compiled
        return self if active is None else replace(self, frontier=self.get_frontier(active))


def count_tasks_run(snapshot: Snapshot) -> int:
    """Return how many tasks of the run, of all revisions, have been run: each counts once, whatever its attempts."""
    kept = snapshot.frontier
    return kept.executed_count if kept is not None else sum(map(was_executed, snapshot.outcomes.values()))


def exhausted(budget: ExhaustedBudget, snapshot: Snapshot, limits: Limits) -> ExhaustedBudget | None:
    """Return how `budget` stands within these limits; None where it is used up no more."""
    match budget.name:
        case "replans":
            used: int | float = snapshot.replans
        case "tasks" if snapshot.compiled is None:
            # Of a plan that is too large, all tasks but the first ones are too many.
            return budget.model_copy(update={"limit": limits.max_tasks}) if budget.used > limits.max_tasks else None
        case "tasks":
            used = count_tasks_run(snapshot)
        case "wall_time_s":
            return check_deadline(snapshot, limits)
        case "model_calls" | "tokens" | "cost":
            return find_exhausted_model_budget(snapshot.spending, limits)
        case _:
            assert_never(budget.name)
    limit = get_budget_limit(budget.name, limits)
    return ExhaustedBudget(name=budget.name, limit=limit, used=used) if limit is not None and used >= limit else None


def check_deadline(snapshot: Snapshot, limits: Limits) -> ExhaustedBudget | None:
    """Return the deadline where it has passed."""
    if limits.deadline_s is None or snapshot.elapsed_s < limits.deadline_s:
        return None
    return ExhaustedBudget(name="wall_time_s", limit=limits.deadline_s, used=snapshot.elapsed_s)


def needs_escalation(budget: ExhaustedBudget | None, limits: Limits) -> bool:
    """Whether a person is asked how to go on: where `budget` is used up, or, None, where a run is stuck otherwise."""
    return limits.can_escalate and (budget is None or budget.name == "replans" or limits.can_escalate_budgets)
