"""The errors that Planwave raises.

    PlanwaveError
    ├── UsageError            the caller asked for something impossible; the message names the value and the remedy
    │   ├── SettingsError     a setting is out of range or contradicts another
    │   ├── ToolError         a tool cannot be added to the toolbox
    │   └── AnswerError       an answer to an approval does not fit the request; nothing has changed
    ├── ModelError            no model, or one that does not work
    │   ├── NoModelError      none is configured; the message names the options
    │   ├── WeightsError      the local model's weights cannot be obtained or are not the expected ones
    │   ├── ModelReplyError   the model's server refused, failed or did not answer, also when retried
    │   └── BudgetError       a run's budget allows no further call; the model was not asked
    ├── DataError             a data source cannot be opened or understood
    ├── PersistenceError      a database cannot be opened or a record in it cannot be read
    │   ├── ThreadBusyError   another run has the thread; nothing was written
    │   ├── LeaseLostError    this run was taken for dead and another one has its thread; nothing was written
    │   └── StaleClaimError   a write's row in the ledger was taken over by another run; nothing was written
    └── ToolFailure           raised by a tool: this call failed for a reason that a replan can use

What goes wrong inside a task is a value (`agent.core.engine.outcomes.Failed`), never one of these.
"""

from agent.core.engine.budgets import ExhaustedBudget


class PlanwaveError(Exception):
    """The base of everything that Planwave raises on purpose."""


class UsageError(PlanwaveError, ValueError):
    """The caller asked for something impossible.

    Also a `ValueError`, since a LangGraph server sends its client the messages of built-in errors only.
    """


class SettingsError(UsageError):
    """A setting is out of range or contradicts another."""


class ToolError(UsageError):
    """A tool cannot be added to the toolbox."""


class AnswerError(UsageError):
    """An answer to an approval does not fit the request; nothing has changed."""


class ModelError(PlanwaveError):
    """There is no model, or it does not work."""


class NoModelError(ModelError):
    """No model is configured."""


class WeightsError(ModelError):
    """The local model's weights cannot be obtained or are not the expected ones."""


class ModelReplyError(ModelError):
    """The model's server refused, failed or did not answer, also when retried."""


class BudgetError(ModelError):
    """A run's budget allows no further call of the model, which was not asked."""

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
    """This run was taken for dead and another one has its thread; nothing was written."""


class StaleClaimError(PersistenceError):
    """A write's row in the ledger was taken over by another run; nothing was written."""


class ToolFailure(PlanwaveError):  # noqa: N818 - raised by a tool on purpose; what it becomes is a value
    """Raised by a tool: this call failed for a reason that a replan can use; it is not retried."""


def describe_extra(extra: str) -> str:
    """Return how a sentence names an extra that is missing: with the command that runs or installs Planwave with it."""
    in_wheel = __name__.startswith("planwave.")
    command = f"pip install 'planwave[{extra}]'" if in_wheel else f"uv run --extra {extra} ..."
    return f"the extra `{extra}` ({command})"
