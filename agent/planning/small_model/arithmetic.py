"""A plan for calculator tools as plain arithmetic, which is what a small model writes best if it may write freely.

A program instead of reasoning in words follows L. Gao et al., "PAL: Program-aided Language Models" (ICML 2023). The
model is held to no grammar and shown no examples: a small model that a grammar keeps from its next word goes on with
nonsense, and one that is shown an equation sets up the same, whether it fits the question or not.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from agent.core.plan.tool_spec import ToolSpec
from agent.events import Thinking
from agent.llm.replies import MalformedReply, TextReply
from agent.planning.large_model.one_shot import build_correction
from agent.planning.script_code.statements import ScriptError
from agent.planning.session import DraftFailure, PlanDraft, PlanningSession
from agent.planning.small_model.arithmetic_parser import find_python_equivalents, read_arithmetic
from agent.planning.small_model.script import format_signatures
from agent.planning.tool_selection import find_named_tools
from agent.tools.plan_check import CheckedPlan
from prompts import render

_MAX_TOKENS: Final = 450


async def plan_as_arithmetic(session: PlanningSession) -> PlanDraft | DraftFailure:
    """Ask for a program; send it back with its problems until it compiles or the repairs are used up.

    Raises `ModelReplyError` if the model's server gives no reply.
    """
    messages = _build_messages(session)
    problems: tuple[str, ...] = ()
    for repairs in range(session.max_repairs + 1):
        if repairs:
            session.emit(Thinking(role="planner", text=f"Repairing the plan: {problems[0]}"))
        reply = await session.ask_text(messages, max_tokens=_MAX_TOKENS)
        result = await _check_reply(reply, session)
        if isinstance(result, CheckedPlan):
            return PlanDraft(checked=result, repairs=repairs)
        problems = result
        messages += build_correction(reply.raw if isinstance(reply, MalformedReply) else reply.text, problems)
    return DraftFailure(problems=problems, repairs=session.max_repairs)


async def sample_arithmetic_plans(session: PlanningSession, number: int) -> AsyncGenerator[PlanDraft | DraftFailure]:
    """Sample `number` programs in one call. Raises `ModelReplyError` if the model's server gives no reply."""
    replies = session.ask_texts(_build_messages(session), number=number, max_tokens=_MAX_TOKENS)
    async with aclosing(replies):
        async for reply in replies:
            result = await _check_reply(reply, session)
            if isinstance(result, CheckedPlan):
                yield PlanDraft(checked=result, repairs=0)
            else:
                yield DraftFailure(problems=result, repairs=0)


def _build_messages(session: PlanningSession) -> list[BaseMessage]:
    system = render(
        "script_reckoning.v2", tools=format_signatures(_select_formula_tools(session)), context=session.context
    )
    return [SystemMessage(system), HumanMessage(render("reckoning_goal.v1", goal=session.goal))]


def _select_formula_tools(session: PlanningSession) -> list[ToolSpec]:
    """Return the tools that the model is shown: formulas that the goal names, since arithmetic it can write itself."""
    arithmetic = find_python_equivalents(session.specs)
    formulas = {name: spec for name, spec in session.specs.items() if name not in arithmetic}
    return find_named_tools(formulas, goal=session.goal)


async def _check_reply(reply: TextReply | MalformedReply, session: PlanningSession) -> CheckedPlan | tuple[str, ...]:
    if isinstance(reply, MalformedReply):
        return (reply.reason,)
    try:
        tasks = read_arithmetic(reply.text, session.specs, known={}, taken=session.used)
    except ScriptError as error:
        return (str(error),)
    checked = await session.check({"tasks": tasks})
    return tuple(map(str, checked)) if isinstance(checked, tuple) else checked
