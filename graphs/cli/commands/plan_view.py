"""The commands `plan show`, `plan validate` and `plan export`."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from langgraph.types import StateSnapshot
from pydantic import JsonValue

from agent.core.compiler.editor import PlanEditor
from agent.core.engine.task_status import Status
from agent.core.mermaid import mermaid
from agent.core.plan.dependencies import execution_waves
from agent.core.plan.document import Plan
from agent.core.plan.parser import parse_plan
from agent.core.plan.problems import Problem
from agent.errors import UsageError
from agent.plan_check import Checked, check_plan
from agent.settings import Settings
from agent.tools.toolbox import Toolbox
from graphs.cli.commands.plan_file import read_plan, save
from graphs.cli.commands.run import thread_state
from graphs.cli.commands.tools import make_tools
from graphs.cli.terminal.command_context import Manner
from graphs.cli.terminal.plan_table import plan_table
from graphs.cli.terminal.run_options import Wanted
from graphs.cli.terminal.run_view import Track
from graphs.cli.terminal.screen import as_text, complain, print_json
from graphs.persistence import open_persistence
from graphs.thread_status import thread_standings


@dataclass(frozen=True, slots=True)
class KeptPlan:
    """A plan document as it was found; it may be no plan that runs."""

    document: dict[str, JsonValue]
    goal: str
    #: Where it is, for sentences.
    name: str
    #: Of a thread's tasks; empty for a file.
    statuses: Mapping[str, Status]


async def kept_plan(file: str | None, *, thread: str | None, settings: Settings, manner: Manner) -> KeptPlan:
    """Read the plan of a file or of a thread. Raises `UsageError` where there is none, or where both are named."""
    require_one(file, thread)
    if thread is None:
        given = read_plan(file or "-")
        return KeptPlan(given.document, given.goal or "", _name(file), {})
    async with open_persistence(manner.database(settings)) as stored:
        state = await thread_state(thread, stored=stored)
        # What a run that has the thread began is under way, and else in doubt.
        ledger = [] if await stored.busy(thread) else await stored.ledger.rows(thread)
    return KeptPlan(
        document=document_of(state, thread=thread),
        goal=state.values.get("goal") or "",
        name=f"thread {thread!r}",
        statuses={task: standing.status for task, standing in thread_standings(state, ledger=ledger).items()},
    )


def require_one(file: str | None, thread: str | None) -> None:
    """Raise `UsageError` unless either a file or a thread is named."""
    if file is not None and thread is not None:
        raise UsageError(f"Both the file {file!r} and the thread {thread!r} are named; name one of them.")
    if file is None and thread is None:
        raise UsageError("No plan is named; name a plan file, or a thread with --thread.")


def document_of(state: StateSnapshot, *, thread: str) -> dict[str, JsonValue]:
    """Return the plan document of a thread. Raises `UsageError` where it has none."""
    document = state.values.get("plan")
    if not isinstance(document, dict):
        raise UsageError(f"The thread {thread!r} has no plan yet; look at it with: planwave show {thread}")
    return document


def _name(file: str | None) -> str:
    return "standard input" if file in {None, "-"} else str(file)


def show_plan(file: str | None, *, thread: str | None, settings: Settings, manner: Manner, picture: bool) -> int:
    """Print a plan: as a table, as one JSON object, or as Mermaid; return 1 where it cannot be read as a graph."""
    kept = asyncio.run(kept_plan(file, thread=thread, settings=settings, manner=manner))
    plan = parse_plan(kept.document)
    problems = PlanEditor(plan).problems() if isinstance(plan, Plan) else plan
    if problems or not isinstance(plan, Plan):
        return _told(problems, name=kept.name, manner=manner)
    if picture:
        manner.screen.console.out(mermaid(plan, kept.statuses), end="", highlight=False)
    elif manner.as_json:
        print_json(
            {"goal": kept.goal, "plan": kept.document, "waves": execution_waves(plan), "statuses": kept.statuses}
        )
    else:
        _print(plan, kept, manner=manner)
    return 0


def validate_plan(file: str | None, *, thread: str | None, wanted: Wanted, manner: Manner) -> int:
    """Compile a plan, preflight included, and print all problems; return 0 where there are none, else 1."""
    return asyncio.run(_validate(file, thread=thread, wanted=wanted, manner=manner))


def export_plan(file: str | None, *, thread: str | None, to: Path | None, settings: Settings, manner: Manner) -> int:
    """Write a plan with its goal, as `run --plan` takes it; return 0."""
    kept = asyncio.run(kept_plan(file, thread=thread, settings=settings, manner=manner))
    document = {**({"goal": kept.goal} if kept.goal else {}), **kept.document}
    if to is None:
        print_json(document)
    else:
        save(to.expanduser(), document)
        manner.screen.say(f"wrote {to}", style="green")
    return 0


async def _validate(file: str | None, *, thread: str | None, wanted: Wanted, manner: Manner) -> int:
    settings = wanted.settings()
    kept = await kept_plan(file, thread=thread, settings=settings, manner=manner)
    toolbox = Toolbox(await asyncio.to_thread(make_tools, wanted, settings, screen=manner.screen))
    found = await check_plan(kept.document, toolbox, limits=settings.limits(can_replan=False))
    if not isinstance(found, Checked):
        return _told(found, name=kept.name, manner=manner)
    waves = execution_waves(found.compiled.plan)
    if manner.as_json:
        print_json({"valid": True, "problems": [], "waves": waves})
    else:
        manner.screen.say(f"The plan in {kept.name} compiles: {len(found.compiled.tasks)} tasks in {len(waves)} waves.")
    return 0


def _told(problems: Iterable[Problem], *, name: str, manner: Manner) -> int:
    """Tell what is wrong with a plan; return 1."""
    found = list(problems)
    if manner.as_json:
        print_json({"valid": False, "problems": [problem.model_dump(mode="json") for problem in found]})
    complain(f"The plan in {name} does not compile.")
    for problem in found:
        complain(f"problem: {problem}")
    return 1


def _print(plan: Plan, kept: KeptPlan, *, manner: Manner) -> None:
    screen, track = manner.screen, Track()
    track.restore(plan, {}, revision=0)
    track.correct(kept.statuses)
    if kept.goal:
        screen.say(f"goal     {kept.goal}")
    for name, about in plan.phases.items():
        screen.say(f"phase    {name}: {as_text(about, width=160)}")
    if plan.tasks:
        screen.console.print(plan_table(track, width=screen.console.width))
    else:
        screen.say(f"The plan in {kept.name} has no tasks yet; add one with: planwave plan add FILE TASK")
