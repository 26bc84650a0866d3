"""How to go on after a failure, in small steps: first which way, then the arguments that it takes."""

from dataclasses import replace
from typing import Final, Literal

from langchain_core.messages import BaseMessage, HumanMessage
from pydantic import BaseModel, ConfigDict

from agent.core.engine.outcomes import Done, Rejected
from agent.core.plan.document import Call, make_free_id
from agent.llm.replies import MalformedReply
from agent.plan_check import CheckedPlan
from agent.planning.large_model.one_shot import build_correction
from agent.planning.replan_rules import (
    FailureContext,
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
from prompts import render

_MAX_TOKENS: Final = 900


class _Decision(BaseModel):
    """The first stage's answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str
    action: Literal["retry", "skip", "replan", "abort"]


async def decide_in_stages(session: PlanningSession, failure_context: FailureContext) -> PlanRevision | NoRevision:
    """Ask which way to go, then for what that way needs. Raises `ModelReplyError`."""
    way = await _choose_action(session, failure_context)
    if isinstance(way, NoRevision):
        return way
    match way.action:
        case "abort":
            return NoRevision(way.reason, chosen=True)
        case "skip":
            return skip_tasks(failure_context.failed, failure_context, note=way.reason)
        case "retry" | "replan" if not any(map(is_sql_tool, session.specs.values())):
            return await _replan_as_script(session, failure_context, note=way.reason)
        case "retry":
            return await _retry_tasks(session, failure_context, note=way.reason)
        case "replan":
            return await _replan_in_steps(session, failure_context, note=way.reason)


def _list_failures(failure_context: FailureContext) -> list[str]:
    """Return what must be dealt with, and what a person said about it."""
    return [*failure_context.failures, *(f"A person says: {words}" for words in failure_context.guidance)]


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


async def _retry_tasks(
    session: PlanningSession, failure_context: FailureContext, *, note: str
) -> PlanRevision | NoRevision:
    """Write the arguments of each failed task anew, told of what went wrong."""
    kept = await session.check({"tasks": failure_context.done_tasks}) if failure_context.done_tasks else None
    changes: dict[str, Call] = {}
    for task_id in failure_context.failed:
        task = failure_context.compiled.tasks[task_id]
        uses = tuple(need for need in failure_context.compiled.needs[task_id] if _is_done(need, failure_context))
        step = PlanStep(
            id=make_free_id(task_id, failure_context.taken_ids),
            question=task.description or task_id,
            tool=task.tool,
            uses=uses,
        )
        said = [f"A person says: {words}" for words in failure_context.guidance]
        earlier = FailedAttempt(
            args=dict(task.args), failure=" ".join([describe_failure(failure_context.outcomes[task_id]), *said])
        )
        found = await write_step_arguments(
            step,
            [step],
            session,
            tasks=failure_context.done_tasks,
            checked=kept if isinstance(kept, CheckedPlan) else None,
            earlier=earlier,
        )
        if isinstance(found, DraftFailure):
            return NoRevision(f"No way on was found for {task_id!r}: {' '.join(found.problems)}")
        written = found.checked.compiled.tasks[step.id]
        changes[task_id] = Call(tool=written.tool, args=written.args)
    tasks, _ = build_retry_tasks(failure_context.compiled, changes, outcomes=failure_context.outcomes)
    decided = await check_revision(tasks_to_json(tasks), session, failure_context, waived=frozenset(), note=note)
    return NoRevision(f"No way on was found: {' '.join(decided)}") if isinstance(decided, tuple) else decided


def _is_done(task: str, failure_context: FailureContext) -> bool:
    return isinstance(failure_context.outcomes.get(task), Done)


async def _replan_as_script(
    session: PlanningSession, failure_context: FailureContext, *, note: str
) -> PlanRevision | NoRevision:
    """Ask for a script of what is left."""
    drafted = await plan_as_script(session, done=failure_context.done_tasks, failures=_list_failures(failure_context))
    if isinstance(drafted, DraftFailure):
        return NoRevision(f"No way on was found: {' '.join(drafted.problems)}")
    finished = {task["id"] for task in failure_context.done_tasks}
    new = [task for task in drafted.checked.compiled.plan.tasks if task.id not in finished]
    decided = await replan_rest(tasks_to_json(new), session, failure_context, note=note)
    return NoRevision(f"No way on was found: {' '.join(decided)}") if isinstance(decided, tuple) else decided


async def _replan_in_steps(
    session: PlanningSession, failure_context: FailureContext, *, note: str
) -> PlanRevision | NoRevision:
    """Ask for the steps that are left, then for their arguments."""
    rejected = [task for task in failure_context.failed if isinstance(failure_context.outcomes[task], Rejected)]
    question = render(
        "small_replanner_steps.v1",
        goal=session.goal,
        done=[{"id": task["id"], "question": task.get("description", "")} for task in failure_context.done_tasks],
        failures=_list_failures(failure_context),
        rejected=rejected,
    )
    messages = [build_system_message(session), HumanMessage(question)]
    reply = await session.ask_structured(
        messages, schema=build_steps_schema(session.specs), name="steps", max_tokens=_MAX_TOKENS
    )
    if isinstance(reply, MalformedReply):
        return NoRevision(f"No new steps came of it: {reply.reason}")
    known = [task["id"] for task in failure_context.done_tasks]
    steps = read_steps(reply.value, taken=failure_context.taken_ids, known=known)
    kept = await session.check({"tasks": failure_context.done_tasks}) if failure_context.done_tasks else None
    drafted = await write_all_arguments(
        steps,
        replace(session),
        done=failure_context.done_tasks,
        checked=kept if isinstance(kept, CheckedPlan) else None,
        repairs=0,
    )
    if isinstance(drafted, DraftFailure):
        return NoRevision(f"No way on was found: {' '.join(drafted.problems)}")
    new = [drafted.checked.compiled.tasks[step.id] for step in steps]
    decided = await replan_rest(tasks_to_json(new), session, failure_context, note=note)
    return NoRevision(f"No way on was found: {' '.join(decided)}") if isinstance(decided, tuple) else decided
