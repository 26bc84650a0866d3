"""All that has happened in a run, as facts for `next_move`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from agent.core.budget import Exhausted, Spending
from agent.core.compile import CompiledPlan
from agent.core.frontier import Frontier
from agent.core.outcome import Outcome
from agent.core.plan import Task

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
    wanting: bool = False
    #: A person wants another plan in place of the one that was made.
    anew: bool = False
    #: Why the planner is not sure of its plan; None where it is, or a person has confirmed it.
    unsure: str | None = None
    #: The budget that kept a plan from being made or taken.
    unplanned: Exhausted | None = None
    #: Tasks with a call of which nobody knows whether it took effect.
    doubts: frozenset[str] = frozenset()
    #: Tasks whose call, as it now stands, a person has approved.
    approved: frozenset[str] = frozenset()
    #: Failed or rejected tasks that the replanner chose to go on without.
    waived: frozenset[str] = frozenset()
    #: Tasks that stopped without an outcome, because the budget allowed no further call of a model.
    cut: frozenset[str] = frozenset()
    #: Signatures of the failures that were already replanned for.
    replanned: frozenset[str] = frozenset()
    replans: int = 0
    #: Why the replanner found no way on, where it looked for one last.
    stuck: str | None = None
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
    former: Mapping[str, Task] = field(default_factory=dict)
    #: What follows from the outcomes, where it was kept from the move before; None: it is derived.
    frontier: Frontier | None = field(default=None, compare=False)

    def frontier_of(self, compiled: CompiledPlan) -> Frontier:
        """Return what follows from the outcomes for one of this run's plans."""
        kept = self.frontier
        return kept if kept is not None and kept.compiled is compiled else Frontier(compiled, self.outcomes)

    def with_frontier(self) -> "Snapshot":
        """Return this snapshot with what follows from it for the plan that is being carried out."""
        active = self.undo or self.compiled
        return self if active is None else replace(self, frontier=self.frontier_of(active))
