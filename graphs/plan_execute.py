"""`build_graph`: goal -> context -> plan -> [dispatch -> execute | ask | replan | roll back]* -> answer."""

from functools import cache, partial
from typing import TYPE_CHECKING, Any, cast, get_args

from langgraph.cache.base import BaseCache
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.store.base import BaseStore

from agent.errors import UsageError
from agent.execution.call_log import MemoryCallLog
from agent.execution.ledger import MemoryLedger
from agent.llm.models import ModelChoice, check_model_choice
from agent.results.artifacts import Artifacts
from agent.settings import Settings
from agent.tools.analytics import default_tools
from graphs.compiled_graph import PlanwaveGraph
from graphs.nodes.answer import answer
from graphs.nodes.gather_context import gather_context
from graphs.nodes.human_approval import human_approval
from graphs.nodes.look_up import look_up
from graphs.nodes.planner import planner
from graphs.nodes.replanner import replanner
from graphs.nodes.rollback import rollback
from graphs.nodes.tool_executor import tool_executor
from graphs.nodes.wave_dispatch import NodeName, wave_dispatch
from graphs.persistence import Persistence
from graphs.run.grants import Grants
from graphs.run.node_context import Node, bind_node
from graphs.run.services import (
    Context,
    DurationEstimates,
    Services,
    SharedResultCache,
    ToolsOrFactory,
    check_tool_factory,
)
from graphs.state import OutputState, RunInput, State, TaskOrder
from graphs.stores.checkpoint_upgrade import upgrade_on_read
from graphs.stores.library import Library
from graphs.stores.serializer import use_exact_serializer
from graphs.stores.single_thread import ensure_async_saver
from graphs.workers.call_pool import open_call_pool


def build_graph(
    *,
    tools: ToolsOrFactory | None = None,
    model: ModelChoice = None,
    settings: Settings | None = None,
    checkpointer: BaseCheckpointSaver[Any] | None = None,
    persistence: Persistence | None = None,
    cache: BaseCache[Any] | None = None,
    store: BaseStore | None = None,
    library: Library | None = None,
    name: str = "planwave",
    description: str | None = None,
) -> PlanwaveGraph:
    """Return the graph over `tools`, ready for `invoke`, `ainvoke`, `stream` and Studio.

    `tools` are LangChain tools and functions with docstrings, or one function that makes them at first use; None: the
    analytics tools over the sample shop. `model` is `"openai:NAME"`, another provider's `"PROVIDER:NAME"`, `"local"`, a
    LangChain chat model or a runnable around one (`bind`, `with_retry`, `with_fallbacks`, configurable), or None for
    the configured one; it is only loaded when something has to be planned. Give any LangGraph `checkpointer`, or a
    `persistence`, which adds leases, a ledger of writes and large outputs. `cache` keeps the results of tools with a
    `cache_ttl_s` for other threads; None: the persistence's own, if there is one. `store` is LangGraph's, for tools
    with an `InjectedStore` or a `ToolRuntime`; None: the persistence's. `name` and `description` are those of the
    assistant on a LangGraph server, of its MCP tool, of a node and in traces. `library` has the programs that the
    planner looks through before it asks a model; None: those of `settings.library`, or else of the persistence.
    Raises `UsageError` for a model that there is not, for both a checkpointer and a persistence, and for an option of
    another type, `ToolError` for tools that cannot be used.
    """
    _check_options(
        settings=(settings, Settings, "a `Settings`"),
        checkpointer=(checkpointer, BaseCheckpointSaver, "a LangGraph saver, such as `InMemorySaver()`"),
        persistence=(persistence, Persistence, "what `open_persistence(URL)` gives within its `async with`"),
        cache=(cache, BaseCache, "a LangGraph cache"),
        store=(store, BaseStore, "a LangGraph store"),
        library=(library, Library, "a `Library`"),
    )
    if checkpointer is not None and persistence is not None:
        raise UsageError("Give either 'checkpointer' or 'persistence', not both.")
    if model is not None:
        check_model_choice(model)
    chosen = settings or Settings()
    ledger = persistence.ledger if persistence else MemoryLedger()
    artifacts = persistence.artifacts if persistence else Artifacts()
    shared = cache if cache is not None else persistence.cache if persistence else None
    services = Services(
        tools=tools if tools is not None else default_tools(chosen, model),
        model=model,
        settings=chosen,
        ledger=ledger,
        calls=persistence.calls if persistence else MemoryCallLog(),
        grants=Grants(ledger, durable=persistence is not None, ttl_s=chosen.approval_ttl_s),
        artifacts=artifacts,
        durations=DurationEstimates(persistence.store if persistence else None),
        memory=SharedResultCache(shared) if shared is not None else None,
        pool=open_call_pool(persistence) if persistence is not None else None,
        library=library or _choose_library(chosen, persistence),
        store=store if store is not None else persistence.store if persistence else None,
    )
    if not callable(services.tools):
        _ = services.toolbox
    else:
        check_tool_factory(services.tools)
    saver = (
        persistence.saver
        if persistence
        else upgrade_on_read(use_exact_serializer(ensure_async_saver(checkpointer)))
        if checkpointer
        else None
    )
    compiled = _build_state_graph(services).compile(checkpointer=saver, store=store, name=name)
    return PlanwaveGraph(
        # What LangGraph has compiled, as a graph of our class.
        **{part: value for part, value in vars(compiled).items() if not part.startswith("_")},
        description=description,
        library=services.library,
        ledger=ledger,
        settings=chosen,
        artifacts=artifacts,
        toolbox=services.load_toolbox,
        limits=lambda context, given: services.resolve_limits(context, given=given, attended=True),
        check_model=services.check_model,
    )


