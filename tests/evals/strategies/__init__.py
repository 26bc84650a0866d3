"""The strategies, by name."""

from collections.abc import Mapping

from tests.evals.strategies import oneshot, planwave
from tests.evals.strategies.strategy import Strategy

STRATEGIES: Mapping[str, Strategy] = {
    "planwave": planwave.STRATEGY,
    "oneshot": oneshot.STRATEGY,
}
