"""`human_approval`: the run waits for a human's decisions about calls, or about how to go on at all."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from langgraph.config import get_config
from langgraph.errors import GraphInterrupt

from agent.core.approval_text import escape_text
from agent.core.plan.hashing import hash_json
from agent.errors import AnswerError
from agent.events import ApprovalRequested
from agent.execution.executor import utc_now
from agent.telemetry import is_run_traced, record_decision, record_request
from graphs.nesting import load_checkpoint_time, load_questions
from graphs.run.approvals import PendingDecisions, build_interrupt_payload, parse_pending_requests, store_approvals
from graphs.run.escalations import apply_escalation, build_escalation_interrupt, is_moot, parse_stored_escalation
from graphs.run.node_context import NodeContext
from graphs.state import State, StateRecord


async def human_approval(state: State, context: NodeContext) -> StateRecord:
    """Wait until a human has answered every request, and record the answers.

    What an answer leaves out is asked about again, and so is everything after a wrong answer, with an `error` in the
    payload.
    """
    escalation = parse_stored_escalation(state)
    snapshot = context.build_snapshot(state)
    if escalation is not None and is_moot(escalation, snapshot, context.limits):
        return {"escalation": None, "status": "running"}
    decisions = PendingDecisions(parse_pending_requests(state, thread=context.thread) if escalation is None else ())
    questions, error = await load_questions(get_config()), ""
    while True:
        payload = (
            build_interrupt_payload(decisions.open_requests, state, context)
            if escalation is None
            else build_escalation_interrupt(escalation, state, thread=context.thread)
        )
        digest = _hash_requests(payload["action_requests"])
        if error:
            payload = _add_error(payload, error)
        context.emit(ApprovalRequested(request=payload))
        try:
            answer = questions.ask(payload, digest=digest)
        except GraphInterrupt:
            for action in payload["action_requests"]:
                record_request(action)
            raise
        try:
            if escalation is not None:
                applied = apply_escalation(answer, escalation, state, snapshot, context)
                await _trace_decisions([(payload["action_requests"][0], "answered")])
                return applied
            granted, update = await decisions.take_answer(answer, state, context)
        except AnswerError as refused:
            # Raising would keep the wrong answer in the checkpoint, to be given again at every resume.
            error = str(refused)
            continue
        error = ""
        if not decisions.open_requests:
            await store_approvals(granted, state, context)
            await _trace_decisions(
                [
                    (
                        {"name": request.tool, "task_id": request.task, "items": request.items, "doubt": request.doubt},
                        one.type,
                    )
                    for request, one in decisions.taken
                ]
            )
            return update


async def _trace_decisions(decisions: Sequence[tuple[Mapping[str, Any], str]]) -> None:
    """Record what a human decided, and how long the run waited for it."""
    if not is_run_traced():
        return
    asked_at = await load_checkpoint_time(get_config())
    wait_s = (utc_now() - datetime.fromisoformat(asked_at)).total_seconds() if asked_at else None
    for action, decision in decisions:
        record_decision(action, decision, asked_at=asked_at, wait_s=wait_s)


def _add_error(payload: Mapping[str, Any], error: str) -> dict[str, Any]:
    """Return a payload that says why the last answer was not taken, also where front ends look: in the description.

    Agent Chat UI and Agent Inbox show that of the first call only, and do not read `error`.
    """
    first, *others = payload["action_requests"]
    description = f"**Your last answer was not taken:** {escape_text(error)}\n\n{first['description']}"
    return {**payload, "action_requests": [{**first, "description": description}, *others], "error": error}


def _hash_requests(requests: Sequence[Mapping[str, Any]]) -> str:
    """Return what names a question; without `arguments`, which the questions of older threads do not have."""
    return hash_json([{name: value for name, value in one.items() if name != "arguments"} for one in requests])
