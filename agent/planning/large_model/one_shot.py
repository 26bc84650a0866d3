"""A whole plan in one answer, repaired from its problems: for models that can write a plan as a whole."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.events import Thinking
from agent.execution.early_execution import EarlyExecution
from agent.llm.replies import MalformedReply, ParsedReply, Reply, Usage, parse_reply
from agent.planning.context import ContextQuestions, check_questions, select_question_tools
from agent.planning.large_model.plan_schema import (
    LossyError,
    build_plan_schema,
    parse_plan_document,
    parse_question_documents,
)
from agent.planning.large_model.streaming_parser import StreamingPlanParser
from agent.planning.session import DraftFailure, PlanDraft, PlanningSession
from agent.planning.tool_prompts import describe_tools
from agent.tools.plan_check import CheckedPlan
from prompts import render

_MAX_TOKENS: Final = 12_000


async def plan_at_once(session: PlanningSession) -> PlanDraft | DraftFailure | ContextQuestions:
    """Ask for a plan; send it back with its problems until it compiles or the repairs are used up.

    If `session.may_ask`, the model can ask questions instead. Raises `ModelReplyError` if its server gives no reply.
    """
    asking = select_question_tools(session.toolbox.specs) if session.may_ask else {}
    tools = describe_tools({**session.specs, **asking}.values())
    messages: list[BaseMessage] = [
        SystemMessage(render("planner.v2", tools=tools, context=session.context, asking=list(asking))),
        HumanMessage(render("planner_goal.v1", goal=session.goal)),
    ]
    schema = build_plan_schema(session.specs.values(), asking=asking.values())
    problems: tuple[str, ...] = ()
    for repairs in range(session.max_repairs + 1):
        if repairs:
            session.emit(Thinking(role="planner", text=f"Repairing the plan: {problems[0]}"))
        on_text = _build_stream_handler(session.early_execution, session, schema) if session.early_execution else None
        reply = await session.ask_structured(
            messages, schema=schema, name="plan", max_tokens=_MAX_TOKENS, on_text=on_text
        )
        result = await _check_reply(reply, session, asking)
        match result:
            case CheckedPlan():
                return PlanDraft(checked=result, repairs=repairs)
            case ContextQuestions():
                return result
            case tuple():
                problems = result
                messages += build_correction(reply.raw, problems)
    return DraftFailure(problems=problems, repairs=session.max_repairs)


async def _check_reply(
    reply: Reply, session: PlanningSession, asking: Mapping[str, ToolSpec]
) -> CheckedPlan | ContextQuestions | tuple[str, ...]:
    asked = _parse_questions(reply, asking)
    if isinstance(asked, str):
        return (asked,)
    if asked:
        return await check_questions(asked, session.toolbox, limits=session.limits)
    document = _parse_document(reply, session)
    if isinstance(document, str):
        return (document,)
    checked = await session.check(document)
    return tuple(map(str, checked)) if isinstance(checked, tuple) else checked


def _parse_questions(reply: Reply, asking: Mapping[str, ToolSpec]) -> Sequence[object] | str:
    """Return the questions in a reply, or why they cannot be read, as a sentence."""
    if not asking:
        return ()
    if isinstance(reply, MalformedReply):
        need = (parse_plain_plan(reply.raw) or {}).get("need")
        return need if isinstance(need, list) else ()
    try:
        return parse_question_documents(reply.value, asking)
    except LossyError as error:
        return str(error)


def _parse_document(reply: Reply, session: PlanningSession) -> dict[str, Any] | str:
    """Return the plan document in a reply, or why there is none, as a sentence."""
    if isinstance(reply, MalformedReply):
        plain = parse_plain_plan(reply.raw)
        return {key: part for key, part in plain.items() if key != "need"} if plain else reply.reason
    try:
        return parse_plan_document(reply.value, session.specs)
    except LossyError as error:
        return str(error)


def parse_plain_plan(raw: str) -> dict[str, Any] | None:
    """Return the JSON object in `raw` if it has the `tasks` of a plan document or questions under `need`, else None.

    A model that is not held to a schema knows this form from the examples. What is wrong with such a plan the compiler
    says better than a schema does.
    """
    reply = parse_reply(raw, schema={}, tolerant=True, usage=Usage())
    if not isinstance(reply, ParsedReply) or not any(
        isinstance(reply.value.get(key), list) for key in ("tasks", "need")
    ):
        return None
    return reply.value


def _build_stream_handler(
    early_execution: EarlyExecution, session: PlanningSession, schema: JsonSchema
) -> Callable[[str], None]:
    """Return a callback for the streamed text of a plan that hands on each task as soon as it is complete."""
    parser = StreamingPlanParser()
    added = 0
    early_execution.begin_text()

    def on_text(piece: str) -> None:
        nonlocal added
        for task in parser.feed(piece):
            alone = f'{{"execution_mode": "parallel", "tasks": [{task}]}}'
            document = _parse_document(parse_reply(alone, schema=schema, tolerant=False, usage=Usage()), session)
            if not isinstance(document, str) and parser.execution_mode != "sequential":
                early_execution.add_task(document["tasks"][0])
                added += 1
        if added and parser.execution_mode == "sequential":
            # The mode came after the tasks: each depends on the one before it, so what was started is other work.
            early_execution.begin_text()
            added = 0

    return on_text


def build_correction(raw: str, problems: Sequence[str]) -> list[BaseMessage]:
    """Return the messages that send an answer back with its problems."""
    answer: list[BaseMessage] = [AIMessage(raw)] if raw.strip() else []
    return [*answer, HumanMessage(render("repair.v1", problems=problems))]
