"""The calls that a delegated worker makes: each a task of its own, asked about and recorded as any other."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, assert_never

from langchain.agents.middleware import AgentMiddleware, AgentState
from langchain.agents.middleware.types import ModelRequest, ModelResponse, ToolCallRequest
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.types import Command, interrupt
from pydantic import JsonValue

from agent.core.compiler.argument_check import find_value_errors
from agent.core.engine.approvals import (
    ApprovalRequest,
    ApproveDecision,
    Decision,
    EditDecision,
    RejectDecision,
    RespondDecision,
    build_hitl_request,
    hash_approval_request,
    is_for_other_calls,
    needs_approval,
    parse_decisions,
)
from agent.core.engine.call_preparation import get_call_key
from agent.core.engine.outcomes import Done, InDoubt, Outcome
from agent.core.plan.document import Task
from agent.core.plan.hashing import hash_json
from agent.execution.concurrency import Slots
from agent.execution.executor import Job
from agent.json_values import to_json_value
from agent.llm.usage import begin_call, count_call, extract_usage
from agent.results.summary import describe_failure
from graphs.run.approvals import describe_doubt
from graphs.run.task_runner import TaskContext

#: Characters of a result that a worker is shown.
_MAX_RESULT_LENGTH = 12_000


@dataclass(frozen=True, slots=True)
class _WorkerCall:
    id: str
    tool: str
    args: dict[str, JsonValue]


class WorkerCallMiddleware(AgentMiddleware[AgentState[Any], None, Any]):
    """Makes the calls of a worker in place of LangChain's tool node."""

    def __init__(self, task_context: TaskContext) -> None:
        super().__init__()
        self._task_context = task_context
        # Its own: the worker holds one of the board's places already, and would wait for itself.
        self._slots = Slots(task_context.settings.max_concurrency)

    async def awrap_model_call(
        self, request: ModelRequest[None], handler: Callable[[ModelRequest[None]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """Let the worker's model be asked as far as the run's budget allows. Raises `BudgetError`."""
        begin_call()
        response = await handler(request)
        for message in response.result:
            if isinstance(message, AIMessage):
                count_call(extract_usage(message))
        return response

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        """Return what became of a call. Stops for approval by an interrupt, before any effect."""
        asked = request.tool_call
        spec = self._task_context.toolbox.specs.get(asked["name"]) if request.tool is not None else None
        if spec is None:
            # LangChain's own words for a tool that is not there.
            return await handler(request)
        call = _WorkerCall(f"{self._task_context.task}/{_locate_call(request)}", asked["name"], dict(asked["args"]))
        errors = _find_json_problems(call.args) or find_value_errors(spec.args_schema, call.args)
        words = f"FAILED (argument): {'; '.join(errors[:5])}" if errors else await self._perform_call(call)
        return ToolMessage(words, tool_call_id=asked["id"] or "", name=asked["name"])

    async def _perform_call(self, call: _WorkerCall) -> str:
        doubt: InDoubt | None = None
        cleared: dict[str, int] = {}
        approved: str | None = None
        task = self._build_task(call)
        gated = needs_approval(task, self._task_context.toolbox.specs[call.tool], self._task_context.limits)
        while True:
            if gated or doubt is not None:
                decided = await self._ask_until_decided(call, doubt)
                if isinstance(decided, str):
                    return decided
                call, approved = decided
                cleared = {get_call_key(each.item): each.epoch for each in doubt.doubts} if doubt is not None else {}
            outcome = await self._run_call(call, gated=gated, approved_digest=approved, takeover_epochs=cleared)
            if not isinstance(outcome, InDoubt):
                return _format_outcome(outcome)
            doubt = outcome

    async def _ask_until_decided(self, call: _WorkerCall, doubt: InDoubt | None) -> tuple[_WorkerCall, str] | str:
        """Ask a person: return the call that was approved with its digest, or the words of another decision."""
        problem: str | None = None
        while True:
            decision = self._ask_once(call, doubt, problem)
            match decision:
                case str():
                    problem = decision
                case ApproveDecision():
                    return call, await self._grant_call(call)
                case EditDecision(edited_action=action):
                    edited = _WorkerCall(call.id, action.name, action.args)
                    problem = self._check_edited_call(edited)
                    if problem is None:
                        return edited, await self._grant_call(edited)
                case RejectDecision(message=message) if doubt is not None:
                    return (
                        f"It is not known whether the call took effect; a person chose to leave it. {message}".strip()
                    )
                case RejectDecision(message=message):
                    return f"REJECTED by a person, who said: {message or 'nothing'}"
                case RespondDecision(message=message) if doubt is not None:
                    # It is in effect, so a rollback has to know of it.
                    await self._task_context.executor.confirm_effect(
                        self._build_job(call, gated=True), doubt.doubts[0], message
                    )
                    return message
                case RespondDecision(message=message):
                    return message
                case _:
                    assert_never(decision)

    def _ask_once(self, call: _WorkerCall, doubt: InDoubt | None, problem: str | None) -> Decision | str:
        """Ask a person once: return what was decided, or why the answer is none."""
        request, spec = self._build_request(call, doubt), self._task_context.toolbox.specs[call.tool]
        shown = {**build_hitl_request([request], [spec]), "revision": self._task_context.board.revision, "goal": None}
        while True:
            answer = interrupt({**shown, **({"error": problem} if problem else {})})
            # Else it was given before a crash, to what was asked then; the next `interrupt` asks, or has this answer.
            if not is_for_other_calls(answer, [request]):
                decisions = parse_decisions(answer, [request])
                return decisions if isinstance(decisions, str) else decisions[0]

    def _check_edited_call(self, call: _WorkerCall) -> str | None:
        spec = self._task_context.toolbox.specs.get(call.tool)
        if spec is None:
            return f"There is no tool {call.tool!r}; edit the call to one of: {', '.join(self._task_context.toolbox)}."
        errors = find_value_errors(spec.args_schema, call.args)
        return f"The edited call cannot be used: {'; '.join(errors[:5])}." if errors else None

    def _build_request(self, call: _WorkerCall, doubt: InDoubt | None) -> ApprovalRequest:
        return ApprovalRequest(
            task=call.id,
            tool=call.tool,
            args=call.args,
            description=f"Call {call.tool}, as the worker on {self._task_context.task!r} wants to.",
            # An answer about one attempt says nothing of the next.
            digest=self._compute_digest(call)
            if doubt is None
            else hash_json([self._compute_digest(call), doubt.doubts[0].epoch]),
            doubt=describe_doubt(doubt) if doubt is not None else None,
        )

    def _compute_digest(self, call: _WorkerCall) -> str:
        board = self._task_context.board
        return hash_approval_request(
            thread=board.thread, revision=board.revision, task=call.id, tool=call.tool, calls=[call.args]
        )

    async def _grant_call(self, call: _WorkerCall) -> str:
        mark, board = self._compute_digest(call), self._task_context.board
        await self._task_context.grants.store_approvals({call.id: mark}, thread=board.thread, revision=board.revision)
        return mark

    def _build_task(self, call: _WorkerCall) -> Task:
        return Task(id=call.id, tool=call.tool, args=call.args)

    async def _run_call(
        self, call: _WorkerCall, *, gated: bool, approved_digest: str | None, takeover_epochs: Mapping[str, int]
    ) -> Outcome:
        job = replace(
            self._build_job(call, gated=gated), approved_digest=approved_digest, takeover_epochs=takeover_epochs
        )
        return await self._task_context.executor.run(job, slots=self._slots, emit=lambda _: None)

    def _build_job(self, call: _WorkerCall, *, gated: bool) -> Job:
        work, board = self._task_context, self._task_context.board
        return Job(
            task=self._build_task(call),
            spec=work.toolbox.specs[call.tool],
            needs=(),
            outcomes={},
            thread=board.thread,
            revision=board.revision,
            gated=gated,
            rejected_digests=board.rejected,
            worker=work.task,
        )


def _locate_call(request: ToolCallRequest) -> str:
    """Return the turn and the position of a call within it, which stay when the worker is taken up again."""
    turns = [message for message in request.state["messages"] if isinstance(message, AIMessage)]
    asked, calls = request.tool_call, turns[-1].tool_calls
    # Some models give two calls the same id.
    alike = [at for at, call in enumerate(calls) if call["id"] == asked["id"]]
    same = (at for at in alike if (calls[at]["name"], calls[at]["args"]) == (asked["name"], asked["args"]))
    return f"{len(turns)}.{next(same, alike[0])}"


def _find_json_problems(args: Mapping[str, JsonValue]) -> list[str]:
    """Return what is wrong with arguments that could not be stored as they are; NaN is not even like itself."""
    same = to_json_value(args) == args
    return [] if same else ["they hold a number that is not finite, or half of a surrogate pair"]


def _format_outcome(outcome: Outcome) -> str:
    if not isinstance(outcome, Done):
        return describe_failure(outcome)
    text = outcome.output if isinstance(outcome.output, str) else json.dumps(outcome.output, ensure_ascii=False)
    return (
        text
        if len(text) <= _MAX_RESULT_LENGTH
        else f"{text[:_MAX_RESULT_LENGTH]}... ({len(text) - _MAX_RESULT_LENGTH:,} more characters)"
    )
