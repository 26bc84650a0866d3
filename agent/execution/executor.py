"""Runs one task to its outcome; `Executor.run` is the way, from top to bottom.

prepare      condition, references, arguments                      agent.core.engine.call_preparation
no call      finished work, a missing approval, the result cache   here
call         one, or one per item                                  attempts.py, for_each.py
  slot         a place to run in, at the tool's rate               concurrency.py
  claim        a write only: the ledger, doubt, the `verify` tool  writes.py, ledger.py
  attempt      the tool, within the time limit, with retries       tool_call.py, retry_policy.py
  settle       a write only: recorded in the ledger, or in doubt   writes.py
outcome      what is stored of the task                            here
"""

import logging
from collections.abc import Callable
from copy import copy
from datetime import UTC, datetime
from typing import Protocol, assert_never

from pydantic import JsonValue

from agent.core.cut_results import mark_cuts
from agent.core.engine.approvals import hash_approval_request, hash_calls
from agent.core.engine.budgets import Deadline
from agent.core.engine.call_preparation import Arguments, PreparedTask, prepare
from agent.core.engine.outcomes import (
    Cancelled,
    Done,
    Doubt,
    Failed,
    InDoubt,
    Outcome,
    Rejected,
    RetriedAttempt,
    Skipped,
    find_output_warnings,
)
from agent.errors import PersistenceError
from agent.events import Emit
from agent.execution.attempts import CallRunner
from agent.execution.call_log import CallFailed, CallInDoubt, CallLog, CallOutcome, CallResult
from agent.execution.concurrency import RunHalted, Slots
from agent.execution.for_each import BatchResult, run_items
from agent.execution.job import Job, is_ungated_read
from agent.execution.ledger import Ledger, split_scope
from agent.execution.result_cache import CachedResult, ResultCache, is_cacheable
from agent.execution.tool_call import CallPool
from agent.execution.writes import WriteLedger
from agent.json_values import error_text
from agent.logging_context import bind_log_context, get_logger, shorten_for_log
from agent.settings import Settings
from agent.tools.toolbox import Toolbox

__all__ = ["Clock", "EarlyOutcomes", "Executor", "Job", "build_reused_outcome", "is_ungated_read", "utc_now"]

Clock = Callable[[], datetime]
_logger = get_logger(__name__)


def utc_now() -> datetime:
    """Return the time, with its offset."""
    return datetime.now(UTC)


class EarlyOutcomes(Protocol):
    """Knows the calls that were begun while their plan was still being written."""

    async def await_outcome(self, fingerprint: str, *, task: str, emit: Emit) -> Outcome | None:
        """Wait for such a call and return its outcome as that of `task`; None if there is none."""
        ...


