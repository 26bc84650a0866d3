"""The commands `plan show`, `plan validate` and `plan export`."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from agent.check import Checked, check_plan
from agent.core.editor import PlanEditor
from agent.core.parse import parse_plan
from agent.core.picture import mermaid
from agent.core.plan import Plan
from agent.core.problem import Problem
from agent.core.schedule import execution_waves
from agent.settings import Settings
from agent.tools.catalogue import Toolbox
from graphs.console.manner import Manner
from graphs.console.plan_file import save
from graphs.console.plan_place import KeptPlan, kept_plan
from graphs.console.screen import as_text, complain, print_json
from graphs.console.table import plan_table
from graphs.console.toolset import make_tools
from graphs.console.track import Track
from graphs.console.wanted import Wanted


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
