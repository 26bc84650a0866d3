"""`answer`: the end of a run: an outcome for every task, a status and an answer."""

import re
from collections.abc import Mapping
from contextlib import suppress
from contextvars import copy_context
from typing import Final
from uuid import uuid4

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.messages import AIMessageChunk
from langgraph.config import get_config
from langgraph.graph.message import push_message

from agent.core.engine.outcomes import Done, Outcome, parse_outcome
from agent.core.engine.progress import build_final_outcomes, count_progress
from agent.core.engine.snapshot import Snapshot
from agent.errors import ModelError
from agent.events import PlanProgress, RunFinished
from agent.execution.executor import utc_now
from agent.llm.usage import use_meter
from agent.results.answerer import make_answer
from agent.telemetry import describe_end
from graphs.langgraph_internals import StreamMessagesHandler
from graphs.nodes.rollback import build_rollback_report, describe_rollback
from graphs.run.node_context import NodeContext
from graphs.run.plan_history import get_plan_confidence, get_planner_doubt, get_used_program
from graphs.run.state_updates import (
    build_finished_event,
    build_usage_update,
    cite_warnings,
    name_plan,
    outcome_to_json,
)
from graphs.state import State, StateRecord

#: Characters of an answer up to which it is streamed; a longer one lists results, and comes whole.
_MAX_STREAMED_LENGTH: Final = 20_000


class _AnswerStream:
    """Puts the answer of a run on the stream mode `messages` while it is written, under the id that its message has."""

    def __init__(self, message_id: str) -> None:
        """Take the context of the node that answers."""
        callbacks = get_config().get("callbacks")
        handlers = callbacks.handlers if isinstance(callbacks, BaseCallbackManager) else callbacks or ()
        self.is_watched = any(isinstance(handler, StreamMessagesHandler) for handler in handlers)
        self._id = message_id
        self._sent = ""
        # A chat model that streams has a context of its own.
        self._context = copy_context()

    def push(self, text: str) -> None:
        """Send the next part of the answer, word by word as front ends show it."""
        self._sent += text
        for piece in re.findall(r"\s*\S+|\s+\Z", text):
            self._context.run(push_message, AIMessageChunk(content=piece, id=self._id), state_key=None)

    def finish(self, answer: str) -> str:
        """Send what is missing of the answer, and return the id of its message.

        If the answer is another one than what was sent it gets another id, and is sent whole as the node ends.
        """
        if not answer.startswith(self._sent):
            return f"{self._id}_{uuid4().hex[:8]}"
        if self.is_watched and len(answer) <= _MAX_STREAMED_LENGTH:
            self.push(answer[len(self._sent) :])
        return self._id


def _name_program(state: State) -> str:
    """Return the sentence that says of which program the results are; "" if a model or a user made the plan."""
    used = get_used_program(state)
    if used is None:
        return ""
    inputs = ", ".join(f"{name} = {value!r}" for name, value in used["inputs"].items())
    end = f" with {inputs}" if inputs else ""
    return f"From the library: the program {used['name']} (version {used['version']}){end}."


async def answer(state: State, context: NodeContext) -> StateRecord:
    """End the run: settle the tasks that never ran, and have the answer written from the results."""
    services = context.services
    state = await context.load_outputs(state)
    snapshot = context.build_snapshot(state, cache=context.cache)
    services.caches.drop(context.thread)
    await services.durations.save_changes()
    await _prune_call_log(snapshot, context)

    status, reason = snapshot.stop or ("completed", "")
    never_ran = _settle_unfinished_tasks(snapshot, state, because=reason or "The run has ended.")
    outcomes = {**snapshot.outcomes, **never_ran}
    for task, outcome in never_ran.items():
        context.emit(build_finished_event(task, outcome))
    if snapshot.compiled is not None:
        context.emit(PlanProgress(progress=count_progress(snapshot.compiled, outcomes)))
    report = build_rollback_report(state, outcomes)
    transcript, earlier = context.get_transcript(state), state.get("messages") or ()
    active = snapshot.undo or snapshot.compiled
    messages = transcript.continue_with(earlier, active, outcomes, plan=name_plan(state), is_end=True)
    stream = _AnswerStream(transcript.answer_id)
    text = await _write_answer(state, snapshot, outcomes, stream, context)
    warnings = _collect_warnings(state, outcomes)
    notes = "\n\n".join(f"Note: {sentence}" for sentence in warnings if sentence.rpartition(" [")[0] not in text)
    parts = (text, _name_program(state), _format_caveat(state), notes, describe_rollback(report))
    text = "\n\n".join(part for part in parts if part)
    messages.append(transcript.make_answer(text, status=status, message_id=stream.finish(text)))
    context.emit(RunFinished(status=status, answer=text))
    problems = list(state.get("problems") or ()) or ([reason] if status == "failed" and reason else [])
    describe_end(status=status, answer=text, problems=problems)

    budget = state.get("budget") if snapshot.stop is not None else None
    if context.meter.exhausted_budget is not None:
        # Only the model's words are missing.
        budget = context.meter.exhausted_budget.model_dump()
    # Whoever mends either can have the run go on.
    can_continue = bool(budget) or (state.get("model_failure") is not None and status == "failed" and report is None)
    return {
        "status": status,
        "answer": text,
        "problems": problems,
        "results": {task: outcome_to_json(outcome) for task, outcome in never_ran.items()},
        "warnings": warnings,
        "confidence": get_plan_confidence(state),
        "rollback": report,
        "usage": build_usage_update(context.meter.take_spending()),
        "budget": budget,
        "budget_ended_tasks": sorted(never_ran) if can_continue else [],
        "ended_at": utc_now().isoformat() if can_continue else None,
        "messages": messages,
        "pending_approvals": [],
        "target_tasks": [],
    }


