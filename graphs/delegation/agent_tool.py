"""`agent_tool`: a tool that gives a task to an agent or graph of LangChain or LangGraph that is compiled already."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MethodType
from typing import Any, Final, get_type_hints
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs
from langchain_core.tools import BaseTool
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt.tool_node import ToolCallRequest, ToolNode
from langgraph.types import Command
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter
from pydantic.errors import PydanticUserError

from agent.core.plan.tool_spec import JsonSchema, Preflight
from agent.errors import ToolError, ToolFailure
from agent.json_values import to_json_value
from agent.llm.replies import MalformedReply
from agent.llm.usage import begin_call, count_call, extract_usage
from agent.tools.call_inputs import render_cut_inputs
from agent.tools.toolbox import Toolbox
from graphs.delegation.delegate_tool import (
    TEXT_ANSWER_SCHEMA,
    extract_answer,
    list_cuts,
    list_steps,
    require_task,
)
from graphs.delegation.typed_answer import AnswerForm, OutputSchema
from graphs.delegation.worker_calls import ToolCallHandler, WorkerCalls, adapt_tool
from graphs.langgraph_internals import ensure_config, get_call_wrappers, replace_call_wrapper
from prompts import render

AGENT_TASK_PROMPT: Final = "agent_task.v1"
_MESSAGES: Final = "messages"
#: Modules whose nodes only ask a model and decide where to go: what they do outside are the calls of their tool node.
_AGENT_MODULES: Final = frozenset({"langchain.agents.factory", "langgraph.prebuilt.chat_agent_executor"})
_MIDDLEWARE: Final = "langchain.agents.middleware"
_TIMEOUT_S: Final = 3600


class AgentArgs(BaseModel):
    """Arguments of an agent that has a conversation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str = Field(min_length=1, max_length=4000, description="What is to be found out or done, as to a colleague.")
    inputs: dict[str, JsonValue] = Field(default_factory=dict, description="Named data for it: earlier outputs.")


class AgentTool(BaseTool):
    """Lets a compiled graph work on one task."""

    args_schema: type[BaseModel] | JsonSchema = AgentArgs
    graph: Any
    #: The nodes of the graph that make calls of tools, by name.
    tool_nodes: dict[str, Any]
    #: The tools of these nodes, as the executor calls them; None: their calls cannot be told apart.
    own_tools: Toolbox | None
    #: The nodes that may do anything.
    opaque: tuple[str, ...] = ()
    form: AnswerForm | None = None
    has_messages: bool = True
    #: The tools that a rollback needs: those that can be undone, and those that undo them.
    worker_tools: tuple[BaseTool, ...] = ()

    def preflight(self, args: dict[str, Any]) -> Preflight:  # noqa: ARG002 - holds for any task
        """Warn that the calls of the agent cannot be asked about one by one, if so."""
        return Preflight(warnings=(_describe_opacity(self.name, self.opaque),) if self.own_tools is None else ())

    def _run(self, **_: JsonValue) -> JsonValue:
        raise ToolFailure("An agent runs only within a graph.")

    async def _arun(self, **arguments: JsonValue) -> JsonValue:
        context = require_task()
        graph, calls = self.graph, None
        if self.own_tools is not None:
            calls = WorkerCalls(context, own_tools=self.own_tools, locate=_make_locator(sorted(self.tool_nodes)))
            graph = _with_calls(graph, self.tool_nodes, calls)
        counted = _ModelCalls(calls)
        current = ensure_config()
        config: RunnableConfig = {
            "callbacks": merge_configs({"callbacks": current.get("callbacks")}, {"callbacks": [counted]})["callbacks"],
            "run_name": self.name,
        }
        try:
            result = await graph.ainvoke(self._build_input(arguments), config)
        finally:
            if calls is not None and calls.fault is not None:
                # A tool node may take it for an error of its tool, and go on.
                raise calls.fault
        messages = _read_messages(result) if self.has_messages else []
        answering = self.form.tool_name if self.form is not None else None
        steps = tuple(step for step in list_steps(messages) if step["tool"] != answering)
        cuts = list_cuts(messages)
        if self.form is None and self.has_messages:
            cut: dict[str, JsonValue] = {"truncated": True, "warning": "; ".join(cuts)} if cuts else {}
            return {"answer": extract_answer(messages[-1]), "steps": list(steps), **cut}
        context.report.steps, context.report.cuts = steps, cuts
        return self._read_answer(result, messages)

    def _build_input(self, arguments: dict[str, JsonValue]) -> dict[str, Any]:
        if not self.has_messages:
            return dict(arguments)
        request = AgentArgs.model_validate(arguments)
        text = render(AGENT_TASK_PROMPT, task=request.task, inputs=request.inputs) + render_cut_inputs()
        return {_MESSAGES: [HumanMessage(text)]}

    def _read_answer(self, result: Mapping[str, Any], messages: Sequence[AnyMessage]) -> JsonValue:
        if self.form is None:
            return to_json_value(result)
        if (structured := result.get("structured_response")) is not None:
            return self.form.dump(structured)
        if not self.has_messages:
            return to_json_value(result)
        found = self.form.parse(extract_answer(messages[-1]))
        if isinstance(found, MalformedReply):
            raise ToolFailure(f"The agent's answer cannot be used: {found.reason}")
        return found


