"""The sets of goals, by name."""

from collections.abc import Callable, Mapping, Sequence

from tests.evals.cases import Case
from tests.evals.sets import goals, nestful

SETS: Mapping[str, Callable[[], Sequence[Case]]] = {
    "nestful": nestful.cases,
    "goals": goals.cases,
}