class Executor:
    """Runs jobs with the tools of one toolbox, within the settings."""

    def __init__(
        self,
        toolbox: Toolbox,
        settings: Settings,
        ledger: Ledger,
        calls: CallLog,
        *,
        clock: Clock = utc_now,
        propagate: tuple[type[BaseException], ...] = (),
        check_signal: Callable[[BaseException], str | None] = lambda _signal: None,
        early_outcomes: EarlyOutcomes | None = None,
        cache: ResultCache | None = None,
        deadline: Deadline | None = None,
        pool: CallPool | None = None,
    ) -> None:
        """`propagate` are exceptions by which a tool speaks to the graph; they are not failures of the task.

        One of which `check_signal` returns a sentence cannot be passed on, and is a failure for this reason.
        No attempt is begun after the `deadline`. The `pool`, if there is one, makes the calls of tools that have one.
        """
        self._toolbox = toolbox
        self._settings = settings
        self._ledger = ledger
        self._calls = calls
        self._clock = clock
        self._propagate = propagate
        self._check_signal = check_signal
        self._early_outcomes = early_outcomes
        self._cache = cache
        self._deadline = deadline
        self._pool = pool

    def with_toolbox(self, toolbox: Toolbox) -> "Executor":
        """Return an executor that is the same but for its tools: those of an agent that works on a task."""
        other = copy(self)
        other._toolbox = toolbox  # noqa: SLF001 - of this class
        return other

    async def run(self, job: Job, *, slots: Slots, emit: Emit) -> Outcome:
        """Run a task and return its outcome. A failure is a value.

        Raises the exceptions in `propagate`, `RunHalted` if the run is stopped before all calls were made,
        `BudgetError` if the deadline passes before that, and `PersistenceError` if the ledger or the call log cannot be
        used, or another run has the thread.
        """
        with bind_log_context(thread=split_scope(job.thread)[0], task=job.task.id, tool=job.task.tool):
            try:
                outcome = await self._run(job, slots=slots, emit=emit)
            except RunHalted:
                _logger.info("Task %r has no outcome yet: the run is being stopped", job.task.id)
                raise
            except PersistenceError as error:
                # The fence among them: a lease that was lost, a claim that another run has taken over.
                reason = shorten_for_log(error_text(error))
                _logger.warning("Task %r has no outcome: %s: %s", job.task.id, type(error).__name__, reason)
                raise
            _log_outcome(job.task.id, outcome)
        return outcome

    async def _run(self, job: Job, *, slots: Slots, emit: Emit) -> Outcome:
        prepared = prepare(job.task, job.spec, needs=job.needs, outcomes=job.outcomes, revision=job.revision)
        if not isinstance(prepared, PreparedTask):
            return prepared
        known = await self._find_known_outcome(job, prepared, emit=emit)
        if known is not None:
            return mark_cuts(job.task, known, job.outcomes) if isinstance(known, Done) else known
        _logger.info("Task %r begun: calls of %r: %d", job.task.id, job.task.tool, len(prepared.calls))
        started = self._clock()
        result, retried = await self._make_calls(job, prepared, slots=slots, emit=emit)
        outcome = _build_outcome(result, job, prepared, started=started, finished=self._clock())
        if retried:
            outcome = outcome.model_copy(update={"failed_attempts": retried})
        await self._cache_output(job, prepared, outcome)
        return mark_cuts(job.task, outcome, job.outcomes) if isinstance(outcome, Done) else outcome

    async def confirm_effect(self, job: Job, doubt: Doubt, output: JsonValue) -> None:
        """Record that a write in doubt happened and returned `output`, according to a human."""
        writes, args = self._get_doubtful_write(job, doubt)
        with bind_log_context(thread=split_scope(job.thread)[0], task=job.task.id, tool=job.task.tool):
            await writes.confirm(args, item=doubt.item, epoch=doubt.epoch, output=output)

    async def clear_doubt(self, job: Job, doubt: Doubt) -> None:
        """Record that a write in doubt did not happen, according to a human, so that it may be made once more."""
        writes, args = self._get_doubtful_write(job, doubt)
        await writes.clear_doubt(args, item=doubt.item, epoch=doubt.epoch)

    def _get_doubtful_write(self, job: Job, doubt: Doubt) -> tuple[WriteLedger, Arguments]:
        prepared = prepare(job.task, job.spec, needs=job.needs, outcomes=job.outcomes, revision=job.revision)
        if not isinstance(prepared, PreparedTask) or is_ungated_read(job):
            raise AssertionError(f"the call of {job.task.id!r} was never in doubt")
        return self._open_ledger(job), prepared.calls[doubt.item or 0]

    def _open_ledger(self, job: Job) -> WriteLedger:
        return WriteLedger(job, self._ledger, self._toolbox, self._settings, pool=self._pool)

    async def _find_known_outcome(self, job: Job, prepared: PreparedTask, *, emit: Emit) -> Outcome | None:
        """Return the outcome of a task that needs no call of its own, or must not make one; None if it is to be run."""
        finished = job.reusable.get(prepared.fingerprint)
        if finished is not None:
            return build_reused_outcome(finished, revision=job.revision)
        refusal = _check_approval(job, prepared)
        if refusal is not None:
            return refusal
        if not is_ungated_read(job):
            return None
        if self._early_outcomes is not None:
            early = await self._early_outcomes.await_outcome(prepared.fingerprint, task=job.task.id, emit=emit)
            if early is not None:
                return early.model_copy(update={"revision": job.revision})
        if self._cache is not None and is_cacheable(job.spec, prepared):
            cached = await self._cache.get(prepared.fingerprint)
            if cached is not None:
                return _build_cached_outcome(cached, revision=job.revision)
        return None

    async def _make_calls(
        self, job: Job, prepared: PreparedTask, *, slots: Slots, emit: Emit
    ) -> tuple[CallOutcome | BatchResult | tuple[CallInDoubt, ...], tuple[RetriedAttempt, ...]]:
        """Return what came of the calls, and the attempts that failed and were made again."""
        task = job.task
        if prepared.is_for_each:
            logged = await self._calls.load_task_calls(job.thread, revision=job.revision, task=task.id, tool=task.tool)
        else:
            logged = [job.logged_attempts] if job.logged_attempts else []
        runner = CallRunner(
            job,
            prepared,
            self._toolbox[task.tool],
            settings=self._settings,
            slots=slots,
            clock=self._clock,
            deadline=self._deadline,
            propagate=self._propagate,
            check_signal=self._check_signal,
            log=self._calls,
            logged=logged,
            writes=None if is_ungated_read(job) else self._open_ledger(job),
            pool=self._pool,
        )
        result = await (run_items(runner, logged, emit=emit) if prepared.is_for_each else runner.run(None, emit=emit))
        return result, tuple(runner.failed_attempts)

    async def _cache_output(self, job: Job, prepared: PreparedTask, outcome: Outcome) -> None:
        """Keep the output for other threads, if the tool asks for it and nothing is missing in it."""
        ttl_s = job.spec.policy.cache_ttl_s
        if self._cache is None or ttl_s is None or not is_ungated_read(job) or not is_cacheable(job.spec, prepared):
            return
        if isinstance(outcome, Done) and outcome.items is None:
            result = CachedResult(fingerprint=prepared.fingerprint, output=outcome.output, at=outcome.finished_at or "")
            await self._cache.put(result, ttl_s=ttl_s)


