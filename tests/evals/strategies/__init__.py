"""The strategies, by name."""

from collections.abc import Mapping

from tests.evals.strategies import llmcompiler, oneshot, planwave, react
from tests.evals.strategies.strategy import Strategy

STRATEGIES: Mapping[str, Strategy] = {
    each.name: each for each in (planwave.STRATEGY, oneshot.STRATEGY, react.STRATEGY, llmcompiler.STRATEGY)
}
