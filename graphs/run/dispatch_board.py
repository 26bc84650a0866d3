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
from agent.core.engine.budgets import Exhausted
from agent.core.engine.call_preparation import looks_into, reusable
from agent.core.engine.outcomes import Done, InDoubt, Outcome
from agent.core.engine.progress import Progress, blocked_by, counted
from agent.core.engine.snapshot import Snapshot
from agent.events import Emit, ProgressMade, RunEvent, TaskFinished, TaskStarted
from agent.execution.call_log import LoggedCall
from agent.execution.concurrency import Slots
from agent.llm.usage import Meter
from graphs.run.snapshots import Recall
from graphs.state import State

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


_KEPT = 512
#: LangGraph looks at every task of a superstep again whenever one of them ends, some microseconds each. Where there
#: are many, those that end within this many seconds per task at work are handed over together: few looks, and no
#: task that waits for them is held up.
_TOGETHER_S = 40e-6
_MANY = 50
#: Turns of the event loop until a call that waits for an outcome is inside its tool: the shield, who waits behind it,
#: and the task that LangChain makes of a coroutine.
_TURNS = 3


class Suspended(Exception):  # noqa: N818 - a task below waits; nothing is wrong
    """A need of this task stopped without an outcome, so this task stops too and runs at the next resume."""


