"""A plan in stages, for a small model: first the steps, then the arguments of each.

Splitting a question before writing its queries follows D. Khot et al., "Decomposed Prompting" (ICLR 2023).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from pydantic import JsonValue

from agent.core.plan.problems import Problem
from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.events import Thinking
from agent.llm.replies import MalformedReply, Reply
from agent.planning.draft_review import review_coverage, review_queries
from agent.planning.large_model.one_shot import build_correction
from agent.planning.session import DraftFailure, PlanDraft, PlanningSession
from agent.planning.small_model.input_binding import (
    ColumnParameters,
    EarlierOutput,
    bind_inputs,
    build_argument_schema,
    is_sql_tool,
    needs_input,
    needs_tables,
)
from agent.planning.small_model.self_consistency import plan_by_vote
from agent.planning.small_model.steps import PlanStep, build_steps_schema, find_forgotten_files, read_steps
from agent.planning.tool_prompts import describe_arguments, summarize_tools
from agent.tools.plan_check import CheckedPlan
from agent.tools.sql.query_process import run_cancellable
from agent.tools.sql_repair.schema_linking import SchemaLinks
from prompts import render

_MAX_TOKENS: Final = 900


async def plan_in_stages(session: PlanningSession) -> PlanDraft | DraftFailure:
    """Ask for the steps, then for each step's arguments; every call is checked as soon as it is written.

    Raises `ModelReplyError` if the model's server gives no reply.
    """
    steps, repairs = await _ask_for_steps(session)
    if isinstance(steps, DraftFailure):
        return steps
    return await write_all_arguments(steps, session, done=[], checked=None, repairs=repairs)


async def _ask_for_steps(session: PlanningSession) -> tuple[list[PlanStep] | DraftFailure, int]:
    messages: list[BaseMessage] = [
        build_system_message(session),
        HumanMessage(render("small_steps.v1", goal=session.goal)),
    ]
    await session.recall_prompt([messages[0], HumanMessage(render("small_steps.v1", goal=""))])
    problems: tuple[str, ...] = ()
    was_asked_about_files = False
    for repairs in range(session.max_repairs + 1):
        reply = await session.ask_structured(
            messages, schema=build_steps_schema(session.specs), name="steps", max_tokens=_MAX_TOKENS
        )
        if isinstance(reply, MalformedReply):
            problems = (reply.reason,)
        else:
            steps = read_steps(reply.value, taken=session.used)
            problems = tuple(find_forgotten_files(session.goal, steps))
            # What looks like a file name may be something else: the model is asked once and then decides.
            if not problems or was_asked_about_files:
                return steps, repairs
            was_asked_about_files = True
        messages += build_correction(reply.raw, problems)
    return DraftFailure(problems=problems, repairs=session.max_repairs), session.max_repairs


def build_system_message(session: PlanningSession) -> SystemMessage:
    """Return the beginning of all questions of the stages; the server keeps it in its prompt cache."""
    return SystemMessage(
        render(
            "small_planner.v1",
            tools=summarize_tools(session.specs.values()),
            context=session.context,
            writes_sql=any(map(is_sql_tool, session.specs.values())),
        )
    )


async def write_all_arguments(
    steps: Sequence[PlanStep],
    session: PlanningSession,
    *,
    done: Sequence[Mapping[str, Any]],
    checked: CheckedPlan | None,
    repairs: int,
) -> PlanDraft | DraftFailure:
    """Write the arguments of each step in turn. The plan begins with `done`, tasks as documents."""
    tasks: list[Mapping[str, Any]] = list(done)
    doubts: list[str] = []
    concerns: list[str] = []
    agreements: list[str] = []
    for step in steps:
        session.emit(Thinking(role="planner", text=f"Working out {step.id!r}: {step.question}"))
        draft = await _write_by_vote(step, steps, session, tasks=tasks, checked=checked)
        if isinstance(draft, DraftFailure):
            return DraftFailure(problems=draft.problems, repairs=repairs + draft.repairs)
        checked, repairs = draft.checked, repairs + draft.repairs
        doubts += [f"{step.id}: {draft.doubt}"] if draft.doubt else []
        concerns += [f"{step.id}: {each}" for each in draft.concerns]
        agreements += [f"{step.id}: {draft.agreement}"] if draft.agreement else []
        tasks.append(checked.compiled.tasks[step.id].model_dump(mode="json", exclude_defaults=True))
    if checked is None:
        return DraftFailure(problems=("The plan has no steps; name at least one.",), repairs=repairs)
    concerns += await review_coverage(checked, session)
    return PlanDraft(
        checked=checked,
        repairs=repairs,
        doubt=" ".join(doubts),
        concerns=tuple(concerns),
        agreement=" ".join(agreements),
    )


async def _write_by_vote(
    step: PlanStep,
    steps: Sequence[PlanStep],
    session: PlanningSession,
    *,
    tasks: Sequence[Mapping[str, Any]],
    checked: CheckedPlan | None,
) -> PlanDraft | DraftFailure:
    """Write one step's arguments; a query several times, with a vote, since a small model gets queries wrong."""

    async def write_once(variant_session: PlanningSession) -> PlanDraft | DraftFailure:
        return await write_step_arguments(step, steps, variant_session, tasks=tasks, checked=checked)

    if not is_sql_tool(session.toolbox.specs[step.tool]):
        return await write_once(session)
    # One by one, the first not sampled: with all of them sampled, two at once, the headline goal came out wrong.
    return await plan_by_vote(session, write_once)


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """A call of a step that failed, and the failure as a sentence."""

    args: Mapping[str, JsonValue]
    failure: str


