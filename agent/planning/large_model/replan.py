"""How to go on after a failure, decided in one answer: for models that hold a plan in their head."""

from collections.abc import Mapping
from typing import Any, Final

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from agent.core.plan.document import Call, Plan
from agent.core.plan.parser import parse_plan
from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.events import Thinking
from agent.llm.replies import Malformed, Reply
from agent.planning.large_model.one_shot import correction, plain_plan
from agent.planning.large_model.plan_schema import LossyError, arguments, definitions, task_document
from agent.planning.replan_rules import (
    Decided,
    Question,
    Setback,
    Stop,
    accepted,
    documents,
    retried,
    with_rest,
    without,
)
from agent.planning.session import Desk
from agent.planning.tool_prompts import tool_text
from agent.results.summary import outcome_lines
from prompts import render

_MAX_TOKENS: Final = 12_000
#: Characters of a question to a person.
_QUESTION: Final = 1_000


async def decide_at_once(desk: Desk, setback: Setback) -> Decided | Question | Stop:
    """Ask how to go on until the answer leads on or the repairs are used up. Raises `ModelReplyError`."""
    messages: list[BaseMessage] = [
        SystemMessage(render("planner.v1", tools=tool_text(desk.specs.values()), context=desk.context)),
        HumanMessage(_question(desk, setback)),
    ]
    schema = decision_schema(desk.specs, setback.failed, may_ask=setback.may_ask)
    problems: tuple[str, ...] = ()
    for repairs in range(desk.max_repairs + 1):
        if repairs:
            desk.emit(Thinking(role="replanner", text=f"Mending the new plan: {problems[0]}"))
        reply = await desk.ask(messages, schema=schema, name="decision", max_tokens=_MAX_TOKENS)
        found = await _read(reply, desk, setback)
        if not isinstance(found, tuple):
            return found
        problems = found
        messages += correction(reply.raw, problems)
    return Stop(f"No way on was found: {' '.join(problems)}")


def decision_schema(specs: Mapping[str, ToolSpec], failed: tuple[str, ...], *, may_ask: bool) -> JsonSchema:
    """Return the schema of a decision: a word on why, and one of four ways on, or five with a question to a person."""
    task: JsonSchema = {"type": "string", "enum": list(failed)}
    changes = [
        _object(task=task, tool={"type": "string", "const": name}, args={"$ref": f"#/$defs/args_{name}"})
        for name in specs
    ]
    tasks = {"type": "array", "minItems": 1, "items": {"anyOf": [{"$ref": f"#/$defs/task_{name}"} for name in specs]}}
    skipped = {"type": "array", "items": task}
    ways = [
        _object(
            action={"type": "string", "const": "retry"},
            changes={"type": "array", "minItems": 1, "items": {"anyOf": changes}},
            skip=skipped,
        ),
        _object(action={"type": "string", "const": "skip"}),
        _object(action={"type": "string", "const": "replan"}, tasks=tasks),
        _object(action={"type": "string", "const": "abort"}),
    ]
    if may_ask:
        question: JsonSchema = {"type": "string", "minLength": 1, "maxLength": _QUESTION}
        ways.append(_object(action={"type": "string", "const": "ask"}, question=question))
    return _object(reason={"type": "string"}, decision={"anyOf": ways}) | {"$defs": definitions(specs.values())}


def _object(**properties: JsonSchema) -> JsonSchema:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _question(desk: Desk, setback: Setback) -> str:
    return render(
        "replanner.v2",
        goal=desk.goal,
        outcomes="\n".join(outcome_lines(setback.compiled, setback.outcomes)),
        failures=setback.failures,
        history=setback.history,
        guidance=setback.guidance,
        may_ask=setback.may_ask,
    )


async def _read(reply: Reply, desk: Desk, setback: Setback) -> Decided | Question | Stop | tuple[str, ...]:
    if not isinstance(reply, Malformed):
        return await _followed(reply.value, desk, setback)
    document = plain_plan(reply.raw)
    if document is None:
        return (reply.reason,)
    tasks = parse_plan(document)
    if not isinstance(tasks, Plan):
        return tuple(map(str, tasks))
    return await with_rest(documents(tasks.tasks), desk, setback, note="The rest was planned anew.")


async def _followed(
    value: Mapping[str, Any], desk: Desk, setback: Setback
) -> Decided | Question | Stop | tuple[str, ...]:
    reason, decision = value["reason"], value["decision"]
    try:
        match decision["action"]:
            case "abort":
                return Stop(reason, chosen=True)
            case "ask":
                return Question(decision["question"])
            case "skip":
                return without(setback.failed, setback, note=reason)
            case "replan":
                new = [task_document(task, desk.specs) for task in decision["tasks"]]
                return await with_rest(new, desk, setback, note=reason)
            case _:
                return await _with_changes(decision, desk, setback, note=reason)
    except LossyError as error:
        return (str(error),)


async def _with_changes(
    decision: Mapping[str, Any], desk: Desk, setback: Setback, *, note: str
) -> Decided | tuple[str, ...]:
    changes = {
        change["task"]: Call(tool=change["tool"], args=arguments(change["args"], desk.specs[change["tool"]]))
        for change in decision["changes"]
    }
    skipped = frozenset(decision["skip"]) - changes.keys()
    if open_tasks := [task for task in setback.failed if task not in changes and task not in skipped]:
        listed = ", ".join(map(repr, open_tasks))
        return (f"Nothing is decided about {listed}; give each a changed call, or list it under 'skip'.",)
    tasks, _ = retried(setback.compiled, changes, outcomes=setback.outcomes)
    return await accepted(documents(tasks), desk, setback, waived=skipped, note=note)
