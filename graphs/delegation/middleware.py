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

from agent.core.compiler.argument_check import value_errors
from agent.core.engine.approvals import (
    Approve,
    Decision,
    Edit,
    Reject,
    Request,
    Respond,
    approval_digest,
    hitl_request,
    is_for_others,
    needs_approval,
    read_answer,
)
from agent.core.engine.call_preparation import call_key
from agent.core.engine.outcomes import Done, InDoubt, Outcome
from agent.core.plan.document import Task
from agent.core.plan.hashing import digest
from agent.execution.concurrency import Slots
from agent.execution.executor import Job
from agent.json_values import as_json
from agent.llm.usage import begin_call, count_call, usage_of
from agent.results.summary import failure
from graphs.run.approvals import since
from graphs.run.task_runner import Work

#: Characters of a result that a worker is shown.
_SHOWN = 12_000


@dataclass(frozen=True, slots=True)
class _Call:
    id: str
    tool: str
    args: dict[str, JsonValue]


class DelegatedCalls(AgentMiddleware[AgentState[Any], None, Any]):
    """Makes the calls of a worker in place of LangChain's tool node."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work
        # Its own: the worker holds one of the board's places already, and would wait for itself.
        self._slots = Slots(work.settings.max_concurrency)

    async def awrap_model_call(
        self, request: ModelRequest[None], handler: Callable[[ModelRequest[None]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """Let the worker's model be asked as far as the run's budget allows. Raises `BudgetError`."""
        begin_call()
        response = await handler(request)
        for message in response.result:
            if isinstance(message, AIMessage):
                count_call(usage_of(message))
        return response

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        """Return what became of a call. Stops for approval by an interrupt, before any effect."""
        asked = request.tool_call
        spec = self._work.toolbox.specs.get(asked["name"]) if request.tool is not None else None
        if spec is None:
            # LangChain's own words for a tool that is not there.
            return await handler(request)
        call = _Call(f"{self._work.task}/{_place(request)}", asked["name"], dict(asked["args"]))
        errors = _no_json(call.args) or value_errors(spec.args_schema, call.args)
        words = f"FAILED (argument): {'; '.join(errors[:5])}" if errors else await self._made(call)
        return ToolMessage(words, tool_call_id=asked["id"] or "", name=asked["name"])

    async def _made(self, call: _Call) -> str:
        doubt: InDoubt | None = None
        cleared: dict[str, int] = {}
        approved: str | None = None
        task = self._task(call)
        gated = needs_approval(task, self._work.toolbox.specs[call.tool], self._work.limits)
        while True:
            if gated or doubt is not None:
                decided = await self._asked(call, doubt)
                if isinstance(decided, str):
                    return decided
                call, approved = decided
                cleared = {call_key(each.item): each.epoch for each in doubt.doubts} if doubt is not None else {}
            outcome = await self._run(call, gated=gated, approved=approved, cleared=cleared)
            if not isinstance(outcome, InDoubt):
                return _words(outcome)
            doubt = outcome

    async def _asked(self, call: _Call, doubt: InDoubt | None) -> tuple[_Call, str] | str:
        """Ask a person: return the call that was approved with its digest, or the words of another decision."""
        problem: str | None = None
        while True:
            decision = self._decision(call, doubt, problem)
            match decision:
                case str():
                    problem = decision
                case Approve():
                    return call, await self._granted(call)
                case Edit(edited_action=action):
                    edited = _Call(call.id, action.name, action.args)
                    problem = self._misfit(edited)
                    if problem is None:
                        return edited, await self._granted(edited)
                case Reject(message=message) if doubt is not None:
                    return (
                        f"It is not known whether the call took effect; a person chose to leave it. {message}".strip()
                    )
                case Reject(message=message):
                    return f"REJECTED by a person, who said: {message or 'nothing'}"
                case Respond(message=message) if doubt is not None:
                    # It is in effect, so a rollback has to know of it.
                    await self._work.executor.took_effect(self._job(call, gated=True), doubt.doubts[0], message)
                    return message
                case Respond(message=message):
                    return message
                case _:
                    assert_never(decision)

    def _decision(self, call: _Call, doubt: InDoubt | None, problem: str | None) -> Decision | str:
        """Ask a person once: return what was decided, or why the answer is none."""
        request, spec = self._request(call, doubt), self._work.toolbox.specs[call.tool]
        shown = {**hitl_request([request], [spec]), "revision": self._work.board.revision, "goal": None}
        while True:
            answer = interrupt({**shown, **({"error": problem} if problem else {})})
            # Else it was given before a crash, to what was asked then; the next `interrupt` asks, or has this answer.
            if not is_for_others(answer, [request]):
                decisions = read_answer(answer, [request])
                return decisions if isinstance(decisions, str) else decisions[0]

    def _misfit(self, call: _Call) -> str | None:
        spec = self._work.toolbox.specs.get(call.tool)
        if spec is None:
            return f"There is no tool {call.tool!r}; edit the call to one of: {', '.join(self._work.toolbox)}."
        errors = value_errors(spec.args_schema, call.args)
        return f"The edited call does not do: {'; '.join(errors[:5])}." if errors else None

    def _request(self, call: _Call, doubt: InDoubt | None) -> Request:
        return Request(
            task=call.id,
            tool=call.tool,
            args=call.args,
            description=f"Call {call.tool}, as the worker on {self._work.task!r} wants to.",
            # An answer about one attempt says nothing of the next.
            digest=self._digest(call) if doubt is None else digest([self._digest(call), doubt.doubts[0].epoch]),
            doubt=since(doubt) if doubt is not None else None,
        )

    def _digest(self, call: _Call) -> str:
        board = self._work.board
        return approval_digest(
            thread=board.thread, revision=board.revision, task=call.id, tool=call.tool, calls=[call.args]
        )

    async def _granted(self, call: _Call) -> str:
        mark, board = self._digest(call), self._work.board
        await self._work.grants.give({call.id: mark}, thread=board.thread, revision=board.revision)
        return mark

    def _task(self, call: _Call) -> Task:
        return Task(id=call.id, tool=call.tool, args=call.args)

    async def _run(self, call: _Call, *, gated: bool, approved: str | None, cleared: Mapping[str, int]) -> Outcome:
        job = replace(self._job(call, gated=gated), approved=approved, cleared=cleared)
        return await self._work.executor.run(job, slots=self._slots, emit=lambda _: None)

    def _job(self, call: _Call, *, gated: bool) -> Job:
        work, board = self._work, self._work.board
        return Job(
            task=self._task(call),
            spec=work.toolbox.specs[call.tool],
            needs=(),
            outcomes={},
            thread=board.thread,
            revision=board.revision,
            gated=gated,
            rejected=board.rejected,
            worker=work.task,
        )


def _place(request: ToolCallRequest) -> str:
    """Return the turn and the position of a call within it, which stay when the worker is taken up again."""
    turns = [message for message in request.state["messages"] if isinstance(message, AIMessage)]
    asked, calls = request.tool_call, turns[-1].tool_calls
    # Some models give two calls the same id.
    alike = [at for at, call in enumerate(calls) if call["id"] == asked["id"]]
    same = (at for at in alike if (calls[at]["name"], calls[at]["args"]) == (asked["name"], asked["args"]))
    return f"{len(turns)}.{next(same, alike[0])}"


def _no_json(args: Mapping[str, JsonValue]) -> list[str]:
    """Return what is wrong with arguments that could not be stored as they are; NaN is not even like itself."""
    same = as_json(args) == args
    return [] if same else ["they hold a number that is not finite, or half of a surrogate pair"]


def _words(outcome: Outcome) -> str:
    if not isinstance(outcome, Done):
        return failure(outcome)
    text = outcome.output if isinstance(outcome.output, str) else json.dumps(outcome.output, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text) - _SHOWN:,} more characters)"
