"""The commands `plan show`, `plan validate` and `plan export`."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from langgraph.types import StateSnapshot
from pydantic import JsonValue

from agent.core.compiler.editor import PlanEditor
from agent.core.engine.task_status import TaskStatus
from agent.core.mermaid import to_mermaid
from agent.core.plan.dependencies import execution_waves
from agent.core.plan.document import Plan
from agent.core.plan.parser import parse_plan
from agent.core.plan.problems import Problem
from agent.errors import UsageError
from agent.plan_check import CheckedPlan, check_plan
from agent.settings import Settings
from agent.tools.toolbox import Toolbox
from graphs.cli.commands.plan_file import read_plan, write_json
from graphs.cli.commands.run import load_thread_state
from graphs.cli.commands.tools import make_tools
from graphs.cli.terminal.command_context import CommandContext
from graphs.cli.terminal.plan_table import build_plan_table
from graphs.cli.terminal.run_options import RunOptions
from graphs.cli.terminal.run_view import RunTracker
from graphs.cli.terminal.screen import as_text, print_error, print_json
from graphs.persistence import open_persistence
from graphs.thread_status import get_task_states


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A plan document as it was found; it may be no plan that runs."""

    document: dict[str, JsonValue]
    goal: str
    #: Where it is, for sentences.
    name: str
    #: Of a thread's tasks; empty for a file.
    statuses: Mapping[str, TaskStatus]


async def load_plan(file: str | None, *, thread: str | None, settings: Settings, context: CommandContext) -> StoredPlan:
    """Read the plan of a file or of a thread. Raises `UsageError` where there is none, or where both are named."""
    require_one_source(file, thread)
    if thread is None:
        given = read_plan(file or "-")
        return StoredPlan(given.document, given.goal or "", _describe_source(file), {})
    async with open_persistence(context.resolve_database_url(settings)) as stored:
        state = await load_thread_state(thread, stored=stored)
        # What a run that has the thread began is under way, and else in doubt.
        ledger = [] if await stored.is_busy(thread) else await stored.ledger.list_rows(thread)
    return StoredPlan(
        document=get_plan_document(state, thread=thread),
        goal=state.values.get("goal") or "",
        name=f"thread {thread!r}",
        statuses={task: standing.status for task, standing in get_task_states(state, ledger=ledger).items()},
    )


def require_one_source(file: str | None, thread: str | None) -> None:
    """Raise `UsageError` unless either a file or a thread is named."""
    if file is not None and thread is not None:
        raise UsageError(f"Both the file {file!r} and the thread {thread!r} are named; name one of them.")
    if file is None and thread is None:
        raise UsageError("No plan is named; name a plan file, or a thread with --thread.")


def get_plan_document(state: StateSnapshot, *, thread: str) -> dict[str, JsonValue]:
    """Return the plan document of a thread. Raises `UsageError` where it has none."""
    document = state.values.get("plan")
    if not isinstance(document, dict):
        raise UsageError(f"The thread {thread!r} has no plan yet; look at it with: planwave show {thread}")
    return document


def _describe_source(file: str | None) -> str:
    return "standard input" if file in {None, "-"} else str(file)


def show_plan(
    file: str | None, *, thread: str | None, settings: Settings, context: CommandContext, picture: bool
) -> int:
    """Print a plan: as a table, as one JSON object, or as Mermaid; return 1 where it cannot be read as a graph."""
    kept = asyncio.run(load_plan(file, thread=thread, settings=settings, context=context))
    plan = parse_plan(kept.document)
    problems = PlanEditor(plan).problems() if isinstance(plan, Plan) else plan
    if problems or not isinstance(plan, Plan):
        return _report_problems(problems, name=kept.name, context=context)
    if picture:
        context.screen.console.out(to_mermaid(plan, kept.statuses), end="", highlight=False)
    elif context.as_json:
        print_json(
            {"goal": kept.goal, "plan": kept.document, "waves": execution_waves(plan), "statuses": kept.statuses}
        )
    else:
        _print_plan(plan, kept, context=context)
    return 0


def validate_plan(file: str | None, *, thread: str | None, options: RunOptions, context: CommandContext) -> int:
    """Compile a plan, preflight included, and print all problems; return 0 where there are none, else 1."""
    return asyncio.run(_check_and_report(file, thread=thread, options=options, context=context))


def export_plan(
    file: str | None, *, thread: str | None, to: Path | None, settings: Settings, context: CommandContext
) -> int:
    """Write a plan with its goal, as `run --plan` takes it; return 0."""
    kept = asyncio.run(load_plan(file, thread=thread, settings=settings, context=context))
    document = {**({"goal": kept.goal} if kept.goal else {}), **kept.document}
    if to is None:
        print_json(document)
    else:
        write_json(to.expanduser(), document)
        context.screen.say(f"wrote {to}", style="green")
    return 0


async def _check_and_report(
    file: str | None, *, thread: str | None, options: RunOptions, context: CommandContext
) -> int:
    settings = options.build_settings()
    kept = await load_plan(file, thread=thread, settings=settings, context=context)
    tools = await asyncio.to_thread(make_tools, options, settings, screen=context.screen, plan=kept.document)
    toolbox = Toolbox(tools)
    found = await check_plan(kept.document, toolbox, limits=settings.build_limits(can_replan=False))
    if not isinstance(found, CheckedPlan):
        return _report_problems(found, name=kept.name, context=context)
    waves = execution_waves(found.compiled.plan)
    if context.as_json:
        print_json({"valid": True, "problems": [], "waves": waves})
    else:
        context.screen.say(
            f"The plan in {kept.name} compiles: {len(found.compiled.tasks)} tasks in {len(waves)} waves."
        )
    return 0


def _report_problems(problems: Iterable[Problem], *, name: str, context: CommandContext) -> int:
    """Tell what is wrong with a plan; return 1."""
    found = list(problems)
    if context.as_json:
        print_json({"valid": False, "problems": [problem.model_dump(mode="json") for problem in found]})
    print_error(f"The plan in {name} does not compile.")
    for problem in found:
        print_error(f"problem: {problem}")
    return 1


def _print_plan(plan: Plan, kept: StoredPlan, *, context: CommandContext) -> None:
    screen, track = context.screen, RunTracker()
    track.restore(plan, {}, revision=0)
    track.apply_statuses(kept.statuses)
    if kept.goal:
        screen.say(f"goal     {kept.goal}")
    for name, about in plan.phases.items():
        screen.say(f"phase    {name}: {as_text(about, width=160)}")
    if plan.tasks:
        screen.console.print(build_plan_table(track, width=screen.console.width))
    else:
        screen.say(f"The plan in {kept.name} has no tasks yet; add one with: planwave plan add FILE TASK")
