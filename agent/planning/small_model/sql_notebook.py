"""A plan over a database by a small model: one notebook of SQL, and a question for each call that it left open.

Code models have read far more SQL under comments than SQL inside JSON, and write it better; queries that build on each
other in one text follow M. Pourreza and D. Rafiei, "DIN-SQL" (NeurIPS 2023), without a question for each part.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import anyio.to_thread
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.events import Thinking
from agent.llm.replies import Malformed, TextReply
from agent.plan_check import Checked
from agent.planning.large_model.one_shot import correction
from agent.planning.session import Desk, Draft, NoDraft
from agent.planning.small_model.input_binding import Parameters, Source, filled, takes_tables, writes_sql
from agent.planning.small_model.notebook_parser import (
    Notebook,
    WrittenCall,
    WrittenQuery,
    call_lines,
    notebook_grammar,
    read_notebook,
)
from agent.planning.small_model.self_consistency import agreed
from agent.planning.small_model.steps import Step
from agent.planning.small_model.stepwise import argue, sources_of
from prompts import render

_MAX_TOKENS: Final = 300


def query_tool(specs: Mapping[str, ToolSpec]) -> ToolSpec | None:
    """Return the tool that takes SQL and knows its tables by itself, if there is exactly one."""
    found = [spec for spec in specs.values() if writes_sql(spec) and not takes_tables(spec)]
    return found[0] if len(found) == 1 else None


async def plan_as_queries(desk: Desk, tool: ToolSpec) -> Draft | NoDraft:
    """Ask for notebooks until their queries agree on what they find, then for calls that lack something.

    Raises `ModelReplyError` where the model's server gives no reply.
    """
    desk = replace(desk, context=await _as_sql(desk, tool))
    notebooks: list[_Read] = []

    async def way(at: Desk) -> Draft | NoDraft:
        return await _one(at, tool, notebooks)

    async def several(at: Desk, number: int) -> Sequence[Draft | NoDraft]:
        grammar = notebook_grammar(at.specs, goal=at.goal)
        replies = await at.ask_texts(_asked(at), number=number, max_tokens=_MAX_TOKENS, grammar=grammar)
        found = [await _read(reply, at, tool) for reply in replies]
        notebooks.extend(each for each in found if isinstance(each, _Read))
        return [_draft(each, repairs=0) for each in found]

    draft = await agreed(desk, way, several=several)
    return draft if isinstance(draft, NoDraft) else await _with_calls(draft, _calls_of(draft, notebooks), desk)


@dataclass(frozen=True)
class _Read:
    """A notebook whose queries compile."""

    notebook: Notebook
    checked: Checked


async def _one(desk: Desk, tool: ToolSpec, notebooks: list[_Read]) -> Draft | NoDraft:
    messages, grammar = _asked(desk), notebook_grammar(desk.specs, goal=desk.goal)
    problems: tuple[str, ...] = ()
    for repairs in range(desk.max_repairs + 1):
        reply = await desk.ask_text(messages, max_tokens=_MAX_TOKENS, grammar=grammar)
        found = await _read(reply, desk, tool)
        if isinstance(found, _Read):
            notebooks.append(found)
            return _draft(found, repairs=repairs)
        problems = found
        messages += correction(reply.raw if isinstance(reply, Malformed) else reply.text, problems)
    return _draft(problems, repairs=desk.max_repairs)


def _asked(desk: Desk) -> list[BaseMessage]:
    return [notebook_message(desk), HumanMessage(render("notebook_goal.v1", goal=desk.goal))]


async def _read(reply: TextReply | Malformed, desk: Desk, tool: ToolSpec) -> _Read | tuple[str, ...]:
    if isinstance(reply, Malformed):
        return (reply.reason,)
    notebook = read_notebook(reply.text, desk.specs, goal=desk.goal, taken=desk.used)
    checked = await _checked(notebook.queries, desk, tool)
    return _Read(notebook, checked) if isinstance(checked, Checked) else checked


def _draft(found: _Read | tuple[str, ...], *, repairs: int) -> Draft | NoDraft:
    if isinstance(found, _Read):
        return Draft(checked=found.checked, repairs=repairs)
    return NoDraft(problems=found, repairs=repairs)


def _calls_of(draft: Draft, notebooks: Sequence[_Read]) -> Sequence[WrittenCall]:
    """Return the calls behind the chosen queries: those of its own notebook, if most call the same tools."""
    kinds = Counter(_tools(each.notebook) for each in notebooks)
    chosen = next(each.notebook for each in notebooks if each.checked is draft.checked)
    wanted = kinds.most_common(1)[0][0]
    if _tools(chosen) == wanted:
        return chosen.calls
    other = next(each.notebook for each in notebooks if _tools(each.notebook) == wanted)
    ids = dict(zip((query.id for query in other.queries), (query.id for query in chosen.queries), strict=False))
    return [replace(call, uses=tuple(ids[use] for use in call.uses if use in ids)) for call in other.calls]


def _tools(notebook: Notebook) -> tuple[str, ...]:
    return tuple(sorted(call.tool for call in notebook.calls))


def notebook_message(desk: Desk) -> SystemMessage:
    """Return what all questions begin with; the same words make the server quick."""
    others = [spec for spec in desk.specs.values() if not writes_sql(spec)]
    return SystemMessage(render("notebook.v1", tools=call_lines(others), context=desk.context))


async def _checked(queries: Sequence[WrittenQuery], desk: Desk, tool: ToolSpec) -> Checked | tuple[str, ...]:
    """Check the queries one after the other; each is told the columns that those before it will have."""
    from agent.tools.sql_repair.inline_queries import standing_alone  # noqa: PLC0415 - sqlglot is slow to import

    tasks: list[Mapping[str, Any]] = []
    checked: Checked | None = None
    earlier: dict[str, str] = {}
    sources: dict[str, Source] = {}
    for query in queries:
        given = Parameters(list(sources.values()))

        def parameter(name: str, column: str, given: Parameters = given) -> str | None:
            rows = sources[name].rows()
            known = {each.lower(): each for each in rows.columns} if rows else {}
            wanted = rows.column(known[column.lower()]) if rows and column.lower() in known else None
            return next((each for each, refers in given.named.items() if refers == wanted), None)

        written = await _as_asked(query.sql, desk, tool)
        sql = standing_alone(written, earlier=earlier, parameter=parameter)
        args = filled({"sql": sql}, tool, list(sources.values()))
        task = {"id": query.id, "description": query.question, "tool": tool.name, "args": args}
        found = await desk.check({"tasks": [*tasks, task]})
        if not isinstance(found, Checked):
            return tuple(f"{problem.what} {problem.remedy}".strip() for problem in found)
        checked = found
        compiled = checked.compiled.tasks[query.id]
        tasks.append(compiled.model_dump(mode="json", exclude_defaults=True))
        earlier[query.said] = str(compiled.args.get("sql", sql))
        sources[query.said] = Source(query.id, query.question, _output_schema(checked, query.id, tool))
    return checked or ("There is no query; write at least one SELECT.",)


async def _as_sql(desk: Desk, tool: ToolSpec) -> str:
    """Let the tool, if it can, tell of its tables as SQL: who has read only SQL goes on in its manner."""
    as_sql = getattr(desk.toolbox[tool.name], "as_sql", None)
    return str(await anyio.to_thread.run_sync(as_sql, desk.context)) if callable(as_sql) else desk.context


async def _as_asked(sql: str, desk: Desk, tool: ToolSpec) -> str:
    """Let the tool, if it can, bring a query closer to the goal than the model did."""
    as_asked = getattr(desk.toolbox[tool.name], "as_asked", None)
    return str(await anyio.to_thread.run_sync(as_asked, sql, desk.goal)) if callable(as_asked) else sql


def _output_schema(checked: Checked, task: str, tool: ToolSpec) -> JsonSchema:
    found = checked.findings.get(task)
    return (found and found.output_schema) or tool.output_schema or {}


async def _with_calls(draft: Draft, calls: Sequence[WrittenCall], desk: Desk) -> Draft | NoDraft:
    """Add the calls that come behind the queries: as they were written, or else asked for one by one."""
    checked, repairs = draft.checked, draft.repairs
    queries = [
        Step(id=task.id, question=task.description, tool=task.tool) for task in draft.checked.compiled.plan.tasks
    ]
    for call in calls:
        tasks = [task.model_dump(mode="json", exclude_defaults=True) for task in checked.compiled.plan.tasks]
        uses = tuple(name for name in call.uses if name in checked.compiled.tasks)
        step = Step(id=call.id, question=desk.goal, tool=call.tool, uses=uses)
        desk.emit(Thinking(role="planner", text=f"Working out {call.id!r}."))
        task = {
            "id": call.id,
            "description": _words(call),
            "tool": call.tool,
            "args": filled(call.given, desk.toolbox.specs[call.tool], sources_of(step, queries, desk, checked)),
        }
        found = await desk.check({"tasks": [*tasks, task]})
        if not isinstance(found, Checked):
            asked = await argue(step, queries, desk, tasks=tasks, checked=checked, system=notebook_message(desk))
            if isinstance(asked, NoDraft):
                return NoDraft(problems=asked.problems, repairs=repairs + asked.repairs)
            found, repairs = asked.checked, repairs + asked.repairs
        checked = found
    return Draft(checked=checked, repairs=repairs, doubt=draft.doubt)


def _words(call: WrittenCall) -> str:
    """Return what a call does, in words made of its own."""
    what = call.tool.replace("_", " ").capitalize()
    return f"{what} of {' and '.join(each.replace('_', ' ') for each in call.uses)}" if call.uses else what