async def let_begin() -> None:
    """Let the calls that can begin do so before LangGraph has its turn, which takes it as long as they take."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


@dataclass(slots=True)
class Board:
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
    telling: Telling
    #: Tasks that came to nothing before this dispatch; none of them is in it, and nobody would settle them.
    stuck: frozenset[str]
    #: By task: the calls that earlier processes tried in vain.
    tried: dict[str, LoggedCall] = field(default_factory=dict)
    #: One task at a time loads outputs, so that none is loaded twice.
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _futures: dict[str, "asyncio.Future[Outcome | None]"] = field(default_factory=dict)
    _members: int = 0
    _next: "asyncio.Future[None] | None" = None
    _read: frozenset[str] | None = None
    #: Tasks whose outcome others of this dispatch have waited for.
    _awaited: set[str] = field(default_factory=set)
    #: Work that was begun before LangGraph had made a task of its order.
    _begun: dict[str, "asyncio.Task[Outcome | Exhausted]"] = field(default_factory=dict)

    def _future(self, task: str) -> "asyncio.Future[Outcome | None]":
        return self._futures.setdefault(task, asyncio.get_running_loop().create_future())

    async def settle(self, task: str, work: Callable[[], Awaitable[Outcome | Exhausted]]) -> Outcome | Exhausted | None:
        """Wait for the needs of `task`, then do its work and let those who wait for it know.

        None: one of its needs keeps it from running. A budget that stopped the work is no outcome. Raises `Suspended`
        where a need stopped without an outcome.
        """
        self._members += 1
        future = self._future(task)
        try:
            outcome = await self._outcome(task, work)
        except BaseException:
            if not future.done():
                future.set_exception(Suspended(task))
                future.exception()
            raise
        finally:
            self._members -= 1
        settled = None if isinstance(outcome, InDoubt | Exhausted) else outcome
        if settled is not None:
            self.outcomes[task] = settled
        if not future.done():
            future.set_result(settled)
        if task in self._awaited:
            await let_begin()
        await self._handover()
        return outcome

    def begin(self, task: str, work: Callable[[], Coroutine[None, None, Outcome | Exhausted]]) -> None:
        """Begin the work of `task`, whose needs are done; who settles it then waits for this."""
        self._begun[task] = asyncio.create_task(work())

    async def end_begun(self) -> None:
        """Stop the work that was begun here and that no order has come for."""
        for running in self._begun.values():
            running.cancel()
        await asyncio.gather(*self._begun.values(), return_exceptions=True)

    async def _handover(self) -> None:
        """Wait until what is done is handed over to LangGraph."""
        if self._members < _MANY:
            return
        if self._next is None:
            loop = asyncio.get_running_loop()
            self._next = loop.create_future()
            loop.call_later(self._members * _TOGETHER_S, self._hand_over)
        await asyncio.shield(self._next)

    def _hand_over(self) -> None:
        together, self._next = self._next, None
        if together is not None and not together.done():
            together.set_result(None)

    async def _outcome(
        self, task: str, work: Callable[[], Awaitable[Outcome | Exhausted]]
    ) -> Outcome | Exhausted | None:
        needs = self.compiled.needs[task]
        stuck: set[str] = set()
        for need in needs:
            if need in self.outcomes:
                continue
            self._awaited.add(need)
            if need in self.stuck or await asyncio.shield(self._future(need)) is None:
                stuck.add(need)
        if blocked_by(self.compiled.tasks[task], needs, outcomes=self.outcomes, blocked=stuck) is not None:
            return None
        begun = self._begun.get(task)
        if begun is not None:
            await asyncio.wait((begun,))
            if not begun.cancelled() and begun.exception() is None:
                return begun.result()
        # What broke off there, to ask a person or by a bug, does so where LangGraph sees it.
        return await work()

    def looked_into(self, task: str) -> bool:
        """Whether another task looks into the output of `task`, which is kept at hand then."""
        if self._read is None:
            self._read = frozenset[str]().union(*map(looks_into, self.compiled.plan.tasks))
        return task in self._read

    @property
    def idle(self) -> bool:
        """Whether no task is at work on this board."""
        return self._members == 0


class Boards:
    """The boards of the runs that this process has under way, by dispatch and event loop."""

    def __init__(self) -> None:
        self._boards: OrderedDict[tuple[str, int], tuple[Board, object]] = OrderedDict()
        self._making: dict[tuple[str, int], asyncio.Task[Board]] = {}

    def put(self, dispatch: str, board: Board, *, run: object) -> Board:
        """Set up the board of a dispatch for `run` and return it; idle ones beyond 512 are dropped, the oldest first.

        `run` is whatever one invocation of the graph has to itself.
        """
        self._boards[self._key(dispatch)] = board, run
        for key in [key for key, (old, _) in self._boards.items() if old.idle][: max(0, len(self._boards) - _KEPT)]:
            del self._boards[key]
        return board

    def get(self, dispatch: str, *, run: object) -> Board | None:
        """Return the board of a dispatch that `run` began or took up, if it did.

        What a run leaves when it is stopped is not taken up by the next: its places are closed, and some of its tasks
        may never have come to it.
        """
        board, its_run = self._boards.get(self._key(dispatch)) or (None, None)
        return board if board is not None and (its_run is run or not board.idle) else None

    async def taken_up(self, dispatch: str, make: Callable[[], Coroutine[None, None, Board]], *, run: object) -> Board:
        """Return the board of a dispatch that another run began; of all its tasks that come here, one makes it."""
        key = self._key(dispatch)
        if key not in self._making:
            making = self._making[key] = asyncio.create_task(make())
            making.add_done_callback(lambda _: self._making.pop(key, None))
        made = await asyncio.shield(self._making[key])
        return self.get(dispatch, run=run) or self.put(dispatch, made, run=run)

    def drop(self, dispatch: str) -> None:
        """Forget a board whose dispatch is over."""
        self._boards.pop(self._key(dispatch), None)

    @staticmethod
    def _key(dispatch: str) -> tuple[str, int]:
        return dispatch, id(asyncio.get_running_loop())


def board_of(state: State, snapshot: Snapshot, recall: Recall, slots: Slots, *, meter: Meter, thread: str) -> Board:
    """Return the board for a dispatch of what stands in the state; `recall` is that of the snapshot."""
    revision, active = state.get("revision") or 1, active_plan(snapshot)
    frontier = snapshot.frontier_of(active)
    # No work of an earlier revision is added while a plan is carried out.
    done_before = recall.reusable.get(active, lambda: reusable(snapshot.outcomes, revision=revision))
    return Board(
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
        telling=Telling(frontier.counts(), total=len(active.tasks)),
        stuck=frozenset(frontier.blocked),
    )


def active_plan(snapshot: Snapshot) -> CompiledPlan:
    """Return the plan that is being carried out: the rollback's, once there is one."""
    active = snapshot.undo or snapshot.compiled
    if active is None:
        raise AssertionError("only a compiled plan is dispatched")
    return active