async def _write_answer(
    state: State, snapshot: Snapshot, outcomes: dict[str, Outcome], stream: _AnswerStream, context: NodeContext
) -> str:
    """Return the answer in a model's words, or as a list of the results if there is no model for it."""
    status, reason = snapshot.stop or ("completed", "")
    model = None
    if status == "completed" or snapshot.accepted:
        # A key or an address that is missing is told when something is planned.
        with suppress(ModelError):
            model = await context.services.load_answer_model(
                context.runtime.context, given=bool(state.get("plan_was_given"))
            )
    with use_meter(context.meter):
        answer = await make_answer(
            state.get("goal") or "",
            compiled=snapshot.compiled,
            outcomes=outcomes,
            status=status,
            reason=reason,
            accepted=snapshot.accepted,
            model=model,
            emit=context.emit,
            settings=context.settings,
            on_text=stream.push if stream.is_watched else None,
        )
    return "\n\n".join(filter(None, (answer.text, answer.note)))


def _format_caveat(state: State) -> str:
    """Return the sentence that the planner was not sure of the plan; "" if it was."""
    doubt = get_planner_doubt(state)
    return f"Not certain. {doubt} Check the plan." if doubt else ""


def _collect_warnings(state: State, outcomes: Mapping[str, Outcome]) -> list[str]:
    """Return what is to be known of the calls besides their outputs, those of the plan first."""
    by_task = {task: [*sentences] for task, sentences in (state.get("plan_warnings") or {}).items()}
    for task, outcome in outcomes.items():
        by_task.setdefault(task, []).extend(outcome.warnings)
    return cite_warnings(by_task)


async def _prune_call_log(snapshot: Snapshot, context: NodeContext) -> None:
    """Delete the logged calls whose results are recorded.

    The items of a failed `for_each` stay if the run did not reach its goal: a plan that a human then edits does not
    call them again.
    """
    plans = [plan for plan in (snapshot.compiled, snapshot.undo) if plan is not None]
    repeated = {task.id for plan in plans for task in plan.plan.tasks if task.for_each is not None}
    logged = {task for task, outcome in snapshot.outcomes.items() if task in repeated or outcome.attempts > 1}
    calls = context.services.calls
    if not logged:
        return
    if snapshot.stop is None:
        await calls.delete_calls(context.thread)
    elif done := {task for task in logged if isinstance(snapshot.outcomes[task], Done)}:
        await calls.delete_calls(context.thread, done)


def _settle_unfinished_tasks(snapshot: Snapshot, state: State, *, because: str) -> dict[str, Outcome]:
    """Return outcomes for the tasks that never ran or are in doubt; undo tasks are in the rollback's report."""
    if snapshot.compiled is None:
        return {}
    doubts = {task: parse_outcome(record) for task, record in (state.get("calls_in_doubt") or {}).items()}
    known = {**doubts, **snapshot.outcomes}
    ended = build_final_outcomes(snapshot.compiled, known, revision=state.get("revision") or 1, because=because)
    return {**{task: doubt for task, doubt in doubts.items() if task not in snapshot.outcomes}, **ended}
