"""The services of one graph: tools, model, settings and stores, each made when it is first needed."""

import inspect
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

import anyio.to_thread
from langgraph.cache.base import BaseCache
from langgraph.store.base import BaseStore, GetOp, PutOp
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.core.engine.outcomes import Done, Outcome
from agent.core.plan.limits import Limits
from agent.errors import PlanwaveError, ToolError, WeightsError
from agent.execution.call_log import CallLog
from agent.execution.ledger import Ledger
from agent.execution.result_cache import CachedResult, ResultCache
from agent.execution.tool_call import CallPool
from agent.llm.embedded.server import is_local_installed
from agent.llm.embedded.weights import find_weights
from agent.llm.models import (
    LOCAL,
    Model,
    ModelChoice,
    check_model_choice,
    is_model_available,
    needs_import,
    resolve_model,
)
from agent.llm.usage import MeterRegistry
from agent.results.artifacts import Artifacts
from agent.settings import Settings
from agent.tools.injected_arguments import RunOffer
from agent.tools.toolbox import Toolbox, ToolLike
from graphs.run.dispatch_board import BoardRegistry
from graphs.run.grants import Grants
from graphs.run.snapshots import RunCaches
from graphs.state import STATE_FIELDS_FOR_TOOLS
from graphs.stores.library import Library

_DURATIONS_NAMESPACE: Final = ("planwave", "durations")
#: The least weight of a new call, so that the estimate follows a tool that has become slower.
_MIN_WEIGHT: Final = 0.2


class DurationEstimates:
    """Estimated seconds of a call, by tool: the mean of the first five calls, then an exponentially weighted mean."""

    def __init__(self, store: BaseStore | None) -> None:
        """Store them in `store`; None: keep them in memory only."""
        self._store = store
        self._estimates: dict[str, tuple[float, int]] = {}
        self._loaded_tools: set[str] = set()
        self._changed: set[str] = set()

    async def get_estimates(self, tools: frozenset[str]) -> Mapping[str, float]:
        """Return the estimates of `tools`, in seconds; a tool that was never called has none."""
        new = sorted(tools - self._loaded_tools)
        if new and self._store is not None:
            items = await self._store.abatch([GetOp(_DURATIONS_NAMESPACE, tool) for tool in new])
            for tool, item in zip(new, items, strict=True):
                # A call may have ended while the store was read; what this process measured is newer.
                if item is not None and tool not in self._estimates:
                    self._estimates[tool] = _parse_estimate(item.value)  # type: ignore[union-attr]  # a GetOp gives an item or None
        self._loaded_tools.update(new)
        return MappingProxyType({tool: self._estimates[tool][0] for tool in tools if tool in self._estimates})

    def record_call(self, tool: str, outcome: Outcome) -> None:
        """Update the estimate by a call that returned; others are ignored."""
        seconds = outcome.duration_s
        if not isinstance(outcome, Done) or outcome.reused_from is not None or seconds is None:
            return
        before, calls = self._estimates.get(tool, (0.0, 0))
        weight = max(1 / (calls + 1), _MIN_WEIGHT)
        self._estimates[tool] = before + weight * (seconds - before), calls + 1
        self._changed.add(tool)

    async def save_changes(self) -> None:
        """Store the estimates that have changed since the last time."""
        changed, self._changed = sorted(self._changed), set()
        if changed and self._store is not None:
            await self._store.abatch(
                [PutOp(_DURATIONS_NAMESPACE, tool, _estimate_to_json(self._estimates[tool])) for tool in changed]
            )


def _parse_estimate(value: dict[str, Any]) -> tuple[float, int]:
    return float(value["seconds"]), int(value["calls"])


def _estimate_to_json(known: tuple[float, int]) -> dict[str, Any]:
    return {"seconds": round(known[0], 6), "calls": known[1]}


_MODEL_VARIABLES = ("PLANWAVE_MODEL", "OPENAI_API_KEY", "OPENAI_BASE_URL")

ToolsOrFactory = Sequence[ToolLike] | Callable[[], Sequence[ToolLike]]


def check_tool_factory(factory: Callable[[], Sequence[ToolLike]]) -> None:
    """Raise `ToolError` for a function that makes no tools: it takes arguments, or is a coroutine function."""
    if isinstance(factory, type):
        raise ToolError(f"The tools are the class {factory.__name__}; give a list of LangChain tools or functions.")
    try:
        inspect.signature(factory).bind()
    except TypeError:
        name = getattr(factory, "__name__", repr(factory))
        raise ToolError(
            f"The tools are {name!r}, which cannot be called without arguments to make them; if it is a tool itself, "
            "give it in a list."
        ) from None
    if inspect.iscoroutinefunction(factory):
        raise ToolError(
            f"The tools are the coroutine function {factory.__name__!r}; give a function that returns them."
        )


