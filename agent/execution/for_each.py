"""The calls of a `for_each`: side by side within limits, each stored when it ends, the outputs in order."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import anyio
from pydantic import JsonValue

from agent.core.engine.outcomes import ItemFailure, PartialFailure
from agent.core.plan.document import OnItemFailure
from agent.errors import BudgetError
from agent.events import Emit, ItemProgress, RunEvent, TaskRetrying, TaskStarted
from agent.execution.attempts import CallRunner
from agent.execution.call_log import (
    CallFailed,
    CallInDoubt,
    CallOutcome,
    CallResult,
    LoggedCall,
    deserialize_call,
    serialize_call,
)
from agent.execution.concurrency import RunHalted
from agent.logging_context import get_logger

#: Items that end within this many seconds, times the number of items side by side, are stored together, so that items
#: which take no time do not cost a transaction each.
_BATCH_WINDOW_S: Final = 0.2e-3
_logger = get_logger(__name__)
_PROGRESS_STEPS: Final = 200
#: Failures of one task that are reported.
_MAX_ERRORS: Final = 20


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The result of all items: the list of outputs, or a failure; and what is missing in it, if anything is."""

    result: CallResult | CallFailed
    partial_failure: PartialFailure | None = None


async def run_items(
    runner: CallRunner, logged: Sequence[LoggedCall], *, emit: Emit
) -> BatchResult | tuple[CallInDoubt, ...]:
    """Make the call of every item that the log does not know to have ended, and return the result of all.

    Doubts are returned before anything else. An item is stored before another one takes its place, so that a crash
    costs as many items as run side by side. Raises `RunHalted` if the run is stopped before every item was begun, and
    `BudgetError` if its budget or its deadline allows no more of them.
    Whatever is raised, the items that ended have been stored by then.
    """
    calls, policy = runner.prepared.calls, runner.job.task.on_item_failure
    ended = {**_find_finished_items(runner, logged), **_list_invalid_items(runner)}
    outcomes = dict[int, CallOutcome](ended)
    width = min(runner.slots.get_tool_limit(runner.job.spec), runner.job.task.max_concurrency or len(calls))
    progress, storing = _ItemProgressReporter(runner, emit, ended), _ItemLogWriter(runner, width=width)
    _logger.info(
        "Items of task %r: %d, ended before: %d, side by side: at most %d",
        runner.job.task.id,
        len(calls),
        len(ended),
        width,
    )
    remaining = (item for item in range(len(calls)) if item not in ended)
    halts: list[RunHalted | BudgetError] = []

    async def run_next_items() -> None:
        for item in remaining:
            if halts or (policy == "stop" and progress.failed):
                return
            try:
                outcome = await runner.run(item, emit=progress.forward_event)
            except (RunHalted, BudgetError) as halted:
                # Raised inside the group, it would cancel the items that are in flight.
                halts.append(halted)
                return
            outcomes[item] = outcome
            if not isinstance(outcome, CallInDoubt):
                await storing.add(item, outcome)
            progress.count_item(outcome)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(width, len(calls) - len(ended))):
                group.create_task(run_next_items())
    except BaseExceptionGroup as group_error:
        raise group_error.exceptions[0] from None
    finally:
        with anyio.CancelScope(shield=True):
            await storing.finish()
    if halts:
        raise halts[0]
    return _build_batch_result(outcomes, total=len(calls), policy=policy)


def _find_finished_items(runner: CallRunner, logged: Sequence[LoggedCall]) -> dict[int, CallResult | CallFailed]:
    """Return the items that need no call any more, by position.

    Those are the ones that ended when this very task was begun before, and those whose call an earlier revision made
    with success, each such call for one item.
    """
    if not any(call.record for call in logged):
        return {}
    own: dict[int, LoggedCall] = {}
    earlier: defaultdict[str, deque[LoggedCall]] = defaultdict(deque)
    for call in logged:
        if (call.revision, call.task) == (runner.job.revision, runner.job.task.id):
            own[call.key[-1]] = call
        elif call.record and call.record["status"] == "done":
            earlier[call.mark].append(call)
    finished: dict[int, CallResult | CallFailed] = {}
    for item in range(len(runner.prepared.calls)):
        fingerprint = runner.prepared.compute_call_fingerprint(item)
        known = own.get(item)
        if known is not None and known.mark == fingerprint and known.record is not None:
            finished[item] = deserialize_call(known.record)
        elif earlier[fingerprint] and (record := earlier[fingerprint].popleft().record):
            # The attempts were counted for the task that made them.
            made = deserialize_call(record)
            finished[item] = replace(made, attempts=0, started_at=None)
    return finished