def build_reused_outcome(earlier: tuple[str, Done], *, revision: int) -> Done:
    """Return the outcome of a task whose work an earlier revision has done: `earlier` is the task and its outcome."""
    source, done = earlier
    return done.model_copy(update={"revision": revision, "reused_from": done.reused_from or source})


def _build_cached_outcome(cached: CachedResult, *, revision: int) -> Done:
    return Done(
        revision=revision,
        output=cached.output,
        fingerprint=cached.fingerprint,
        cached_at=cached.at,
        warnings=find_output_warnings(cached.output),
    )


def _check_approval(job: Job, prepared: PreparedTask) -> Failed | Rejected | None:
    """Refuse a call that was not approved exactly as it is now, or that needs no approval but was rejected before."""
    task = job.task
    if not job.gated:
        digest = hash_calls(task.tool, prepared.calls)
        if digest not in job.rejected_digests:
            return None
        message = "A human has rejected exactly this call before."
        return Rejected(revision=job.revision, message=message, digest=digest)
    if job.approved_digest == hash_approval_request(
        thread=job.thread, revision=job.revision, task=task.id, tool=task.tool, calls=prepared.calls
    ):
        return None
    problem = "was approved with other arguments" if job.approved_digest else "was never approved"
    return Failed(
        revision=job.revision,
        kind="approval",
        error=f"The call of {task.tool!r} by task {task.id!r} {problem}; it was not made.",
        fingerprint=prepared.fingerprint,
    )


def _build_outcome(
    result: CallOutcome | BatchResult | tuple[CallInDoubt, ...],
    job: Job,
    prepared: PreparedTask,
    *,
    started: datetime,
    finished: datetime,
) -> Outcome:
    """Return what is stored of a task whose calls have ended."""
    if isinstance(result, BatchResult):
        outcome = _build_outcome(result.result, job, prepared, started=started, finished=finished)
        partial = result.partial_failure
        return outcome if partial is None else outcome.model_copy(update={"items": partial})
    if isinstance(result, tuple):
        doubts = tuple(call.doubt for call in result)
        return InDoubt(revision=job.revision, doubts=doubts, attempts=sum(call.attempts for call in result))
    start, end = (result.started_at or started).isoformat(), finished.isoformat()
    match result:
        case CallResult(output=output, attempts=attempts, lost_output=lost):
            return Done(
                revision=job.revision,
                output=output,
                error=lost,
                attempts=attempts,
                started_at=start,
                finished_at=end,
                fingerprint=prepared.fingerprint,
                warnings=find_output_warnings(output),
            )
        case CallFailed(kind=kind, error=error, attempts=attempts):
            return Failed(
                revision=job.revision,
                kind=kind,
                error=error,
                attempts=attempts,
                started_at=start,
                finished_at=end,
                fingerprint=prepared.fingerprint,
            )
        case CallInDoubt(doubt=doubt, attempts=attempts):
            return InDoubt(revision=job.revision, doubts=(doubt,), attempts=attempts, started_at=start, finished_at=end)
        case _:
            assert_never(result)


def _log_outcome(task: str, outcome: Outcome) -> None:
    match outcome:
        case Done(reused_from=str(source)):
            reason = f"reused from {source!r}"
        case Done(cached_at=str(at)):
            reason = f"from the result cache, stored at {at}"
        case Done(items=items, error=error):
            reason = str(items or error or "")
        case Failed(kind=kind, error=error):
            reason = f"{kind}: {error}"
        case Skipped(because=because) | Cancelled(because=because):
            reason = because
        case Rejected(message=message):
            reason = message
        case InDoubt(doubts=doubts):
            reason = f"calls that may have taken effect: {len(doubts)}"
        case _:
            assert_never(outcome)
    seconds, attempts = outcome.duration_s, outcome.attempts
    _logger.log(
        logging.INFO if isinstance(outcome, Done | Skipped) else logging.WARNING,
        "Task %r ended: %s%s, attempts: %d%s",
        task,
        outcome.status,
        "" if seconds is None else f" after {seconds:.3f} s",
        attempts,
        f" ({shorten_for_log(reason)})" if reason else "",
        extra={"status": outcome.status, "duration_s": seconds, "attempts": attempts},
    )
