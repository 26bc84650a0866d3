"""A whole plan in one answer, mended from its problems: for models that hold a plan in their head."""

from collections.abc import Sequence
from typing import Final

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from agent.check import Checked
from agent.events import Thinking
from agent.planning.desk import Desk, Draft, NoDraft
from agent.planning.plain_plan import plain_plan
from agent.planning.toolbook import tool_text
from agent.planning.wire import LossyError, plan_document, plan_schema
from agent.reply import Malformed, Reply
from prompts import render

_MAX_TOKENS: Final = 12_000


async def plan_at_once(desk: Desk) -> Draft | NoDraft:
    """Ask for a plan; send it back with its problems until it compiles or the repairs are used up.

    Raises `ModelReplyError` where the model's server gives no reply.
    """
    messages: list[BaseMessage] = [
        SystemMessage(render("planner.v1", tools=tool_text(desk.specs.values()), context=desk.context)),
        HumanMessage(render("planner_goal.v1", goal=desk.goal)),
    ]
    schema = plan_schema(desk.specs.values())
    problems: tuple[str, ...] = ()
    for repairs in range(desk.max_repairs + 1):
        if repairs:
            desk.emit(Thinking(role="planner", text=f"Mending the plan: {problems[0]}"))
        reply = await desk.ask(messages, schema=schema, name="plan", max_tokens=_MAX_TOKENS)
        found = await _read(reply, desk)
        if isinstance(found, Checked):
            return Draft(checked=found, repairs=repairs)
        problems = found
        messages += correction(reply.raw, problems)
    return NoDraft(problems=problems, repairs=desk.max_repairs)


async def _read(reply: Reply, desk: Desk) -> Checked | tuple[str, ...]:
    if isinstance(reply, Malformed):
        document = plain_plan(reply.raw)
        if document is None:
            return (reply.reason,)
    else:
        try:
            document = plan_document(reply.value, desk.specs)
        except LossyError as error:
            return (str(error),)
    checked = await desk.check(document)
    return tuple(map(str, checked)) if isinstance(checked, tuple) else checked


def correction(raw: str, problems: Sequence[str]) -> list[BaseMessage]:
    """Return the messages that give an answer back with what is wrong with it."""
    given: list[BaseMessage] = [AIMessage(raw)] if raw.strip() else []
    return [*given, HumanMessage(render("repair.v1", problems=problems))]
