"""A plan in small steps, for a small model: first what is to be found out, then each task's arguments on their own.

Splitting a question before writing its queries follows D. Khot et al., "Decomposed Prompting" (ICLR 2023).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import anyio.to_thread
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from pydantic import JsonValue

from agent.core.plan.problems import Problem
from agent.core.plan.tool_spec import ToolSpec
from agent.events import Thinking
from agent.llm.replies import Malformed
from agent.plan_check import Checked
from agent.planning.large_model.one_shot import correction
from agent.planning.session import Desk, Draft, NoDraft
from agent.planning.small_model.input_binding import (
    Parameters,
    Source,
    filled,
    needs_input,
    small_schema,
    takes_tables,
    writes_sql,
)
from agent.planning.small_model.self_consistency import agreed
from agent.planning.small_model.steps import Step, forgotten_files, read_steps, steps_schema
from agent.planning.tool_prompts import argument_text, tool_names
from agent.tools.sql_repair.schema_linking import Linked
from prompts import render

_MAX_TOKENS: Final = 900


async def plan_in_stages(desk: Desk) -> Draft | NoDraft:
    """Ask for the steps, then for each step's arguments; every call is checked as soon as it is written.

    Raises `ModelReplyError` where the model's server gives no reply.
    """
    steps, repairs = await _steps(desk)
    if isinstance(steps, NoDraft):
        return steps
    return await fill_in(steps, desk, done=[], checked=None, repairs=repairs)


async def _steps(desk: Desk) -> tuple[list[Step] | NoDraft, int]:
    messages: list[BaseMessage] = [system_message(desk), HumanMessage(render("small_steps.v1", goal=desk.goal))]
    problems: tuple[str, ...] = ()
    told = False
    for repairs in range(desk.max_repairs + 1):
        reply = await desk.ask(messages, schema=steps_schema(desk.specs), name="steps", max_tokens=_MAX_TOKENS)
        if isinstance(reply, Malformed):
            problems = (reply.reason,)
        else:
            steps = read_steps(reply.value, taken=desk.used)
            problems = tuple(forgotten_files(desk.goal, steps))
            # What looks like a file may be none: once told of it, the model decides.
            if not problems or told:
                return steps, repairs
            told = True
        messages += correction(reply.raw, problems)
    return NoDraft(problems=problems, repairs=desk.max_repairs), desk.max_repairs


def system_message(desk: Desk) -> SystemMessage:
    """Return what all of a small model's questions begin with; the same words make the server quick."""
    return SystemMessage(
        render(
            "small_planner.v1",
            tools=tool_names(desk.specs.values()),
            context=desk.context,
            writes_sql=any(map(writes_sql, desk.specs.values())),
        )
    )


async def fill_in(
    steps: Sequence[Step], desk: Desk, *, done: Sequence[Mapping[str, Any]], checked: Checked | None, repairs: int
) -> Draft | NoDraft:
    """Write the arguments of each step in turn; `done` are tasks, as documents, that the plan begins with."""
    tasks: list[Mapping[str, Any]] = list(done)
    doubts: list[str] = []
    for step in steps:
        desk.emit(Thinking(role="planner", text=f"Working out {step.id!r}: {step.question}"))
        found = await _surest(step, steps, desk, tasks=tasks, checked=checked)
        if isinstance(found, NoDraft):
            return NoDraft(problems=found.problems, repairs=repairs + found.repairs)
        checked, repairs = found.checked, repairs + found.repairs
        doubts += [f"{step.id}: {found.doubt}"] if found.doubt else []
        tasks.append(checked.compiled.tasks[step.id].model_dump(mode="json", exclude_defaults=True))
    if checked is None:
        return NoDraft(problems=("The plan has no steps; name at least one.",), repairs=repairs)
    return Draft(checked=checked, repairs=repairs, doubt=" ".join(doubts))


async def _surest(
    step: Step, steps: Sequence[Step], desk: Desk, *, tasks: Sequence[Mapping[str, Any]], checked: Checked | None
) -> Draft | NoDraft:
    """Write one step's arguments; a query in several ways, since it is queries that a small model gets wrong."""

    async def way(at: Desk) -> Draft | NoDraft:
        return await argue(step, steps, at, tasks=tasks, checked=checked)

    return await (agreed(desk, way) if writes_sql(desk.toolbox.specs[step.tool]) else way(desk))


