"""The six budgets of a run: their limits, what has been used, and which of them is exhausted."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, assert_never

from pydantic import BaseModel, ConfigDict

from agent.core.plan.limits import Limits

BudgetName = Literal["replans", "tasks", "model_calls", "tokens", "cost", "wall_time_s"]
#: The budgets that model calls use up.
ModelBudget = Literal["model_calls", "tokens", "cost"]

_MODEL_BUDGETS: Final[tuple[ModelBudget, ...]] = ("model_calls", "tokens", "cost")
_BUDGET_LABELS: Final[Mapping[BudgetName, str]] = {
    "replans": "replans",
    "tasks": "tasks",
    "model_calls": "model calls",
    "tokens": "tokens",
    "cost": "cost",
    "wall_time_s": "wall time in seconds",
}


class Spending(BaseModel):
    """What the model calls of a run have used."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    #: Calls started, failed ones included.
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    #: Cost of the calls whose cost is known, in the currency of the prices or of the model's server.
    cost: float = 0.0


class ExhaustedBudget(BaseModel):
    """A budget that is used up; `used` is above `limit` if the last step took more than was left."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: BudgetName
    limit: int | float
    used: int | float

    @property
    def setting(self) -> str:
        """The settings field that raises the budget."""
        return get_budget_setting(self.name)

    def __str__(self) -> str:
        """Return a sentence with its remedy."""
        used = f"{self.used:.10g} of {self.limit:.10g}"
        return f"The budget of {_BUDGET_LABELS[self.name]} is used up: {used}; raise {self.setting!r} to go on."


@dataclass(frozen=True, slots=True)
class Deadline:
    """The time after which a run begins nothing more."""

    started_at: datetime
    limit_s: float

    def compute_seconds_left(self, now: datetime) -> float:
        """Return the seconds until the deadline; negative after it."""
        return self.limit_s - (now - self.started_at).total_seconds()

    def build_budget(self, now: datetime) -> ExhaustedBudget:
        """Return the budget of the wall time as it is when the deadline has passed."""
        used = max(self.limit_s, (now - self.started_at).total_seconds())
        return ExhaustedBudget(name="wall_time_s", limit=self.limit_s, used=used)


def get_budget_setting(name: BudgetName) -> str:
    """Return the field of `Limits` and of the settings that limits a budget."""
    return "deadline_s" if name == "wall_time_s" else f"max_{name}"


def get_budget_limit(name: BudgetName, limits: Limits) -> int | float | None:
    """Return the limit of a budget; None: no limit."""
    match name:
        case "replans":
            return limits.max_replans
        case "tasks":
            return limits.max_tasks
        case "model_calls":
            return limits.max_model_calls
        case "tokens":
            return limits.max_tokens
        case "cost":
            return limits.max_cost
        case "wall_time_s":
            return limits.deadline_s
        case _:
            assert_never(name)


def find_exhausted_model_budget(spending: Spending, limits: Limits) -> ExhaustedBudget | None:
    """Return the first budget that allows no further model call; None if all do.

    The cost of a call is known only when it has ended, so the last call may go beyond its budget.
    """
    used: Mapping[ModelBudget, int | float] = {
        "model_calls": spending.calls,
        "tokens": spending.input_tokens + spending.output_tokens,
        "cost": spending.cost,
    }
    for name in _MODEL_BUDGETS:
        limit = get_budget_limit(name, limits)
        if limit is not None and used[name] >= limit:
            return ExhaustedBudget(name=name, limit=limit, used=used[name])
    return None


def raise_limits(limits: Limits, raised: Mapping[str, int | float]) -> Limits:
    """Return `limits` with the budgets that a human raised, by name; a limit of the settings that is higher stays."""
    changes: dict[str, int | float] = {}
    names: tuple[BudgetName, ...] = ("replans", "tasks", *_MODEL_BUDGETS, "wall_time_s")
    for name in names:
        limit = get_budget_limit(name, limits)
        if limit is not None and name in raised:
            changes[get_budget_setting(name)] = max(limit, raised[name])
    return limits.model_copy(update=changes) if changes else limits
