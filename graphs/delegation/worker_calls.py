"""The calls of a delegated worker: each is a task of its own, approved and recorded like any other."""

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, assert_never

from langchain_core.messages import AIMessage, ToolCall, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.config import get_config
from langgraph.errors import GraphBubbleUp
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command
from pydantic import JsonValue

from agent.core.compiler.argument_check import find_value_errors, parse_typed_texts
from agent.core.compiler.secret_check import check_secrets
from agent.core.engine.approvals import (
    ApprovalRequest,
    ApproveDecision,
    Decision,
    EditDecision,
    RejectDecision,
    RespondDecision,
    build_hitl_request,
    hash_approval_request,
    hash_doubt_request,
    is_for_other_calls,
    needs_approval,
    parse_decisions,
)
from agent.core.engine.outcomes import Done, InDoubt, Outcome
from agent.core.plan.document import Task
from agent.core.plan.tool_spec import ToolSpec
from agent.errors import ToolFailure
from agent.execution.concurrency import Slots
from agent.execution.executor import Job
from agent.json_values import JsonConversionError, to_json_value
from agent.results.summary import describe_failure
from agent.tools.tool_schemas import build_schemas
from agent.tools.toolbox import Toolbox
from graphs.nesting import Questions, load_questions
from graphs.run.approvals import describe_doubt
from graphs.run.task_runner import TaskContext

#: Characters of a result that the worker sees.
_MAX_RESULT_LENGTH = 12_000
ToolCallHandler = Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
#: Where a message to the worker has what was cut off in it.
CUT_KEY = "planwave_cut"


@dataclass(frozen=True, slots=True)
class _WorkerCall:
    id: str
    tool: str
    args: dict[str, JsonValue]


@dataclass(slots=True)
class _OfferedCall:
    """A call that an agent wants to make, as its tool node would make it."""

    request: ToolCallRequest
    handler: ToolCallHandler
    #: What the tool node returned, if it was let.
    returned: ToolMessage | Command[Any] | None = None


_offered_call: ContextVar[_OfferedCall] = ContextVar("planwave_offered_call")


@contextmanager
def _offer_call(request: ToolCallRequest, handler: ToolCallHandler) -> Iterator[_OfferedCall]:
    offered = _OfferedCall(request, handler)
    token = _offered_call.set(offered)
    try:
        yield offered
    finally:
        _offered_call.reset(token)


def adapt_tool(tool: BaseTool, policy: Mapping[str, Any]) -> BaseTool:
    """Return a tool of an agent as the executor calls it: by the agent's own tool node, which fills in its state.

    `policy` is its metadata.
    """

    async def call_by_node(**args: JsonValue) -> object:
        offered = _offered_call.get()
        call: ToolCall = {**offered.request.tool_call, "args": args}
        returned = await offered.handler(offered.request.override(tool_call=call))
        message = returned if isinstance(returned, ToolMessage) else _find_message(returned)
        if message is not None and message.status == "error":
            raise ToolFailure(str(message.text))
        offered.returned = returned
        if message is None:
            return None
        return message.artifact if message.artifact is not None else _parse_content(message.content)

    return StructuredTool(
        name=tool.name,
        description=tool.description,
        args_schema=build_schemas(tool, None).args,
        coroutine=call_by_node,
        # Neither can be called in place of the tool that the agent calls; a rollback knows both.
        metadata={key: value for key, value in policy.items() if key not in {"compensate", "verify"}},
    )


def _parse_content(content: str | list[Any]) -> object:
    """Return what a tool returned, of which LangChain makes a text, so that a rollback can read it."""
    if not isinstance(content, str) or not content.lstrip().startswith(("{", "[")):
        return content
    try:
        return json.loads(content)
    except ValueError:
        return content


def _find_message(command: Command[Any]) -> ToolMessage | None:
    """Return the result of a call among what it changes in the state of its agent."""
    update = command.update if isinstance(command.update, Mapping) else {}
    messages = update.get("messages") or ()
    return next((message for message in messages if isinstance(message, ToolMessage)), None)


