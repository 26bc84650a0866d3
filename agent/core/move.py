"""What can happen next in a run: a closed union of moves."""

from dataclasses import dataclass

from agent.core.budget import Exhausted
from agent.core.impasse import Impasse
from agent.core.snapshot import EndStatus


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
