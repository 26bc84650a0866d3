"""How to go on after a failure, in small steps: first which way, then the arguments that it takes."""

from dataclasses import replace
from typing import Final, Literal

from langchain_core.messages import BaseMessage, HumanMessage
from pydantic import BaseModel, ConfigDict

from agent.core.engine.outcomes import Done, Rejected
from agent.core.plan.document import Call, renamed
from agent.llm.replies import Malformed
from agent.plan_check import Checked
from agent.planning.large_model.one_shot import correction
from agent.planning.replan_rules import Decided, Setback, Stop, accepted, documents, retried, with_rest, without
from agent.planning.session import Desk, NoDraft
from agent.planning.small_model.input_binding import writes_sql
from agent.planning.small_model.script import plan_as_script
from agent.planning.small_model.steps import Step, read_steps, steps_schema
from agent.planning.small_model.stepwise import Earlier, argue, fill_in, system_message
from agent.results.summary import failure, outcome_lines
from prompts import render

_MAX_TOKENS: Final = 900


class _Way(BaseModel):
    """The first stage's answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str
    action: Literal["retry", "skip", "replan", "abort"]


async def decide_in_stages(desk: Desk, setback: Setback) -> Decided | Stop:
    """Ask which way to go, then for what that way needs. Raises `ModelReplyError`."""
    way = await _way(desk, setback)
    if isinstance(way, Stop):
        return way
    match way.action:
        case "abort":
            return Stop(way.reason, chosen=True)
        case "skip":
            return without(setback.failed, setback, note=way.reason)
        case "retry" | "replan" if not any(map(writes_sql, desk.specs.values())):
            return await _rewritten(desk, setback, note=way.reason)
        case "retry":
            return await _retry(desk, setback, note=way.reason)
        case "replan":
            return await _replan(desk, setback, note=way.reason)


def _told(setback: Setback) -> list[str]:
    """Return what must be dealt with, and what a person said about it."""
    return [*setback.failures, *(f"A person says: {words}" for words in setback.guidance)]


async def _way(desk: Desk, setback: Setback) -> _Way | Stop:
    schema = {
        "type": "object",
        "properties": {
            "reason": {"type": "string", "minLength": 1, "maxLength": 300},
            "action": {"type": "string", "enum": ["retry", "skip", "replan", "abort"]},
        },
        "required": ["reason", "action"],
        "additionalProperties": False,
    }
    question = render(
        "small_replanner.v1",
        goal=desk.goal,
        outcomes="\n".join(outcome_lines(setback.compiled, setback.outcomes)),
        failures=_told(setback),
        history=setback.history,
    )
    messages: list[BaseMessage] = [system_message(desk), HumanMessage(question)]
    problem = ""
    for _ in range(desk.max_repairs + 1):
        reply = await desk.ask(messages, schema=schema, name="decision", max_tokens=_MAX_TOKENS)
        if not isinstance(reply, Malformed):
            return _Way.model_validate(reply.value)
        problem = reply.reason
        messages += correction(reply.raw, (problem,))
    return Stop(f"The replanner gave no usable answer: {problem}")


async def _retry(desk: Desk, setback: Setback, *, note: str) -> Decided | Stop:
    """Write the arguments of each failed task anew, told of what went wrong."""
    kept = await desk.check({"tasks": setback.done}) if setback.done else None
    changes: dict[str, Call] = {}
    for task_id in setback.failed:
        task = setback.compiled.tasks[task_id]
        uses = tuple(need for need in setback.compiled.needs[task_id] if _is_done(need, setback))
        step = Step(id=renamed(task_id, setback.taken), question=task.description or task_id, tool=task.tool, uses=uses)
        said = [f"A person says: {words}" for words in setback.guidance]
        earlier = Earlier(args=dict(task.args), failure=" ".join([failure(setback.outcomes[task_id]), *said]))
        found = await argue(
            step, [step], desk, tasks=setback.done, checked=kept if isinstance(kept, Checked) else None, earlier=earlier
        )
        if isinstance(found, NoDraft):
            return Stop(f"No way on was found for {task_id!r}: {' '.join(found.problems)}")
        written = found.checked.compiled.tasks[step.id]
        changes[task_id] = Call(tool=written.tool, args=written.args)
    tasks, _ = retried(setback.compiled, changes, outcomes=setback.outcomes)
    decided = await accepted(documents(tasks), desk, setback, waived=frozenset(), note=note)
    return Stop(f"No way on was found: {' '.join(decided)}") if isinstance(decided, tuple) else decided


def _is_done(task: str, setback: Setback) -> bool:
    return isinstance(setback.outcomes.get(task), Done)


async def _rewritten(desk: Desk, setback: Setback, *, note: str) -> Decided | Stop:
    """Ask for a script of what is left."""
    drafted = await plan_as_script(desk, done=setback.done, failures=_told(setback))
    if isinstance(drafted, NoDraft):
        return Stop(f"No way on was found: {' '.join(drafted.problems)}")
    finished = {task["id"] for task in setback.done}
    new = [task for task in drafted.checked.compiled.plan.tasks if task.id not in finished]
    decided = await with_rest(documents(new), desk, setback, note=note)
    return Stop(f"No way on was found: {' '.join(decided)}") if isinstance(decided, tuple) else decided


async def _replan(desk: Desk, setback: Setback, *, note: str) -> Decided | Stop:
    """Ask for the steps that are left, then for their arguments."""
    rejected = [task for task in setback.failed if isinstance(setback.outcomes[task], Rejected)]
    question = render(
        "small_replanner_steps.v1",
        goal=desk.goal,
        done=[{"id": task["id"], "question": task.get("description", "")} for task in setback.done],
        failures=_told(setback),
        rejected=rejected,
    )
    messages = [system_message(desk), HumanMessage(question)]
    reply = await desk.ask(messages, schema=steps_schema(desk.specs), name="steps", max_tokens=_MAX_TOKENS)
    if isinstance(reply, Malformed):
        return Stop(f"No new steps came of it: {reply.reason}")
    known = [task["id"] for task in setback.done]
    steps = read_steps(reply.value, taken=setback.taken, known=known)
    kept = await desk.check({"tasks": setback.done}) if setback.done else None
    drafted = await fill_in(
        steps, replace(desk), done=setback.done, checked=kept if isinstance(kept, Checked) else None, repairs=0
    )
    if isinstance(drafted, NoDraft):
        return Stop(f"No way on was found: {' '.join(drafted.problems)}")
    new = [drafted.checked.compiled.tasks[step.id] for step in steps]
    decided = await with_rest(documents(new), desk, setback, note=note)
    return Stop(f"No way on was found: {' '.join(decided)}") if isinstance(decided, tuple) else decided
