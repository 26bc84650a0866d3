"""The limits that plans are checked against and runs are steered by."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a call is made again: exponentially longer, up to a limit."""

    base_s: float = 0.5
    factor: float = 2.0
    max_s: float = 30.0
    #: The share of a wait that is drawn at random, 0 to 1.
    jitter: float = 1.0

    def compute_longest_wait_s(self, retry: int) -> float:
        """Return the wait before a retry, counted from 1, in seconds, before anything is drawn."""
        try:
            return min(self.max_s, self.base_s * self.factor ** (retry - 1))
        except OverflowError:
            return self.max_s if self.base_s else 0.0


class Limits(BaseModel):
    """The part of the settings that the pure decisions need."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dispatch: Literal["eager", "wave"] = "eager"
    approve: Literal["ask", "never"] = "ask"
    #: By name of a secret, the only tools that may get it; any tool may get one without an entry, if a human approves.
    secrets: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    max_tasks: int = Field(default=10_000, ge=1)
    #: Tasks of one `RunTasks`: the cost of a checkpointed superstep grows with the square of its tasks.
    max_dispatch: int = Field(default=4096, ge=1)
    max_replans: int = Field(default=3, ge=0)
    #: Upper bound for a task's own `max_retries`.
    max_retries: int = Field(default=5, ge=0)
    #: Upper bound for a task's own `timeout_s`, in seconds.
    max_timeout_s: float = Field(default=3600.0, gt=0)
    #: Wall time of a run from its start, in seconds; None: no limit.
    deadline_s: float | None = Field(default=None, gt=0)
    #: Model calls, tokens and cost of a run; None: no limit.
    max_model_calls: int | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=None, ge=0)
    max_cost: float | None = Field(default=None, ge=0)
    #: Whether a human is asked how to go on if a run cannot go on by itself.
    can_escalate: bool = False
    #: Whether that applies to every exhausted budget, not only to replans.
    can_escalate_budgets: bool = False
    #: Whether a human is asked before a plan is run that the planner is not sure of.
    asks_if_unsure: bool = False
    #: Whether there is a model that can replan.
    can_replan: bool = True
