"""`human_approval`: the run waits for a human's decisions about calls, or about how to go on at all."""

from langgraph.config import get_config

from agent.core.plan.hashing import hash_json
from agent.errors import AnswerError
from agent.events import ApprovalRequested
from graphs.nesting import load_questions
from graphs.run.approvals import apply_decisions, build_interrupt_payload, store_approvals
from graphs.run.escalations import apply_escalation, build_escalation_interrupt, is_moot, parse_stored_escalation
from graphs.run.node_context import NodeContext
from graphs.state import State, StateRecord


async def human_approval(state: State, context: NodeContext) -> StateRecord:
    """Wait until a human has answered every request, and record the answers.

    A wrong answer is asked about again, with an `error` in the payload.
    """
    escalation = parse_stored_escalation(state)
    snapshot = context.build_snapshot(state)
    if escalation is not None and is_moot(escalation, snapshot, context.limits):
        return {"escalation": None, "status": "running"}
    payload = (
        build_interrupt_payload(state, context)
        if escalation is None
        else build_escalation_interrupt(escalation, state, thread=context.thread)
    )
    context.emit(ApprovalRequested(request=payload))
    questions, digest = await load_questions(get_config()), hash_json(payload["action_requests"])
    while True:
        answer = questions.ask(payload, digest=digest)
        try:
            if escalation is not None:
                return apply_escalation(answer, escalation, state, snapshot, context)
            granted, update = await apply_decisions(answer, state, context)
        except AnswerError as error:
            # Raising would keep the wrong answer in the checkpoint, to be given again at every resume.
            payload = {**payload, "error": str(error)}
        else:
            await store_approvals(granted, state, context)
            return update