class WorkerCalls:
    """Makes the calls of one worker instead of the tool node of its agent."""

    def __init__(
        self,
        task_context: TaskContext,
        *,
        own_tools: Toolbox | None = None,
        locate: Callable[[ToolCallRequest], str] | None = None,
    ) -> None:
        """Take the task; `own_tools` are made by `adapt_tool` of an agent's tools, None: the worker has the graph's.

        `locate` names a call within the task by numbers, the same when the worker is resumed.
        """
        #: What kept a call from having an end: the run is being stopped, say, or its budget has ended.
        self.fault: Exception | None = None
        self._locate = locate or _locate_call
        self._task_context = task_context
        self._toolbox = task_context.toolbox if own_tools is None else own_tools
        self._executor = task_context.executor if own_tools is None else task_context.executor.with_toolbox(own_tools)
        # Not those of the board: the worker already holds one of them, and would wait for itself.
        self._slots = Slots(task_context.settings.max_concurrency)
        #: By call: what was cut off in its result.
        self._cuts: dict[str, str] = {}

    async def make_call(self, request: ToolCallRequest, handler: ToolCallHandler) -> ToolMessage | Command[Any]:
        """Make a call and return its result. Interrupts for approval before any effect."""
        requested = request.tool_call
        spec = self._toolbox.specs.get(requested["name"]) if request.tool is not None else None
        if spec is None:
            # LangChain answers that there is no such tool.
            return await handler(request)
        name, args = requested["name"], dict(requested["args"])
        call = _WorkerCall(f"{self._task_context.task}/{self._locate(request)}", name, args)
        errors = _find_json_problems(call.args) or self._find_problems(spec, call.args)
        with _offer_call(request, handler) as offered:
            try:
                text = f"FAILED (argument): {'; '.join(errors[:5])}" if errors else await self._perform_call(call)
            except GraphBubbleUp:
                raise
            except Exception as error:
                self.fault = error
                raise
        cut = self._cuts.get(call.id)
        # With the message, because that is what a resumed worker still has.
        kept = {CUT_KEY: cut} if cut is not None else {}
        if (returned := offered.returned) is not None:
            # What the agent's own tool gave it, which may change the agent's state.
            if isinstance(returned, ToolMessage) and kept:
                return returned.model_copy(update={"additional_kwargs": {**returned.additional_kwargs, **kept}})
            return returned
        return ToolMessage(text, tool_call_id=requested["id"] or "", name=name, additional_kwargs=kept)

    async def _perform_call(self, call: _WorkerCall) -> str:
        doubt: InDoubt | None = None
        approved: str | None = None
        task = self._build_task(call)
        gated = needs_approval(task, self._toolbox.specs[call.tool], self._task_context.limits)
        questions: Questions | None = None
        while True:
            if gated or doubt is not None:
                questions = questions or await load_questions(get_config())
                decision = await self._ask_until_decided(call, doubt, questions)
                if isinstance(decision, str):
                    return decision
                call, approved = decision
            if doubt is not None:
                await self._executor.clear_doubt(self._build_job(call, gated=True), doubt.doubts[0])
            outcome = await self._run_call(call, gated=gated, approved_digest=approved)
            if not isinstance(outcome, Done):
                _offered_call.get().returned = None
            if not isinstance(outcome, InDoubt):
                text, cut = _format_outcome(outcome)
                if cut:
                    self._cuts[call.id] = f"a result of {call.tool!r} that the worker saw is cut off"
                return text
            doubt = outcome

    async def _ask_until_decided(
        self, call: _WorkerCall, doubt: InDoubt | None, questions: Questions
    ) -> tuple[_WorkerCall, str] | str:
        """Ask a human: return the approved call with its digest, or the text of any other decision for the worker."""
        problem: str | None = None
        while True:
            decision = self._ask_once(call, doubt, problem, questions)
            match decision:
                case str():
                    problem = decision
                case ApproveDecision():
                    return call, await self._grant_call(call)
                case EditDecision(edited_action=action):
                    spec = self._toolbox.specs.get(action.name)
                    args = parse_typed_texts(action.args, spec.args_schema) if spec is not None else action.args
                    edited = _WorkerCall(call.id, action.name, args)
                    problem = self._check_edited_call(edited)
                    if problem is None:
                        return edited, await self._grant_call(edited)
                case RejectDecision(message=message) if doubt is not None:
                    return f"It is not known whether the call took effect; a human chose to leave it. {message}".strip()
                case RejectDecision(message=message):
                    return f"REJECTED by a human, who said: {message or 'nothing'}"
                case RespondDecision(message=message) if doubt is not None:
                    # The write has taken effect, so a rollback must know about it.
                    await self._executor.confirm_effect(self._build_job(call, gated=True), doubt.doubts[0], message)
                    return message
                case RespondDecision(message=message):
                    return message
                case _:
                    assert_never(decision)

    def _ask_once(
        self, call: _WorkerCall, doubt: InDoubt | None, problem: str | None, questions: Questions
    ) -> Decision | str:
        """Ask a human once: return the decision, or why the answer is not a valid one."""
        request, spec = self._build_request(call, doubt), self._toolbox.specs[call.tool]
        shown = {**build_hitl_request([request], [spec]), "revision": self._task_context.board.revision, "goal": None}
        while True:
            answer = questions.ask({**shown, **({"error": problem} if problem else {})}, digest=request.digest)
            # An answer for other calls was given before a crash; the next `interrupt` asks, or has the answer for this.
            if not is_for_other_calls(answer, [request]):
                decisions = parse_decisions(answer, [request])
                return decisions if isinstance(decisions, str) else decisions[0]

    def _check_edited_call(self, call: _WorkerCall) -> str | None:
        spec = self._toolbox.specs.get(call.tool)
        if spec is None:
            return f"There is no tool {call.tool!r}; edit the call to one of: {', '.join(self._toolbox)}."
        errors = self._find_problems(spec, call.args)
        return f"The edited call is not valid: {'; '.join(errors[:5])}." if errors else None

    def _find_problems(self, spec: ToolSpec, args: dict[str, JsonValue]) -> list[str]:
        secrets = check_secrets(spec, args, limits=self._task_context.limits, place="args", task=None)
        return find_value_errors(spec.args_schema, args) or [str(problem).rstrip(".") for problem in secrets]

    def _build_request(self, call: _WorkerCall, doubt: InDoubt | None) -> ApprovalRequest:
        return ApprovalRequest(
            task=call.id,
            tool=call.tool,
            args=call.args,
            description=f"Call {call.tool}, as the worker on {self._task_context.task!r} wants to.",
            digest=self._compute_digest(call)
            if doubt is None
            else hash_doubt_request(self._compute_digest(call), doubt.doubts),
            doubt=describe_doubt(doubt) if doubt is not None else None,
        )

    def _compute_digest(self, call: _WorkerCall) -> str:
        board = self._task_context.board
        return hash_approval_request(
            thread=board.thread, revision=board.revision, task=call.id, tool=call.tool, calls=[call.args]
        )

    async def _grant_call(self, call: _WorkerCall) -> str:
        digest, board = self._compute_digest(call), self._task_context.board
        await self._task_context.grants.store_approvals({call.id: digest}, thread=board.thread, revision=board.revision)
        return digest

    def _build_task(self, call: _WorkerCall) -> Task:
        return Task(id=call.id, tool=call.tool, args=call.args)

    async def _run_call(self, call: _WorkerCall, *, gated: bool, approved_digest: str | None) -> Outcome:
        job = replace(self._build_job(call, gated=gated), approved_digest=approved_digest)
        return await self._executor.run(job, slots=self._slots, emit=lambda _: None)

    def _build_job(self, call: _WorkerCall, *, gated: bool) -> Job:
        context, board = self._task_context, self._task_context.board
        return Job(
            task=self._build_task(call),
            spec=self._toolbox.specs[call.tool],
            needs=(),
            outcomes={},
            thread=board.thread,
            revision=board.revision,
            gated=gated,
            rejected_digests=board.rejected,
            worker=context.task,
        )


