"""What was read from the state of a run before, so that a dispatch reads only what is new.

A plan of n levels that is dispatched level by level would else be read n times over. Values are known by the very
object that stands in the state, which this keeps alive; nobody changes a value in the state in place.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_RUNS = 32


class Known(Generic[T]):
    """The last value made from one place in the state."""

    def __init__(self) -> None:
        self._source: object = None
        self._value: tuple[T, ...] = ()

    def get(self, source: object, make: Callable[[], T]) -> T:
        """Return what `make` returned when it was last asked about this very `source`, else ask it now."""
        if not self._value or self._source is not source:
            self._value, self._source = (make(),), source
        return self._value[0]


class Recall:
    """What is known of one run."""

    def __init__(self) -> None:
        self.plan: Known[Any] = Known()
        self.undo: Known[Any] = Known()
        self.former: Known[Any] = Known()
        self.mark: Known[str | None] = Known()
        self._records: dict[str, tuple[object, Any]] = {}

    def outcomes(self, results: Mapping[str, T], read: Callable[[Mapping[str, T]], dict[str, Any]]) -> dict[str, Any]:
        """Return the outcomes in `results`, of which only those are read that were not before."""
        new = {task: record for task, record in results.items() if self._records.get(task, (None,))[0] is not record}
        for task, outcome in read(new).items():
            self._records[task] = (new[task], outcome)
        return {task: self._records[task][1] for task in results}


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
