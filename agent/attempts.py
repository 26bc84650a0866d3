"""A call made as often as it may and must be, each attempt within its time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Protocol

import anyio.to_thread
from anyio import CapacityLimiter
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, Tool
from pydantic import JsonValue, ValidationError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from agent.core.arguments import value_errors
from agent.core.call import Arguments, repeatable
from agent.core.digest import digest
from agent.core.outcome import Doubt, FailureKind
from agent.core.plan import Task
from agent.core.tool import ToolSpec
from agent.errors import PersistenceError, ToolFailure
from agent.events import Emit, TaskRetrying, TaskStarted
from agent.secrecy import filled, guarded
from agent.settings import Settings
from agent.slots import Halted, Slots, Urgency
from agent.tools.catalogue import IDEMPOTENCY_KEY
from agent.transience import WaitAsAsked, may_pass, without_effect
from agent.values import NotJson, as_json


@dataclass(frozen=True, slots=True)
class CallResult:
    """A call returned."""

    output: JsonValue
    attempts: int
    started_at: datetime | None


@dataclass(frozen=True, slots=True)
class CallFailed:
    """A call did not return; `error` is a sentence."""

    kind: FailureKind
    error: str
    attempts: int
    started_at: datetime | None
    #: The last attempt may have taken effect all the same.
    unsure: bool = False


@dataclass(frozen=True, slots=True)
class CallInDoubt:
    """Nobody knows whether the call took effect."""

    doubt: Doubt
    attempts: int
    started_at: datetime | None


CallMade = CallResult | CallFailed | CallInDoubt


class Maker(Protocol):
    """Makes one call of a task."""

    async def make(self, args: Arguments, *, item: int | None, slots: Slots, urgency: Urgency, emit: Emit) -> CallMade:
        """Return what became of the call."""
        ...


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
    ) -> None:
        # A tool told to hide its errors would hand a failure on as a result.
        self._tool = tool.model_copy(update={"handle_tool_error": False, "handle_validation_error": False})
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
        made, started = 0, None

        def retrying(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            wait = state.next_action.sleep if state.next_action else 0.0
            emit(TaskRetrying(task=self._task.id, attempt=made, error=self._sentence(error), wait_s=round(wait, 3)))

        def bound_to_go_on() -> bool:
            return made > 0 and not self._repeatable

        async def pause(seconds: float) -> None:
            await slots.unless_halted(asyncio.sleep(seconds), begun=bound_to_go_on())

        loop = AsyncRetrying(
            sleep=pause,
            stop=stop_after_attempt(self._most),
            wait=WaitAsAsked(),
            retry=retry_if_exception(self._may_repeat),
            before_sleep=retrying,
            reraise=True,
        )
        try:
            async for attempt in loop:
                with attempt:
                    async with slots.place(self._spec, urgency=urgency, begun=bound_to_go_on()):
                        known = await first() if first is not None and made == 0 else None
                        if known is not None:
                            return known
                        made += 1
                        now = self._clock()
                        started = started or now
                        emit(TaskStarted(task=self._task.id, tool=self._task.tool, attempt=made, at=now.isoformat()))
                        raw = await self._once(args, item=item, slots=slots)
        except self._let_through:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a tool raises is the task's failure, a value
            unsure = may_pass(error) and not without_effect(error)
            return CallFailed(self._kind(error), self._sentence(error), made, started, unsure)
        return self._checked(raw, made, started)

    def _may_repeat(self, error: BaseException) -> bool:
        """Whether to try again: a write whose receiver does not drop repetitions only where it surely had no effect."""
        return may_pass(error) and (self._repeatable or without_effect(error))

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
        if isinstance(error, ToolFailure):
            return str(error)
        if isinstance(error, TimeoutError) and not str(error):
            return f"No answer from {self._spec.name!r} within {self._timeout_s:g} s."
        return f"{type(error).__name__}: {error}"


def idempotency_key(thread: str, revision: int, task: str, item: int | None) -> str:
    """Return the key of one write: the same at every attempt and after every resume, another for any other write."""
    return digest([thread, revision, task, item])


def _retries(task: Task, spec: ToolSpec, settings: Settings) -> int:
    """Return how many more attempts there are at most."""
    wanted = task.max_retries if task.max_retries is not None else spec.policy.max_retries
    return min(settings.default_retries if wanted is None else wanted, settings.max_retries)


async def call_tool(
    tool: BaseTool,
    args: Mapping[str, Any],
    config: RunnableConfig,
    *,
    spec: ToolSpec,
    threads: CapacityLimiter | None = None,
) -> object:
    """Return what `tool` returns; one without a coroutine runs in a thread, which a cancelled call leaves behind.

    Secrets that `args` name are filled in, and masked in what is returned or raised.
    """
    args = filled(args, spec)
    tool = guarded(tool, args)
    if _has_coroutine(tool):
        return await tool.ainvoke(args, config)
    return await anyio.to_thread.run_sync(partial(tool.invoke, args, config), abandon_on_cancel=True, limiter=threads)


def _has_coroutine(tool: BaseTool) -> bool:
    if isinstance(tool, StructuredTool | Tool):
        return tool.coroutine is not None
    return type(tool)._arun is not BaseTool._arun  # noqa: SLF001 - the method that a tool overrides to be async
