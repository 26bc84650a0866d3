"""The commands `plan show`, `plan validate` and `plan export`."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from langgraph.types import StateSnapshot
from pydantic import JsonValue

from agent.core.compiler.editor import PlanEditor
from agent.core.engine.task_status import TaskStatus
from agent.core.mermaid import to_mermaid
from agent.core.plan.dependencies import execution_waves
from agent.core.plan.document import INPUTS, Plan
from agent.core.plan.parser import parse_plan
from agent.core.plan.problems import Problem
from agent.errors import UsageError
from agent.tools.plan_check import CheckedPlan, check_plan
from agent.tools.sql.query_process import run_cancellable
from agent.tools.toolbox import Toolbox
from graphs.cli.commands.config_trust import apply_secrets, read_trusted_configuration
from graphs.cli.commands.run import load_thread_state
from graphs.cli.commands.tools import make_tools
from graphs.cli.plan_commands.plan_file import read_plan, write_json
from graphs.cli.terminal.command_context import CommandContext
from graphs.cli.terminal.plan_table import print_plan_table
from graphs.cli.terminal.run_options import RunOptions
from graphs.cli.terminal.run_view import RunTracker
from graphs.cli.terminal.screen import as_text, print_error, print_json
from graphs.run.state_updates import cite_warnings
from graphs.thread_status import get_task_states


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A plan document as it is stored; it need not compile."""

    document: dict[str, JsonValue]
    goal: str
    #: Where it is, for messages.
    name: str
    #: By task, of a thread; empty for a file.
    statuses: Mapping[str, TaskStatus]


async def load_plan(file: str | None, *, thread: str | None, context: CommandContext) -> StoredPlan:
    """Read the plan of a file or of a thread. Raises `UsageError` if there is none, or if both are named."""
    require_one_source(file, thread)
    if thread is None:
        given = read_plan(file or "-")
        return StoredPlan(given.document, given.goal or "", _describe_source(file), {})
    async with context.open_database() as stored:
        state = await load_thread_state(thread, stored=stored)
        # A write that was started and is not finished is in doubt only if no run has the thread.
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
    """Return the plan document of a thread. Raises `UsageError` if it has none."""
    document = state.values.get("plan")
    if not isinstance(document, dict):
        raise UsageError(f"The thread {thread!r} has no plan yet; look at it with `planwave show`.")
    return document


def _describe_source(file: str | None) -> str:
    return "standard input" if file in {None, "-"} else str(file)


def show_plan(file: str | None, *, thread: str | None, context: CommandContext, mermaid: bool) -> int:
    """Print a plan as a table, as one JSON object or as Mermaid; return 1 if it is not a graph, else 0."""
    stored_plan = asyncio.run(load_plan(file, thread=thread, context=context))
    plan = parse_plan(stored_plan.document)
    problems = PlanEditor(plan).problems() if isinstance(plan, Plan) else plan
    if problems or not isinstance(plan, Plan):
        return _report_problems(problems, name=stored_plan.name, context=context)
    if mermaid:
        context.screen.console.out(to_mermaid(plan, stored_plan.statuses), end="", highlight=False)
    elif context.as_json:
        print_json(
            {
                "goal": stored_plan.goal,
                "plan": stored_plan.document,
                "waves": execution_waves(plan),
                "statuses": stored_plan.statuses,
            }
        )
    else:
        _print_plan(plan, stored_plan, context=context)
    return 0


def validate_plan(file: str | None, *, thread: str | None, options: RunOptions, context: CommandContext) -> int:
    """Compile a plan, preflight included, and print all problems; return 0 if there are none, else 1."""
    return asyncio.run(_check_and_report(file, thread=thread, options=options, context=context))


def export_plan(file: str | None, *, thread: str | None, to: Path | None, context: CommandContext) -> int:
    """Write a plan with its goal, as `run --plan` takes it; return 0."""
    stored_plan = asyncio.run(load_plan(file, thread=thread, context=context))
    document = {**({"goal": stored_plan.goal} if stored_plan.goal else {}), **stored_plan.document}
    if to is None:
        print_json(document)
    else:
        write_json(to.expanduser(), document)
        context.screen.say(f"wrote {to}", style="green")
    return 0


async def _check_and_report(
    file: str | None, *, thread: str | None, options: RunOptions, context: CommandContext
) -> int:
    stored_plan = await load_plan(file, thread=thread, context=context)
    configured = read_trusted_configuration(options, context=context)
    settings = apply_secrets(options.build_settings(), configured)
    plan = stored_plan.document
    make = partial(make_tools, options, settings, configured, screen=context.screen, plan=plan)
    toolbox = Toolbox(await run_cancellable(make))
    limits = settings.build_limits(can_replan=False)
    checked = await check_plan(stored_plan.document, toolbox, limits=limits, needs_values=False)
    if not isinstance(checked, CheckedPlan):
        return _report_problems(checked, name=stored_plan.name, context=context)
    waves = execution_waves(checked.compiled.plan)
    warnings = cite_warnings(checked.list_warnings())
    if INPUTS in checked.compiled.tasks and plan.get("inputs") is not None:
        # It stands for the values, which are not given yet.
        waves = [rest for wave in waves if (rest := [task for task in wave if task != INPUTS])]
    if context.as_json:
        print_json({"valid": True, "problems": [], "warnings": warnings, "waves": waves})
    else:
        context.screen.say(
            f"The plan in {stored_plan.name} compiles: {sum(map(len, waves))} tasks in {len(waves)} waves."
        )
        for sentence in warnings:
            context.screen.say(f"warning: {sentence}", style="yellow")
    return 0


def _report_problems(problems: Iterable[Problem], *, name: str, context: CommandContext) -> int:
    """Print what is wrong with a plan; return 1."""
    listed = list(problems)
    if context.as_json:
        print_json({"valid": False, "problems": [problem.model_dump(mode="json") for problem in listed]})
    print_error(f"The plan in {name} does not compile.")
    for problem in listed:
        print_error(f"problem: {problem}")
    return 1


def _print_plan(plan: Plan, stored_plan: StoredPlan, *, context: CommandContext) -> None:
    screen, tracker = context.screen, RunTracker()
    tracker.restore(plan, {}, revision=0)
    tracker.apply_statuses(stored_plan.statuses)
    if stored_plan.goal:
        screen.say(f"goal     {stored_plan.goal}")
    for name, about in plan.phases.items():
        screen.say(f"phase    {name}: {as_text(about, width=160)}")
    if plan.tasks:
        print_plan_table(tracker, screen=screen)
    else:
        screen.say(f"The plan in {stored_plan.name} has no tasks yet; add one with: planwave plan add FILE TASK")
