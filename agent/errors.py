"""The errors that Planwave raises.

    PlanwaveError
    ├── UsageError            the caller asked for something that cannot be; the message names the value and the remedy
    │   ├── SettingsError     a setting is out of bounds or contradicts another
    │   ├── ToolError         a tool cannot be put into the catalogue
    │   └── AnswerError       an answer to an approval does not fit what was asked; nothing has changed
    ├── ModelError            no model, or one that does not do its part
    │   ├── NoModelError      none is configured; the message names the ways on
    │   ├── WeightsError      the local model's weights cannot be had or are not what they should be
    │   ├── ModelReplyError   the model's server refused, failed or was silent beyond the retries
    │   └── BudgetError       a run's budget allows no further call; the model was not asked
    ├── DataError             a data source cannot be opened or understood
    ├── PersistenceError      a database cannot be opened or a record in it cannot be read
    │   ├── ThreadBusyError   another run has the thread; nothing was written
    │   ├── LeaseLostError    this run was taken for dead and another has its thread; nothing was written
    │   └── StaleClaimError   a write's row in the ledger was taken over by another; nothing was written
    └── ToolFailure           raised by a tool: this call failed for a reason that a replan can use

What goes wrong inside a task is a value (`agent.core.outcome.Failed`), never one of these.
"""

from agent.core.engine.budgets import ExhaustedBudget


class PlanwaveError(Exception):
    """Root of everything Planwave raises on purpose."""


class UsageError(PlanwaveError, ValueError):
    """The caller asked for something that cannot be.

    A `ValueError` too: a LangGraph server tells its client the words of built-in errors only.
    """


class SettingsError(UsageError):
    """A setting is out of bounds or contradicts another."""


class ToolError(UsageError):
    """A tool cannot be put into the catalogue."""


class AnswerError(UsageError):
    """An answer to an approval does not fit what was asked; nothing has changed."""


class ModelError(PlanwaveError):
    """No model, or one that does not do its part."""


class NoModelError(ModelError):
    """No model is configured."""


class WeightsError(ModelError):
    """The local model's weights cannot be had or are not what they should be."""


class ModelReplyError(ModelError):
    """The model's server refused, failed or was silent beyond the retries."""


class BudgetError(ModelError):
    """A run's budget allows no further call of the model; it was not asked."""

    def __init__(self, budget: ExhaustedBudget) -> None:
        super().__init__(str(budget))
        self.budget = budget


class DataError(PlanwaveError):
    """A data source cannot be opened or understood."""


class PersistenceError(PlanwaveError):
    """A database cannot be opened, or a record in it cannot be read."""


class ThreadBusyError(PersistenceError):
    """Another run has the thread; nothing was written."""


class LeaseLostError(PersistenceError):
    """This run was taken for dead and another has its thread; nothing was written."""


class StaleClaimError(PersistenceError):
    """A write's row in the ledger was taken over by another; nothing was written."""


class ToolFailure(PlanwaveError):  # noqa: N818 - raised by a tool on purpose; what it becomes is a value
    """Raised by a tool: this call failed for a reason that a replan can use; it is not retried."""


def describe_extra(extra: str) -> str:
    """Return how a sentence names an extra that is missing: with the command that runs or installs Planwave with it."""
    in_wheel = __name__.startswith("planwave.")
    command = f"pip install 'planwave[{extra}]'" if in_wheel else f"uv run --extra {extra} ..."
    return f"the extra `{extra}` ({command})"
