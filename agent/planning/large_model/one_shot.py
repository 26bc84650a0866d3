"""A whole plan in one answer, mended from its problems: for models that hold a plan in their head."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.events import Thinking
from agent.execution.early_execution import EarlyExecution
from agent.llm.replies import MalformedReply, ParsedReply, Reply, Usage, parse_reply
from agent.plan_check import CheckedPlan
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
from prompts import render


def parse_plain_plan(raw: str) -> dict[str, Any] | None:
    """Return the plan document in `raw`, or what it asks for under `need`; None where it holds neither.

    A model that is not held to a schema knows this form from the examples. The compiler says better what is wrong with
    such a plan than a schema does.
    """
    reply = parse_reply(raw, schema={}, tolerant=True, usage=Usage())
    if not isinstance(reply, ParsedReply) or not any(
        isinstance(reply.value.get(key), list) for key in ("tasks", "need")
    ):
        return None
    return reply.value


_MAX_TOKENS: Final = 12_000


async def plan_at_once(session: PlanningSession) -> PlanDraft | DraftFailure | ContextQuestions:
    """Ask for a plan; send it back with its problems until it compiles or the repairs are used up.

    Where it may, the model can ask to know more instead. Raises `ModelReplyError` where its server gives no reply.
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
            session.emit(Thinking(role="planner", text=f"Mending the plan: {problems[0]}"))
        heard = _build_stream_handler(session.early_execution, session, schema) if session.early_execution else None
        reply = await session.ask_structured(
            messages, schema=schema, name="plan", max_tokens=_MAX_TOKENS, on_text=heard
        )
        found = await _check_reply(reply, session, asking)
        match found:
            case CheckedPlan():
                return PlanDraft(checked=found, repairs=repairs)
            case ContextQuestions():
                return found
            case tuple():
                problems = found
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
    """Return what a reply wants to know first, or a sentence that says why that cannot be read."""
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
    """Return the plan document in a reply, or a sentence that says why there is none."""
    if isinstance(reply, MalformedReply):
        plain = parse_plain_plan(reply.raw)
        return {key: part for key, part in plain.items() if key != "need"} if plain else reply.reason
    try:
        return parse_plan_document(reply.value, session.specs)
    except LossyError as error:
        return str(error)


def _build_stream_handler(
    early_execution: EarlyExecution, session: PlanningSession, schema: JsonSchema
) -> Callable[[str], None]:
    """Return what hears the text of a plan and hands each task on as soon as that is written."""
    drafting = StreamingPlanParser()
    taken = 0
    early_execution.begin_text()

    def on_text(piece: str) -> None:
        nonlocal taken
        for task in drafting.feed(piece):
            alone = f'{{"execution_mode": "parallel", "tasks": [{task}]}}'
            document = _parse_document(parse_reply(alone, schema=schema, tolerant=False, usage=Usage()), session)
            if not isinstance(document, str) and drafting.execution_mode != "sequential":
                early_execution.add_task(document["tasks"][0])
                taken += 1
        if taken and drafting.execution_mode == "sequential":
            # Said behind the tasks: each rests on the one before it, so what was begun is other work.
            early_execution.begin_text()
            taken = 0

    return on_text


def build_correction(raw: str, problems: Sequence[str]) -> list[BaseMessage]:
    """Return the messages that give an answer back with what is wrong with it."""
    given: list[BaseMessage] = [AIMessage(raw)] if raw.strip() else []
    return [*given, HumanMessage(render("repair.v1", problems=problems))]
