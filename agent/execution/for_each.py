"""The calls of a `for_each`: side by side within bounds, each kept when it ends, the outputs in order."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import anyio
from pydantic import JsonValue

from agent.core.engine.call_preparation import PreparedTask
from agent.core.engine.outcomes import ItemFailure, PartialFailure
from agent.core.plan.document import OnItemFailure
from agent.events import Emit, ItemProgress, RunEvent, TaskRetrying, TaskStarted
from agent.execution.call_log import (
    CallFailed,
    CallInDoubt,
    CallLog,
    CallOutcome,
    CallResult,
    CallRunner,
    LoggedCall,
    deserialize_call,
    serialize_call,
)
from agent.execution.concurrency import RunHalted, Slots, Urgency

#: Items that end within this many seconds for each that is at work are stored together, so that items which take no
#: time do not cost a transaction each.
_BATCH_WINDOW_S: Final = 0.2e-3
_PROGRESS_STEPS: Final = 200
#: Failures of one task that are told.
_MAX_ERRORS: Final = 20


@dataclass(frozen=True, slots=True)
class ItemBatch:
    """The calls of one `for_each`, and where each of them is logged."""

    thread: str
    revision: int
    task: str
    ready: PreparedTask
    log: CallLog
    policy: OnItemFailure

    def to_logged_call(self, item: int, made: CallResult | CallFailed) -> LoggedCall:
        """Return what is stored of an item that ended."""
        return LoggedCall(
            thread=self.thread,
            revision=self.revision,
            task=self.task,
            item=item,
            tool=self.ready.tool,
            mark=self.ready.compute_call_fingerprint(item),
            attempts=made.attempts,
            started_at=made.started_at.isoformat() if made.started_at else None,
            record=serialize_call(made),
        )


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What came of all items: the list of outputs, or a failure; and what is missing of it, if something is."""

    result: CallResult | CallFailed
    partial_failure: PartialFailure | None = None


def find_finished_items(batch: ItemBatch, logged: list[LoggedCall]) -> dict[int, CallResult | CallFailed]:
    """Return the items that need no call any more, by position.

    Those are the ones that ended when this very task was begun before, and those whose call an earlier revision made
    with success, each such call for one item.
    """
    if not any(call.record for call in logged):
        return {}
    own: dict[int, LoggedCall] = {}
    earlier: defaultdict[str, deque[LoggedCall]] = defaultdict(deque)
    for call in logged:
        if (call.revision, call.task) == (batch.revision, batch.task):
            own[call.key[-1]] = call
        elif call.record and call.record["status"] == "done":
            earlier[call.mark].append(call)
    found: dict[int, CallResult | CallFailed] = {}
    for item in range(len(batch.ready.calls)):
        mark = batch.ready.compute_call_fingerprint(item)
        known = own.get(item)
        if known is not None and known.mark == mark and known.record is not None:
            found[item] = deserialize_call(known.record)
        elif earlier[mark] and (record := earlier[mark].popleft().record):
            # The attempts were counted for the task that made them.
            found[item] = CallResult(record["output"], 0, None)
    return found


async def run_items(
    runner: CallRunner,
    batch: ItemBatch,
    ended: Mapping[int, CallResult | CallFailed],
    *,
    width: int,
    slots: Slots,
    urgency: Urgency,
    emit: Emit,
) -> BatchResult | tuple[CallInDoubt, ...]:
    """Make every call that has not `ended` before, at most `width` at once, and return what came of all.

    An item is stored before another is begun in its place, so that a crash costs `width` items at most. Doubts come
    before anything else. Raises `Halted` where the run is stopped before every item was begun. Whatever is raised,
    the items that ended are stored by then.
    """
    calls, made = batch.ready.calls, dict[int, CallOutcome](ended)
    telling, storing = _ItemProgressReporter(batch, emit, ended), _ItemLogWriter(batch.log, width=width)
    left = (item for item in range(len(calls)) if item not in ended)
    halts: list[RunHalted] = []

    async def run_worker() -> None:
        for item in left:
            if halts or (batch.policy == "stop" and telling.failed):
                return
            try:
                one = await runner.run_call(
                    calls[item], item=item, slots=slots, urgency=urgency, emit=telling.forward_event
                )
            except RunHalted as halted:
                # Raised inside the group, it would cancel the items that are under way.
                halts.append(halted)
                return
            made[item] = one
            if not isinstance(one, CallInDoubt):
                await storing.add(batch.to_logged_call(item, one))
            telling.count_item(one)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(width, len(calls) - len(ended))):
                group.create_task(run_worker())
    except BaseExceptionGroup as broken:
        raise broken.exceptions[0] from None
    finally:
        with anyio.CancelScope(shield=True):
            await storing.finish()
    if halts:
        raise halts[0]
    return _build_batch_result(batch, made)


