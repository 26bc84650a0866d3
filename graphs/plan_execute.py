"""The graph: goal -> context -> plan -> [dispatch -> execute | ask | replan | roll back]* -> answer."""

from functools import cache
from typing import TYPE_CHECKING, Any, cast

from langgraph.cache.base import BaseCache
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph

from agent.errors import UsageError
from agent.execution.call_log import MemoryCallLog
from agent.execution.ledger import MemoryLedger
from agent.results.artifacts import Artifacts
from agent.settings import Settings
from agent.tools.analytics import default_tools
from graphs.compiled_graph import PlanwaveGraph
from graphs.nodes.node_services import Nodes
from graphs.persistence import Persistence
from graphs.run.grants import Grants
from graphs.run.services import Context, DurationEstimates, ModelChoice, Services, SharedResultCache, ToolsOrFactory
from graphs.state import Input, OutputState, State, TaskOrder
from graphs.stores.serializer import use_exact_serializer
from graphs.stores.single_thread import ensure_async_saver


def build_graph(
    *,
    tools: ToolsOrFactory | None = None,
    model: ModelChoice = None,
    settings: Settings | None = None,
    checkpointer: BaseCheckpointSaver[Any] | None = None,
    persistence: Persistence | None = None,
    cache: BaseCache[Any] | None = None,
) -> PlanwaveGraph:
    """Return the graph over `tools`, ready for `invoke`, `ainvoke`, `stream` and Studio.

    `tools` are LangChain tools or a function that makes them at first use; None is the analytics family over the sample
    shop. `model` is `"openai:NAME"`, `"local"`, a chat model, or None for the configured one, which is only asked for
    when something has to be planned. Give either any LangGraph `checkpointer`, or a `persistence` with every promise.
    `cache` keeps what tools with a `cache_ttl_s` return for other threads; None: the persistence does, if there is one.
    Raises `UsageError` for both, `ToolError` for tools that cannot be used.
    """
    if checkpointer is not None and persistence is not None:
        raise UsageError("Give either 'checkpointer' or 'persistence', not both.")
    chosen = settings or Settings()
    ledger = persistence.ledger if persistence else MemoryLedger()
    artifacts = persistence.artifacts if persistence else Artifacts()
    shared = cache if cache is not None else persistence.cache if persistence else None
    wiring = Services(
        tools=tools if tools is not None else default_tools(chosen, model),
        model=model,
        settings=chosen,
        ledger=ledger,
        calls=persistence.calls if persistence else MemoryCallLog(),
        grants=Grants(ledger, durable=persistence is not None, ttl_s=chosen.approval_ttl_s),
        artifacts=artifacts,
        durations=DurationEstimates(persistence.store if persistence else None),
        memory=SharedResultCache(shared) if shared is not None else None,
    )
    if not callable(wiring.tools):
        _ = wiring.toolbox
    saver = (
        persistence.saver
        if persistence
        else use_exact_serializer(ensure_async_saver(checkpointer))
        if checkpointer
        else None
    )
    compiled = _build_state_graph(Nodes(wiring)).compile(checkpointer=saver, name="planwave")
    return PlanwaveGraph.from_compiled(
        compiled,
        grace_s=chosen.grace_s,
        artifacts=artifacts,
        toolbox=wiring.load_toolbox,
        limits=lambda context, given: wiring.resolve_limits(context, given=given, attended=True),
    )


def _build_state_graph(nodes: Nodes) -> StateGraph[State, Context, Input, OutputState]:
    builder = StateGraph(State, context_schema=Context, input_schema=Input, output_schema=OutputState)
    builder.add_node("gather_context", nodes.gather_context, metadata={"does": "asks the tools that give context"})
    builder.add_node("planner", nodes.planner, metadata={"does": "makes a plan that compiles"})
    builder.add_node("look_up", nodes.look_up, metadata={"does": "asks what the planner wants to know"})
    builder.add_node("wave_dispatch", nodes.wave_dispatch, metadata={"does": "chooses the next move"})
    builder.add_node(
        "tool_executor",
        # LangGraph's types know no node that takes a runtime and an input of its own; its code does.
        cast("Any", nodes.tool_executor),
        input_schema=TaskOrder,
        metadata={"does": "runs one task of the plan"},
    )
    builder.add_node("human_approval", nodes.human_approval, metadata={"does": "stops until a person has answered"})
    builder.add_node("replanner", nodes.replanner, metadata={"does": "plans the rest anew after a failure"})
    builder.add_node("rollback", nodes.rollback, metadata={"does": "plans the undoing of finished writes"})
    builder.add_node("answer", nodes.answer, metadata={"does": "says what came out"})
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
