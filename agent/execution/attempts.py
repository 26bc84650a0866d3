"""A call made as often as it may and must be, each attempt within its time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from pydantic import ValidationError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from agent.core.compiler.argument_check import find_value_errors
from agent.core.engine.call_preparation import Arguments, get_call_key, get_repeatability
from agent.core.engine.outcomes import FailureKind
from agent.core.plan.document import Task
from agent.core.plan.hashing import hash_json
from agent.core.plan.tool_spec import ToolSpec
from agent.errors import PersistenceError, ToolFailure
from agent.events import Emit, TaskRetrying, TaskStarted
from agent.execution.call_log import CallFailed, CallInDoubt, CallOutcome, CallResult
from agent.execution.concurrency import RunHalted, Slots, Urgency
from agent.execution.retry_policy import (
    WaitRetryAfter,
    is_retry_after_too_long,
    is_transient,
    never_sent,
    parse_retry_after_s,
)
from agent.execution.tool_call import call_tool
from agent.json_values import JsonConversionError, error_text, to_json_value
from agent.settings import Settings
from agent.tools.toolbox import IDEMPOTENCY_KEY


@dataclass(frozen=True, slots=True)
class PriorAttempts:
    """What was tried of a call in vain, in all processes so far."""

    attempts: int
    started_at: datetime | None


#: Stores what was tried of a call, by its item, before it is tried again.
SavePriorAttempts = Callable[[int | None, PriorAttempts], Awaitable[None]]


class RetryingCallRunner:
    """Makes the calls of one task."""

    def __init__(
        self,
        tool: BaseTool,
        task: Task,
        spec: ToolSpec,
        *,
        settings: Settings,
        thread: str,
        revision: int,
        clock: Callable[[], datetime],
        propagate: tuple[type[BaseException], ...],
        prior: Mapping[str, PriorAttempts],
        save_attempts: SavePriorAttempts,
    ) -> None:
        """Take `tried` as what earlier processes tried in vain, by `call_key`; it counts."""
        self._tool = _disable_error_handling(tool)
        self._task = task
        self._spec = spec
        self._thread = thread
        self._revision = revision
        self._clock = clock
        # `PersistenceError` is the database's word, not the tool's: whether the call may be made is not known.
        self._propagate: tuple[type[BaseException], ...] = (RunHalted, PersistenceError, *propagate)
        self._timeout_s = task.timeout_s or spec.policy.timeout_s or settings.default_timeout_s
        self._is_repeatable = get_repeatability(spec) != "no"
        self._max_attempts = 1 + _get_max_retries(task, spec, settings)
        self._prior = prior
        self._save_attempts = save_attempts

    async def run_call(
        self,
        args: Arguments,
        *,
        item: int | None,
        slots: Slots,
        urgency: Urgency,
        emit: Emit,
        before_call: Callable[[], Awaitable[CallOutcome | None]] | None = None,
    ) -> CallOutcome:
        """Call the tool with `args` until it returns, fails for good, or the attempts are used up.

        `first` is awaited once a place to run in is had; what it returns, if anything, is returned instead of calling.
        Raises `Halted` where the run is stopped before a call or, if the call may be repeated, between two attempts.
        """
        count = _AttemptCount.from_prior(self._prior.get(get_call_key(item)))

        async def attempt_call() -> object:
            async with slots.acquire_slot(self._spec, urgency=urgency, begun=self._must_continue(count)):
                known = await before_call() if before_call is not None and not count.is_begun else None
                if known is not None:
                    return known
                now = self._clock()
                count.start_attempt(now)
                emit(TaskStarted(task=self._task.id, tool=self._task.tool, attempt=count.attempts, at=now.isoformat()))
                return await self._invoke_tool(args, item=item, slots=slots)

        try:
            raw = await self._run_with_retries(attempt_call, count, item=item, slots=slots, emit=emit)
        except self._propagate:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a tool raises is the task's failure, a value
            unsure = is_transient(error) and not never_sent(error)
            return CallFailed(
                self._classify_error(error), self._describe_error(error), count.attempts, count.started_at, unsure
            )
        if isinstance(raw, CallResult | CallFailed | CallInDoubt):
            return raw
        return self._validate_output(raw, count.attempts, count.started_at)

    async def _run_with_retries(
        self,
        attempt_call: Callable[[], Awaitable[object]],
        count: "_AttemptCount",
        *,
        item: int | None,
        slots: Slots,
        emit: Emit,
    ) -> object:
        """Return what `once` returns, awaited again as long as its failures may pass; the last one is raised."""
        try:
            # Without tenacity, since most calls need no second attempt.
            return await attempt_call()
        except self._propagate:
            raise
        except Exception as error:  # noqa: BLE001 - what may not be tried again is raised by the loop
            failure: Exception | None = error

        async def report_retry(state: RetryCallState) -> None:
            sentence = self._describe_error(state.outcome.exception() if state.outcome else None)
            wait_s = round(state.upcoming_sleep, 3)
            emit(TaskRetrying(task=self._task.id, attempt=count.attempts, error=sentence, wait_s=wait_s))
            await self._save_attempts(item, PriorAttempts(count.attempts, count.started_at))

        async def pause(seconds: float) -> None:
            await slots.wait_unless_halted(asyncio.sleep(seconds), begun=self._must_continue(count))

        async for attempt in AsyncRetrying(
            sleep=pause,
            stop=stop_after_attempt(1 + self._max_attempts - count.attempts),
            wait=WaitRetryAfter(),
            retry=retry_if_exception(self._can_retry),
            before_sleep=report_retry,
            reraise=True,
        ):
            with attempt:
                if failure is not None:
                    # The loop goes on from the attempt that was made before it.
                    failed, failure = failure, None
                    raise failed
                return await attempt_call()
        raise AssertionError("the loop ends with a result or the last failure")

    def _must_continue(self, count: "_AttemptCount") -> bool:
        return count.is_begun and not self._is_repeatable

    def _can_retry(self, error: BaseException) -> bool:
        """Whether to try again: a write whose receiver does not drop repetitions only where it surely had no effect."""
        repeatable = self._is_repeatable or never_sent(error)
        return repeatable and is_transient(error) and not is_retry_after_too_long(error)

    async def _invoke_tool(self, args: Arguments, *, item: int | None, slots: Slots) -> object:
        given: dict[str, Any] = dict(args)
        if self._spec.policy.takes_idempotency_key:
            given[IDEMPOTENCY_KEY] = build_idempotency_key(self._thread, self._revision, self._task.id, item)
        config: RunnableConfig = {
            "run_name": f"{self._task.id}: {self._task.tool}",
            "tags": ["planwave:task"],
            "metadata": {
                "plan_revision": self._revision,
                "task_id": self._task.id,
                "tool": self._task.tool,
                **({"item": item} if item is not None else {}),
            },
        }
        async with asyncio.timeout(self._timeout_s):
            return await call_tool(self._tool, given, config, spec=self._spec, threads=slots.threads)

    def _validate_output(self, raw: object, made: int, started: datetime | None) -> CallResult | CallFailed:
        try:
            output = to_json_value(raw)
        except JsonConversionError as error:
            return CallFailed("output", f"The output of {self._spec.name!r} {error}.", made, started)
        errors = find_value_errors(self._spec.output_schema, output) if self._spec.output_schema else []
        if errors:
            shown = "; ".join(errors[:5])
            return CallFailed(
                "output", f"The output of {self._spec.name!r} is not what it promises: {shown}.", made, started
            )
        return CallResult(output, made, started)

    def _classify_error(self, error: Exception) -> FailureKind:
        if isinstance(error, TimeoutError):
            return "timeout"
        if is_transient(error):
            return "transient"
        return "argument" if isinstance(error, ValidationError) else "tool"

    def _describe_error(self, error: BaseException | None) -> str:
        words = error_text(error)
        if isinstance(error, ToolFailure):
            return words
        if isinstance(error, TimeoutError) and not words:
            return f"No answer from {self._spec.name!r} within {self._timeout_s:g} s."
        later = f" It asks to wait {parse_retry_after_s(error):.0f} s." if is_retry_after_too_long(error) else ""
        return f"{type(error).__name__}: {words}{later}"


@dataclass(slots=True)
class _AttemptCount:
    """The attempts of one call so far."""

    attempts: int
    started_at: datetime | None
    #: Whether this process has made one.
    is_begun: bool = False

    @classmethod
    def from_prior(cls, tried: PriorAttempts | None) -> "_AttemptCount":
        return cls(tried.attempts, tried.started_at) if tried else cls(0, None)

    def start_attempt(self, now: datetime) -> None:
        self.attempts += 1
        self.started_at = self.started_at or now
        self.is_begun = True


def build_idempotency_key(thread: str, revision: int, task: str, item: int | None) -> str:
    """Return the key of one write: the same at every attempt and after every resume, another for any other write."""
    return hash_json([thread, revision, task, item])


def _disable_error_handling(tool: BaseTool) -> BaseTool:
    """Return `tool` so that it raises: one told to hide its errors would hand a failure on as a result.

    Most are told nothing. They are not copied, for a copy works out anew at each call what its parameters are.
    """
    if not tool.handle_tool_error and not tool.handle_validation_error:
        return tool
    return tool.model_copy(update={"handle_tool_error": False, "handle_validation_error": False})


def _get_max_retries(task: Task, spec: ToolSpec, settings: Settings) -> int:
    """Return how many more attempts there are at most."""
    wanted = task.max_retries if task.max_retries is not None else spec.policy.max_retries
    return min(settings.default_retries if wanted is None else wanted, settings.max_retries)
