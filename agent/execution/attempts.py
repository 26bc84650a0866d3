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

from agent.core.compiler.argument_check import value_errors
from agent.core.engine.call_preparation import Arguments, call_key, repeatable
from agent.core.engine.outcomes import FailureKind
from agent.core.plan.document import Task
from agent.core.plan.hashing import digest
from agent.core.plan.tool_spec import ToolSpec
from agent.errors import PersistenceError, ToolFailure
from agent.events import Emit, TaskRetrying, TaskStarted
from agent.execution.call_log import CallFailed, CallInDoubt, CallMade, CallResult
from agent.execution.concurrency import Halted, Slots, Urgency
from agent.execution.retry_policy import WaitAsAsked, asks_too_long, may_pass, retry_after_s, without_effect
from agent.execution.tool_call import call_tool
from agent.json_values import NotJson, as_json, told_by
from agent.settings import Settings
from agent.tools.toolbox import IDEMPOTENCY_KEY


@dataclass(frozen=True, slots=True)
class Tried:
    """What was tried of a call in vain, in all processes so far."""

    attempts: int
    started_at: datetime | None


#: Stores what was tried of a call, by its item, before it is tried again.
NoteTried = Callable[[int | None, Tried], Awaitable[None]]


class Attempts:
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
        let_through: tuple[type[BaseException], ...],
        tried: Mapping[str, Tried],
        note: NoteTried,
    ) -> None:
        """Take `tried` as what earlier processes tried in vain, by `call_key`; it counts."""
        self._tool = _raising(tool)
        self._task = task
        self._spec = spec
        self._thread = thread
        self._revision = revision
        self._clock = clock
        # `PersistenceError` is the database's word, not the tool's: whether the call may be made is not known.
        self._let_through: tuple[type[BaseException], ...] = (Halted, PersistenceError, *let_through)
        self._timeout_s = task.timeout_s or spec.policy.timeout_s or settings.default_timeout_s
        self._repeatable = repeatable(spec) != "no"
        self._most = 1 + _retries(task, spec, settings)
        self._tried = tried
        self._note = note

    async def make(
        self,
        args: Arguments,
        *,
        item: int | None,
        slots: Slots,
        urgency: Urgency,
        emit: Emit,
        first: Callable[[], Awaitable[CallMade | None]] | None = None,
    ) -> CallMade:
        """Call the tool with `args` until it returns, fails for good, or the attempts are used up.

        `first` is awaited once a place to run in is had; what it returns, if anything, is returned instead of calling.
        Raises `Halted` where the run is stopped before a call or, if the call may be repeated, between two attempts.
        """
        count = _Count.of(self._tried.get(call_key(item)))

        async def once() -> object:
            async with slots.place(self._spec, urgency=urgency, begun=self._bound_to_go_on(count)):
                known = await first() if first is not None and not count.begun else None
                if known is not None:
                    return known
                now = self._clock()
                count.begin(now)
                emit(TaskStarted(task=self._task.id, tool=self._task.tool, attempt=count.made, at=now.isoformat()))
                return await self._once(args, item=item, slots=slots)

        try:
            raw = await self._repeated(once, count, item=item, slots=slots, emit=emit)
        except self._let_through:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a tool raises is the task's failure, a value
            unsure = may_pass(error) and not without_effect(error)
            return CallFailed(self._kind(error), self._sentence(error), count.made, count.started_at, unsure)
        if isinstance(raw, CallResult | CallFailed | CallInDoubt):
            return raw
        return self._checked(raw, count.made, count.started_at)

    async def _repeated(
        self, once: Callable[[], Awaitable[object]], count: "_Count", *, item: int | None, slots: Slots, emit: Emit
    ) -> object:
        """Return what `once` returns, awaited again as long as its failures may pass; the last one is raised."""
        try:
            # Without tenacity, since most calls need no second attempt.
            return await once()
        except self._let_through:
            raise
        except Exception as error:  # noqa: BLE001 - what may not be tried again is raised by the loop
            failure: Exception | None = error

        async def noted(state: RetryCallState) -> None:
            sentence = self._sentence(state.outcome.exception() if state.outcome else None)
            wait_s = round(state.upcoming_sleep, 3)
            emit(TaskRetrying(task=self._task.id, attempt=count.made, error=sentence, wait_s=wait_s))
            await self._note(item, Tried(count.made, count.started_at))

        async def pause(seconds: float) -> None:
            await slots.unless_halted(asyncio.sleep(seconds), begun=self._bound_to_go_on(count))

        async for attempt in AsyncRetrying(
            sleep=pause,
            stop=stop_after_attempt(1 + self._most - count.made),
            wait=WaitAsAsked(),
            retry=retry_if_exception(self._may_repeat),
            before_sleep=noted,
            reraise=True,
        ):
            with attempt:
                if failure is not None:
                    # The loop goes on from the attempt that was made before it.
                    failed, failure = failure, None
                    raise failed
                return await once()
        raise AssertionError("the loop ends with a result or the last failure")

    def _bound_to_go_on(self, count: "_Count") -> bool:
        return count.begun and not self._repeatable

    def _may_repeat(self, error: BaseException) -> bool:
        """Whether to try again: a write whose receiver does not drop repetitions only where it surely had no effect."""
        repeatable = self._repeatable or without_effect(error)
        return repeatable and may_pass(error) and not asks_too_long(error)

    async def _once(self, args: Arguments, *, item: int | None, slots: Slots) -> object:
        given: dict[str, Any] = dict(args)
        if self._spec.policy.takes_idempotency_key:
            given[IDEMPOTENCY_KEY] = idempotency_key(self._thread, self._revision, self._task.id, item)
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

    def _checked(self, raw: object, made: int, started: datetime | None) -> CallResult | CallFailed:
        try:
            output = as_json(raw)
        except NotJson as error:
            return CallFailed("output", f"The output of {self._spec.name!r} {error}.", made, started)
        errors = value_errors(self._spec.output_schema, output) if self._spec.output_schema else []
        if errors:
            shown = "; ".join(errors[:5])
            return CallFailed(
                "output", f"The output of {self._spec.name!r} is not what it promises: {shown}.", made, started
            )
        return CallResult(output, made, started)

    def _kind(self, error: Exception) -> FailureKind:
        if isinstance(error, TimeoutError):
            return "timeout"
        if may_pass(error):
            return "transient"
        return "argument" if isinstance(error, ValidationError) else "tool"

    def _sentence(self, error: BaseException | None) -> str:
        words = told_by(error)
        if isinstance(error, ToolFailure):
            return words
        if isinstance(error, TimeoutError) and not words:
            return f"No answer from {self._spec.name!r} within {self._timeout_s:g} s."
        later = f" It asks to wait {retry_after_s(error):.0f} s." if asks_too_long(error) else ""
        return f"{type(error).__name__}: {words}{later}"