def agent_tool(
    graph: CompiledStateGraph[Any, Any, Any, Any],
    *,
    name: str,
    description: str,
    output_schema: OutputSchema | None = None,
    policies: Mapping[str, Mapping[str, Any]] | None = None,
    trust_nodes: bool = False,
) -> BaseTool:
    """Return a tool that gives a task to a compiled agent or graph: of `create_agent`, deepagents, or your own.

    A graph with `messages` takes a task, with named data, and gives its last message and its steps; any other takes its
    own input and gives its own output. With an `output_schema` the output is its structured response. The calls of its
    tool nodes are asked about, recorded and undone as those of a worker of `delegate_tool`: a tool that does not say
    `readOnlyHint: true` asks. `policies` are such hints by tool, for tools that you cannot change. In a node that is
    code of its own anything may be done unseen: then a person approves each task as a whole, unless `trust_nodes` says
    that such nodes change nothing outside. The tools of a subagent are such code, so its calls ask as a whole.
    Raises `ToolError` for what is no compiled graph, for policies of unknown tools, and for a wrong schema.
    """
    if not isinstance(graph, CompiledStateGraph):
        raise ToolError(
            f"The agent {name!r} is a {type(graph).__name__}; give a compiled graph, as `create_agent` or `compile` "
            "return."
        )
    tool_nodes = {key: node.bound for key, node in graph.nodes.items() if isinstance(node.bound, ToolNode)}
    opaque = tuple(key for key, node in graph.nodes.items() if _is_opaque(key, node.bound))
    if trust_nodes:
        opaque = tuple(key for key in opaque if key in tool_nodes)
    tools = {tool.name: tool for node in tool_nodes.values() for tool in node.tools_by_name.values()}
    for unknown in (policies or {}).keys() - tools.keys():
        raise ToolError(f"The agent {name!r} has no tool {unknown!r} to set a policy for; it has: {', '.join(tools)}.")
    hints = {key: {**(tool.metadata or {}), **(policies or {}).get(key, {})} for key, tool in tools.items()}
    form = AnswerForm.of_schema(output_schema, worker=name) if output_schema is not None else None
    has_messages = _MESSAGES in _read_schema(graph, "input")["properties"]
    governed = not opaque
    return AgentTool(
        name=name,
        description=description if governed else f"{description} {_describe_opacity(name, opaque)}",
        args_schema=AgentArgs if has_messages else _read_schema(graph, "input"),
        # The saver of the graph around it is the one that keeps the run.
        graph=graph.copy({"checkpointer": None}),
        tool_nodes=tool_nodes,
        own_tools=Toolbox(adapt_tool(tool, hints[key]) for key, tool in tools.items()) if governed else None,
        opaque=opaque,
        form=form,
        has_messages=has_messages,
        worker_tools=tuple(_list_undoing_tools(tools, hints)) if governed else (),
        metadata={
            # A governed agent changes nothing itself: each write of it needs its own approval.
            "readOnlyHint": governed,
            "destructiveHint": not governed,
            "idempotentHint": False,
            "dispatched_only": True,
            "timeout_s": _TIMEOUT_S,
            "max_retries": 0,
            "output_schema": _choose_output_schema(graph, form, has_messages=has_messages),
        },
    )


def _choose_output_schema(
    graph: CompiledStateGraph[Any, Any, Any, Any], form: AnswerForm | None, *, has_messages: bool
) -> JsonSchema:
    if form is not None:
        return form.output_schema
    return TEXT_ANSWER_SCHEMA if has_messages else {**_read_schema(graph, "output"), "required": []}


def _describe_opacity(name: str, opaque: Sequence[str]) -> str:
    nodes = ", ".join(map(repr, opaque))
    return (
        f"What {name!r} does cannot be asked about, recorded or undone call by call, because {nodes} "
        f"{'is' if len(opaque) == 1 else 'are'} code of its own; a person approves the task as a whole."
    )


def _is_opaque(name: str, bound: object) -> bool:
    """Whether a node may do more than ask a model and call tools that are seen."""
    if name == "__start__":
        return False
    if isinstance(bound, ToolNode):
        blocking, asynchronous = get_call_wrappers(bound)
        # A wrapper that only blocks cannot wait for an approval.
        return blocking is not None and asynchronous is None
    function = getattr(bound, "func", None) or getattr(bound, "afunc", None)
    if isinstance(function, MethodType):
        return not any(base.__module__.startswith(_MIDDLEWARE) for base in type(function.__self__).__mro__)
    return getattr(function, "__module__", None) not in _AGENT_MODULES


