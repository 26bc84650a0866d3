"""What follows from the outcomes of a plan, updated outcome by outcome.

Deriving it again at each move would make every move cost as much as the whole plan, and a plan that is dispatched
level by level its square.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from agent.core.compiler.compiler import CompiledPlan
from agent.core.engine.outcomes import Done, Failed, Outcome, Rejected
from agent.core.engine.progress import TaskProgress, build_progress, find_blocker


def was_executed(outcome: Outcome) -> bool:
    """Whether a call was made for this outcome."""
    return outcome.attempts > 0 and not (isinstance(outcome, Done) and outcome.reused_from)


class Frontier:
    """Which tasks of a plan are ready, blocked or failed, and how many are settled, after the outcomes so far.

    It only grows: a recorded outcome stays, and a blocked task stays blocked. For another plan, or if outcomes were
    removed or changed, make another frontier. Reading it does not change it.
    """

    def __init__(self, compiled: CompiledPlan, outcomes: Mapping[str, Outcome]) -> None:
        """Start after `outcomes`, which may include those of tasks that are not in the plan."""
        self.compiled = compiled
        #: Tasks without an outcome that cannot run because of the outcomes so far.
        self.blocked: set[str] = set()
        #: Failed and rejected tasks of the plan.
        self.failed: set[str] = set()
        #: How many tasks, of all revisions, have been run: each counts once, whatever its attempts.
        self.executed_count = 0
        self._outcomes: dict[str, Outcome] = {}
        self._position = {task: at for at, task in enumerate(compiled.order)}
        self._dependants: dict[str, list[str]] = {task: [] for task in compiled.order}
        #: For each task: how many of its needs are not settled.
        self._missing: dict[str, int] = {}
        self._counts: Counter[str] = Counter()
        for task, needs in compiled.needs.items():
            self._missing[task] = len(needs)
            for need in needs:
                self._dependants[need].append(task)
        self._ready = {task for task, missing in self._missing.items() if not missing}
        self.advance(outcomes)

    def advance(self, outcomes: Mapping[str, Outcome]) -> None:
        """Add outcomes of tasks that had none."""
        for task, outcome in outcomes.items():
            self.executed_count += was_executed(outcome)
            self._outcomes[task] = outcome
            if task not in self._position:
                continue
            self._counts[outcome.status] += 1
            if isinstance(outcome, Failed | Rejected):
                self.failed.add(task)
            if task in self.blocked:
                self.blocked.discard(task)
            else:
                self._settle(task)
        self._block_dependents(task for task in outcomes if task in self._position)

    def sort_in_plan_order(self, tasks: Iterable[str]) -> list[str]:
        """Return those of `tasks` that are in the plan, each after what it needs."""
        return sorted((task for task in tasks if task in self._position), key=self._position.__getitem__)

    def list_ready(self) -> list[str]:
        """Return the tasks that are not settled and whose needs all are, in plan order."""
        return self.sort_in_plan_order(self._ready)

    def is_settled(self, task: str) -> bool:
        """Whether `task` has an outcome or is blocked."""
        return task in self._outcomes or task in self.blocked

    def get_progress(self, *, running: int = 0) -> TaskProgress:
        """Count the plan's tasks."""
        return build_progress(self._counts, running=running, total=len(self._position))

    def count_by_status(self) -> Counter[str]:
        """Return how many tasks of the plan have an outcome of each status."""
        return Counter(self._counts)

    def _settle(self, task: str) -> None:
        self._ready.discard(task)
        for dependant in self._dependants[task]:
            self._missing[dependant] -= 1
            if not self._missing[dependant] and not self.is_settled(dependant):
                self._ready.add(dependant)

    def _block_dependents(self, changed: Iterable[str]) -> None:
        """Block the tasks that depend on `changed` tasks that are not done, and the tasks that depend on those."""
        left = [task for task in changed if not isinstance(self._outcomes[task], Done)]
        while left:
            for task in self._dependants[left.pop()]:
                if not self.is_settled(task) and self._is_blocked(task):
                    self.blocked.add(task)
                    self._settle(task)
                    left.append(task)

    def _is_blocked(self, task: str) -> bool:
        needs = self.compiled.needs[task]
        need = find_blocker(self.compiled.tasks[task], needs, outcomes=self._outcomes, blocked=self.blocked)
        return need is not None