class Context(BaseModel):
    """What one run may set for itself; a field that is None stays as it is configured."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(
        default=None,
        title="Model",
        description="'openai:NAME', another 'PROVIDER:NAME' or 'local'; empty for the configured one.",
        json_schema_extra={"langgraph_nodes": ["planner", "replanner", "answer"]},
    )
    dispatch: Literal["eager", "wave"] | None = Field(
        default=None,
        title="Dispatch",
        description="'eager' starts a task when its needs are done; 'wave' goes level by level, for stepping through.",
        json_schema_extra={"langgraph_nodes": ["wave_dispatch"]},
    )
    max_concurrency: int | None = Field(
        default=None, ge=1, title="Concurrent calls", description="Tool calls at the same time, at most."
    )
    max_replans: int | None = Field(
        default=None, ge=0, title="Replans", description="Replans before a person is asked, or the run ends as failed."
    )
    max_tasks: int | None = Field(
        default=None, ge=1, title="Tasks", description="Tasks of one plan, and of one run over all its replans."
    )
    max_repairs: int | None = Field(
        default=None, ge=0, title="Repairs", description="Times that a plan with problems goes back to the planner."
    )
    max_context_rounds: int | None = Field(
        default=None, ge=0, title="Context rounds", description="Times that the planner may ask tools before it plans."
    )
    max_questions: int | None = Field(
        default=None, ge=0, title="Questions", description="Questions that the replanner may ask a person."
    )
    max_retries: int | None = Field(
        default=None, ge=0, title="Retries", description="Upper limit of the retries that a task may ask for."
    )
    default_retries: int | None = Field(
        default=None, ge=0, title="Default retries", description="Retries of a call if neither task nor tool says."
    )
    max_timeout_s: float | None = Field(
        default=None, gt=0, title="Timeout (seconds)", description="Upper limit of the timeout that a task may ask for."
    )
    default_timeout_s: float | None = Field(
        default=None,
        gt=0,
        title="Default timeout (seconds)",
        description="Seconds for one attempt of a call if neither task nor tool says.",
    )
    max_model_calls: int | None = Field(default=None, ge=0, title="Model calls", description="Calls of the model.")
    max_tokens: int | None = Field(default=None, ge=0, title="Tokens", description="Tokens, read and written.")
    max_cost: float | None = Field(default=None, ge=0, title="Cost", description="Cost of the model's calls.")
    deadline_s: float | None = Field(
        default=None, gt=0, title="Deadline (seconds)", description="After this time nothing new is started."
    )


@dataclass
class Services:
    """The services of one graph."""

    tools: ToolsOrFactory
    model: ModelChoice
    settings: Settings
    ledger: Ledger
    calls: CallLog
    grants: Grants
    artifacts: Artifacts
    durations: DurationEstimates
    #: LangGraph's store, for tools that want one.
    store: BaseStore | None = None
    #: Cached results that other threads may use.
    memory: ResultCache | None = None
    #: Has the calls of tools with a pool made by other processes.
    pool: CallPool | None = None
    #: The programs that the planner looks through first.
    library: Library | None = None
    #: What this process keeps of the runs that it has in flight.
    boards: BoardRegistry = field(default_factory=BoardRegistry)
    caches: RunCaches = field(default_factory=RunCaches)
    meters: MeterRegistry = field(default_factory=MeterRegistry)
    _toolbox: Toolbox | None = None
    _models: dict[tuple[str | None, ...], Model] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def toolbox(self) -> Toolbox:
        """The tools; a factory is called once, when they are first needed."""
        with self._lock:
            if self._toolbox is None:
                tools = self.tools() if callable(self.tools) else self.tools
                offer = RunOffer(frozenset(STATE_FIELDS_FOR_TOOLS), has_store=self.store is not None)
                self._toolbox = Toolbox(tools, offer=offer)
            return self._toolbox

    async def load_toolbox(self) -> Toolbox:
        """Return the tools; a factory runs in a thread, so that it does not block the event loop."""
        if self._toolbox is not None:
            return self._toolbox
        return await anyio.to_thread.run_sync(lambda: self.toolbox)

    def resolve_settings(self, context: Context | None) -> Settings:
        """Return the settings with what `context` sets for one run."""
        if context is None:
            return self.settings
        chosen = {name: value for name, value in context.model_dump(exclude={"model"}).items() if value is not None}
        return self.settings.model_copy(update=chosen) if chosen else self.settings

    def resolve_limits(self, context: Context | None, *, given: bool, attended: bool = False) -> Limits:
        """Return the limits of a run; `given`: its plan came with the input; `attended`: it can wait for a human."""
        can_replan = self.has_model(context, given=given)
        return self.resolve_settings(context).build_limits(can_replan=can_replan, attended=attended)

    def has_model(self, context: Context | None, *, given: bool) -> bool:
        """Whether there is a model to call, found out without downloading or starting anything.

        A run whose plan was given has none unless one is chosen or configured: the embedded model, which takes half a
        minute of both cores, is not started for it unasked.
        """
        choice = self._choose_model(context)
        if given and choice is None and not any(os.environ.get(name) for name in _MODEL_VARIABLES):
            return False
        try:
            return is_model_available(choice)
        except PlanwaveError:
            return False

    async def load_model(self, context: Context | None) -> Model:
        """Return the model of a run, made at first use. Raises `ModelError` or `UsageError` if there is none.

        Only the command line downloads weights, because it says so first and shows the progress.
        """
        choice, key = self._choose_model(context), self._get_model_key(context)
        if key not in self._models:
            self._models[key] = await anyio.to_thread.run_sync(_create_model, choice, self.settings)
        return self._models[key]

    def discard_model(self, context: Context | None) -> None:
        """Have the model of a run made again the next time: it failed, and its key or address may be mended since."""
        key = self._get_model_key(context)
        if key in self._models and self._models[key].name != LOCAL:
            del self._models[key]

    async def check_model(self, name: str | None = None) -> None:
        """Raise `UsageError` if `name`, or else the configured choice, names no model, or one without its package."""
        choice = name or self.model
        if needs_import(choice):
            await anyio.to_thread.run_sync(check_model_choice, choice)
        else:
            check_model_choice(choice)

    async def load_answer_model(self, context: Context | None, *, given: bool) -> Model | None:
        """Return the model that writes the answer; None if the results are to be listed instead."""
        return await self.load_model(context) if self.has_model(context, given=given) else None

    def _get_model_key(self, context: Context | None) -> tuple[str | None, ...]:
        """Return what a model was made from: a key or an address that is set later makes another one."""
        choice = self._choose_model(context)
        return (choice if isinstance(choice, str) else "", *map(os.environ.get, _MODEL_VARIABLES))

    def _choose_model(self, context: Context | None) -> ModelChoice:
        return (context.model if context else None) or self.model


def _create_model(choice: ModelChoice, settings: Settings) -> Model:
    if (
        not is_model_available(choice)
        and is_local_installed()
        and find_weights(os.environ) is None
        and not _is_server_model(choice)
    ):
        raise WeightsError(
            "The embedded model's weights (1.1 GB) are not on this machine; fetch them once with "
            "`planwave models pull`, name your own in PLANWAVE_LOCAL_GGUF, or set OPENAI_API_KEY or OPENAI_BASE_URL."
        )
    return resolve_model(choice, scale=settings.model_scale, max_output_tokens=settings.max_output_tokens)


def _is_server_model(choice: ModelChoice) -> bool:
    named = choice or os.environ.get("PLANWAVE_MODEL")
    return isinstance(named, str) and named != LOCAL


_RESULTS_NAMESPACE: Final = ("planwave", "results")


class SharedResultCache:
    """A `ResultCache` over a LangGraph cache."""

    def __init__(self, cache: BaseCache[dict[str, Any]]) -> None:
        self._cache = cache

    async def get(self, fingerprint: str) -> CachedResult | None:
        """See `ResultCache.get`. An entry that is not as it was put counts as lost."""
        cached = (await self._cache.aget([(_RESULTS_NAMESPACE, fingerprint)])).get((_RESULTS_NAMESPACE, fingerprint))
        try:
            result = CachedResult.model_validate(cached)
        except ValidationError:
            return None
        return result if result.fingerprint == fingerprint else None

    async def put(self, remembered: CachedResult, *, ttl_s: int) -> None:
        """See `ResultCache.put`."""
        await self._cache.aset(
            {(_RESULTS_NAMESPACE, remembered.fingerprint): (remembered.model_dump(mode="json"), ttl_s)}
        )
