"""The commands `plan` and `tools`."""

import asyncio
from collections.abc import Iterable

from langchain_core.tools import BaseTool
from pydantic import BaseModel

from agent.core.plan.dependencies import execution_waves
from agent.core.plan.tool_spec import ToolSpec
from agent.errors import UsageError
from agent.events import Emit, PlanCompiled, parse_event
from agent.execution.call_log import MemoryCallLog
from agent.execution.concurrency import Slots
from agent.execution.executor import Executor
from agent.execution.ledger import MemoryLedger
from agent.llm.models import Model, resolve_model
from agent.planning.context import call_context_providers, run_questions
from agent.planning.planner import ContextRequest, PlanningFailure, PlanningResult, make_plan
from agent.settings import Settings
from agent.tools.toolbox import Toolbox
from graphs.cli.commands.config_trust import apply_secrets, read_trusted_configuration
from graphs.cli.commands.models import prepare_model
from graphs.cli.commands.tools import make_tools
from graphs.cli.terminal.command_context import CommandContext
from graphs.cli.terminal.live_view import create_display
from graphs.cli.terminal.run_options import RunOptions
from graphs.cli.terminal.run_view import RunTracker
from graphs.cli.terminal.screen import Screen, print_error, print_json
from graphs.cli.terminal.signals import Stopper
from graphs.run.state_updates import cite_warnings


def plan_goal(goal: str, *, options: RunOptions, context: CommandContext) -> int:
    """Plan a goal, run nothing, print the plan, and return the exit status.

    Raises `PlanwaveError`, and `SignalInterrupt` on a signal.
    """
    if not goal.strip():
        raise UsageError('The goal is empty; say what to plan: planwave plan "..."')
    stopper = context.create_stopper()
    with stopper.catch_signals():
        configured = read_trusted_configuration(options, context=context)
        settings = apply_secrets(options.build_settings(), configured)
        tools = make_tools(options, settings, configured, screen=context.screen)
        prepare_model(options.model, screen=context.screen)
        result = asyncio.run(
            _plan_with_display(goal.strip(), tools, settings, options=options, context=context, stopper=stopper)
        )
    if isinstance(result, PlanningFailure):
        print_error("No plan was made.")
        for problem in result.problems:
            print_error(f"problem: {problem}")
        return 1
    if context.as_json:
        print_json(result.plan)
    else:
        context.screen.say(
            "Save it with --json > plan.json, and run it with: planwave run --plan plan.json", style="dim"
        )
    return 0


def list_tools(*, options: RunOptions, context: CommandContext) -> int:
    """Print the tools that a plan can use; return 0. Raises `PlanwaveError`."""
    configured = read_trusted_configuration(options, context=context)
    toolbox = Toolbox(make_tools(options, options.build_settings(), configured, screen=context.screen))
    if context.as_json:
        notes = {"notes": toolbox.notes} if toolbox.notes else {}
        print_json({"tools": [spec.model_dump(mode="json") for spec in toolbox.specs.values()], **notes})
    else:
        _print_tools(toolbox.specs.values(), screen=context.screen)
        for note in toolbox.notes:
            context.screen.say(note, style="yellow")
    return 0


async def _plan_with_display(
    goal: str,
    tools: list[BaseTool],
    settings: Settings,
    *,
    options: RunOptions,
    context: CommandContext,
    stopper: Stopper,
) -> PlanningResult | PlanningFailure:
    toolbox = Toolbox(tools)
    display = create_display(context.screen, RunTracker())

    def emit(event: BaseModel) -> None:
        display.show_event(parse_event(event.model_dump(mode="json")))

    async def make_and_emit() -> PlanningResult | PlanningFailure:
        model = resolve_model(options.model, scale=settings.model_scale, max_output_tokens=settings.max_output_tokens)
        result = await plan_without_running(goal, toolbox, settings, model=model, emit=emit)
        if isinstance(result, PlanningResult):
            emit(
                PlanCompiled(
                    revision=1,
                    plan=result.plan,
                    waves=execution_waves(result.compiled.plan, needs=result.compiled.needs),
                    warnings=cite_warnings(result.warnings),
                )
            )
        return result

    try:
        return await stopper.run(make_and_emit())
    finally:
        display.pause()


async def plan_without_running(
    goal: str, toolbox: Toolbox, settings: Settings, *, model: Model, emit: Emit
) -> PlanningResult | PlanningFailure:
    """Make a plan; before that, answer what the model asks, at most `max_context_rounds` times."""
    executor, slots = Executor(toolbox, settings, MemoryLedger(), MemoryCallLog()), Slots(settings.max_concurrency)
    context = await call_context_providers(toolbox, executor, thread="plan", revision=1, slots=slots, emit=emit)
    limits, rounds = settings.build_limits(can_replan=False), 0
    while True:
        result = await make_plan(
            goal,
            context=context,
            toolbox=toolbox,
            model=model,
            settings=settings,
            limits=limits,
            emit=emit,
            may_ask=rounds < settings.max_context_rounds,
        )
        if not isinstance(result, ContextRequest):
            return result
        rounds += 1
        answers = await run_questions(
            result.questions, executor, toolbox, thread="plan", revision=1, slots=slots, limits=limits, emit=emit
        )
        context = "\n\n".join(filter(None, (context, answers)))


def _print_tools(specs: Iterable[ToolSpec], *, screen: Screen) -> None:
    for spec in specs:
        required = set(spec.args_schema.get("required", ()))
        names = [name if name in required else f"[{name}]" for name in spec.args_schema.get("properties", {})]
        effect = "reads" if spec.policy.read_only else "writes, asks first"
        screen.say(f"{spec.name} ({effect})", style="bold")
        screen.say(f"  {' '.join(spec.description.split())}")
        screen.say(f"  arguments: {', '.join(names) or 'none'}", style="dim")
