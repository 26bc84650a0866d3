"""The commands `plan` and `tools`."""

import asyncio
from collections.abc import Iterable

from langchain_core.tools import BaseTool
from pydantic import BaseModel

from agent.core.plan.dependencies import waves
from agent.core.plan.tool_spec import ToolSpec
from agent.errors import UsageError
from agent.events import Emit, PlanMade, event_from
from agent.execution.call_log import MemoryCallLog
from agent.execution.concurrency import Slots
from agent.execution.executor import Executor
from agent.execution.ledger import MemoryLedger
from agent.llm.models import Model, resolve_model
from agent.planning.context import answers, gathered
from agent.planning.planner import NotPlanned, Planned, Wanting, make_plan
from agent.settings import Settings
from agent.tools.toolbox import Toolbox
from graphs.cli.commands.models import prepare_model
from graphs.cli.commands.tools import make_tools
from graphs.cli.terminal.command_context import Manner
from graphs.cli.terminal.live_view import watch
from graphs.cli.terminal.run_options import Wanted
from graphs.cli.terminal.run_view import Track
from graphs.cli.terminal.screen import Screen, complain, print_json
from graphs.cli.terminal.signals import Stopper


def plan_goal(goal: str, *, wanted: Wanted, manner: Manner) -> int:
    """Plan a goal, run nothing, print the plan, and return the exit status.

    Raises errors of our tree, and `Interrupted` on a signal.
    """
    if not goal.strip():
        raise UsageError('The goal is empty; say what is to be planned: planwave plan "..."')
    stopper = manner.stopper()
    with stopper.catching():
        tools = make_tools(wanted, wanted.settings(), screen=manner.screen)
        prepare_model(wanted.model, screen=manner.screen)
        made = asyncio.run(_plan(goal.strip(), tools, wanted=wanted, manner=manner, stopper=stopper))
    if isinstance(made, NotPlanned):
        complain("No plan came of it.")
        for problem in made.problems:
            complain(f"problem: {problem}")
        return 1
    if manner.as_json:
        print_json(made.plan)
    else:
        manner.screen.say(
            "Keep it with --json > plan.json, and run it with: planwave run --plan plan.json", style="dim"
        )
    return 0


def list_tools(*, wanted: Wanted, manner: Manner) -> int:
    """Print the tools that a plan can use; return the exit status. Raises errors of our tree."""
    toolbox = Toolbox(make_tools(wanted, wanted.settings(), screen=manner.screen))
    if manner.as_json:
        print_json({"tools": [spec.model_dump(mode="json") for spec in toolbox.specs.values()]})
    else:
        _print_tools(toolbox.specs.values(), screen=manner.screen)
    return 0


async def _plan(
    goal: str, tools: list[BaseTool], *, wanted: Wanted, manner: Manner, stopper: Stopper
) -> Planned | NotPlanned:
    settings, toolbox = wanted.settings(), Toolbox(tools)
    shown = watch(manner.screen, Track())

    def emit(event: BaseModel) -> None:
        shown.see(event_from(event.model_dump(mode="json")))

    async def work() -> Planned | NotPlanned:
        model = resolve_model(wanted.model, scale=settings.model_scale)
        made = await _made(goal, toolbox, settings, model=model, emit=emit)
        if isinstance(made, Planned):
            emit(PlanMade(revision=1, plan=made.plan, waves=waves(made.compiled.needs)))
        return made

    try:
        return await stopper.run(work())
    finally:
        shown.rest()


async def _made(goal: str, toolbox: Toolbox, settings: Settings, *, model: Model, emit: Emit) -> Planned | NotPlanned:
    """Make a plan; as long as the model may ask for more before it plans, give it that."""
    executor, slots = Executor(toolbox, settings, MemoryLedger(), MemoryCallLog()), Slots(settings.max_concurrency)
    context = await gathered(toolbox, executor, thread="plan", revision=1, slots=slots, emit=emit)
    rounds = 0
    while True:
        made = await make_plan(
            goal,
            context=context,
            toolbox=toolbox,
            model=model,
            settings=settings,
            limits=settings.limits(can_replan=False),
            emit=emit,
            may_ask=rounds < settings.max_context_rounds,
        )
        if not isinstance(made, Wanting):
            return made
        rounds += 1
        said = await answers(made.questions, executor, toolbox, thread="plan", revision=1, slots=slots, emit=emit)
        context = "\n\n".join(filter(None, (context, said)))


def _print_tools(specs: Iterable[ToolSpec], *, screen: Screen) -> None:
    for spec in specs:
        required = set(spec.args_schema.get("required", ()))
        names = [name if name in required else f"[{name}]" for name in spec.args_schema.get("properties", {})]
        effect = "reads" if spec.policy.read_only else "writes, asks first"
        screen.say(f"{spec.name} ({effect})", style="bold")
        screen.say(f"  {' '.join(spec.description.split())}")
        screen.say(f"  arguments: {', '.join(names) or 'none'}", style="dim")
