"""`delegate_tool`: a tool that gives one open-ended task to a LangChain agent, the worker, which chooses its calls."""

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import takewhile
from typing import TYPE_CHECKING, Any, cast

import anyio.to_thread
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, ConfigDict, Field, JsonValue, create_model

from agent.core.plan.tool_spec import Preflight, ToolSpec
from agent.errors import ToolError, ToolFailure, describe_extra
from agent.llm.chat_wrappers import ChatRunnable, apply_configuration, change_models
from agent.llm.models import ModelSource, defer_model
from agent.llm.replies import MalformedReply, drop_reasoning
from agent.tools.call_inputs import render_cut_inputs
from agent.tools.toolbox import ToolLike, as_tools
from agent.tools.writing.typed_writing import TYPED_REPAIR_PROMPT
from graphs.delegation.typed_answer import AnswerForm, OutputSchema
from graphs.delegation.worker_calls import CUT_KEY, WorkerCalls
from graphs.run.task_runner import TaskContext, current_task
from prompts import render

if TYPE_CHECKING:
    from langchain.agents.middleware import AgentMiddleware

DELEGATE_PROMPT = "delegate.v2"
DELEGATE_NAME = "delegate"
_PREVIEW_LENGTH = 500
_MAX_STEPS = 50
#: Answers that a worker may give which do not fit its schema.
_MAX_REPAIRS = 2


