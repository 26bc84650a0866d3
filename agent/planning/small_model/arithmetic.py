"""A plan for the tools of a calculator, as plain arithmetic: what a small model writes best when it may write freely.

A program in place of reasoning in words follows L. Gao et al., "PAL: Program-aided Language Models" (ICML 2023). It is
held to no grammar and shown no examples: kept from writing a word that it wants to write, a small model goes on with
nonsense, and it sets an equation up as it was shown to, whether that fits the question or not.
"""

from collections.abc import Sequence
from typing import Final

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from agent.core.plan.tool_spec import ToolSpec
from agent.events import Thinking
from agent.llm.replies import Malformed, TextReply
from agent.plan_check import Checked
from agent.planning.large_model.one_shot import correction
from agent.planning.session import Desk, Draft, NoDraft
from agent.planning.small_model.arithmetic_parser import known_to_python, read_arithmetic
from agent.planning.small_model.script import signatures
from agent.planning.small_model.script_parser import Unreadable
from agent.planning.tool_selection import named_in
from prompts import render

_MAX_TOKENS: Final = 450


async def plan_by_reckoning(desk: Desk) -> Draft | NoDraft:
    """Ask for a program; send it back with its problems until it compiles or the repairs are used up.

    Raises `ModelReplyError` where the model's server gives no reply.
    """
    messages = _question(desk)
    problems: tuple[str, ...] = ()
    for repairs in range(desk.max_repairs + 1):
        if repairs:
            desk.emit(Thinking(role="planner", text=f"Mending the plan: {problems[0]}"))
        reply = await desk.ask_text(messages, max_tokens=_MAX_TOKENS)
        found = await _read(reply, desk)
        if isinstance(found, Checked):
            return Draft(checked=found, repairs=repairs)
        problems = found
        messages += correction(reply.raw if isinstance(reply, Malformed) else reply.text, problems)
    return NoDraft(problems=problems, repairs=desk.max_repairs)


async def several_by_reckoning(desk: Desk, number: int) -> Sequence[Draft | NoDraft]:
    """Ask for so many programs at once, each by chance. Raises `ModelReplyError` as `plan_by_reckoning` does."""
    replies = await desk.ask_texts(_question(desk), number=number, max_tokens=_MAX_TOKENS)
    found = [await _read(reply, desk) for reply in replies]
    return [
        Draft(checked=each, repairs=0) if isinstance(each, Checked) else NoDraft(problems=each, repairs=0)
        for each in found
    ]


def _question(desk: Desk) -> list[BaseMessage]:
    system = render("script_reckoning.v2", tools=signatures(_shown(desk)), context=desk.context)
    return [SystemMessage(system), HumanMessage(render("reckoning_goal.v1", goal=desk.goal))]


def _shown(desk: Desk) -> list[ToolSpec]:
    """Return the tools that the model is told of: formulas that the goal has a word of, as it can reckon by itself."""
    known = known_to_python(desk.specs)
    return named_in({name: spec for name, spec in desk.specs.items() if name not in known}, goal=desk.goal)


async def _read(reply: TextReply | Malformed, desk: Desk) -> Checked | tuple[str, ...]:
    if isinstance(reply, Malformed):
        return (reply.reason,)
    try:
        tasks = read_arithmetic(reply.text, desk.specs, known={}, taken=desk.used)
    except Unreadable as error:
        return (str(error),)
    checked = await desk.check({"tasks": tasks})
    return tuple(map(str, checked)) if isinstance(checked, tuple) else checked
