"""The board of one dispatch: where its tasks wait for each other, in this process.

A `Send` fan-out is one superstep, and a superstep is a barrier. So a dispatch sends tasks together with the tasks that
depend on them, and here each waits for its own dependencies only. What an earlier process finished of the same
superstep is in the checkpoint's pending writes, and is put on the board when the superstep is resumed.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Collection, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from agent.core.compiler.compiler import CompiledPlan
from agent.core.engine.budgets import Deadline, ExhaustedBudget
from agent.core.engine.call_preparation import required_outputs
from agent.core.engine.outcomes import Done, InDoubt, Outcome
from agent.core.engine.progress import TaskProgress, build_progress, find_blocker
from agent.core.plan.limits import Limits
from agent.events import Emit, PlanProgress, RunEvent, TaskFinished, TaskStarted
from agent.execution.call_log import LoggedCall
from agent.execution.concurrency import Slots
from agent.llm.usage import Meter

#: Of a plan with more tasks than this, only every n-th start or end is reported, about 400 in all.
_REPORT_STEPS = 200


class ProgressReporter:
    """Counts the tasks that start and end, without looking at the whole plan each time."""

    def __init__(self, settled: Counter[str], *, total: int) -> None:
        """Start with the number of `settled` tasks by status of their outcomes, out of `total`."""
        self._total = total
        self._settled = settled
        self._running: set[str] = set()
        self._step = max(1, self._total // _REPORT_STEPS)
        self._unreported = 0

    def progress(self) -> TaskProgress:
        """Return the current counts of the plan's tasks."""
        return build_progress(self._settled, running=len(self._running), total=self._total)

    def wrap_emit(self, emit: Emit) -> Emit:
        """Return an `emit` that also reports progress when a task starts or ends."""

        def emit_with_progress(event: RunEvent) -> None:
            emit(event)
            match event:
                case TaskStarted(task=task) if task not in self._running:
                    self._running.add(task)
                case TaskFinished(task=task, status=status):
                    self._running.discard(task)
                    self._settled[status] += 1
                case _:
                    return
            self._unreported += 1
            if self._unreported >= self._step:
                self._unreported = 0
                emit(PlanProgress(progress=self.progress()))

        return emit_with_progress


_MAX_BOARDS = 512
#: LangGraph checks every task of a superstep whenever one of them ends, some microseconds each. If there are many,
#: those that end within this many seconds per active task are handed over together: few checks, and no task that
#: depends on them is held up.
_BATCH_S_PER_TASK = 40e-6
_BATCH_THRESHOLD = 50
#: Turns of the event loop until a call that waits for an outcome is inside its tool: the shield, the task that awaits
#: it, and the task that LangChain makes of a coroutine.
_LOOP_TURNS = 3


class Suspended(Exception):  # noqa: N818 - a task that this one needs waits; nothing is wrong
    """A dependency of this task stopped without an outcome, so this task stops too and runs at the next resume."""


async def yield_to_event_loop() -> None:
    """Let the calls that can start do so before LangGraph has its turn, which takes as long as there are tasks."""
    for _ in range(_LOOP_TURNS):
        await asyncio.sleep(0)


