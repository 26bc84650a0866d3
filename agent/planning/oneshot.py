"""A whole plan in one answer, mended from its problems: for models that hold a plan in their head."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from agent.events import Thinking
from agent.planning.desk import Desk, Draft, NoDraft
from agent.planning.toolbook import tool_text
from agent.planning.wire import LossyError, plan_document, plan_schema
from agent.reply import Malformed
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
        if isinstance(reply, Malformed):
            problems = (reply.reason,)
        else:
            found = await _checked(reply.value, desk)
            if isinstance(found, tuple):
                problems = found
            else:
                return Draft(checked=found.checked, repairs=repairs)
        messages += correction(reply.raw, problems)
    return NoDraft(problems=problems, repairs=desk.max_repairs)


async def _checked(value: Mapping[str, Any], desk: Desk) -> Draft | tuple[str, ...]:
    try:
        document = plan_document(value, desk.specs)
    except LossyError as error:
        return (str(error),)
    checked = await desk.check(document)
    return tuple(map(str, checked)) if isinstance(checked, tuple) else Draft(checked=checked, repairs=0)


def correction(raw: str, problems: Sequence[str]) -> list[BaseMessage]:
    """Return the messages that give an answer back with what is wrong with it."""
    given: list[BaseMessage] = [AIMessage(raw)] if raw.strip() else []
    return [*given, HumanMessage(render("repair.v1", problems=problems))]
