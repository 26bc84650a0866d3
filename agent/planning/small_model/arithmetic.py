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
from agent.llm.replies import MalformedReply, TextReply
from agent.plan_check import CheckedPlan
from agent.planning.large_model.one_shot import build_correction
from agent.planning.session import DraftFailure, PlanDraft, PlanningSession
from agent.planning.small_model.arithmetic_parser import find_python_equivalents, read_arithmetic
from agent.planning.small_model.script import format_signatures
from agent.planning.small_model.script_parser import ScriptError
from agent.planning.tool_selection import find_named_tools
from prompts import render

_MAX_TOKENS: Final = 450


async def plan_as_arithmetic(session: PlanningSession) -> PlanDraft | DraftFailure:
    """Ask for a program; send it back with its problems until it compiles or the repairs are used up.

    Raises `ModelReplyError` where the model's server gives no reply.
    """
    messages = _build_messages(session)
    problems: tuple[str, ...] = ()
    for repairs in range(session.max_repairs + 1):
        if repairs:
            session.emit(Thinking(role="planner", text=f"Mending the plan: {problems[0]}"))
        reply = await session.ask_text(messages, max_tokens=_MAX_TOKENS)
        found = await _check_reply(reply, session)
        if isinstance(found, CheckedPlan):
            return PlanDraft(checked=found, repairs=repairs)
        problems = found
        messages += build_correction(reply.raw if isinstance(reply, MalformedReply) else reply.text, problems)
    return DraftFailure(problems=problems, repairs=session.max_repairs)


async def sample_arithmetic_plans(session: PlanningSession, number: int) -> Sequence[PlanDraft | DraftFailure]:
    """Ask for so many programs at once, each by chance. Raises `ModelReplyError` as `plan_by_reckoning` does."""
    replies = await session.ask_texts(_build_messages(session), number=number, max_tokens=_MAX_TOKENS)
    found = [await _check_reply(reply, session) for reply in replies]
    return [
        PlanDraft(checked=each, repairs=0) if isinstance(each, CheckedPlan) else DraftFailure(problems=each, repairs=0)
        for each in found
    ]


def _build_messages(session: PlanningSession) -> list[BaseMessage]:
    system = render(
        "script_reckoning.v2", tools=format_signatures(_select_formula_tools(session)), context=session.context
    )
    return [SystemMessage(system), HumanMessage(render("reckoning_goal.v1", goal=session.goal))]


def _select_formula_tools(session: PlanningSession) -> list[ToolSpec]:
    """Return the tools that the model is told of: formulas that the goal has a word of, as it can reckon by itself."""
    known = find_python_equivalents(session.specs)
    return find_named_tools(
        {name: spec for name, spec in session.specs.items() if name not in known}, goal=session.goal
    )


async def _check_reply(reply: TextReply | MalformedReply, session: PlanningSession) -> CheckedPlan | tuple[str, ...]:
    if isinstance(reply, MalformedReply):
        return (reply.reason,)
    try:
        tasks = read_arithmetic(reply.text, session.specs, known={}, taken=session.used)
    except ScriptError as error:
        return (str(error),)
    checked = await session.check({"tasks": tasks})
    return tuple(map(str, checked)) if isinstance(checked, tuple) else checked