@dataclass(frozen=True, slots=True)
class Earlier:
    """An attempt at a step that failed."""

    args: Mapping[str, JsonValue]
    failure: str


async def argue(
    step: Step,
    steps: Sequence[Step],
    desk: Desk,
    *,
    tasks: Sequence[Mapping[str, Any]],
    checked: Checked | None,
    earlier: Earlier | None = None,
    system: SystemMessage | None = None,
) -> Draft | NoDraft:
    """Write one step's arguments; `tasks`, with what `checked` found of them, stand before it.

    `system` is what the question begins with, where it is another than that of the stages.
    """
    spec = desk.toolbox.specs[step.tool]
    sources = sources_of(step, steps, desk, checked)
    linked = await _linked(step, desk)
    columns_of = (desk.toolbox[step.tool].metadata or {}).get("columns_of", {})
    step = step.model_copy(update={"columns": tuple(linked.columns.get(name, name) for name in step.columns)})
    schema = small_schema(spec, sources, columns_of=columns_of, tables=linked.tables, columns=step.columns)
    question = _question(step, desk, sources, earlier=earlier, arguments=schema["properties"])
    messages = [system or system_message(desk), HumanMessage(question)]
    problems: tuple[str, ...] = ()
    for repairs in range(desk.max_repairs + 1):
        written: Mapping[str, JsonValue] = {}
        raw = ""
        if schema["properties"]:
            reply = await desk.ask(messages, schema=schema, name="arguments", max_tokens=_MAX_TOKENS)
            raw = reply.raw
            if isinstance(reply, Malformed):
                problems = (reply.reason,)
                messages += correction(raw, problems)
                continue
            written = reply.value
        found = await desk.check({"tasks": [*tasks, _task(step, filled(written, spec, sources))]})
        if isinstance(found, Checked):
            return Draft(checked=found, repairs=repairs)
        problems = tuple(map(_sentence, found))
        messages += correction(raw, problems)
    return NoDraft(problems=problems, repairs=desk.max_repairs)


async def _linked(step: Step, desk: Desk) -> Linked:
    """Ask the tool, if it can tell, where the columns of the step are to be had."""
    tables_for = getattr(desk.toolbox[step.tool], "tables_for", None)
    if not callable(tables_for) or not step.columns:
        return Linked(tables=(), columns={})
    found = await anyio.to_thread.run_sync(tables_for, step.columns)
    return found if isinstance(found, Linked) else Linked(tables=(), columns={})


def _task(step: Step, args: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {
        "id": step.id,
        "description": step.question,
        "tool": step.tool,
        "args": dict(args),
        "depends_on": list(step.uses),
    }


def _sentence(problem: Problem) -> str:
    return f"{problem.what} {problem.remedy}".strip()


def sources_of(step: Step, steps: Sequence[Step], desk: Desk, checked: Checked | None) -> list[Source]:
    """Return what the step builds on; a step that needs input and names none may use all that stands before it."""
    if checked is None:
        return []
    before = checked.compiled.tasks
    names = [task for task in step.uses if task in before]
    if not names and needs_input(desk.toolbox.specs[step.tool]):
        names = list(before)
    questions = {one.id: one.question for one in steps}
    return [
        Source(task, questions.get(task, before[task].description), _output_schema(checked, desk, task))
        for task in names
    ]


def _output_schema(checked: Checked, desk: Desk, task: str) -> dict[str, Any]:
    found = checked.findings.get(task)
    spec: ToolSpec = desk.toolbox.specs[checked.compiled.tasks[task].tool]
    return (found and found.output_schema) or spec.output_schema or {}


def _question(
    step: Step,
    desk: Desk,
    sources: Sequence[Source],
    *,
    earlier: Earlier | None,
    arguments: Iterable[str],
) -> str:
    spec = desk.toolbox.specs[step.tool]
    by_list = writes_sql(spec) and not takes_tables(spec)
    return render(
        "small_arguments.v1",
        step=step.model_dump(),
        arguments="" if writes_sql(spec) else argument_text(spec, arguments),
        sources=[
            {"task": one.task, "question": one.question, "columns": list(rows.columns) if (rows := one.rows()) else []}
            for one in ([] if by_list else sources)
        ],
        parameters=Parameters(sources).told if by_list else {},
        earlier=earlier and {"args": earlier.args, "failure": earlier.failure},
    )
