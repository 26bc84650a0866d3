"""A plan as a script of tool calls, for a small model, which writes code better than JSON with references.

A program instead of reasoning in words follows L. Gao et al., "PAL: Program-aided Language Models" (ICML 2023).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from agent.core.plan.tool_spec import ToolSpec
from agent.events import Thinking
from agent.llm.replies import MalformedReply
from agent.planning.goal_rules.completion import complete_tasks
from agent.planning.goal_rules.coverage import find_open_conditions, find_uncovered
from agent.planning.goal_rules.missing import find_questions
from agent.planning.large_model.one_shot import build_correction
from agent.planning.script_code.statements import ScriptError
from agent.planning.session import DraftFailure, PlanDraft, PlanningSession
from agent.planning.small_model.script_grammar import build_script_grammar, find_operator_tools, split_arguments
from agent.planning.small_model.script_parser import read_script
from agent.planning.tool_prompts import describe_shape
from agent.tools.plan_check import CheckedPlan
from prompts import render

_MAX_TOKENS: Final = 600
#: Characters of a goal whose words are read by rule; a longer one brings texts along that say nothing of the plan.
_MAX_GOAL_LENGTH: Final = 2_000


async def plan_as_script(
    session: PlanningSession,
    *,
    done: Sequence[Mapping[str, Any]] = (),
    failures: Sequence[str] = (),
) -> PlanDraft | DraftFailure:
    """Ask for a script; send it back with its problems until it compiles or the repairs are used up.

    The plan begins with `done`, finished tasks as documents, which the script may use; `failures` are sentences.
    Raises `ModelReplyError` if the model's server gives no reply.
    """
    messages = _build_messages(session, done=done, failures=failures)
    grammar = build_script_grammar(session.specs)
    problems: tuple[str, ...] = ()
    best: PlanDraft | None = None
    known = " ".join([session.context, *failures])
    for repairs in range(session.max_repairs + 1):
        if repairs:
            session.emit(Thinking(role="planner", text=f"Repairing the plan: {problems[0]}"))
        # Shown what it left out, a small model writes the same again unless it is sampled.
        asked = session if best is None else replace(session, variant=session.variant or 1)
        reply = await asked.ask_text(messages, max_tokens=_MAX_TOKENS, grammar=grammar)
        raw = reply.raw if isinstance(reply, MalformedReply) else reply.text
        result = (
            (reply.reason,) if isinstance(reply, MalformedReply) else await _check_script(raw, session, done, known)
        )
        if isinstance(result, CheckedPlan):
            draft = _review_draft(result, session, done, repairs=repairs, known=known)
            if not draft.concerns or best is not None:
                return draft if best is None or len(draft.concerns) < len(best.concerns) else best
            # Asked once: what a small model leaves out twice, it leaves out a third time.
            best, problems = draft, draft.concerns
        else:
            problems = result
        messages += build_correction(raw, problems)
    return best or DraftFailure(problems=problems, repairs=session.max_repairs)


def _reads_goal(session: PlanningSession) -> bool:
    return session.repairs_arguments and len(session.goal) <= _MAX_GOAL_LENGTH


def _review_draft(
    checked: CheckedPlan, session: PlanningSession, done: Sequence[Mapping[str, Any]], *, repairs: int, known: str
) -> PlanDraft:
    """Return the draft with what the goal asks for and it does not do; `known` is what is known beside the goal."""
    if not _reads_goal(session):
        return PlanDraft(checked=checked, repairs=repairs)
    finished = {each["id"] for each in done}
    tasks = [
        {"args": {}, **task.model_dump(mode="json", exclude_defaults=True)}
        for task in checked.compiled.plan.tasks
        if task.id not in finished
    ]
    concerns = find_uncovered(session.goal, tasks, session.specs, done=done, context=known)
    questions = (
        *find_questions(session.goal, tasks, session.specs, done=done, context=known),
        *find_open_conditions(session.goal, tasks, session.specs, done=done),
    )
    return PlanDraft(checked=checked, repairs=repairs, concerns=concerns, questions=questions)


def _build_messages(
    session: PlanningSession, *, done: Sequence[Mapping[str, Any]], failures: Sequence[str]
) -> list[BaseMessage]:
    operators = find_operator_tools(session.specs)
    operator_tools = {spec.name for spec in operators.values()}
    system = render(
        "script_planner.v2",
        # Shown both, a small model writes the call, although it is the expression that it gets right.
        tools=format_signatures(spec for name, spec in session.specs.items() if name not in operator_tools),
        operators=[each.sign for each in operators],
        context=session.context,
    )
    finished = [{"description": "", **task} for task in done]
    question = render("script_goal.v1", goal=session.goal, done=finished, failures=list(failures))
    return [SystemMessage(system), HumanMessage(question)]


async def _check_script(
    text: str, session: PlanningSession, done: Sequence[Mapping[str, Any]], known: str
) -> CheckedPlan | tuple[str, ...]:
    output_schemas = {task["id"]: session.toolbox.specs[task["tool"]].output_schema for task in done}
    try:
        tasks = read_script(text, session.specs, known=output_schemas, taken=session.used)
    except ScriptError as error:
        return (str(error),)
    if _reads_goal(session):
        tasks = complete_tasks(session.goal, tasks, session.specs, done=done, context=known)
    checked = await session.check({"tasks": [*done, *tasks]})
    return tuple(map(str, checked)) if isinstance(checked, tuple) else checked


def format_signatures(specs: Iterable[ToolSpec]) -> str:
    """Return each tool as the signature of a Python function, with its purpose as a comment."""
    return "\n".join(map(_format_signature, specs))


def _format_signature(spec: ToolSpec) -> str:
    root = spec.args_schema
    required, optional = split_arguments(spec)
    parts = [f"{name}: {describe_shape(part, root)}" for name, part in required]
    parts += [f"{name}: {describe_shape(part, root)} = None" for name, part in optional]
    output = f" -> {describe_shape(spec.output_schema, spec.output_schema)}" if spec.output_schema is not None else ""
    comment = [" ".join(spec.description.split())]
    comment += [f"{name}: {part['description']}" for name, part in (*required, *optional) if part.get("description")]
    return f"def {spec.name}({', '.join(parts)}){output}  # {'; '.join(comment)}"