def _check_options(**options: tuple[object, type, str]) -> None:
    """Raise `UsageError` for an option whose value is not of its type; each comes with what to give instead."""
    for name, (value, kind, wanted) in options.items():
        if value is not None and not isinstance(value, kind):
            raise UsageError(f"The option {name!r} is {value!r:.100}; give {wanted}, or leave it out.")


def _choose_library(settings: Settings, persistence: Persistence | None) -> Library | None:
    if settings.library is not None:
        return Library(settings.library)
    return Library(persistence) if persistence is not None else None


def _build_state_graph(services: Services) -> StateGraph[State, Context, RunInput, OutputState]:
    builder = StateGraph(State, context_schema=Context, input_schema=RunInput, output_schema=OutputState)

    def add(name: str, node: Node[Any], does: str, **options: Any) -> None:  # noqa: ANN401 - LangGraph's own
        builder.add_node(name, bind_node(node, services), metadata={"does": does}, **options)

    add("gather_context", gather_context, "looks into the library, and asks the tools that give context")
    add("planner", planner, "makes a plan that compiles")
    add("look_up", look_up, "asks what the planner wants to know")
    add("wave_dispatch", wave_dispatch, "chooses the next move", destinations=get_args(NodeName))
    builder.add_node(
        "tool_executor",
        # LangGraph's types lack a node that takes both a runtime and an input of its own; its code does not.
        cast("Any", partial(tool_executor, services=services)),
        input_schema=TaskOrder,
        metadata={"does": "runs one task of the plan"},
    )
    add("human_approval", human_approval, "stops until a human has answered")
    add("replanner", replanner, "plans the rest again after a failure")
    add("rollback", rollback, "plans the undoing of finished writes")
    add("answer", answer, "says what came out")
    builder.add_edge(START, "gather_context")
    builder.add_edge("gather_context", "planner")
    builder.add_edge("look_up", "planner")
    for worker in ("planner", "tool_executor", "human_approval", "replanner", "rollback"):
        builder.add_edge(worker, "wave_dispatch")
    builder.add_edge("answer", END)
    return builder


@cache
def get_default_graph() -> PlanwaveGraph:
    """Return the graph over the default tools with the settings of the environment, for LangGraph's server and Studio.

    Raises `SettingsError`.
    """
    return build_graph()


if TYPE_CHECKING:
    graph: PlanwaveGraph
else:

    def __getattr__(name: str) -> PlanwaveGraph:
        """Make `graph`, which is `get_default_graph()`, at its first use, so that an import reads no settings."""
        if name == "graph":
            return get_default_graph()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
