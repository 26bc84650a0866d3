"""Everything that has happened in a run, as facts for `next_move`."""

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
    """Everything that has happened in a run, as facts."""

    #: None: the plan did not compile.
    compiled: CompiledPlan | None
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    #: Why there is no compiled plan, as sentences.
    problems: tuple[str, ...] = ()
    #: The planner wants to look something up before it plans.
    needs_lookup: bool = False
    #: A human wants another plan instead of the one that was made.
    needs_new_plan: bool = False
    #: Why the planner is not sure of its plan; None if it is, or if a human has confirmed the plan.
    unsure: str | None = None
    #: What is to be asked before the plan runs, because nothing gives a value in it; None if nothing is.
    missing_value: str | None = None
    #: The exhausted budget because of which there is no plan.
    planning_budget: ExhaustedBudget | None = None
    #: Tasks with a call of which it is unknown whether it took effect.
    doubts: frozenset[str] = frozenset()
    #: Tasks whose present call a human has approved.
    approved: frozenset[str] = frozenset()
    #: Failed or rejected tasks that the replanner decided to go on without.
    waived: frozenset[str] = frozenset()
    #: Tasks that stopped without an outcome, because the budget allowed no further call of a model.
    out_of_budget: frozenset[str] = frozenset()
    #: Signatures of the failures for which there was a replan already.
    replanned_signatures: frozenset[str] = frozenset()
    replans: int = 0
    #: Why the last attempt to replan found no way on.
    dead_end_reason: str | None = None
    #: The question of the replanner to a human.
    question: str | None = None
    spending: Spending = field(default_factory=Spending)
    #: Seconds since the run began.
    elapsed_s: float = 0.0
    #: The replanner, a human or a signal ended the run: status and sentence.
    stop: tuple[EndStatus, str] | None = None
    #: A human chose to end with the results so far, so nothing is undone.
    accepted: bool = False
    #: The plan that undoes finished writes, once a rollback has started.
    undo: CompiledPlan | None = None
    #: A rollback has started; there may be nothing that can be undone.
    rollback_begun: bool = False
    #: Tasks of earlier plans of this run that are not in the present plan.
    former_tasks: Mapping[str, Task] = field(default_factory=dict)
    #: The frontier kept from the previous move; None: it is derived from the outcomes.
    frontier: Frontier | None = field(default=None, compare=False)

    def get_frontier(self, compiled: CompiledPlan) -> Frontier:
        """Return the frontier of the outcomes in `compiled`, one of the plans of this run."""
        cached = self.frontier
        return cached if cached is not None and cached.compiled is compiled else Frontier(compiled, self.outcomes)

    def with_frontier(self) -> "Snapshot":
        """Return this snapshot with the frontier of the plan that is being run, so that it is derived only once."""
        active = self.undo or self.compiled
        return self if active is None else replace(self, frontier=self.get_frontier(active))


def count_tasks_run(snapshot: Snapshot) -> int:
    """Return how many tasks of the run, of all revisions, were executed: each counts once, whatever its attempts."""
    cached = snapshot.frontier
    return cached.executed_count if cached is not None else sum(map(was_executed, snapshot.outcomes.values()))


def exhausted(budget: ExhaustedBudget, snapshot: Snapshot, limits: Limits) -> ExhaustedBudget | None:
    """Return the present state of a budget that was exhausted; None if these limits allow more."""
    match budget.name:
        case "replans":
            used: int | float = snapshot.replans
        case "tasks" if snapshot.compiled is None:
            # A plan with too many tasks did not compile, so its size counts and not the tasks that ran.
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
    """Return the budget of the wall time if the deadline has passed."""
    if limits.deadline_s is None or snapshot.elapsed_s < limits.deadline_s:
        return None
    return ExhaustedBudget(name="wall_time_s", limit=limits.deadline_s, used=snapshot.elapsed_s)


def needs_escalation(budget: ExhaustedBudget | None, limits: Limits) -> bool:
    """Whether a human is asked how to go on when `budget` is exhausted, or, if None, when a run is stuck otherwise."""
    return limits.can_escalate and (budget is None or budget.name == "replans" or limits.can_escalate_budgets)