class DelegateArgs(BaseModel):
    """Arguments of `delegate`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str = Field(min_length=1, max_length=4000, description="What is to be found out or done, as to a colleague.")
    inputs: dict[str, JsonValue] = Field(default_factory=dict, description="Named data for it: earlier outputs.")
    tools: list[str] | None = Field(default=None, min_length=1, description="The tools it may use; all that it can.")
    max_steps: int = Field(default=12, ge=1, le=_MAX_STEPS, description="Turns after which it must have ended.")


_STEP_SCHEMA = {
    "type": "object",
    "properties": {"tool": {"type": "string"}, "args": {"type": "object"}, "result": {"type": "string"}},
    "required": ["tool", "args", "result"],
    "additionalProperties": False,
}


#: The output of a worker whose answer has no schema of its own.
TEXT_ANSWER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "answer": {"type": "string"},
        "steps": {"type": "array", "items": _STEP_SCHEMA},
        # Whether a result that the worker saw was cut off, and which.
        "truncated": {"type": "boolean"},
        "warning": {"type": "string"},
    },
    "required": ["answer", "steps"],
    "additionalProperties": False,
}


class DelegateTool(BaseTool):
    """Lets an agent work on one task; each of its calls is checked, approved and recorded like a task of the plan."""

    name: str = DELEGATE_NAME
    description: str = (
        "Give one open-ended task, whose steps cannot be planned, to a worker that chooses its calls as it goes. "
        "Returns its `answer` and the `steps` that it took."
    )
    args_schema: type[BaseModel] = DelegateArgs
    #: Called at the first task, so that no model is needed earlier.
    model: Callable[[], ChatRunnable]
    #: The tools that a worker can be given.
    names: tuple[str, ...]
    #: What the worker is, in the words of its maker.
    role: str = ""
    #: The form of its answer; None: a text.
    form: AnswerForm | None = None
    metadata: dict[str, Any] | None = {  # noqa: RUF012 - pydantic copies it
        # It changes nothing itself: each write of a worker needs its own approval.
        "readOnlyHint": True,
        "idempotentHint": False,
        "dispatched_only": True,
        "timeout_s": 3600,
        "max_retries": 0,
        "output_schema": TEXT_ANSWER_SCHEMA,
    }

    def preflight(self, args: dict[str, Any]) -> Preflight:
        """Report tools in `args` that a worker cannot be given."""
        unknown = [name for name in args.get("tools") or () if name not in self.names]
        usable = ", ".join(self.names)
        return Preflight(problems=tuple(f"A worker cannot be given {name!r}; choose of: {usable}." for name in unknown))

    def _run(self, **_: JsonValue) -> dict[str, JsonValue]:
        raise ToolFailure("A worker runs only within a graph.")

    def _get_max_steps(self) -> int:
        steps: int = self.args_schema.model_fields["max_steps"].default
        return steps

    async def _arun(self, **arguments: JsonValue) -> JsonValue:
        context, request = (
            require_task(),
            DelegateArgs.model_validate({"max_steps": self._get_max_steps(), **arguments}),
        )
        agent = await self._build_agent(request, context)
        try:
            messages, structured = await self._run_agent(agent, [HumanMessage(request.task)])
        except _TurnLimitError:
            raise ToolFailure(f"The worker did not end within {request.max_steps} turns; narrow its task.") from None
        if self.form is None:
            cuts = list_cuts(messages)
            return {
                "answer": extract_answer(messages[-1]),
                "steps": list(list_steps(messages)),
                **({"truncated": True, "warning": "; ".join(cuts)} if cuts else {}),
            }
        context.report.steps = tuple(step for step in list_steps(messages) if step["tool"] != self.form.tool_name)
        context.report.cuts = list_cuts(messages)
        return structured

    async def _build_agent(self, request: DelegateArgs, context: TaskContext) -> Runnable[Any, Any]:
        from langchain.agents import create_agent  # noqa: PLC0415 - needs the extra `delegate`
        from langchain.agents.middleware import ModelCallLimitMiddleware  # noqa: PLC0415 - as above
        from langchain.agents.structured_output import ToolStrategy  # noqa: PLC0415 - as above

        from graphs.delegation.middleware import WorkerCallMiddleware  # noqa: PLC0415 - as above

        specs = [context.toolbox.specs[name] for name in request.tools or self.names]
        turns: AgentMiddleware[Any, Any, Any] = ModelCallLimitMiddleware(
            run_limit=request.max_steps, exit_behavior="error"
        )
        calls: AgentMiddleware[Any, Any, Any] = WorkerCallMiddleware(WorkerCalls(context))
        chat = await anyio.to_thread.run_sync(self.model)
        model = chat if isinstance(chat, BaseChatModel) else cast("BaseChatModel", _AgentModel(chat))
        shown = [_build_worker_tool(spec) for spec in specs]
        try:
            model.bind_tools(shown)
        except (NotImplementedError, AttributeError):
            raise ToolFailure("The worker's model cannot call tools; give `delegate_tool` one that can.") from None
        return create_agent(
            model,
            shown,
            system_prompt=render(
                DELEGATE_PROMPT,
                role=self.role,
                answer_tool=self.form.tool_name if self.form else "",
                inputs=request.inputs,
                max_steps=request.max_steps,
            )
            + render_cut_inputs(),
            middleware=[calls, turns],
            response_format=ToolStrategy(self.form.model) if self.form else None,
            name=self.name,
        )

    async def _run_agent(
        self, agent: Runnable[Any, Any], messages: list[AnyMessage]
    ) -> tuple[list[AnyMessage], JsonValue]:
        """Return the conversation of the worker, and its answer if that has a form."""
        from langchain.agents.middleware.model_call_limit import (  # noqa: PLC0415 - as above
            ModelCallLimitExceededError,
        )

        problem = ""
        for _ in range(1 + _MAX_REPAIRS):
            try:
                result = await agent.ainvoke({"messages": messages})
            except ModelCallLimitExceededError:
                raise _TurnLimitError from None
            messages = result["messages"]
            if self.form is None:
                return messages, None
            if (structured := result.get("structured_response")) is not None:
                return messages, self.form.dump(structured)
            # Not every server can be made to end by a call.
            found = self.form.parse(extract_answer(messages[-1]))
            if not isinstance(found, MalformedReply):
                return messages, found
            problem = found.reason
            messages = [*messages, HumanMessage(render(TYPED_REPAIR_PROMPT, problems=[problem]))]
        raise ToolFailure(f"The worker's answer cannot be used: {problem}")


class _AgentModel:
    """A model, or a runnable around one, as an agent uses it: tools are bound to each model inside."""

    def __init__(self, chat: ChatRunnable) -> None:
        self._chat = apply_configuration(chat)

    def bind_tools(self, tools: Sequence[Any], **options: Any) -> ChatRunnable:  # noqa: ANN401 - a model's own
        return change_models(self._chat, lambda model: model.bind_tools(tools, **options))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever an agent asks of a model
        return getattr(self._chat, name)


class _TurnLimitError(Exception):
    """A worker has used all of its turns."""


def delegate_tool(
    tools: Sequence[ToolLike],
    model: ModelSource = None,
    *,
    name: str = DELEGATE_NAME,
    description: str | None = None,
    prompt: str | None = None,
    output_schema: OutputSchema | None = None,
    max_steps: int | None = None,
) -> BaseTool:
    """Return a tool for workers that can be given `tools`, which the graph must have too.

    `model` is a choice as in `build_graph`, or a function that returns the model; None: the configured one. It is made
    at the first task. With a `name` and a `description` of its own the tool is an agent of which a toolbox can have
    several, each shown to the planner as the tool that it is; `prompt` says what the agent is. `output_schema`, a
    Pydantic model or a JSON Schema of an object, is the tool's: the answer must fit it, plans refer into it, and the
    agent's steps are in `steps` of the task's result. Without one the output has `answer` and `steps`. `max_steps` is
    the most turns of one task, 12 unless a plan says otherwise.
    Raises `ToolError` for what is no tool, if the extra `delegate` is not installed, for a worker among `tools`, and
    for a wrong schema; `UsageError` for a choice that names no model.
    """
    if find_spec("langchain") is None:
        raise ToolError(f"Workers need {describe_extra('delegate')}.")
    given = as_tools(tools)
    for tool in given:
        if (tool.metadata or {}).get("dispatched_only"):
            raise ToolError(f"The worker {name!r} cannot be given the worker {tool.name!r}; let the plan call both.")
    form = AnswerForm.of_schema(output_schema, worker=name) if output_schema is not None else None
    own: dict[str, Any] = {"description": description} if description else {}
    if max_steps is not None:
        own["args_schema"] = _limit_steps(max_steps, worker=name)
    worker = DelegateTool(
        name=name,
        model=defer_model(model),
        names=tuple(tool.name for tool in given),
        role=(prompt or "").strip(),
        form=form,
        **own,
    )
    if form is not None:
        worker.metadata = {**(worker.metadata or {}), "output_schema": form.output_schema}
    return worker


def _limit_steps(most: int, *, worker: str) -> type[DelegateArgs]:
    """Return the arguments of a worker that has at most so many turns. Raises `ToolError`."""
    if not 1 <= most <= _MAX_STEPS:
        raise ToolError(f"The worker {worker!r} has max_steps={most}; give 1 to {_MAX_STEPS}.")
    about = DelegateArgs.model_fields["max_steps"].description
    field: Any = (int, Field(default=most, ge=1, le=most, description=about))
    return create_model("DelegateArgs", __base__=DelegateArgs, max_steps=field)


def require_task() -> TaskContext:
    """Return the task that a worker is to work on. Raises `ToolFailure` if there is none, or one with many items."""
    context = current_task()
    if context is None:
        raise ToolFailure("A worker runs only within a dispatched task.")
    if context.board.compiled.tasks[context.task].for_each is not None:
        raise ToolFailure("A worker takes one task; write one task for each item instead of 'for_each'.")
    return context


def _build_worker_tool(spec: ToolSpec) -> BaseTool:
    """Return a tool as the model of a worker sees it; the middleware makes its calls."""

    async def unreachable(**_: JsonValue) -> None:
        raise AssertionError(f"a call of {spec.name!r} bypassed the middleware")

    return StructuredTool(
        name=spec.name, description=spec.description, args_schema=spec.args_schema, coroutine=unreachable
    )


def extract_answer(last: AnyMessage) -> str:
    """Return the last text of a worker. Raises `ToolFailure` if it is empty."""
    text = drop_reasoning(str(last.text)).strip()
    if text:
        return text
    broken = [str(call["name"]) for call in last.invalid_tool_calls] if isinstance(last, AIMessage) else []
    if broken:
        raise ToolFailure(f"The worker ended with a call of {broken[0]!r} whose arguments are not JSON; run it again.")
    raise ToolFailure("The worker ended without an answer; narrow its task, or give it to another model.")


def list_cuts(messages: Sequence[AnyMessage]) -> tuple[str, ...]:
    """Return what was cut off in the results that a worker saw."""
    return tuple(dict.fromkeys(str(cut) for message in messages if (cut := message.additional_kwargs.get(CUT_KEY))))


def list_steps(messages: Sequence[AnyMessage]) -> Iterator[dict[str, JsonValue]]:
    """Yield the calls of a conversation in order, each with the start of its result.

    Calls and results are paired turn by turn, because some models use the same ids again in each turn.
    """
    for at, turn in enumerate(messages):
        if not isinstance(turn, AIMessage):
            continue
        following = takewhile(lambda message: not isinstance(message, AIMessage), messages[at + 1 :])
        results = [message for message in following if isinstance(message, ToolMessage)]
        for call in turn.tool_calls:
            message = next((each for each in results if each.tool_call_id == (call["id"] or "")), None)
            if message is not None:
                results.remove(message)
            result = str(message.text)[:_PREVIEW_LENGTH] if message is not None else ""
            yield {"tool": call["name"], "args": dict(call["args"]), "result": result}