def _locate_call(request: ToolCallRequest) -> str:
    """Return the turn of a call and its position in the turn, which stay the same when the worker is resumed."""
    turns = [message for message in request.state["messages"] if isinstance(message, AIMessage)]
    requested, calls = request.tool_call, turns[-1].tool_calls
    # Some models give two calls the same id.
    same_id = [at for at, call in enumerate(calls) if call["id"] == requested["id"]]
    same = (at for at in same_id if (calls[at]["name"], calls[at]["args"]) == (requested["name"], requested["args"]))
    return f"{len(turns)}.{next(same, same_id[0])}"


def _find_json_problems(args: Mapping[str, JsonValue]) -> list[str]:
    """Return what is wrong with arguments that could not be stored unchanged; NaN is not even equal to itself."""
    try:
        is_storable = to_json_value(args) == args
    except JsonConversionError as error:
        return [f"what they hold {error}"]
    return [] if is_storable else ["they hold a number that is not finite, or half of a surrogate pair"]


def _format_outcome(outcome: Outcome) -> tuple[str, bool]:
    """Return what the worker sees of an outcome, and whether part of the result is cut off there."""
    if not isinstance(outcome, Done):
        return describe_failure(outcome), False
    if outcome.has_lost_output:
        return outcome.error or "", False
    text = outcome.output if isinstance(outcome.output, str) else json.dumps(outcome.output, ensure_ascii=False)
    more = len(text) - _MAX_RESULT_LENGTH
    shown = text if more <= 0 else f"{text[:_MAX_RESULT_LENGTH]}... ({more:,} more characters)"
    return "\n\n".join((shown, *outcome.warnings)), more > 0 or bool(outcome.cuts)
