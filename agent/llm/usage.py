"""Counts the calls of models as they are made, and refuses those that the run's budget does not allow."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from langchain_core.messages import AIMessage

from agent.core.engine.budgets import ExhaustedBudget, Spending, find_exhausted_model_budget
from agent.core.plan.limits import Limits
from agent.errors import BudgetError
from agent.llm.replies import Usage, sum_costs
from agent.logging_context import get_logger

_logger = get_logger(__name__)
_MILLION = 1_000_000
_MAX_RUNS = 64


class Meter:
    """What a run has spent on models, shared by everything that is in flight in it.

    A call counts when it is begun, its tokens and cost when it has ended: each of several concurrent calls may exceed
    a budget of tokens or cost once.
    """

    def __init__(self) -> None:
        self._limits = Limits()
        self._prices = (0.0, 0.0)
        self._stored = Spending()
        self._since = Spending()
        self._lock = threading.Lock()
        #: The budget because of which the last refused call was refused.
        self.exhausted_budget: ExhaustedBudget | None = None

    def begin_step(self, limits: Limits, stored: Spending, *, prices: tuple[float, float]) -> "Meter":
        """Set the limits, the spending stored in the state, and the prices of a million tokens read and written.

        For the beginning of a step, when everything that `take_spending` returned before is in the state.
        """
        self._limits, self._stored, self._prices, self.exhausted_budget = limits, stored, prices, None
        return self

    def take_spending(self) -> Spending:
        """Return what was spent since the last call of this method, to be stored."""
        with self._lock:
            taken, self._since = self._since, Spending()
            self._stored = add_spending(self._stored, taken)
        return taken

    def start_call(self) -> None:
        """Count a call that is about to be made. Raises `BudgetError` if the budget does not allow it."""
        with self._lock:
            exhausted = find_exhausted_model_budget(add_spending(self._stored, self._since), self._limits)
            if exhausted is None:
                self._since = add_spending(self._since, Spending(calls=1))
        if exhausted is not None:
            _logger.warning("Model call not made: %s", exhausted)
            self.exhausted_budget = exhausted
            raise BudgetError(exhausted)

    def count_usage(self, usage: Usage) -> None:
        """Count the tokens and the cost of a call that has ended, even if its reply cannot be used."""
        input_price, output_price = self._prices
        computed = (usage.input_tokens * input_price + usage.output_tokens * output_price) / _MILLION
        cost = computed if usage.cost is None else usage.cost
        spent = Spending(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cost=cost)
        with self._lock:
            self._since = add_spending(self._since, spent)


class MeterRegistry:
    """The meters of the runs in this process, at most the 64 used last."""

    def __init__(self) -> None:
        self._meters: OrderedDict[str, Meter] = OrderedDict()

    def get_meter(self, run: str) -> Meter:
        """Return the meter of a run."""
        meter = self._meters.setdefault(run, Meter())
        self._meters.move_to_end(run)
        while len(self._meters) > _MAX_RUNS:
            self._meters.popitem(last=False)
        return meter


def add_spending(first: Spending, second: Spending) -> Spending:
    """Return the sum of two spendings."""
    return Spending(
        calls=first.calls + second.calls,
        input_tokens=first.input_tokens + second.input_tokens,
        output_tokens=first.output_tokens + second.output_tokens,
        cost=first.cost + second.cost,
    )


_meter: ContextVar[Meter | None] = ContextVar("planwave_meter", default=None)


@contextmanager
def use_meter(meter: Meter) -> Iterator[Meter]:
    """Let `meter` count every call of a model that is made in this context."""
    token = _meter.set(meter)
    try:
        yield meter
    finally:
        _meter.reset(token)


def begin_call() -> None:
    """Report that a model is about to be asked. Raises `BudgetError` if the run's budget does not allow it."""
    if (meter := _meter.get()) is not None:
        meter.start_call()


def count_call(usage: Usage) -> None:
    """Report the tokens and the cost of a call."""
    if (meter := _meter.get()) is not None:
        meter.count_usage(usage)


def extract_usage(message: AIMessage) -> Usage:
    """Return the tokens of a reply, and its cost if the server reports it under `usage.cost`, as OpenRouter does.

    https://openrouter.ai/docs/use-cases/usage-accounting. For a stream, LangChain passes on the tokens only.
    """
    tokens = message.usage_metadata
    reported = message.response_metadata.get("token_usage")
    cost = parse_cost(reported.get("cost")) if isinstance(reported, dict) else None
    if tokens is None:
        return Usage(cost=cost)
    return Usage(input_tokens=tokens["input_tokens"], output_tokens=tokens["output_tokens"], cost=cost)


def parse_cost(value: object) -> float | None:
    """Return a cost as a server reported it; None for a value that is not a cost."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    return None


class UsageTotal(Usage):
    """Tokens and the number of calls."""

    calls: int = 0

    def __add__(self, other: Usage) -> "UsageTotal":
        return UsageTotal(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost=sum_costs(self.cost, other.cost),
            calls=self.calls + (other.calls if isinstance(other, UsageTotal) else 1),
        )


class UsageTally:
    """Adds up the calls of one role; pass `add` as `on_usage` to `ask_json`."""

    def __init__(self) -> None:
        self.total = UsageTotal()

    def add(self, usage: Usage) -> None:
        """Add a call."""
        self.total += usage
