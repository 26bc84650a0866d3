"""The events of one dispatch told to those who watch, its progress among them."""

from collections import Counter

from agent.core.progress import Progress, counted
from agent.events import Emit, ProgressMade, RunEvent, TaskFinished, TaskStarted

#: Of a plan with more tasks only every so many beginnings and ends are told, about 400 times in all.
_STEPS = 200


class Telling:
    """Counts what begins and ends, without looking at the whole plan again each time."""

    def __init__(self, settled: Counter[str], *, total: int) -> None:
        """Begin where so many of `total` tasks are `settled`, by status of their outcomes."""
        self._total = total
        self._settled = settled
        self._running: set[str] = set()
        self._step = max(1, self._total // _STEPS)
        self._untold = 0

    def progress(self) -> Progress:
        """Return the counts of the plan's tasks as they are now."""
        return counted(self._settled, running=len(self._running), total=self._total)

    def through(self, emit: Emit) -> Emit:
        """Return `emit` such that it tells of progress too where a task begins or ends."""

        def tell(event: RunEvent) -> None:
            emit(event)
            match event:
                case TaskStarted(task=task) if task not in self._running:
                    self._running.add(task)
                case TaskFinished(task=task, status=status):
                    self._running.discard(task)
                    self._settled[status] += 1
                case _:
                    return
            self._untold += 1
            if self._untold >= self._step:
                self._untold = 0
                emit(ProgressMade(progress=self.progress()))

        return tell
