"""How to go on after a failure, in stages: first the action, then what that action needs."""

from typing import Final, Literal

from langchain_core.messages import BaseMessage, HumanMessage
from pydantic import BaseModel, ConfigDict

from agent.core.engine.outcomes import Done, Rejected
from agent.core.plan.document import Call, make_free_id
from agent.llm.replies import MalformedReply
from agent.planning.large_model.one_shot import build_correction
from agent.planning.replan_rules import (
    FailureContext,
    HumanQuestion,
    NoRevision,
    PlanRevision,
    build_retry_tasks,
    check_revision,
    replan_rest,
    skip_tasks,
    tasks_to_json,
)
from agent.planning.session import DraftFailure, PlanningSession
from agent.planning.small_model.input_binding import is_sql_tool
from agent.planning.small_model.script import plan_as_script
from agent.planning.small_model.steps import PlanStep, build_steps_schema, read_steps
from agent.planning.small_model.stepwise import (
    FailedAttempt,
    build_system_message,
    write_all_arguments,
    write_step_arguments,
)
from agent.results.summary import describe_failure, describe_outcomes
from agent.tools.plan_check import CheckedPlan
from prompts import render

_MAX_TOKENS: Final = 900


class _Decision(BaseModel):
    """The first stage's answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str
    action: Literal["retry", "skip", "replan", "abort"]


async def decide_in_stages(
    session: PlanningSession, failure_context: FailureContext
) -> PlanRevision | HumanQuestion | NoRevision:
    """Ask for the action, then for what it needs. Raises `ModelReplyError`."""
    decision = await _choose_action(session, failure_context)
    if isinstance(decision, NoRevision):
        return decision
    match decision.action:
        case "abort":
            return NoRevision(decision.reason, chosen=True)
        case "skip":
            return skip_tasks(failure_context.failed, failure_context, note=decision.reason)
        case "retry" | "replan" if not any(map(is_sql_tool, session.specs.values())):
            scripted = await _replan_as_script(session, failure_context, note=decision.reason)
            if isinstance(scripted, HumanQuestion):
                return scripted
            revision = scripted
        case "retry":
            revision = await _retry_tasks(session, failure_context, note=decision.reason)
        case "replan":
            revision = await _replan_in_steps(session, failure_context, note=decision.reason)
    return NoRevision(f"No way to go on was found: {' '.join(revision)}") if isinstance(revision, tuple) else revision


async def _choose_action(session: PlanningSession, failure_context: FailureContext) -> _Decision | NoRevision:
    schema = {
        "type": "object",
        "properties": {
            "reason": {"type": "string", "minLength": 1, "maxLength": 300},
            "action": {"type": "string", "enum": ["retry", "skip", "replan", "abort"]},
        },
        "required": ["reason", "action"],
        "additionalProperties": False,
    }
    question = render(
        "small_replanner.v1",
        goal=session.goal,
        outcomes="\n".join(describe_outcomes(failure_context.compiled, failure_context.outcomes)),
        failures=_list_failures(failure_context),
        history=failure_context.history,
    )
    messages: list[BaseMessage] = [build_system_message(session), HumanMessage(question)]
    problem = ""
    for _ in range(session.max_repairs + 1):
        reply = await session.ask_structured(messages, schema=schema, name="decision", max_tokens=_MAX_TOKENS)
        if not isinstance(reply, MalformedReply):
            return _Decision.model_validate(reply.value)
        problem = reply.reason
        messages += build_correction(reply.raw, (problem,))
    return NoRevision(f"The replanner gave no usable answer: {problem}")


def _list_failures(failure_context: FailureContext) -> list[str]:
    """Return a sentence for each failed task, then what a human said about them."""
    return [*failure_context.failures, *_quote_guidance(failure_context)]


def _quote_guidance(failure_context: FailureContext) -> list[str]:
    return [f"A person says: {words}" for words in failure_context.guidance]


async def _retry_tasks(
    session: PlanningSession, failure_context: FailureContext, *, note: str
) -> PlanRevision | tuple[str, ...]:
    """Write the arguments of each failed task again, with its failure shown to the model."""
    done = await _check_done_tasks(session, failure_context)
    changes: dict[str, Call] = {}
    made = frozenset(failure_context.made_writes)
    for task_id in failure_context.failed:
        if task_id in made:
            continue
        task = failure_context.compiled.tasks[task_id]
        uses = tuple(need for need in failure_context.compiled.needs[task_id] if _is_done(need, failure_context))
        step = PlanStep(
            id=make_free_id(task_id, failure_context.taken_ids),
            question=task.description or task_id,
            tool=task.tool,
            uses=uses,
        )
        draft = await write_step_arguments(
            step,
            [step],
            session,
            tasks=failure_context.done_tasks,
            checked=done,
            earlier=FailedAttempt(
                args=dict(task.args),
                failure=" ".join(
                    [describe_failure(failure_context.outcomes[task_id]), *_quote_guidance(failure_context)]
                ),
            ),
        )
        if isinstance(draft, DraftFailure):
            return (f"{task_id!r} cannot be retried.", *draft.problems)
        written = draft.checked.compiled.tasks[step.id]
        changes[task_id] = Call(tool=written.tool, args=written.args)
    tasks = build_retry_tasks(failure_context.compiled, changes, outcomes=failure_context.outcomes)
    return await check_revision(tasks_to_json(tasks), session, failure_context, waived=made, note=note)


def _is_done(task: str, failure_context: FailureContext) -> bool:
    return isinstance(failure_context.outcomes.get(task), Done)


async def _check_done_tasks(session: PlanningSession, failure_context: FailureContext) -> CheckedPlan | None:
    """Return what is known of the outputs of the finished tasks."""
    tasks = failure_context.done_tasks
    checked = await session.check({"tasks": tasks}) if tasks else None
    return checked if isinstance(checked, CheckedPlan) else None


async def _replan_as_script(
    session: PlanningSession, failure_context: FailureContext, *, note: str
) -> PlanRevision | HumanQuestion | tuple[str, ...]:
    """Ask for a script of what is left to do; a value that nothing gives is asked for, or ends the replanning."""
    done = failure_context.done_tasks
    draft = await plan_as_script(session, done=done, failures=_list_failures(failure_context))
    if isinstance(draft, DraftFailure):
        return draft.problems
    if draft.questions:
        return HumanQuestion(" ".join(draft.questions)) if failure_context.may_ask else draft.questions
    finished = {task["id"] for task in done}
    new = [task for task in draft.checked.compiled.plan.tasks if task.id not in finished]
    return await replan_rest(tasks_to_json(new), session, failure_context, note=note)


async def _replan_in_steps(
    session: PlanningSession, failure_context: FailureContext, *, note: str
) -> PlanRevision | tuple[str, ...]:
    """Ask for the steps that are left to do, then for their arguments."""
    done = failure_context.done_tasks
    rejected = [task for task in failure_context.failed if isinstance(failure_context.outcomes[task], Rejected)]
    question = render(
        "small_replanner_steps.v1",
        goal=session.goal,
        done=[{"id": task["id"], "question": task.get("description", "")} for task in done],
        failures=_list_failures(failure_context),
        rejected=rejected,
    )
    messages = [build_system_message(session), HumanMessage(question)]
    reply = await session.ask_structured(
        messages, schema=build_steps_schema(session.specs), name="steps", max_tokens=_MAX_TOKENS
    )
    if isinstance(reply, MalformedReply):
        return ("There are no new steps.", reply.reason)
    steps = read_steps(reply.value, taken=failure_context.taken_ids, known=[task["id"] for task in done])
    checked = await _check_done_tasks(session, failure_context)
    draft = await write_all_arguments(steps, session, done=done, checked=checked, repairs=0)
    if isinstance(draft, DraftFailure):
        return draft.problems
    new = [draft.checked.compiled.tasks[step.id] for step in steps]
    return await replan_rest(tasks_to_json(new), session, failure_context, note=note)