def _list_invalid_items(runner: CallRunner) -> dict[int, CallResult | CallFailed]:
    invalid = runner.prepared.invalid_items.items()
    return {item: CallFailed(failure.kind, failure.error, 0, None) for item, failure in invalid}


def _build_batch_result(
    outcomes: Mapping[int, CallOutcome], *, total: int, policy: OnItemFailure
) -> BatchResult | tuple[CallInDoubt, ...]:
    in_order = [outcome for _, outcome in sorted(outcomes.items())]
    doubts = tuple(outcome for outcome in in_order if isinstance(outcome, CallInDoubt))
    if doubts:
        return doubts
    attempts = sum(outcome.attempts for outcome in in_order)
    started = min((outcome.started_at for outcome in in_order if outcome.started_at), default=None)
    missing = _summarize_failures(outcomes, total=total)
    if missing is not None and (policy in {"finish", "stop"} or len(missing.failed) == total):
        return BatchResult(CallFailed(missing.errors[0].kind, str(missing), attempts, started), missing)
    outputs: list[JsonValue] = []
    lost: list[str] = []
    for item, outcome in sorted(outcomes.items()):
        if isinstance(outcome, CallResult):
            outputs.append(outcome.output)
            lost += [f"Item {item}: {outcome.lost_output}"] if outcome.lost_output else []
        elif policy == "null":
            outputs.append(None)
    more = f" So it is with {len(lost) - 1} more items." if len(lost) > 1 else ""
    return BatchResult(CallResult(outputs, attempts, started, f"{lost[0]}{more}" if lost else None), missing)


def _summarize_failures(outcomes: Mapping[int, CallOutcome], *, total: int) -> PartialFailure | None:
    failed = [(item, outcome) for item, outcome in sorted(outcomes.items()) if isinstance(outcome, CallFailed)]
    if not failed:
        return None
    errors = tuple(ItemFailure(item=item, kind=call.kind, error=call.error) for item, call in failed[:_MAX_ERRORS])
    positions = tuple(item for item, _ in failed)
    return PartialFailure(total=total, failed=positions, not_begun=total - len(outcomes), errors=errors)


class _ItemLogWriter:
    """Logs items as they end; those that end while others are being stored are stored together after them."""

    def __init__(self, runner: CallRunner, *, width: int) -> None:
        self._runner = runner
        self._window_s = _BATCH_WINDOW_S * width if width > 1 else 0.0
        self._pending: list[LoggedCall] = []
        self._lock = asyncio.Lock()

    async def add(self, item: int, outcome: CallResult | CallFailed) -> None:
        """Store an item, together with all that are pending by then."""
        batch = self._pending
        batch.append(
            self._runner.build_logged_call(
                item, attempts=outcome.attempts, started_at=outcome.started_at, record=serialize_call(outcome)
            )
        )
        await asyncio.sleep(self._window_s)
        async with self._lock:
            if batch is self._pending:
                await self._flush()

    async def finish(self) -> None:
        """Store what is pending."""
        async with self._lock:
            await self._flush()

    async def _flush(self) -> None:
        batch, self._pending = self._pending, []
        if batch:
            await self._runner.log.save_calls(batch)


class _ItemProgressReporter:
    """Reports how far the items are, in at most 200 steps, instead of the begin and end of each of them."""

    def __init__(self, runner: CallRunner, emit: Emit, ended: Mapping[int, CallResult | CallFailed]) -> None:
        self._task = runner.job.task.id
        self._emit = emit
        self._total = len(runner.prepared.calls)
        self._step = max(1, self._total // _PROGRESS_STEPS)
        self._ended = len(ended)
        self._started = False
        self.failed = sum(isinstance(outcome, CallFailed) for outcome in ended.values())
        if ended:
            self._report_progress()

    def forward_event(self, event: RunEvent) -> None:
        """Pass on an event of an item: of the beginnings only the first, and the first after each retry."""
        match event:
            case TaskStarted():
                if self._started:
                    return
                self._started = True
            case TaskRetrying():
                self._started = False
        self._emit(event)

    def count_item(self, outcome: CallOutcome) -> None:
        """Count an item that ended."""
        self._ended += 1
        self.failed += isinstance(outcome, CallFailed)
        if self._ended % self._step == 0 or self._ended == self._total:
            self._report_progress()

    def _report_progress(self) -> None:
        self._emit(ItemProgress(task=self._task, ended=self._ended, failed=self.failed, total=self._total))
