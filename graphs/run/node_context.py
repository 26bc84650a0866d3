"""What a node works with, made once for each call of a node: the graph's services, and what applies to this run."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.errors import GraphBubbleUp, GraphInterrupt
from langgraph.runtime import Runtime

from agent.core.compiler.compiler import NO_DURATIONS
from agent.core.engine.budgets import Deadline, raise_limits
from agent.core.engine.snapshot import Snapshot
from agent.core.plan.limits import Limits
from agent.errors import BudgetError
from agent.events import RunEvent
from agent.execution.call_log import CallLog
from agent.execution.concurrency import Slots
from agent.execution.executor import EarlyOutcomes, Executor, utc_now
from agent.execution.ledger import join_scope
from agent.json_values import error_text
from agent.llm.models import Model
from agent.llm.usage import Meter
from agent.settings import Settings
from agent.tools.toolbox import Toolbox
from graphs.langgraph_internals import CONFIG_KEY_CHECKPOINTER
from graphs.messages import Transcript
from graphs.nesting import get_run_namespace
from graphs.run.dispatch_board import DispatchBoard
from graphs.run.graceful_stop import GracefulRunControl
from graphs.run.services import Context, Services
from graphs.run.snapshots import RunCache, build_snapshot
from graphs.state import State, parse_spending
from graphs.stores.serializer import ExactSerializer

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class NodeContext:
    """What a node works with.

    The revision is not part of it: it is in the state, and a dispatch that finds an edited plan begins a new one.
    """

    services: Services
    runtime: Runtime[Context]
    #: The graph's settings, with what the caller set for this run.
    settings: Settings
    #: The settings' limits, with the budgets that a human raised in this run.
    limits: Limits
    toolbox: Toolbox
    #: Counts the run's calls of models.
    meter: Meter
    #: What was parsed of this run's state before.
    cache: RunCache
    #: The scope of the run, see `agent.execution.ledger.join_scope`: its calls, approvals and keys stand under it.
    thread: str

    @property
    def control(self) -> GracefulRunControl | None:
        """The control by which the run is stopped; None if the graph was not called through `PlanwaveGraph`."""
        control = self.runtime.control
        return control if isinstance(control, GracefulRunControl) else None

    @property
    def has_thread(self) -> bool:
        """Whether the caller named a thread; without one nobody could find what is stored outside the state."""
        info = self.runtime.execution_info
        return info is not None and info.thread_id is not None

    def get_transcript(self, state: State) -> Transcript:
        """Return what the messages say of this run."""
        if self.cache.transcript is None:
            self.cache.transcript = Transcript(str(state.get("run_id") or self.thread))
        return self.cache.transcript

    def emit(self, event: RunEvent) -> None:
        """Put an event on the run's `custom` stream."""
        self.runtime.stream_writer(event.model_dump(mode="json"))

    def create_executor(
        self,
        *,
        calls: CallLog | None = None,
        early_outcomes: EarlyOutcomes | None = None,
        deadline: Deadline | None = None,
    ) -> Executor:
        """Return an executor for calls of this run, logged in `calls` or else in the graph's call log.

        A tool's interrupts, and the refusal of a model call by the budget, pass through it.
        """
        return Executor(
            self.toolbox,
            self.settings,
            self.services.ledger,
            self.services.calls if calls is None else calls,
            propagate=(GraphBubbleUp, BudgetError),
            check_signal=_find_unstorable_question,
            early_outcomes=early_outcomes,
            cache=self.services.memory,
            deadline=deadline,
            pool=self.services.pool,
        )

    def build_snapshot(
        self,
        state: State,
        *,
        cache: RunCache | None = None,
        granted: Collection[str] | None = None,
        durations: Mapping[str, float] = NO_DURATIONS,
    ) -> Snapshot:
        """Return what has happened in this run up to now, as `graphs.run.snapshots.build_snapshot` does."""
        return build_snapshot(
            state,
            self.toolbox,
            thread=self.thread,
            now=utc_now(),
            granted=granted,
            cache=cache,
            durations=durations,
        )

    def create_slots(self) -> Slots:
        """Return slots for calls beside a dispatch; no call starts in them once the run is to stop."""
        slots = Slots(self.settings.max_concurrency)
        if self.control is not None:
            self.control.on_stop(slots.halt)
        return slots

    async def load_model(self) -> Model:
        """Return the run's model. Raises `ModelError` or `UsageError` if there is none."""
        return await self.services.load_model(self.runtime.context)

    async def load_outputs(self, state: State, tasks: Collection[str] | None = None) -> State:
        """Return `state` with the outputs of `tasks`, or with all, loaded from where large ones are stored."""
        results = await self.services.artifacts.load_results(state.get("results") or {}, tasks, thread=self.thread)
        return {**state, "results": results}


