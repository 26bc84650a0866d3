"""The board of one dispatch: where its tasks wait for each other, in this process.

A `Send` fan-out is one superstep, and a superstep is a barrier. So a dispatch sends tasks together with those that
wait for them, and here each waits for its own needs only. What an earlier process finished of the same superstep lies
in the checkpoint's pending writes and is put on the board when the superstep is taken up again.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field

from agent.core.compiler.compiler import CompiledPlan
from agent.core.engine.budgets import ExhaustedBudget
from agent.core.engine.call_preparation import find_reusable_results, required_outputs
from agent.core.engine.outcomes import Done, InDoubt, Outcome
from agent.core.engine.progress import TaskProgress, build_progress, find_blocker
from agent.core.engine.snapshot import Snapshot
from agent.events import Emit, PlanProgress, RunEvent, TaskFinished, TaskStarted
from agent.execution.call_log import LoggedCall
from agent.execution.concurrency import Slots
from agent.llm.usage import Meter
from graphs.run.snapshots import RunCache
from graphs.state import State

#: Of a plan with more tasks only every so many beginnings and ends are told, about 400 times in all.
_REPORT_STEPS = 200


class ProgressReporter:
    """Counts what begins and ends, without looking at the whole plan again each time."""

    def __init__(self, settled: Counter[str], *, total: int) -> None:
        """Begin where so many of `total` tasks are `settled`, by status of their outcomes."""
        self._total = total
        self._settled = settled
        self._running: set[str] = set()
        self._step = max(1, self._total // _REPORT_STEPS)
        self._unreported = 0

    def progress(self) -> TaskProgress:
        """Return the counts of the plan's tasks as they are now."""
        return build_progress(self._settled, running=len(self._running), total=self._total)

    def wrap_emit(self, emit: Emit) -> Emit:
        """Return `emit` such that it tells of progress too where a task begins or ends."""

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
#: LangGraph looks at every task of a superstep again whenever one of them ends, some microseconds each. Where there
#: are many, those that end within this many seconds per task at work are handed over together: few looks, and no
#: task that waits for them is held up.
_BATCH_S_PER_TASK = 40e-6
_BATCH_THRESHOLD = 50
#: Turns of the event loop until a call that waits for an outcome is inside its tool: the shield, who waits behind it,
#: and the task that LangChain makes of a coroutine.
_LOOP_TURNS = 3


class Suspended(Exception):  # noqa: N818 - a task below waits; nothing is wrong
    """A need of this task stopped without an outcome, so this task stops too and runs at the next resume."""


async def yield_to_event_loop() -> None:
    """Let the calls that can begin do so before LangGraph has its turn, which takes it as long as they take."""
    for _ in range(_LOOP_TURNS):
        await asyncio.sleep(0)


@dataclass(slots=True)
class DispatchBoard:
    """The tasks of one dispatch and what became of them so far. One event loop only."""

    compiled: CompiledPlan
    outcomes: dict[str, Outcome]
    slots: Slots
    meter: Meter
    revision: int
    thread: str
    approvals: Mapping[str, str]
    cleared: Mapping[str, Mapping[str, int]]
    reusable: Mapping[str, tuple[str, Done]]
    rejected: Collection[str]
    progress_reporter: ProgressReporter
    #: Tasks that came to nothing before this dispatch; none of them is in it, and nobody would settle them.
    blocked: frozenset[str]
    #: By task: the calls that earlier processes tried in vain.
    earlier_attempts: dict[str, LoggedCall] = field(default_factory=dict)
    #: One task at a time loads outputs, so that none is loaded twice.
    load_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _futures: dict[str, "asyncio.Future[Outcome | None]"] = field(default_factory=dict)
    _active_tasks: int = 0
    _next_batch: "asyncio.Future[None] | None" = None
    _read_tasks: frozenset[str] | None = None
    #: Tasks whose outcome others of this dispatch have waited for.
    _awaited: set[str] = field(default_factory=set)
    #: Work that was begun before LangGraph had made a task of its order.
    _early_tasks: dict[str, "asyncio.Task[Outcome | ExhaustedBudget]"] = field(default_factory=dict)

    def _get_future(self, task: str) -> "asyncio.Future[Outcome | None]":
        return self._futures.setdefault(task, asyncio.get_running_loop().create_future())

    async def run_when_ready(
        self, task: str, work: Callable[[], Awaitable[Outcome | ExhaustedBudget]]
    ) -> Outcome | ExhaustedBudget | None:
        """Wait for the needs of `task`, then do its work and let those who wait for it know.

        None: one of its needs keeps it from running. A budget that stopped the work is no outcome. Raises `Suspended`
        where a need stopped without an outcome.
        """
        self._active_tasks += 1
        future = self._get_future(task)
        try:
            outcome = await self._wait_and_run(task, work)
        except BaseException:
            if not future.done():
                future.set_exception(Suspended(task))
                future.exception()
            raise
        finally:
            self._active_tasks -= 1
        settled = None if isinstance(outcome, InDoubt | ExhaustedBudget) else outcome
        if settled is not None:
            self.outcomes[task] = settled
        if not future.done():
            future.set_result(settled)
        if task in self._awaited:
            await yield_to_event_loop()
        await self._wait_for_batch()
        return outcome

    def start_early(self, task: str, work: Callable[[], Coroutine[None, None, Outcome | ExhaustedBudget]]) -> None:
        """Begin the work of `task`, whose needs are done; who settles it then waits for this."""
        self._early_tasks[task] = asyncio.create_task(work())

    async def cancel_early(self) -> None:
        """Stop the work that was begun here and that no order has come for."""
        for running in self._early_tasks.values():
            running.cancel()
        await asyncio.gather(*self._early_tasks.values(), return_exceptions=True)

    async def _wait_for_batch(self) -> None:
        """Wait until what is done is handed over to LangGraph."""
        if self._active_tasks < _BATCH_THRESHOLD:
            return
        if self._next_batch is None:
            loop = asyncio.get_running_loop()
            self._next_batch = loop.create_future()
            loop.call_later(self._active_tasks * _BATCH_S_PER_TASK, self._release_batch)
        await asyncio.shield(self._next_batch)

    def _release_batch(self) -> None:
        together, self._next_batch = self._next_batch, None
        if together is not None and not together.done():
            together.set_result(None)

    async def _wait_and_run(
        self, task: str, work: Callable[[], Awaitable[Outcome | ExhaustedBudget]]
    ) -> Outcome | ExhaustedBudget | None:
        needs = self.compiled.needs[task]
        stuck: set[str] = set()
        for need in needs:
            if need in self.outcomes:
                continue
            self._awaited.add(need)
            if need in self.blocked or await asyncio.shield(self._get_future(need)) is None:
                stuck.add(need)
        if find_blocker(self.compiled.tasks[task], needs, outcomes=self.outcomes, blocked=stuck) is not None:
            return None
        begun = self._early_tasks.get(task)
        if begun is not None:
            await asyncio.wait((begun,))
            if not begun.cancelled() and begun.exception() is None:
                return begun.result()
        # What broke off there, to ask a person or by a bug, does so where LangGraph sees it.
        return await work()

    def is_output_read(self, task: str) -> bool:
        """Whether another task looks into the output of `task`, which is kept at hand then."""
        if self._read_tasks is None:
            self._read_tasks = frozenset[str]().union(*map(required_outputs, self.compiled.plan.tasks))
        return task in self._read_tasks

    @property
    def is_idle(self) -> bool:
        """Whether no task is at work on this board."""
        return self._active_tasks == 0


