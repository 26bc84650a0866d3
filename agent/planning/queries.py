"""A plan over a database by a small model: one notebook of SQL, and a question for each call that it left open.

Code models have read far more SQL under comments than SQL inside JSON, and write it better; queries that build on each
other in one text follow M. Pourreza and D. Rafiei, "DIN-SQL" (NeurIPS 2023), without a question for each part.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from agent.check import Checked
from agent.core.tool import JsonSchema, ToolSpec
from agent.events import Thinking
from agent.planning.agreement import agreed
from agent.planning.desk import Desk, Draft, NoDraft
from agent.planning.inputs import Parameters, Source, filled, takes_tables, writes_sql
from agent.planning.notebook import Notebook, WrittenCall, WrittenQuery, call_lines, notebook_grammar, read_notebook
from agent.planning.oneshot import correction
from agent.planning.staged import argue, sources_of
from agent.planning.steps import Step
from agent.reply import Malformed
from prompts import render

_MAX_TOKENS: Final = 600


def query_tool(specs: Mapping[str, ToolSpec]) -> ToolSpec | None:
    """Return the tool that takes SQL and knows its tables by itself, if there is exactly one."""
    found = [spec for spec in specs.values() if writes_sql(spec) and not takes_tables(spec)]
    return found[0] if len(found) == 1 else None


async def plan_as_queries(desk: Desk, tool: ToolSpec) -> Draft | NoDraft:
    """Ask for the queries, as often as it takes for two answers to find the same, then for calls that lack something.

    Raises `ModelReplyError` where the model's server gives no reply.
    """
    calls: list[WrittenCall] = []

    async def way(at: Desk) -> Draft | NoDraft:
        draft, notebook = await _queries(at, tool)
        if isinstance(draft, Draft) and notebook and not calls:
            calls.extend(notebook.calls)
        return draft

    draft = await agreed(desk, way)
    return draft if isinstance(draft, NoDraft) else await _with_calls(draft, calls, desk)


async def _queries(desk: Desk, tool: ToolSpec) -> tuple[Draft | NoDraft, Notebook | None]:
    messages: list[BaseMessage] = [notebook_message(desk), HumanMessage(render("notebook_goal.v1", goal=desk.goal))]
    grammar = notebook_grammar(desk.specs, goal=desk.goal)
    problems: tuple[str, ...] = ()
    for repairs in range(desk.max_repairs + 1):
        reply = await desk.ask_text(messages, max_tokens=_MAX_TOKENS, grammar=grammar)
        raw = reply.raw if isinstance(reply, Malformed) else reply.text
        if isinstance(reply, Malformed):
            problems = (reply.reason,)
        else:
            notebook = read_notebook(raw, desk.specs, goal=desk.goal, taken=desk.used)
            found = await _checked(notebook.queries, desk, tool)
            if isinstance(found, Checked):
                return Draft(checked=found, repairs=repairs), notebook
            problems = found
        messages += correction(raw, problems)
    return NoDraft(problems=problems, repairs=desk.max_repairs), None


def notebook_message(desk: Desk) -> SystemMessage:
    """Return what all questions begin with; the same words make the server quick."""
    others = [spec for spec in desk.specs.values() if not writes_sql(spec)]
    return SystemMessage(render("notebook.v1", tools=call_lines(others), context=desk.context))


async def _checked(queries: Sequence[WrittenQuery], desk: Desk, tool: ToolSpec) -> Checked | tuple[str, ...]:
    """Check the queries one after the other; each is told the columns that those before it will have."""
    from agent.tools.mend.earlier import standing_alone  # noqa: PLC0415 - sqlglot is slow to import

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

        sql = standing_alone(query.sql, earlier=earlier, parameter=parameter)
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
    return Draft(checked=checked, repairs=repairs, unsure=draft.unsure)


def _words(call: WrittenCall) -> str:
    """Return what a call does, in words made of its own."""
    what = call.tool.replace("_", " ").capitalize()
    return f"{what} of {' and '.join(each.replace('_', ' ') for each in call.uses)}" if call.uses else what
