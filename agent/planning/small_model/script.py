"""A plan as a script of tool calls: for small models, which write code better than JSON with references.

A program in place of reasoning in words follows L. Gao et al., "PAL: Program-aided Language Models" (ICML 2023).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.events import Thinking
from agent.llm.replies import MalformedReply
from agent.plan_check import CheckedPlan
from agent.planning.large_model.one_shot import build_correction
from agent.planning.session import DraftFailure, PlanDraft, PlanningSession
from agent.planning.small_model.script_grammar import build_script_grammar, find_operator_tools, split_arguments
from agent.planning.small_model.script_parser import ScriptError, read_script
from agent.planning.tool_prompts import describe_shape
from prompts import render

_MAX_TOKENS: Final = 600


async def plan_as_script(
    session: PlanningSession,
    *,
    done: Sequence[Mapping[str, Any]] = (),
    failures: Sequence[str] = (),
) -> PlanDraft | DraftFailure:
    """Ask for a script; send it back with its problems until it compiles or the repairs are used up.

    `done` are finished tasks, as documents, that the plan begins with and the script may use; `failures` are sentences.
    Raises `ModelReplyError` where the model's server gives no reply.
    """
    known = find_operator_tools(session.specs)
    done_by_sign = {spec.name for spec in known.values()}
    system = render(
        "script_planner.v1",
        # Told of both, a small model takes the call, where an expression is what it gets right.
        tools=format_signatures(spec for name, spec in session.specs.items() if name not in done_by_sign),
        operators=[each.sign for each in known],
        context=session.context,
    )
    finished = [{"description": "", **task} for task in done]
    question = render("script_goal.v1", goal=session.goal, done=finished, failures=list(failures))
    messages: list[BaseMessage] = [SystemMessage(system), HumanMessage(question)]
    grammar = build_script_grammar(session.specs)
    problems: tuple[str, ...] = ()
    for repairs in range(session.max_repairs + 1):
        if repairs:
            session.emit(Thinking(role="planner", text=f"Mending the plan: {problems[0]}"))
        reply = await session.ask_text(messages, max_tokens=_MAX_TOKENS, grammar=grammar)
        raw = reply.raw if isinstance(reply, MalformedReply) else reply.text
        found = (reply.reason,) if isinstance(reply, MalformedReply) else await _check_script(raw, session, done)
        if isinstance(found, CheckedPlan):
            return PlanDraft(checked=found, repairs=repairs)
        problems = found
        messages += build_correction(raw, problems)
    return DraftFailure(problems=problems, repairs=session.max_repairs)


async def _check_script(
    text: str, session: PlanningSession, done: Sequence[Mapping[str, Any]]
) -> CheckedPlan | tuple[str, ...]:
    try:
        tasks = read_script(
            text, session.specs, known=_collect_output_schemas(done, session.toolbox.specs), taken=session.used
        )
    except ScriptError as error:
        return (str(error),)
    checked = await session.check({"tasks": [*done, *tasks]})
    return tuple(map(str, checked)) if isinstance(checked, tuple) else checked


def _collect_output_schemas(
    done: Sequence[Mapping[str, Any]], specs: Mapping[str, ToolSpec]
) -> dict[str, JsonSchema | None]:
    return {task["id"]: specs[task["tool"]].output_schema for task in done}


def format_signatures(specs: Iterable[ToolSpec]) -> str:
    """Return each tool as the first line of a Python function, with its purpose."""
    return "\n".join(map(_format_signature, specs))


def _format_signature(spec: ToolSpec) -> str:
    root = spec.args_schema
    required, optional = split_arguments(spec)
    parts = [f"{name}: {describe_shape(part, root)}" for name, part in required]
    parts += [f"{name}: {describe_shape(part, root)} = None" for name, part in optional]
    gives = f" -> {describe_shape(spec.output_schema, spec.output_schema)}" if spec.output_schema is not None else ""
    told = [" ".join(spec.description.split())]
    told += [f"{name}: {part['description']}" for name, part in (*required, *optional) if part.get("description")]
    return f"def {spec.name}({', '.join(parts)}){gives}  # {'; '.join(told)}"
