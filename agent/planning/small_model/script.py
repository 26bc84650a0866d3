"""A plan as a script of tool calls: for small models, which write code better than JSON with references.

A program in place of reasoning in words follows L. Gao et al., "PAL: Program-aided Language Models" (ICML 2023).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.events import Thinking
from agent.llm.replies import Malformed
from agent.plan_check import Checked
from agent.planning.large_model.one_shot import correction
from agent.planning.session import Desk, Draft, NoDraft
from agent.planning.small_model.script_grammar import operators, script_grammar, split
from agent.planning.small_model.script_parser import Unreadable, read_script
from agent.planning.tool_prompts import shape
from prompts import render

_MAX_TOKENS: Final = 600


async def plan_as_script(
    desk: Desk,
    *,
    done: Sequence[Mapping[str, Any]] = (),
    failures: Sequence[str] = (),
) -> Draft | NoDraft:
    """Ask for a script; send it back with its problems until it compiles or the repairs are used up.

    `done` are finished tasks, as documents, that the plan begins with and the script may use; `failures` are sentences.
    Raises `ModelReplyError` where the model's server gives no reply.
    """
    known = operators(desk.specs)
    done_by_sign = {spec.name for spec in known.values()}
    system = render(
        "script_planner.v1",
        # Told of both, a small model takes the call, where an expression is what it gets right.
        tools=signatures(spec for name, spec in desk.specs.items() if name not in done_by_sign),
        operators=[each.sign for each in known],
        context=desk.context,
    )
    finished = [{"description": "", **task} for task in done]
    question = render("script_goal.v1", goal=desk.goal, done=finished, failures=list(failures))
    messages: list[BaseMessage] = [SystemMessage(system), HumanMessage(question)]
    grammar = script_grammar(desk.specs)
    problems: tuple[str, ...] = ()
    for repairs in range(desk.max_repairs + 1):
        if repairs:
            desk.emit(Thinking(role="planner", text=f"Mending the plan: {problems[0]}"))
        reply = await desk.ask_text(messages, max_tokens=_MAX_TOKENS, grammar=grammar)
        raw = reply.raw if isinstance(reply, Malformed) else reply.text
        found = (reply.reason,) if isinstance(reply, Malformed) else await _read(raw, desk, done)
        if isinstance(found, Checked):
            return Draft(checked=found, repairs=repairs)
        problems = found
        messages += correction(raw, problems)
    return NoDraft(problems=problems, repairs=desk.max_repairs)


async def _read(text: str, desk: Desk, done: Sequence[Mapping[str, Any]]) -> Checked | tuple[str, ...]:
    try:
        tasks = read_script(text, desk.specs, known=_outputs(done, desk.toolbox.specs), taken=desk.used)
    except Unreadable as error:
        return (str(error),)
    checked = await desk.check({"tasks": [*done, *tasks]})
    return tuple(map(str, checked)) if isinstance(checked, tuple) else checked


def _outputs(done: Sequence[Mapping[str, Any]], specs: Mapping[str, ToolSpec]) -> dict[str, JsonSchema | None]:
    return {task["id"]: specs[task["tool"]].output_schema for task in done}


def signatures(specs: Iterable[ToolSpec]) -> str:
    """Return each tool as the first line of a Python function, with its purpose."""
    return "\n".join(map(_signature, specs))


def _signature(spec: ToolSpec) -> str:
    root = spec.args_schema
    required, optional = split(spec)
    parts = [f"{name}: {shape(part, root)}" for name, part in required]
    parts += [f"{name}: {shape(part, root)} = None" for name, part in optional]
    gives = f" -> {shape(spec.output_schema, spec.output_schema)}" if spec.output_schema is not None else ""
    told = [" ".join(spec.description.split())]
    told += [f"{name}: {part['description']}" for name, part in (*required, *optional) if part.get("description")]
    return f"def {spec.name}({', '.join(parts)}){gives}  # {'; '.join(told)}"
