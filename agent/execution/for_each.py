"""The calls of a `for_each`: side by side within bounds, each kept when it ends, the outputs in order."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import anyio
from pydantic import JsonValue

from agent.core.engine.call_preparation import Ready
from agent.core.engine.outcomes import ItemFailure, PartlyFailed
from agent.core.plan.document import OnItemFailure
from agent.events import Emit, ItemsMade, RunEvent, TaskRetrying, TaskStarted
from agent.execution.call_log import (
    CallFailed,
    CallInDoubt,
    CallLog,
    CallMade,
    CallResult,
    LoggedCall,
    Maker,
    made_from,
    record_of,
)
from agent.execution.concurrency import Halted, Slots, Urgency

#: Items that end within this many seconds for each that is at work are stored together, so that items which take no
#: time do not cost a transaction each.
_TOGETHER_S: Final = 0.2e-3
_STEPS: Final = 200
#: Failures of one task that are told.
_ERRORS: Final = 20


@dataclass(frozen=True, slots=True)
class Series:
    """The calls of one `for_each`, and where each of them is logged."""

    thread: str
    revision: int
    task: str
    ready: Ready
    log: CallLog
    policy: OnItemFailure

    def logged(self, item: int, made: CallResult | CallFailed) -> LoggedCall:
        """Return what is stored of an item that ended."""
        return LoggedCall(
            thread=self.thread,
            revision=self.revision,
            task=self.task,
            item=item,
            tool=self.ready.tool,
            mark=self.ready.mark(item),
            attempts=made.attempts,
            started_at=made.started_at.isoformat() if made.started_at else None,
            record=record_of(made),
        )


@dataclass(frozen=True, slots=True)
class Made:
    """What came of all items: the list of outputs, or a failure; and what is missing of it, if something is."""

    result: CallResult | CallFailed
    missing: PartlyFailed | None = None


def ended_before(series: Series, logged: list[LoggedCall]) -> dict[int, CallResult | CallFailed]:
    """Return the items that need no call any more, by position.

    Those are the ones that ended when this very task was begun before, and those whose call an earlier revision made
    with success, each such call for one item.
    """
    if not any(call.record for call in logged):
        return {}
    own: dict[int, LoggedCall] = {}
    earlier: defaultdict[str, deque[LoggedCall]] = defaultdict(deque)
    for call in logged:
        if (call.revision, call.task) == (series.revision, series.task):
            own[call.key[-1]] = call
        elif call.record and call.record["status"] == "done":
            earlier[call.mark].append(call)
    found: dict[int, CallResult | CallFailed] = {}
    for item in range(len(series.ready.calls)):
        mark = series.ready.mark(item)
        known = own.get(item)
        if known is not None and known.mark == mark and known.record is not None:
            found[item] = made_from(known.record)
        elif earlier[mark] and (record := earlier[mark].popleft().record):
            # The attempts were counted for the task that made them.
            found[item] = CallResult(record["output"], 0, None)
    return found


async def all_items(
    maker: Maker,
    series: Series,
    ended: Mapping[int, CallResult | CallFailed],
    *,
    width: int,
    slots: Slots,
    urgency: Urgency,
    emit: Emit,
) -> Made | tuple[CallInDoubt, ...]:
    """Make every call that has not `ended` before, at most `width` at once, and return what came of all.

    An item is stored before another is begun in its place, so that a crash costs `width` items at most. Doubts come
    before anything else. Raises `Halted` where the run is stopped before every item was begun. Whatever is raised,
    the items that ended are stored by then.
    """
    calls, made = series.ready.calls, dict[int, CallMade](ended)
    telling, storing = _Telling(series, emit, ended), _Storing(series.log, width=width)
    left = (item for item in range(len(calls)) if item not in ended)
    halts: list[Halted] = []

    async def work() -> None:
        for item in left:
            if halts or (series.policy == "stop" and telling.failed):
                return
            try:
                one = await maker.make(calls[item], item=item, slots=slots, urgency=urgency, emit=telling.emit)
            except Halted as halted:
                # Raised inside the group, it would cancel the items that are under way.
                halts.append(halted)
                return
            made[item] = one
            if not isinstance(one, CallInDoubt):
                await storing.add(series.logged(item, one))
            telling.end(one)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(width, len(calls) - len(ended))):
                group.create_task(work())
    except BaseExceptionGroup as broken:
        raise broken.exceptions[0] from None
    finally:
        with anyio.CancelScope(shield=True):
            await storing.finish()
    if halts:
        raise halts[0]
    return _joined(series, made)


def _joined(series: Series, made: Mapping[int, CallMade]) -> Made | tuple[CallInDoubt, ...]:
    doubtful = tuple(one for _, one in sorted(made.items()) if isinstance(one, CallInDoubt))
    if doubtful:
        return doubtful
    total, attempts = len(series.ready.calls), sum(one.attempts for one in made.values())
    started = min((one.started_at for one in made.values() if one.started_at), default=None)
    missing = _missing(made, total=total)
    if missing is not None and (series.policy in {"finish", "stop"} or len(missing.failed) == total):
        return Made(CallFailed(missing.errors[0].kind, str(missing), attempts, started), missing)
    outputs: list[JsonValue] = []
    for _, one in sorted(made.items()):
        if isinstance(one, CallResult):
            outputs.append(one.output)
        elif series.policy == "null":
            outputs.append(None)
    return Made(CallResult(outputs, attempts, started), missing)


def _missing(made: Mapping[int, CallMade], *, total: int) -> PartlyFailed | None:
    failed = [(item, one) for item, one in sorted(made.items()) if isinstance(one, CallFailed)]
    if not failed:
        return None
    errors = tuple(ItemFailure(item=item, kind=one.kind, error=one.error) for item, one in failed[:_ERRORS])
    positions = tuple(item for item, _ in failed)
    return PartlyFailed(total=total, failed=positions, not_begun=total - len(made), errors=errors)


class _Storing:
    """Logs items as they end: those that end while others are being stored are stored together after them."""

    def __init__(self, log: CallLog, *, width: int) -> None:
        self._log = log
        self._together_s = _TOGETHER_S * width if width > 1 else 0.0
        self._waiting: list[LoggedCall] = []
        self._turn = asyncio.Lock()

    async def add(self, call: LoggedCall) -> None:
        """Store an item, with all that wait by then."""
        batch = self._waiting
        batch.append(call)
        await asyncio.sleep(self._together_s)
        async with self._turn:
            if batch is self._waiting:
                await self._store()

    async def finish(self) -> None:
        """Store what waits."""
        async with self._turn:
            await self._store()

    async def _store(self) -> None:
        batch, self._waiting = self._waiting, []
        if batch:
            await self._log.note(batch)


class _Telling:
    """Tells how far the items are; of 10,000 calls that begin and end nobody wants to hear each."""

    def __init__(self, series: Series, emit: Emit, ended: Mapping[int, CallResult | CallFailed]) -> None:
        self._task = series.task
        self._emit = emit
        self._total = len(series.ready.calls)
        self._step = max(1, self._total // _STEPS)
        self._ended = len(ended)
        self._started = False
        self.failed = sum(isinstance(one, CallFailed) for one in ended.values())
        if ended:
            self._tell()

    def emit(self, event: RunEvent) -> None:
        """Pass an event of an item on: the first beginning, and the one after each retry."""
        match event:
            case TaskStarted():
                if self._started:
                    return
                self._started = True
            case TaskRetrying():
                self._started = False
        self._emit(event)

    def end(self, one: CallMade) -> None:
        """Take in that an item ended."""
        self._ended += 1
        self.failed += isinstance(one, CallFailed)
        if self._ended % self._step == 0 or self._ended == self._total:
            self._tell()

    def _tell(self) -> None:
        self._emit(ItemsMade(task=self._task, ended=self._ended, failed=self.failed, total=self._total))
