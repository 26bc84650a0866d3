"""A whole plan in one answer, mended from its problems: for models that hold a plan in their head."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.events import Thinking
from agent.execution.early_execution import HeadStart
from agent.llm.replies import Malformed, Parsed, Reply, Usage, read_reply
from agent.plan_check import Checked
from agent.planning.context import Asked, answering, checked_questions
from agent.planning.large_model.plan_schema import LossyError, plan_document, plan_schema, question_documents
from agent.planning.large_model.streaming_parser import Drafting
from agent.planning.session import Desk, Draft, NoDraft
from agent.planning.tool_prompts import tool_text
from prompts import render


def plain_plan(raw: str) -> dict[str, Any] | None:
    """Return the plan document in `raw`, or what it asks for under `need`; None where it holds neither.

    A model that is not held to a schema knows this form from the examples. The compiler says better what is wrong with
    such a plan than a schema does.
    """
    reply = read_reply(raw, schema={}, tolerant=True, usage=Usage())
    if not isinstance(reply, Parsed) or not any(isinstance(reply.value.get(key), list) for key in ("tasks", "need")):
        return None
    return reply.value


_MAX_TOKENS: Final = 12_000


async def plan_at_once(desk: Desk) -> Draft | NoDraft | Asked:
    """Ask for a plan; send it back with its problems until it compiles or the repairs are used up.

    Where it may, the model can ask to know more instead. Raises `ModelReplyError` where its server gives no reply.
    """
    asking = answering(desk.toolbox.specs) if desk.may_ask else {}
    tools = tool_text({**desk.specs, **asking}.values())
    messages: list[BaseMessage] = [
        SystemMessage(render("planner.v2", tools=tools, context=desk.context, asking=list(asking))),
        HumanMessage(render("planner_goal.v1", goal=desk.goal)),
    ]
    schema = plan_schema(desk.specs.values(), asking=asking.values())
    problems: tuple[str, ...] = ()
    for repairs in range(desk.max_repairs + 1):
        if repairs:
            desk.emit(Thinking(role="planner", text=f"Mending the plan: {problems[0]}"))
        heard = _beginning(desk.ahead, desk, schema) if desk.ahead else None
        reply = await desk.ask(messages, schema=schema, name="plan", max_tokens=_MAX_TOKENS, heard=heard)
        found = await _read(reply, desk, asking)
        match found:
            case Checked():
                return Draft(checked=found, repairs=repairs)
            case Asked():
                return found
            case tuple():
                problems = found
                messages += correction(reply.raw, problems)
    return NoDraft(problems=problems, repairs=desk.max_repairs)


async def _read(reply: Reply, desk: Desk, asking: Mapping[str, ToolSpec]) -> Checked | Asked | tuple[str, ...]:
    asked = _questions(reply, asking)
    if isinstance(asked, str):
        return (asked,)
    if asked:
        return await checked_questions(asked, desk.toolbox, limits=desk.limits)
    document = _document(reply, desk)
    if isinstance(document, str):
        return (document,)
    checked = await desk.check(document)
    return tuple(map(str, checked)) if isinstance(checked, tuple) else checked


def _questions(reply: Reply, asking: Mapping[str, ToolSpec]) -> Sequence[object] | str:
    """Return what a reply wants to know first, or a sentence that says why that cannot be read."""
    if not asking:
        return ()
    if isinstance(reply, Malformed):
        need = (plain_plan(reply.raw) or {}).get("need")
        return need if isinstance(need, list) else ()
    try:
        return question_documents(reply.value, asking)
    except LossyError as error:
        return str(error)


def _document(reply: Reply, desk: Desk) -> dict[str, Any] | str:
    """Return the plan document in a reply, or a sentence that says why there is none."""
    if isinstance(reply, Malformed):
        plain = plain_plan(reply.raw)
        return {key: part for key, part in plain.items() if key != "need"} if plain else reply.reason
    try:
        return plan_document(reply.value, desk.specs)
    except LossyError as error:
        return str(error)


def _beginning(ahead: HeadStart, desk: Desk, schema: JsonSchema) -> Callable[[str], None]:
    """Return what hears the text of a plan and hands each task on as soon as that is written."""
    drafting = Drafting()
    taken = 0
    ahead.begin_text()

    def heard(piece: str) -> None:
        nonlocal taken
        for task in drafting.feed(piece):
            alone = f'{{"execution_mode": "parallel", "tasks": [{task}]}}'
            document = _document(read_reply(alone, schema=schema, tolerant=False, usage=Usage()), desk)
            if not isinstance(document, str) and drafting.execution_mode != "sequential":
                ahead.take(document["tasks"][0])
                taken += 1
        if taken and drafting.execution_mode == "sequential":
            # Said behind the tasks: each rests on the one before it, so what was begun is other work.
            ahead.begin_text()
            taken = 0

    return heard


def correction(raw: str, problems: Sequence[str]) -> list[BaseMessage]:
    """Return the messages that give an answer back with what is wrong with it."""
    given: list[BaseMessage] = [AIMessage(raw)] if raw.strip() else []
    return [*given, HumanMessage(render("repair.v1", problems=problems))]
