"""The sets of goals, by name."""

from collections.abc import Callable, Mapping, Sequence

from tests.evals.cases import Case
from tests.evals.sets import broken, goals, nestful, tools, worfbench
from tests.evals.sets.schemas import worlds

SETS: Mapping[str, Callable[[], Sequence[Case]]] = {
    "nestful": nestful.cases,
    "worfbench": worfbench.cases,
    "goals": goals.cases,
    "broken": broken.cases,
    "tools": tools.cases,
    "schemas": worlds.cases,
}