@dataclass(frozen=True, slots=True)
class _ArgumentQuestion:
    """The question for the arguments of one step; `tasks` come before it in the plan."""

    step: PlanStep
    spec: ToolSpec
    sources: Sequence[EarlierOutput]
    tasks: Sequence[Mapping[str, Any]]
    schema: JsonSchema
    messages: list[BaseMessage]

    async def check_reply(self, reply: Reply, session: PlanningSession) -> PlanDraft | tuple[str, ...]:
        """Return the plan with the call, or why there is none, as sentences."""
        if isinstance(reply, MalformedReply):
            return (reply.reason,)
        return await self.check_arguments(reply.value, session)

    async def check_arguments(
        self, written: Mapping[str, JsonValue], session: PlanningSession
    ) -> PlanDraft | tuple[str, ...]:
        args = bind_inputs(written, self.spec, self.sources)
        result = await session.check({"tasks": [*self.tasks, _build_task(self.step, args)]})
        if not isinstance(result, CheckedPlan):
            return tuple(map(format_problem, result))
        concerns = await review_queries(result, session, tasks=[self.step.id])
        return PlanDraft(checked=result, repairs=0, concerns=concerns)


async def _prepare_question(
    step: PlanStep,
    steps: Sequence[PlanStep],
    session: PlanningSession,
    *,
    tasks: Sequence[Mapping[str, Any]],
    checked: CheckedPlan | None,
    earlier: FailedAttempt | None = None,
    system: SystemMessage | None = None,
) -> _ArgumentQuestion:
    spec = session.toolbox.specs[step.tool]
    sources = find_sources(step, steps, session, checked)
    linked = await _link_columns(step, session)
    columns_of = (session.toolbox[step.tool].metadata or {}).get("columns_of", {})
    step = step.model_copy(update={"columns": tuple(linked.columns.get(name, name) for name in step.columns)})
    schema = build_argument_schema(spec, sources, columns_of=columns_of, tables=linked.tables, columns=step.columns)
    question = _render_question(step, session, sources, earlier=earlier, arguments=schema["properties"])
    return _ArgumentQuestion(
        step=step,
        spec=spec,
        sources=sources,
        tasks=tasks,
        schema=schema,
        messages=[system or build_system_message(session), HumanMessage(question)],
    )


async def write_step_arguments(
    step: PlanStep,
    steps: Sequence[PlanStep],
    session: PlanningSession,
    *,
    tasks: Sequence[Mapping[str, Any]],
    checked: CheckedPlan | None,
    earlier: FailedAttempt | None = None,
    system: SystemMessage | None = None,
) -> PlanDraft | DraftFailure:
    """Write one step's arguments; `tasks` come before it in the plan, and `checked` is what is known about them.

    `system` is the beginning of the question, if it is not that of the stages.
    """
    asked = await _prepare_question(step, steps, session, tasks=tasks, checked=checked, earlier=earlier, system=system)
    if earlier is None and (derived := await _derive_arguments(asked.step, session, asked.sources, tasks=tasks)):
        return derived
    if not asked.schema["properties"]:
        result = await asked.check_arguments({}, session)
        return result if isinstance(result, PlanDraft) else DraftFailure(problems=result, repairs=0)
    messages, raw = asked.messages, None
    problems: tuple[str, ...] = ()
    for repairs in range(session.max_repairs + 1):
        reply = await session.ask_structured(messages, schema=asked.schema, name="arguments", max_tokens=_MAX_TOKENS)
        if reply.raw == raw:
            # Shown its problems, the model wrote the same again, and would go on so.
            return DraftFailure(problems=problems, repairs=repairs)
        result = await asked.check_reply(reply, session)
        if isinstance(result, PlanDraft):
            return replace(result, repairs=repairs)
        problems, raw = result, reply.raw
        messages = [*messages, *build_correction(raw, problems)]
    return DraftFailure(problems=problems, repairs=session.max_repairs)