def _list_undoing_tools(tools: Mapping[str, BaseTool], hints: Mapping[str, Mapping[str, Any]]) -> list[BaseTool]:
    """Return the tools whose calls can be undone, and those that undo them, for a rollback alone."""
    undone = [name for name, hint in hints.items() if hint.get("compensate")]
    wanted = dict.fromkeys((*undone, *(str(hints[name]["compensate"]) for name in undone)))
    return [
        tools[name].model_copy(update={"metadata": {**hints[name], "worker_only": True}})
        for name in wanted
        if name in tools
    ]


def _read_schema(graph: CompiledStateGraph[Any, Any, Any, Any], side: str) -> JsonSchema:
    """Return the JSON Schema of what a graph takes or gives."""
    declared = graph.builder.input_schema if side == "input" else graph.builder.output_schema
    try:
        schema = graph.get_input_jsonschema() if side == "input" else graph.get_output_jsonschema()
    except PydanticUserError:
        # Of `typing.TypedDict`, which Pydantic does not take before Python 3.12.
        schema = {"type": "object", "properties": {}}
        for key, hint in get_type_hints(declared).items():
            schema["properties"][key] = TypeAdapter(hint).json_schema()
        schema["required"] = sorted(getattr(declared, "__required_keys__", ()))
    schema.setdefault("properties", {})
    if declared is graph.builder.state_schema:
        # Not all of a state is input.
        schema.pop("required", None)
    return schema


def _make_locator(nodes: Sequence[str]) -> Callable[[ToolCallRequest], str]:
    """Return what names a call by superstep, tool node and position, which stay the same when the agent is resumed."""

    def locate_call(request: ToolCallRequest) -> str:
        metadata = request.runtime.config.get("metadata") or {}
        at = nodes.index(metadata["langgraph_node"]) if len(nodes) > 1 else 0
        turns = [message for message in _read_messages(request.state) if isinstance(message, AIMessage)]
        calls = turns[-1].tool_calls if turns else []
        same = (place for place, call in enumerate(calls) if call["id"] == request.tool_call["id"])
        return f"{metadata['langgraph_step']}.{at}.{next(same, 0)}"

    return locate_call


def _read_messages(state: object) -> list[AnyMessage]:
    messages = state if isinstance(state, list) else None
    if messages is None:
        messages = state.get(_MESSAGES) if isinstance(state, Mapping) else getattr(state, _MESSAGES, None)
    return [message for message in messages or () if isinstance(message, BaseMessage)]  # type: ignore[misc]  # all of these


def _with_calls(
    graph: CompiledStateGraph[Any, Any, Any, Any], tool_nodes: Mapping[str, ToolNode], calls: WorkerCalls
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the graph with the calls of its tool nodes made by `calls`."""
    nodes = dict(graph.nodes)
    for name, tool_node in tool_nodes.items():
        _, own = get_call_wrappers(tool_node)
        nodes[name] = nodes[name].copy({"bound": replace_call_wrapper(tool_node, _compose(calls, own))})
    return graph.copy({"nodes": nodes})


def _compose(calls: WorkerCalls, own: Any) -> Callable[..., Awaitable[ToolMessage | Command[Any]]]:  # noqa: ANN401 - as LangGraph types it
    async def wrap(request: ToolCallRequest, execute: ToolCallHandler) -> ToolMessage | Command[Any]:
        async def handle(inner: ToolCallRequest) -> ToolMessage | Command[Any]:
            # The agent's own middleware comes after the approval. What is no tool of its node it may not make up.
            if own is None or inner.tool is None:
                return await execute(inner)
            result: ToolMessage | Command[Any] = await own(inner, execute)
            return result

        return await calls.make_call(request, handle)

    return wrap


@dataclass(eq=False)
class _ModelCalls(BaseCallbackHandler):
    """Counts the calls of an agent's models against the budget of the run, those of subagents too."""

    calls: WorkerCalls | None
    raise_error: bool = True
    run_inline: bool = True
    _counted: set[UUID] = field(default_factory=set)

    def on_chat_model_start(self, *_args: Any, run_id: UUID, **_options: Any) -> None:  # noqa: ANN401 - LangChain's
        """Raise `BudgetError` if the budget allows no further call, and what kept an earlier tool call from its end."""
        if self.calls is not None and self.calls.fault is not None:
            raise self.calls.fault
        begin_call()
        self._counted.add(run_id)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_options: Any) -> None:  # noqa: ANN401 - LangChain's
        """Count the tokens of a reply."""
        if run_id not in self._counted:
            return
        for generation in response.generations[0] if response.generations else ():
            if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage):
                count_call(extract_usage(generation.message))