@dataclass(slots=True)
class DispatchBoard:
    """The tasks of one dispatch and their outcomes so far. For one event loop only."""

    compiled: CompiledPlan
    outcomes: dict[str, Outcome]
    slots: Slots
    meter: Meter
    limits: Limits
    revision: int
    thread: str
    #: By task: the digest that was approved.
    approvals: Mapping[str, str]
    #: By fingerprint: finished work of earlier revisions.
    reusable: Mapping[str, tuple[str, Done]]
    #: Digests of calls that a human rejected.
    rejected: Collection[str]
    progress_reporter: ProgressReporter
    #: Tasks that were blocked before this dispatch; none of them is in it, so nothing here would settle them.
    blocked: frozenset[str]
    #: By task: what its check changed in the arguments or doubts.
    warnings: Mapping[str, list[str]] = field(default_factory=dict)
    #: After it no call is begun.
    deadline: Deadline | None = None
    #: By task: the failed attempts of earlier processes.
    earlier_attempts: dict[str, LoggedCall] = field(default_factory=dict)
    #: One task at a time loads outputs, so that none is loaded twice.
    load_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _futures: dict[str, "asyncio.Future[Outcome | None]"] = field(default_factory=dict)
    _active_tasks: int = 0
    _next_batch: "asyncio.Future[None] | None" = None
    _read_tasks: frozenset[str] | None = None
    #: Tasks whose outcome others of this dispatch have waited for.
    _awaited: set[str] = field(default_factory=set)
    #: Work that was started before LangGraph had made a task of its order.
    _early_tasks: dict[str, "asyncio.Task[Outcome | ExhaustedBudget]"] = field(default_factory=dict)

    @contextmanager
    def track(self, task: str) -> Iterator[None]:
        """Count `task` as active; if the block raises, the tasks that wait for it stop too."""
        self._active_tasks += 1
        future = self._get_future(task)
        try:
            yield
        except BaseException:
            if not future.done():
                future.set_exception(Suspended(task))
                # Else asyncio logs an exception that nobody has looked at, if no task waits for this one.
                future.exception()
            raise
        finally:
            self._active_tasks -= 1

    async def wait_for_needs(self, task: str) -> bool:
        """Wait for the dependencies of `task`; return whether it can run, or one of them blocks it.

        Raises `Suspended` if a dependency stopped without an outcome.
        """
        needs = self.compiled.needs[task]
        blocked: set[str] = set()
        for need in needs:
            if need in self.outcomes:
                continue
            self._awaited.add(need)
            if need in self.blocked or await asyncio.shield(self._get_future(need)) is None:
                blocked.add(need)
        return find_blocker(self.compiled.tasks[task], needs, outcomes=self.outcomes, blocked=blocked) is None

    async def wait_for_early_outcome(self, task: str) -> Outcome | ExhaustedBudget | None:
        """Wait for the work on `task` that was started before its order; None if there is none or it broke off.

        What broke off, to ask a human or by a bug, is to be run again where LangGraph sees it.
        """
        running = self._early_tasks.get(task)
        if running is None:
            return None
        await asyncio.wait((running,))
        return None if running.cancelled() or running.exception() is not None else running.result()

    async def settle(self, task: str, outcome: Outcome | ExhaustedBudget | None) -> None:
        """Record the result of `task`, let the tasks that wait for it go on, and return when LangGraph may have it.

        None: it was blocked. A call in doubt and an exhausted budget are no outcomes; they block what depends on them.
        """
        settled = None if isinstance(outcome, InDoubt | ExhaustedBudget) else outcome
        if settled is not None:
            self.outcomes[task] = settled
        future = self._get_future(task)
        if not future.done():
            future.set_result(settled)
        if task in self._awaited:
            await yield_to_event_loop()
        await self._wait_for_batch()

    def start_early(self, task: str, work: Coroutine[None, None, Outcome | ExhaustedBudget]) -> None:
        """Start the work on `task`, whose dependencies are done, before its order has arrived."""
        self._early_tasks[task] = asyncio.create_task(work)

    async def cancel_early(self) -> None:
        """Stop the work that was started early and whose order has not arrived."""
        for running in self._early_tasks.values():
            running.cancel()
        await asyncio.gather(*self._early_tasks.values(), return_exceptions=True)

    def is_output_read(self, task: str) -> bool:
        """Whether another task reads the output of `task`, which is then kept in memory."""
        if self._read_tasks is None:
            self._read_tasks = frozenset[str]().union(*map(required_outputs, self.compiled.plan.tasks))
        return task in self._read_tasks

    @property
    def is_idle(self) -> bool:
        """Whether no task is active on this board."""
        return self._active_tasks == 0

    def _get_future(self, task: str) -> "asyncio.Future[Outcome | None]":
        return self._futures.setdefault(task, asyncio.get_running_loop().create_future())

    async def _wait_for_batch(self) -> None:
        """Wait until finished tasks are handed over to LangGraph."""
        if self._active_tasks < _BATCH_THRESHOLD:
            return
        if self._next_batch is None:
            loop = asyncio.get_running_loop()
            self._next_batch = loop.create_future()
            loop.call_later(self._active_tasks * _BATCH_S_PER_TASK, self._release_batch)
        await asyncio.shield(self._next_batch)

    def _release_batch(self) -> None:
        batch, self._next_batch = self._next_batch, None
        if batch is not None and not batch.done():
            batch.set_result(None)


class BoardRegistry:
    """The boards of the runs that this process has in flight, by dispatch and event loop."""

    def __init__(self) -> None:
        self._boards: OrderedDict[tuple[str, int], tuple[DispatchBoard, object]] = OrderedDict()
        self._locks: WeakValueDictionary[tuple[str, int], asyncio.Lock] = WeakValueDictionary()

    def put(self, dispatch: str, board: DispatchBoard, *, run: object) -> DispatchBoard:
        """Register the board of a dispatch for `run` and return it; of more than 512, the oldest idle ones are dropped.

        `run` is any object that one invocation of the graph has for itself.
        """
        self._boards[self._key(dispatch)] = board, run
        for key in [key for key, (old, _) in self._boards.items() if old.is_idle][
            : max(0, len(self._boards) - _MAX_BOARDS)
        ]:
            del self._boards[key]
        return board

    def get(self, dispatch: str, *, run: object) -> DispatchBoard | None:
        """Return the board of a dispatch that `run` started or resumed; None if it did not.

        The board of a run that was stopped is not used by the next: its slots are closed, and some of its tasks may
        never have come to it.
        """
        board, its_run = self._boards.get(self._key(dispatch)) or (None, None)
        return board if board is not None and (its_run is run or not board.is_idle) else None

    def lock(self, dispatch: str) -> asyncio.Lock:
        """Return the lock under which one of the tasks of a resumed dispatch restores its board."""
        return self._locks.setdefault(self._key(dispatch), asyncio.Lock())

    def drop(self, dispatch: str) -> None:
        """Forget a board whose dispatch is over."""
        self._boards.pop(self._key(dispatch), None)

    @staticmethod
    def _key(dispatch: str) -> tuple[str, int]:
        return dispatch, id(asyncio.get_running_loop())