class BoardRegistry:
    """The boards of the runs that this process has under way, by dispatch and event loop."""

    def __init__(self) -> None:
        self._boards: OrderedDict[tuple[str, int], tuple[DispatchBoard, object]] = OrderedDict()
        self._pending_boards: dict[tuple[str, int], asyncio.Task[DispatchBoard]] = {}

    def put(self, dispatch: str, board: DispatchBoard, *, run: object) -> DispatchBoard:
        """Set up the board of a dispatch for `run` and return it; idle ones beyond 512 are dropped, the oldest first.

        `run` is whatever one invocation of the graph has to itself.
        """
        self._boards[self._key(dispatch)] = board, run
        for key in [key for key, (old, _) in self._boards.items() if old.is_idle][
            : max(0, len(self._boards) - _MAX_BOARDS)
        ]:
            del self._boards[key]
        return board

    def get(self, dispatch: str, *, run: object) -> DispatchBoard | None:
        """Return the board of a dispatch that `run` began or took up, if it did.

        What a run leaves when it is stopped is not taken up by the next: its places are closed, and some of its tasks
        may never have come to it.
        """
        board, its_run = self._boards.get(self._key(dispatch)) or (None, None)
        return board if board is not None and (its_run is run or not board.is_idle) else None

    async def get_or_create(
        self, dispatch: str, make: Callable[[], Coroutine[None, None, DispatchBoard]], *, run: object
    ) -> DispatchBoard:
        """Return the board of a dispatch that another run began; of all its tasks that come here, one makes it."""
        key = self._key(dispatch)
        if key not in self._pending_boards:
            making = self._pending_boards[key] = asyncio.create_task(make())
            making.add_done_callback(lambda _: self._pending_boards.pop(key, None))
        made = await asyncio.shield(self._pending_boards[key])
        return self.get(dispatch, run=run) or self.put(dispatch, made, run=run)

    def drop(self, dispatch: str) -> None:
        """Forget a board whose dispatch is over."""
        self._boards.pop(self._key(dispatch), None)

    @staticmethod
    def _key(dispatch: str) -> tuple[str, int]:
        return dispatch, id(asyncio.get_running_loop())


def create_board(
    state: State, snapshot: Snapshot, cache: RunCache, slots: Slots, *, meter: Meter, thread: str
) -> DispatchBoard:
    """Return the board for a dispatch of what stands in the state; `recall` is that of the snapshot."""
    revision, active = state.get("revision") or 1, active_plan(snapshot)
    frontier = snapshot.get_frontier(active)
    # No work of an earlier revision is added while a plan is carried out.
    done_before = cache.reusable.get(active, lambda: find_reusable_results(snapshot.outcomes, revision=revision))
    return DispatchBoard(
        compiled=active,
        outcomes=dict(snapshot.outcomes),
        slots=slots,
        meter=meter,
        revision=revision,
        thread=thread,
        approvals=state.get("approvals") or {},
        cleared=state.get("cleared") or {},
        # An undoing is made although an earlier plan may have made the same call.
        reusable={} if snapshot.undo is not None else done_before,
        rejected=state.get("rejected") or (),
        progress_reporter=ProgressReporter(frontier.count_by_status(), total=len(active.tasks)),
        blocked=frozenset(frontier.blocked),
    )


def active_plan(snapshot: Snapshot) -> CompiledPlan:
    """Return the plan that is being carried out: the rollback's, once there is one."""
    active = snapshot.undo or snapshot.compiled
    if active is None:
        raise AssertionError("only a compiled plan is dispatched")
    return active
