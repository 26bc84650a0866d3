"""One call of a task: its slot, its claim, its attempts within the time limit, its result."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from pydantic import ValidationError

from agent.core.compiler.argument_check import find_value_errors
from agent.core.engine.budgets import Deadline, ExhaustedBudget
from agent.core.engine.call_preparation import Arguments, PreparedTask, get_repeatability
from agent.core.engine.outcomes import FailureKind, RetriedAttempt
from agent.core.plan.hashing import hash_json
from agent.core.plan.problems import format_path
from agent.errors import BudgetError, PersistenceError, ToolFailure
from agent.events import Emit, TaskRetrying, TaskStarted
from agent.execution.call_log import CallFailed, CallLog, CallOutcome, CallRecord, CallResult, LoggedCall
from agent.execution.concurrency import RunHalted, Slots
from agent.execution.job import Job
from agent.execution.retry_policy import (
    compute_wait_s,
    is_retry_after_too_long,
    is_transient,
    never_sent,
    parse_retry_after_s,
)
from agent.execution.tool_call import CallPool, call_tool
from agent.execution.writes import ClaimedWrite, WriteLedger, build_pooled_call
from agent.json_values import JsonConversionError, error_text, to_json_value
from agent.logging_context import get_logger, shorten_for_log
from agent.settings import Settings
from agent.tools.async_tools import make_exit_failure
from agent.tools.call_inputs import find_call_inputs, use_call_inputs
from agent.tools.injected_arguments import use_call_id
from agent.tools.toolbox import IDEMPOTENCY_KEY

_logger = get_logger(__name__)
#: Attempts of a task that are stored one by one, and characters of their errors.
_MAX_NOTED_ATTEMPTS: Final = 20
_MAX_NOTED_ERROR: Final = 300


@dataclass(slots=True)
class _Call:
    """A call and its attempts so far."""

    args: Arguments
    item: int | None
    #: In all processes.
    attempts: int = 0
    #: When the first of them began.
    started_at: datetime | None = None
    #: In this process.
    attempts_here: int = 0

    def begin_attempt(self, now: datetime) -> None:
        self.attempts += 1
        self.attempts_here += 1
        self.started_at = self.started_at or now


@dataclass(frozen=True, slots=True)
class _Retry:
    """An attempt failed in a way that may pass, and another one is allowed."""

    #: The result of the call if no other attempt is made.
    failure: CallFailed
    wait_s: float


class CallRunner:
    """Makes the calls of one task."""

    def __init__(
        self,
        job: Job,
        prepared: PreparedTask,
        tool: BaseTool,
        *,
        settings: Settings,
        slots: Slots,
        clock: Callable[[], datetime],
        deadline: Deadline | None = None,
        propagate: tuple[type[BaseException], ...],
        check_signal: Callable[[BaseException], str | None],
        log: CallLog,
        logged: Iterable[LoggedCall],
        writes: WriteLedger | None,
        pool: CallPool | None = None,
    ) -> None:
        """Take over the failed attempts among the `logged` calls; `writes` is None if no call needs a claim."""
        task, spec = job.task, job.spec
        self.job = job
        self.prepared = prepared
        self.slots = slots
        self.log = log
        self._tool = _disable_error_handling(tool)
        self._clock = clock
        self._deadline = deadline
        # A `PersistenceError` is the database's failure, not the tool's: whether the call may be made is not known.
        self._propagate: tuple[type[BaseException], ...] = (RunHalted, PersistenceError, *propagate)
        self._check_signal = check_signal
        self._timeout_s = task.timeout_s or spec.policy.timeout_s or settings.default_timeout_s
        self._backoff = settings.build_backoff()
        self._is_repeatable = get_repeatability(spec) != "no"
        self._max_attempts = 1 + _get_max_retries(job, settings)
        self._logged = {call.item: call for call in logged if call.record is None and self._is_same_call(call)}
        self._writes = writes
        self._pool = pool
        self._inputs = find_call_inputs(task, job.outcomes)
        #: The first attempts that failed and were made again.
        self.failed_attempts: list[RetriedAttempt] = []

    async def run(self, item: int | None, *, emit: Emit) -> CallOutcome:
        """Make the call of an item, None: the task's only call, until it returns, fails for good or is in doubt.

        Raises `RunHalted` if the run is stopped before the call or, if the call is repeatable, between two attempts,
        and `BudgetError` if the deadline passes before an attempt. A write that was attempted has failed then: of one
        that only lacks an outcome nobody would say that it may have taken effect.
        """
        call = self._prepare_call(item)
        claim: ClaimedWrite | None = None
        result: CallResult | CallFailed | _Retry | None = None
        while True:
            async with AsyncExitStack() as held:
                if (exhausted := await self._wait_for_slot(call, held)) is not None:
                    if claim is None or not isinstance(result, _Retry):
                        raise BudgetError(exhausted)
                    result = result.failure
                    break
                if self._writes is not None and claim is None:
                    # Not before there is a slot: a claim says that the write is about to be made.
                    found = await self._writes.claim(call.args, item=item)
                    if not isinstance(found, ClaimedWrite):
                        return found
                    claim = found
                result = await self._make_attempt(call, epoch=claim.epoch if claim else None, emit=emit)
            if not isinstance(result, _Retry):
                break
            await self._wait_for_retry(call, result, emit=emit)
        if self._writes is None or claim is None:
            return result
        return await self._writes.settle(claim, result)

    async def _wait_for_slot(self, call: _Call, held: AsyncExitStack) -> ExhaustedBudget | None:
        """Wait for a slot, which `held` gives back; return the wall time if the deadline passes before that."""
        slot = self.slots.acquire_slot(self.job.spec, urgency=self.job.urgency, begun=self._must_continue(call))
        if self._deadline is None:
            await held.enter_async_context(slot)
            return None
        try:
            async with asyncio.timeout(self._deadline.compute_seconds_left(self._clock())):
                await held.enter_async_context(slot)
        except TimeoutError:
            return self._deadline.build_budget(self._clock())
        now = self._clock()
        return self._deadline.build_budget(now) if self._deadline.compute_seconds_left(now) <= 0 else None

    def build_logged_call(
        self, item: int | None, *, attempts: int, started_at: datetime | None, record: CallRecord | None = None
    ) -> LoggedCall:
        """Return what the log keeps of a call; without a `record` it is to be tried again."""
        return LoggedCall(
            thread=self.job.thread,
            revision=self.job.revision,
            task=self.job.task.id,
            item=item,
            tool=self.job.task.tool,
            mark=self.prepared.compute_call_fingerprint(item or 0),
            attempts=attempts,
            started_at=started_at.isoformat() if started_at else None,
            record=record,
        )

    def _is_same_call(self, call: LoggedCall) -> bool:
        """Whether a logged call is one of this task's, with the same arguments."""
        own = (call.revision, call.task) == (self.job.revision, self.job.task.id)
        return own and call.mark == self.prepared.compute_call_fingerprint(call.item or 0)

    def _prepare_call(self, item: int | None) -> _Call:
        args, logged = self.prepared.calls[item or 0], self._logged.get(item)
        if logged is None:
            return _Call(args, item)
        started_at = datetime.fromisoformat(logged.started_at) if logged.started_at else None
        return _Call(args, item, attempts=logged.attempts, started_at=started_at)

    def _must_continue(self, call: _Call) -> bool:
        """Whether the call goes on although the run is being stopped: it cannot be begun again later."""
        return call.attempts_here > 0 and not self._is_repeatable

    async def _make_attempt(self, call: _Call, *, epoch: int | None, emit: Emit) -> CallResult | CallFailed | _Retry:
        task, now = self.job.task, self._clock()
        call.begin_attempt(now)
        _logger.debug("Attempt %d at %s", call.attempts, self._describe_call(call))
        emit(TaskStarted(task=task.id, tool=task.tool, attempt=call.attempts, at=now.isoformat()))
        try:
            output = await self._call_tool(call, epoch=epoch)
        except self._propagate as signal:
            if (fault := self._check_signal(signal)) is None:
                raise
            return CallFailed("tool", fault, call.attempts, call.started_at)
        except (KeyboardInterrupt, GeneratorExit, asyncio.CancelledError):
            raise
        except BaseException as raised:  # noqa: BLE001 - whatever a tool raises is the task's failure, a value
            # Some are no `Exception`, such as a panic in an extension.
            error = raised if isinstance(raised, Exception) else make_exit_failure(raised, task.tool)
            may_have_effect = is_transient(error) and not never_sent(error)
            failure = CallFailed(
                _classify_error(error), self._describe_error(error), call.attempts, call.started_at, may_have_effect
            )
            if call.attempts < self._max_attempts and self._can_retry(error):
                self._note_failed_attempt(call, failure.error, began=now)
                return _Retry(
                    failure, self._limit_wait(compute_wait_s(error, retry=call.attempts_here, backoff=self._backoff))
                )
            return failure
        return self._validate_output(output, call)

    def _note_failed_attempt(self, call: _Call, error: str, *, began: datetime) -> None:
        if len(self.failed_attempts) < _MAX_NOTED_ATTEMPTS:
            noted = RetriedAttempt(
                item=call.item,
                started_at=began.isoformat(),
                finished_at=self._clock().isoformat(),
                error=error[:_MAX_NOTED_ERROR],
            )
            self.failed_attempts.append(noted)

    async def _call_tool(self, call: _Call, *, epoch: int | None) -> object:
        job, args = self.job, dict[str, Any](call.args)
        if job.spec.policy.takes_idempotency_key:
            args[IDEMPOTENCY_KEY] = _build_idempotency_key(job, call.item)
        config: RunnableConfig = {
            "run_name": f"{job.task.id}: {job.task.tool}",
            "tags": ["planwave:task"],
            "metadata": {
                "plan_revision": job.revision,
                "task_id": job.task.id,
                "tool": job.task.tool,
                **({"item": call.item} if call.item is not None else {}),
            },
        }
        async with asyncio.timeout(self._timeout_s):
            if self._pool is not None and job.spec.policy.pool is not None:
                return await self._pool.make_call(build_pooled_call(job, args, item=call.item, epoch=epoch))
            with use_call_inputs(self._inputs), use_call_id(_build_call_id(job, call.item)):
                return await call_tool(
                    self._tool, args, config, spec=job.spec, secrets=job.named_secrets, threads=self.slots.threads
                )

    def _can_retry(self, error: BaseException) -> bool:
        """Whether to try again: a write that is not idempotent only if the failed attempt surely had no effect."""
        repeatable = self._is_repeatable or never_sent(error)
        return repeatable and is_transient(error) and not is_retry_after_too_long(error)

    async def _wait_for_retry(self, call: _Call, retry: _Retry, *, emit: Emit) -> None:
        """Log the failed attempt, so that it counts after a crash, and wait."""
        error = retry.failure.error
        wait_s = round(retry.wait_s, 3)
        _logger.info(
            "Attempt %d at %s failed, trying again in %.3f s: %s",
            call.attempts,
            self._describe_call(call),
            wait_s,
            shorten_for_log(error),
        )
        emit(TaskRetrying(task=self.job.task.id, attempt=call.attempts, error=error, wait_s=wait_s))
        await self.log.save_calls(
            [self.build_logged_call(call.item, attempts=call.attempts, started_at=call.started_at)]
        )
        await self.slots.wait_unless_halted(asyncio.sleep(retry.wait_s), begun=self._must_continue(call))

    def _limit_wait(self, wait_s: float) -> float:
        """Return the seconds to wait before another attempt, which is not made after the deadline."""
        if self._deadline is None:
            return wait_s
        return max(0.0, min(wait_s, self._deadline.compute_seconds_left(self._clock())))

    def _validate_output(self, value: object, call: _Call) -> CallResult | CallFailed:
        name, schema = self.job.spec.name, self.job.spec.output_schema
        try:
            output = to_json_value(value)
        except JsonConversionError as error:
            sentence = f"The output of {name!r} {error}."
            if self.job.spec.policy.read_only:
                return CallFailed("output", sentence, call.attempts, call.started_at)
            # A failure would be an invitation to make the call again.
            lost = f"The call was made, its output could not be stored. {sentence}"
            return CallResult(None, call.attempts, call.started_at, lost_output=lost)
        errors = find_value_errors(schema, output) if schema else []
        if errors and self.job.spec.infers_output:
            # Python holds no function to its annotation, and neither does LangChain.
            _logger.warning("The output of %r is not what its annotation says: %s", name, shorten_for_log(errors[0]))
        elif errors:
            made = "" if self.job.spec.policy.read_only else " The call was made; do not make it again."
            sentence = f"The output of {name!r} does not fit its schema: {'; '.join(errors[:5])}.{made}"
            return CallFailed("output", sentence, call.attempts, call.started_at)
        return CallResult(output, call.attempts, call.started_at)

    def _describe_call(self, call: _Call) -> str:
        return f"task {self.job.task.id!r}" if call.item is None else f"task {self.job.task.id!r}, item {call.item}"

    def _describe_error(self, error: Exception) -> str:
        text = _describe_fields(error) if isinstance(error, ValidationError) else error_text(error)
        if isinstance(error, ToolFailure):
            return text
        if isinstance(error, TimeoutError) and not text:
            return f"No answer from {self.job.spec.name!r} within {self._timeout_s:g} s."
        later = f" It asks to wait {parse_retry_after_s(error):.0f} s." if is_retry_after_too_long(error) else ""
        return f"{type(error).__name__}: {text}{later}"


