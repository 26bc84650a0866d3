"""What was read from the state of a run before, so that a dispatch reads only what is new.

A plan of n levels that is dispatched level by level would else be read n times over. Values are known by the very
object that stands in the state, which this keeps alive; nobody changes a value in the state in place.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from agent.core.compile import CompiledPlan
from agent.core.frontier import Frontier
from agent.core.outcome import Done, Outcome
from agent.core.plan import Task
from graphs.state import Record, outcomes_in

T = TypeVar("T")
_RUNS = 32


class Known(Generic[T]):
    """The last value made from one place in the state."""

    def __init__(self) -> None:
        self._source: object = None
        self._value: tuple[T, ...] = ()

    def put(self, source: object, value: T) -> None:
        """Take in what is made of `source` by somebody who knows."""
        self._value, self._source = (value,), source

    def get(self, source: object, make: Callable[[], T]) -> T:
        """Return what `make` returned when it was last asked about this very `source`, else ask it now."""
        if not self._value or self._source is not source:
            self.put(source, make())
        return self._value[0]


class Recall:
    """What is known of one run."""

    def __init__(self) -> None:
        self.plan: Known[CompiledPlan] = Known()
        self.undo: Known[CompiledPlan] = Known()
        self.former: Known[dict[str, Task]] = Known()
        self.mark: Known[str | None] = Known()
        self.reusable: Known[dict[str, tuple[str, Done]]] = Known()
        #: Whether an output among the results that were read is kept outside the state.
        self.some_away = False
        self._read: Mapping[str, Record] | None = None
        self._records: dict[str, Record] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._frontier: Frontier | None = None

    def take_plan(self, document: Mapping[str, object], compiled: CompiledPlan, *, mark: str) -> None:
        """Take in a plan that was just compiled, as the state is about to have it."""
        self.plan.put(document, compiled)
        self.mark.put(document, mark)

    def outcomes(self, results: Mapping[str, Record]) -> Mapping[str, Outcome]:
        """Return the outcomes in `results`, of which only those are read that were not before.

        It is the same mapping each time, with what is new in it. Raises `PersistenceError`.
        """
        if results is self._read:
            return self._outcomes
        records = self._records
        differing = {task: record for task, record in results.items() if records.get(task) is not record}
        new = outcomes_in(differing)
        added = {task: outcome for task, outcome in new.items() if task not in records}
        if len(records) + len(added) > len(results) or not self._holds(new):
            self._records, self._outcomes, self._frontier = {}, {}, None
            return self.outcomes(results)
        self.some_away = self.some_away or any(isinstance(each, Done) and each.artifact for each in new.values())
        self._records.update(differing)
        self._read = results
        self._outcomes.update(new)
        if self._frontier is not None:
            self._frontier.advance(added)
        return self._outcomes

    def _holds(self, new: Mapping[str, Outcome]) -> bool:
        """Whether what follows from the known outcomes follows still: a loaded output, say, changes nothing."""
        blocked = self._frontier.blocked if self._frontier is not None else set[str]()
        known = ((task, outcome, self._outcomes.get(task)) for task, outcome in new.items())
        return all(
            task not in blocked if before is None else _counts_as(outcome) == _counts_as(before)
            for task, outcome, before in known
        )

    def frontier(self, compiled: CompiledPlan) -> Frontier:
        """Return what follows for `compiled` from the outcomes that were read last."""
        if self._frontier is None or self._frontier.compiled is not compiled:
            self._frontier = Frontier(compiled, self._outcomes)
        return self._frontier


def _counts_as(outcome: Outcome) -> tuple[object, ...]:
    return outcome.status, outcome.attempts, isinstance(outcome, Done) and outcome.reused_from


class Recalls:
    """What is known of the runs that this process has under way; of more than 32 the latest."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, Recall] = OrderedDict()

    def of(self, run: str) -> Recall:
        """Return what is known of a run, nothing at first."""
        found = self._runs.setdefault(run, Recall())
        self._runs.move_to_end(run)
        while len(self._runs) > _RUNS:
            self._runs.popitem(last=False)
        return found

    def drop(self, run: str) -> None:
        """Forget a run that is over."""
        self._runs.pop(run, None)
