"""How to go on after a failure, decided in one answer: for models that can write a plan as a whole."""

from collections.abc import Mapping
from typing import Any, Final

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from agent.core.plan.document import Call, Plan
from agent.core.plan.parser import parse_plan
from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.events import Thinking
from agent.llm.replies import MalformedReply, Reply
from agent.planning.large_model.one_shot import build_correction, parse_plain_plan
from agent.planning.large_model.plan_schema import (
    LossyError,
    build_definitions,
    build_object_schema,
    parse_arguments,
    parse_task_document,
    refer_to_arguments,
    refer_to_task,
)
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
from agent.planning.session import PlanningSession
from agent.planning.tool_prompts import describe_tools
from agent.results.summary import describe_outcomes
from prompts import render

_MAX_TOKENS: Final = 12_000
#: Characters of a question to a human.
_MAX_QUESTION_LENGTH: Final = 1_000


async def decide_at_once(
    session: PlanningSession, failure_context: FailureContext
) -> PlanRevision | HumanQuestion | NoRevision:
    """Ask how to go on until the answer passes the checks or the repairs are used up. Raises `ModelReplyError`."""
    messages: list[BaseMessage] = [
        SystemMessage(render("planner.v1", tools=describe_tools(session.specs.values()), context=session.context)),
        HumanMessage(_render_question(session, failure_context)),
    ]
    schema = build_decision_schema(session.specs, failure_context.failed, may_ask=failure_context.may_ask)
    problems: tuple[str, ...] = ()
    for repairs in range(session.max_repairs + 1):
        if repairs:
            session.emit(Thinking(role="replanner", text=f"Repairing the new plan: {problems[0]}"))
        reply = await session.ask_structured(messages, schema=schema, name="decision", max_tokens=_MAX_TOKENS)
        result = await _apply_reply(reply, session, failure_context)
        if not isinstance(result, tuple):
            return result
        problems = result
        messages += build_correction(reply.raw, problems)
    return NoRevision(f"No way to go on was found: {' '.join(problems)}")


def build_decision_schema(specs: Mapping[str, ToolSpec], failed: tuple[str, ...], *, may_ask: bool) -> JsonSchema:
    """Return the schema of a decision: the reason, and one of four actions, or five with a question to a human."""
    task: JsonSchema = {"type": "string", "enum": list(failed)}
    changes = [
        build_object_schema(task=task, tool={"type": "string", "const": name}, args=refer_to_arguments(name))
        for name in specs
    ]
    tasks = {"type": "array", "minItems": 1, "items": {"anyOf": [refer_to_task(name) for name in specs]}}
    skipped = {"type": "array", "items": task}
    actions = [
        build_object_schema(
            action={"type": "string", "const": "retry"},
            changes={"type": "array", "minItems": 1, "items": {"anyOf": changes}},
            skip=skipped,
        ),
        build_object_schema(action={"type": "string", "const": "skip"}),
        build_object_schema(action={"type": "string", "const": "replan"}, tasks=tasks),
        build_object_schema(action={"type": "string", "const": "abort"}),
    ]
    if may_ask:
        question: JsonSchema = {"type": "string", "minLength": 1, "maxLength": _MAX_QUESTION_LENGTH}
        actions.append(build_object_schema(action={"type": "string", "const": "ask"}, question=question))
    return build_object_schema(reason={"type": "string"}, decision={"anyOf": actions}) | {
        "$defs": build_definitions(specs.values())
    }


def _render_question(session: PlanningSession, failure_context: FailureContext) -> str:
    return render(
        "replanner.v2",
        goal=session.goal,
        outcomes="\n".join(describe_outcomes(failure_context.compiled, failure_context.outcomes)),
        failures=failure_context.failures,
        history=failure_context.history,
        guidance=failure_context.guidance,
        may_ask=failure_context.may_ask,
    )


async def _apply_reply(
    reply: Reply, session: PlanningSession, failure_context: FailureContext
) -> PlanRevision | HumanQuestion | NoRevision | tuple[str, ...]:
    if not isinstance(reply, MalformedReply):
        return await _apply_decision(reply.value, session, failure_context)
    document = parse_plain_plan(reply.raw)
    if document is None:
        return (reply.reason,)
    plan = parse_plan(document)
    if not isinstance(plan, Plan):
        return tuple(map(str, plan))
    return await replan_rest(tasks_to_json(plan.tasks), session, failure_context, note="The rest was planned again.")


async def _apply_decision(
    value: Mapping[str, Any], session: PlanningSession, failure_context: FailureContext
) -> PlanRevision | HumanQuestion | NoRevision | tuple[str, ...]:
    reason, decision = value["reason"], value["decision"]
    try:
        match decision["action"]:
            case "abort":
                return NoRevision(reason, chosen=True)
            case "ask":
                return HumanQuestion(decision["question"])
            case "skip":
                return skip_tasks(failure_context.failed, failure_context, note=reason)
            case "replan":
                new = [parse_task_document(task, session.specs) for task in decision["tasks"]]
                return await replan_rest(new, session, failure_context, note=reason)
            case _:
                return await _retry_with_changes(decision, session, failure_context, note=reason)
    except LossyError as error:
        return (str(error),)


async def _retry_with_changes(
    decision: Mapping[str, Any], session: PlanningSession, failure_context: FailureContext, *, note: str
) -> PlanRevision | tuple[str, ...]:
    changes = {
        change["task"]: Call(tool=change["tool"], args=parse_arguments(change["args"], session.specs[change["tool"]]))
        for change in decision["changes"]
    }
    if made := [task for task in failure_context.made_writes if task in changes]:
        listed = ", ".join(map(repr, made))
        return (f"The call of {listed} was made, and would be made a second time; list it under 'skip'.",)
    skipped = frozenset(decision["skip"]) - changes.keys()
    if open_tasks := [task for task in failure_context.failed if task not in changes and task not in skipped]:
        listed = ", ".join(map(repr, open_tasks))
        return (f"Nothing is decided about {listed}; give each a changed call, or list it under 'skip'.",)
    tasks = build_retry_tasks(failure_context.compiled, changes, outcomes=failure_context.outcomes)
    return await check_revision(tasks_to_json(tasks), session, failure_context, waived=skipped, note=note)