def _describe_fields(error: ValidationError) -> str:
    """Return what is wrong with each field in one line; the values are in the arguments."""
    told = error.errors(include_url=False, include_input=False, include_context=False)
    return error_text(
        ValueError("; ".join(f"{format_path(each['loc']) or error.title}: {each['msg']}" for each in told))
    )


def _classify_error(error: Exception) -> FailureKind:
    if isinstance(error, TimeoutError):
        return "timeout"
    if is_transient(error):
        return "transient"
    return "argument" if isinstance(error, ValidationError) else "tool"


def _build_idempotency_key(job: Job, item: int | None) -> str:
    """Return the key of one write: the same at every attempt and after every resume, another for any other write.

    The scope of the run holds a random id, so that no other run makes the same key: not on a thread of the same name
    that was deleted, in another database, or in a later process.
    """
    return hash_json([job.thread, job.revision, job.task.id, item])


def _build_call_id(job: Job, item: int | None) -> str:
    """Return the id of a call for a tool that asks for one: the same at every attempt and in every run of the plan."""
    return f"{job.revision}.{job.task.id}" if item is None else f"{job.revision}.{job.task.id}.{item}"


def _disable_error_handling(tool: BaseTool) -> BaseTool:
    """Return `tool` so that it raises: one that handles its own errors would return a failure as its result.

    Only such a tool is copied, since a copy infers its argument schema again at each call.
    """
    if not tool.handle_tool_error and not tool.handle_validation_error:
        return tool
    return tool.model_copy(update={"handle_tool_error": False, "handle_validation_error": False})


def _get_max_retries(job: Job, settings: Settings) -> int:
    own = job.task.max_retries if job.task.max_retries is not None else job.spec.policy.max_retries
    return min(settings.default_retries if own is None else own, settings.max_retries)