def _build_batch_result(batch: ItemBatch, made: Mapping[int, CallOutcome]) -> BatchResult | tuple[CallInDoubt, ...]:
    doubtful = tuple(one for _, one in sorted(made.items()) if isinstance(one, CallInDoubt))
    if doubtful:
        return doubtful
    total, attempts = len(batch.ready.calls), sum(one.attempts for one in made.values())
    started = min((one.started_at for one in made.values() if one.started_at), default=None)
    missing = _summarize_failures(made, total=total)
    if missing is not None and (batch.policy in {"finish", "stop"} or len(missing.failed) == total):
        return BatchResult(CallFailed(missing.errors[0].kind, str(missing), attempts, started), missing)
    outputs: list[JsonValue] = []
    for _, one in sorted(made.items()):
        if isinstance(one, CallResult):
            outputs.append(one.output)
        elif batch.policy == "null":
            outputs.append(None)
    return BatchResult(CallResult(outputs, attempts, started), missing)


def _summarize_failures(made: Mapping[int, CallOutcome], *, total: int) -> PartialFailure | None:
    failed = [(item, one) for item, one in sorted(made.items()) if isinstance(one, CallFailed)]
    if not failed:
        return None
    errors = tuple(ItemFailure(item=item, kind=one.kind, error=one.error) for item, one in failed[:_MAX_ERRORS])
    positions = tuple(item for item, _ in failed)
    return PartialFailure(total=total, failed=positions, not_begun=total - len(made), errors=errors)


class _ItemLogWriter:
    """Logs items as they end: those that end while others are being stored are stored together after them."""

    def __init__(self, log: CallLog, *, width: int) -> None:
        self._log = log
        self._together_s = _BATCH_WINDOW_S * width if width > 1 else 0.0
        self._waiting: list[LoggedCall] = []
        self._turn = asyncio.Lock()

    async def add(self, call: LoggedCall) -> None:
        """Store an item, with all that wait by then."""
        batch = self._waiting
        batch.append(call)
        await asyncio.sleep(self._together_s)
        async with self._turn:
            if batch is self._waiting:
                await self._flush()

    async def finish(self) -> None:
        """Store what waits."""
        async with self._turn:
            await self._flush()

    async def _flush(self) -> None:
        batch, self._waiting = self._waiting, []
        if batch:
            await self._log.save_calls(batch)


class _ItemProgressReporter:
    """Tells how far the items are; of 10,000 calls that begin and end nobody wants to hear each."""

    def __init__(self, batch: ItemBatch, emit: Emit, ended: Mapping[int, CallResult | CallFailed]) -> None:
        self._task = batch.task
        self._emit = emit
        self._total = len(batch.ready.calls)
        self._step = max(1, self._total // _PROGRESS_STEPS)
        self._ended = len(ended)
        self._started = False
        self.failed = sum(isinstance(one, CallFailed) for one in ended.values())
        if ended:
            self._report_progress()

    def forward_event(self, event: RunEvent) -> None:
        """Pass an event of an item on: the first beginning, and the one after each retry."""
        match event:
            case TaskStarted():
                if self._started:
                    return
                self._started = True
            case TaskRetrying():
                self._started = False
        self._emit(event)

    def count_item(self, one: CallOutcome) -> None:
        """Take in that an item ended."""
        self._ended += 1
        self.failed += isinstance(one, CallFailed)
        if self._ended % self._step == 0 or self._ended == self._total:
            self._report_progress()

    def _report_progress(self) -> None:
        self._emit(ItemProgress(task=self._task, ended=self._ended, failed=self.failed, total=self._total))