async def _derive_arguments(
    step: PlanStep,
    session: PlanningSession,
    sources: Sequence[EarlierOutput],
    *,
    tasks: Sequence[Mapping[str, Any]],
) -> PlanDraft | None:
    """Return the plan with the arguments that the tool, if it has a method for it, derives from the only rows given.

    None if they are not decided or do not compile: then the model is asked.
    """
    derive = getattr(session.toolbox[step.tool], "derive_arguments", None)
    rows = [found for source in sources if (found := source.find_rows()) is not None]
    if not callable(derive) or len(rows) != 1:
        return None
    derived = derive(rows[0].columns, f"{step.question} {session.goal}")
    if derived is None:
        return None
    args = bind_inputs(derived, session.toolbox.specs[step.tool], sources)
    result = await session.check({"tasks": [*tasks, _build_task(step, args)]})
    return PlanDraft(checked=result, repairs=0) if isinstance(result, CheckedPlan) else None


async def _link_columns(step: PlanStep, session: PlanningSession) -> SchemaLinks:
    """Let the tool, if it has a method for it, find the tables that have the columns of the step."""
    find_tables_for = getattr(session.toolbox[step.tool], "find_tables_for", None)
    if not callable(find_tables_for) or not step.columns:
        return SchemaLinks(tables=(), columns={})
    links = await run_cancellable(find_tables_for, step.columns)
    return links if isinstance(links, SchemaLinks) else SchemaLinks(tables=(), columns={})


def _build_task(step: PlanStep, args: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {
        "id": step.id,
        "description": step.question,
        "tool": step.tool,
        "args": dict(args),
        "depends_on": list(step.uses),
    }


def format_problem(problem: Problem) -> str:
    """Return a problem without the name of its task, which a small model is not asked about."""
    return f"{problem.what} {problem.remedy}".strip()


def find_sources(
    step: PlanStep, steps: Sequence[PlanStep], session: PlanningSession, checked: CheckedPlan | None
) -> list[EarlierOutput]:
    """Return the outputs that the step uses; a step that needs input and names none may use all earlier ones."""
    if checked is None:
        return []
    before = checked.compiled.tasks
    names = [task for task in step.uses if task in before]
    if not names and needs_input(session.toolbox.specs[step.tool]):
        names = list(before)
    questions = {one.id: one.question for one in steps}
    specs = session.toolbox.specs
    return [
        EarlierOutput(
            task,
            questions.get(task, before[task].description),
            find_output_schema(checked, task, specs[before[task].tool]),
        )
        for task in names
    ]


def find_output_schema(checked: CheckedPlan, task: str, spec: ToolSpec) -> JsonSchema:
    """Return the schema of a task's output: the one that preflight found, else that of its tool."""
    finding = checked.findings.get(task)
    return (finding and finding.output_schema) or spec.output_schema or {}


def _render_question(
    step: PlanStep,
    session: PlanningSession,
    sources: Sequence[EarlierOutput],
    *,
    earlier: FailedAttempt | None,
    arguments: Iterable[str],
) -> str:
    spec = session.toolbox.specs[step.tool]
    by_list = is_sql_tool(spec) and not needs_tables(spec)
    return render(
        "small_arguments.v1",
        step=step.model_dump(),
        arguments="" if is_sql_tool(spec) else describe_arguments(spec, arguments),
        sources=[
            {
                "task": one.task,
                "question": one.question,
                "columns": list(rows.columns) if (rows := one.find_rows()) else [],
            }
            for one in ([] if by_list else sources)
        ],
        parameters=ColumnParameters(sources).descriptions if by_list else {},
        earlier=earlier and {"args": earlier.args, "failure": earlier.failure},
    )