async def create_node_context(state: State, runtime: Runtime[Context], services: Services) -> NodeContext:
    """Return the context of a node that was called with `state`."""
    settings, has_given_plan = services.resolve_settings(runtime.context), bool(state.get("plan_was_given"))
    limits = raise_limits(
        services.resolve_limits(runtime.context, given=has_given_plan, attended=can_wait_for_answer(get_config())),
        state.get("raised_budgets") or {},
    )
    prices = (settings.price_input or 0.0, settings.price_output or 0.0)
    thread = build_scope(runtime, state.get("run_id") or "")
    return NodeContext(
        services=services,
        runtime=runtime,
        settings=settings,
        limits=limits,
        toolbox=await services.load_toolbox(),
        meter=services.meters.get_meter(state.get("run_id") or "").begin_step(
            limits, parse_spending(state), prices=prices
        ),
        cache=services.caches.get_or_create(thread),
        thread=thread,
    )


async def create_task_context(board: DispatchBoard, runtime: Runtime[Context], services: Services) -> NodeContext:
    """Return the context of a node that runs one task of the dispatch on `board`."""
    return NodeContext(
        services=services,
        runtime=runtime,
        settings=services.resolve_settings(runtime.context),
        limits=board.limits,
        toolbox=await services.load_toolbox(),
        meter=board.meter,
        cache=services.caches.get_or_create(board.thread),
        thread=board.thread,
    )


Node: TypeAlias = Callable[[State, NodeContext], Awaitable[T]]


class BoundNode(Protocol[T_co]):
    """A node as LangGraph calls it."""

    def __call__(self, state: State, *, runtime: Runtime[Context]) -> Awaitable[T_co]:
        """Return the update or the command."""
        ...


def bind_node(node: Node[T], services: Services) -> BoundNode[T]:
    """Return `node` as LangGraph calls it."""

    async def run_node(state: State, *, runtime: Runtime[Context]) -> T:
        return await node(state, await create_node_context(state, runtime, services))

    return run_node


def build_scope(runtime: Runtime[Context], run_id: str) -> str:
    """Return the scope of a run by its id, in a node of it. Raises `UsageError` as `join_scope`."""
    info = runtime.execution_info
    thread, namespace = (info.thread_id, info.checkpoint_ns) if info else (None, "")
    return join_scope(run_id if thread is None else str(thread), run_id, namespace=get_run_namespace(namespace))


def _find_unstorable_question(signal: BaseException) -> str | None:
    """Return why what a tool asks a human cannot be stored; None if it can, or the tool does not ask.

    The checkpoint of such a question could not be written, neither now nor at any resume.
    """
    if not isinstance(signal, GraphInterrupt):
        return None
    try:
        ExactSerializer().dumps_typed(signal.args[0] if signal.args else ())
    except TypeError as error:
        return f"The tool asks a human with a value that cannot be stored ({error_text(error)}). Ask with plain JSON."
    return None


def can_wait_for_answer(config: RunnableConfig) -> bool:
    """Whether a run can stop for a human and be resumed: without a checkpointer it cannot."""
    return config.get("configurable", {}).get(CONFIG_KEY_CHECKPOINTER) is not None
