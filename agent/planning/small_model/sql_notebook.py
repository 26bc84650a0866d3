"""A plan over a database by a small model: one notebook of SQL, then a question for each call that is incomplete.

Code models have read far more SQL under comments than SQL inside JSON, and write it better. Queries that build on each
other follow M. Pourreza and D. Rafiei, "DIN-SQL" (NeurIPS 2023), but in one text instead of one question for each part.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from agent.core.plan.tool_spec import ToolSpec
from agent.events import Thinking
from agent.llm.replies import MalformedReply, TextReply
from agent.planning.draft_review import review_coverage, review_queries
from agent.planning.large_model.one_shot import build_correction
from agent.planning.session import DraftFailure, PlanDraft, PlanningSession
from agent.planning.small_model.input_binding import (
    ColumnParameters,
    EarlierOutput,
    bind_inputs,
    is_sql_tool,
    needs_tables,
)
from agent.planning.small_model.notebook_parser import (
    Notebook,
    NotebookCall,
    NotebookQuery,
    build_notebook_grammar,
    describe_calls,
    is_file_wanted,
    is_relevant_tool,
    read_notebook,
)
from agent.planning.small_model.self_consistency import plan_by_vote
from agent.planning.small_model.steps import PlanStep, claim_id
from agent.planning.small_model.stepwise import find_output_schema, find_sources, format_problem, write_step_arguments
from agent.tools.plan_check import CheckedPlan
from agent.tools.sql.query_process import run_cancellable
from prompts import render

_MAX_TOKENS: Final = 300


def find_query_tool(specs: Mapping[str, ToolSpec]) -> ToolSpec | None:
    """Return the tool that takes SQL and has tables of its own, if there is exactly one."""
    tools = [spec for spec in specs.values() if is_sql_tool(spec) and not needs_tables(spec)]
    return tools[0] if len(tools) == 1 else None


async def plan_as_queries(session: PlanningSession, tool: ToolSpec) -> PlanDraft | DraftFailure:
    """Ask for notebooks until enough of their queries give the same result, then for the calls that are incomplete.

    Raises `ModelReplyError` if the model's server gives no reply.
    """
    session = replace(session, context=await _render_context(session, tool))
    await session.recall_prompt([build_notebook_message(session)])
    notebooks: list[_CheckedNotebook] = []

    async def plan_once(variant_session: PlanningSession) -> PlanDraft | DraftFailure:
        return await _plan_notebook(variant_session, tool, notebooks)

    async def plan_batch(variant_session: PlanningSession, number: int) -> AsyncGenerator[PlanDraft | DraftFailure]:
        grammar = build_notebook_grammar(variant_session.specs, goal=variant_session.goal)
        replies = variant_session.ask_texts(
            _build_messages(variant_session), number=number, max_tokens=_MAX_TOKENS, grammar=grammar
        )
        async with aclosing(replies):
            async for reply in replies:
                result = await _check_reply(reply, variant_session, tool)
                if isinstance(result, _CheckedNotebook):
                    notebooks.append(result)
                yield _to_draft(result, repairs=0)

    def has_all_calls() -> bool:
        called = _find_most_called(notebooks, session)
        tools = (name for name, spec in session.specs.items() if not is_sql_tool(spec) and name not in called)
        return not any(is_relevant_tool(session.specs[name], goal=session.goal) for name in tools)

    draft = await plan_by_vote(session, plan_once, plan_batch=plan_batch, may_end=has_all_calls)
    if isinstance(draft, DraftFailure):
        return draft
    return await _add_calls(draft, _choose_calls(draft, notebooks, session), session)


@dataclass(frozen=True)
class _CheckedNotebook:
    """A notebook whose queries compile, and what looks wrong in them."""

    notebook: Notebook
    checked: CheckedPlan
    concerns: tuple[str, ...] = ()


async def _plan_notebook(
    session: PlanningSession, tool: ToolSpec, notebooks: list[_CheckedNotebook]
) -> PlanDraft | DraftFailure:
    messages, grammar = _build_messages(session), build_notebook_grammar(session.specs, goal=session.goal)
    problems: tuple[str, ...] = ()
    for repairs in range(session.max_repairs + 1):
        reply = await session.ask_text(messages, max_tokens=_MAX_TOKENS, grammar=grammar)
        result = await _check_reply(reply, session, tool)
        if isinstance(result, _CheckedNotebook):
            notebooks.append(result)
            return _to_draft(result, repairs=repairs)
        problems = result
        messages += build_correction(reply.raw if isinstance(reply, MalformedReply) else reply.text, problems)
    return _to_draft(problems, repairs=session.max_repairs)


def _build_messages(session: PlanningSession) -> list[BaseMessage]:
    return [build_notebook_message(session), HumanMessage(render("notebook_goal.v1", goal=session.goal))]


async def _check_reply(
    reply: TextReply | MalformedReply, session: PlanningSession, tool: ToolSpec
) -> _CheckedNotebook | tuple[str, ...]:
    if isinstance(reply, MalformedReply):
        return (reply.reason,)
    notebook = read_notebook(reply.text, session.specs, goal=session.goal, taken=session.used)
    checked = await _check_queries(notebook.queries, session, tool)
    if not isinstance(checked, CheckedPlan):
        return checked
    concerns = (*await review_queries(checked, session), *await review_coverage(checked, session))
    return _CheckedNotebook(notebook, checked, concerns)


def _to_draft(result: _CheckedNotebook | tuple[str, ...], *, repairs: int) -> PlanDraft | DraftFailure:
    if isinstance(result, _CheckedNotebook):
        return PlanDraft(checked=result.checked, repairs=repairs, concerns=result.concerns)
    return DraftFailure(problems=result, repairs=repairs)


def _choose_calls(
    draft: PlanDraft, notebooks: Sequence[_CheckedNotebook], session: PlanningSession
) -> Sequence[NotebookCall]:
    """Return the calls to add to the chosen queries.

    They are those of the chosen notebook if it calls these tools, else those of another, with its query ids replaced.
    """
    chosen = next(each.notebook for each in notebooks if each.checked is draft.checked)
    most_called = _find_most_called(notebooks, session)
    if _list_tools(chosen) == most_called:
        return chosen.calls
    other = next(each.notebook for each in notebooks if _list_tools(each.notebook) == most_called)
    ids = dict(zip((query.id for query in other.queries), (query.id for query in chosen.queries), strict=False))
    taken = {*session.used, *(query.id for query in chosen.queries)}
    return [
        replace(call, id=claim_id(call.tool, taken), uses=tuple(ids[use] for use in call.uses if use in ids))
        for call in other.calls
    ]


def _find_most_called(notebooks: Sequence[_CheckedNotebook], session: PlanningSession) -> tuple[str, ...]:
    """Return the tools that most notebooks call; of equally frequent choices the one that calls more.

    A goal with the name of a file is not reached without a tool that takes one, however few call it.
    """
    counts = Counter(_list_tools(each.notebook) for each in notebooks)
    with_path = {name for name, spec in session.specs.items() if is_file_wanted(spec, goal=session.goal)}
    return max(counts, key=lambda tools: (not with_path.isdisjoint(tools), counts[tools], len(tools)), default=())


def _list_tools(notebook: Notebook) -> tuple[str, ...]:
    return tuple(sorted(call.tool for call in notebook.calls))


def build_notebook_message(session: PlanningSession) -> SystemMessage:
    """Return the beginning of all questions for notebooks; the server keeps it in its prompt cache."""
    others = [spec for spec in session.specs.values() if not is_sql_tool(spec)]
    return SystemMessage(render("notebook.v1", tools=describe_calls(others), context=session.context))


async def _check_queries(
    queries: Sequence[NotebookQuery], session: PlanningSession, tool: ToolSpec
) -> CheckedPlan | tuple[str, ...]:
    """Check the queries one after the other; each may use the columns of the earlier ones."""
    from agent.tools.sql_repair.inline_queries import inline_earlier_queries  # noqa: PLC0415 - sqlglot is slow to import

    tasks: list[Mapping[str, Any]] = []
    checked: CheckedPlan | None = None
    earlier: dict[str, str] = {}
    sources: dict[str, EarlierOutput] = {}
    for query in queries:
        parameters = ColumnParameters(list(sources.values()))

        def find_parameter(name: str, column: str, parameters: ColumnParameters = parameters) -> str | None:
            rows = sources[name].find_rows()
            columns = {each.lower(): each for each in rows.columns} if rows else {}
            wanted = rows.refer_to_column(columns[column.lower()]) if rows and column.lower() in columns else None
            return next((each for each, reference in parameters.references.items() if reference == wanted), None)

        adjusted, changes = await _adjust_query(query.sql, session, tool)
        sql = inline_earlier_queries(adjusted, earlier=earlier, parameter=find_parameter)
        args = bind_inputs({"sql": sql}, tool, list(sources.values()))
        repaired = {"as_written": {"sql": query.sql}, "changes": changes} if changes else None
        task = {"id": query.id, "description": query.question, "tool": tool.name, "args": args, "repaired": repaired}
        result = await session.check({"tasks": [*tasks, task]})
        if not isinstance(result, CheckedPlan):
            return tuple(map(format_problem, result))
        checked = result
        compiled = checked.compiled.tasks[query.id]
        tasks.append(compiled.model_dump(mode="json", exclude_defaults=True))
        earlier[query.name] = str(compiled.args.get("sql", sql))
        sources[query.name] = EarlierOutput(query.id, query.question, find_output_schema(checked, query.id, tool))
    return checked or ("There is no query; write at least one SELECT.",)


async def _render_context(session: PlanningSession, tool: ToolSpec) -> str:
    """Let the tool, if it has a method for it, describe its tables as SQL: a model that reads SQL writes SQL."""
    rewrite_schema = getattr(session.toolbox[tool.name], "replace_schema_with_sql", None)
    if not callable(rewrite_schema):
        return session.context
    return str(await run_cancellable(rewrite_schema, session.context))


async def _adjust_query(sql: str, session: PlanningSession, tool: ToolSpec) -> tuple[str, list[str]]:
    """Let the tool, if it has a method for it, bring a query closer to the goal; return it with what was changed."""
    fit_to_goal = getattr(session.toolbox[tool.name], "fit_to_goal", None)
    if not callable(fit_to_goal) or not session.repairs_arguments:
        return sql, []
    fitted = await run_cancellable(fit_to_goal, sql, session.goal)
    return str(fitted.sql), list(fitted.notes)


async def _add_calls(
    draft: PlanDraft, calls: Sequence[NotebookCall], session: PlanningSession
) -> PlanDraft | DraftFailure:
    """Add the calls after the queries: as they were written if they compile, else asked for one by one."""
    checked, repairs = draft.checked, draft.repairs
    queries = [
        PlanStep(id=task.id, question=task.description, tool=task.tool) for task in draft.checked.compiled.plan.tasks
    ]
    for call in calls:
        tasks = [task.model_dump(mode="json", exclude_defaults=True) for task in checked.compiled.plan.tasks]
        uses = tuple(name for name in call.uses if name in checked.compiled.tasks)
        step = PlanStep(id=call.id, question=session.goal, tool=call.tool, uses=uses)
        session.emit(Thinking(role="planner", text=f"Working out {call.id!r}."))
        task = {
            "id": call.id,
            "description": _describe_call(call),
            "tool": call.tool,
            "args": bind_inputs(
                call.arguments, session.toolbox.specs[call.tool], find_sources(step, queries, session, checked)
            ),
        }
        result = await session.check({"tasks": [*tasks, task]})
        if not isinstance(result, CheckedPlan):
            written = await write_step_arguments(
                step, queries, session, tasks=tasks, checked=checked, system=build_notebook_message(session)
            )
            if isinstance(written, DraftFailure):
                return DraftFailure(problems=written.problems, repairs=repairs + written.repairs)
            result, repairs = written.checked, repairs + written.repairs
        checked = result
    return replace(draft, checked=checked, repairs=repairs)


def _describe_call(call: NotebookCall) -> str:
    """Return a description of a call: its tool and the queries that it uses."""
    what = call.tool.replace("_", " ").capitalize()
    return f"{what} of {' and '.join(each.replace('_', ' ') for each in call.uses)}" if call.uses else what