@dataclass(slots=True)
class _Count:
    """The attempts of one call so far."""

    made: int
    started_at: datetime | None
    #: Whether this process has made one.
    begun: bool = False

    @classmethod
    def of(cls, tried: Tried | None) -> "_Count":
        return cls(tried.attempts, tried.started_at) if tried else cls(0, None)

    def begin(self, now: datetime) -> None:
        self.made += 1
        self.started_at = self.started_at or now
        self.begun = True


def idempotency_key(thread: str, revision: int, task: str, item: int | None) -> str:
    """Return the key of one write: the same at every attempt and after every resume, another for any other write."""
    return digest([thread, revision, task, item])


def _raising(tool: BaseTool) -> BaseTool:
    """Return `tool` so that it raises: one told to hide its errors would hand a failure on as a result.

    Most are told nothing. They are not copied, for a copy works out anew at each call what its parameters are.
    """
    if not tool.handle_tool_error and not tool.handle_validation_error:
        return tool
    return tool.model_copy(update={"handle_tool_error": False, "handle_validation_error": False})


def _retries(task: Task, spec: ToolSpec, settings: Settings) -> int:
    """Return how many more attempts there are at most."""
    wanted = task.max_retries if task.max_retries is not None else spec.policy.max_retries
    return min(settings.default_retries if wanted is None else wanted, settings.max_retries)
