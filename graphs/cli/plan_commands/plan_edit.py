"""The commands that change a plan: `plan add`, `edit`, `remove` and `move`."""

import asyncio
import json
from collections.abc import Callable, Sequence

from pydantic import JsonValue

from agent.core.compiler.editor import EditError, PlanEditor
from agent.core.plan.document import Plan
from agent.errors import UsageError
from agent.tools.toolbox import Toolbox
from graphs.cli.commands.config_trust import apply_secrets, read_trusted_configuration
from graphs.cli.commands.run import build_thread_config, load_thread_state
from graphs.cli.commands.tools import make_tools
from graphs.cli.plan_commands.plan_file import PlanFile, read_or_create_plan, read_plan, write_plan
from graphs.cli.terminal.command_context import CommandContext
from graphs.cli.terminal.run_options import load_run_options
from graphs.cli.terminal.screen import print_json
from graphs.plan_execute import build_graph
from graphs.run.state_updates import plan_to_json
from graphs.thread_editing import load_plan_editor, replace_plan

PlanEdit = Callable[[PlanEditor], PlanEditor]


def add_task(
    words: Sequence[str],
    *,
    thread: str | None,
    before: str | None,
    after: str | None,
    context: CommandContext,
) -> int:
    """Add the task in the last of `words`, to a new plan if the file does not exist; return 0.

    Raises `UsageError` with every problem.
    """
    file, (task,) = _split_words(words, thread, "TASK")
    given = _parse_object(task, what="task")
    return _apply_edit(
        file,
        thread,
        lambda plan: plan.add(given, before=before, after=after),
        context=context,
        read=read_or_create_plan,
    )


def edit_task(words: Sequence[str], *, thread: str | None, context: CommandContext) -> int:
    """Change fields of a task; return 0. Raises `UsageError` with every problem."""
    file, (task, changes) = _split_words(words, thread, "TASK", "CHANGES")
    given = _parse_object(changes, what="changes")
    return _apply_edit(file, thread, lambda plan: plan.update(task, given), context=context)


def remove_task(
    words: Sequence[str],
    *,
    thread: str | None,
    detach: bool,
    dependents: bool,
    context: CommandContext,
) -> int:
    """Remove a task; return 0. Raises `UsageError` with every problem."""
    file, (task,) = _split_words(words, thread, "TASK")
    return _apply_edit(
        file,
        thread,
        lambda plan: plan.remove(task, detach=detach, dependents=dependents),
        context=context,
    )


def move_task(
    words: Sequence[str],
    *,
    thread: str | None,
    before: str | None,
    after: str | None,
    context: CommandContext,
) -> int:
    """Move a task within the list; return 0. Raises `UsageError` with every problem."""
    file, (task,) = _split_words(words, thread, "TASK")
    return _apply_edit(file, thread, lambda plan: plan.move(task, before=before, after=after), context=context)


def _apply_edit(
    file: str | None,
    thread: str | None,
    edit: PlanEdit,
    *,
    context: CommandContext,
    read: Callable[[str], PlanFile] = read_plan,
) -> int:
    try:
        if thread is not None:
            plan = asyncio.run(_edit_thread(thread, edit, context=context))
            message = f"The plan of thread {thread!r} was changed; continue with: planwave resume {thread}"
        else:
            plan = _edit_file(file or "-", edit, read)
            message = f"{file} was changed."
    except EditError as error:
        raise UsageError(f"Nothing was changed. {error}") from error
    if context.as_json or file == "-":
        print_json(plan_to_json(plan))
    else:
        context.screen.say(message, style="green")
    return 0


def _edit_file(file: str, edit: PlanEdit, read: Callable[[str], PlanFile]) -> Plan:
    given = read(file)
    plan = edit(PlanEditor(given.document)).plan
    if file != "-":
        write_plan(file, given, plan_to_json(plan))
    return plan


async def _edit_thread(thread: str, edit: PlanEdit, *, context: CommandContext) -> Plan:
    async with context.open_database() as stored:
        state = await load_thread_state(thread, stored=stored)
        options = load_run_options(state.metadata)
        options.require_data(thread)
        configured = read_trusted_configuration(options, context=context)
        settings = apply_secrets(options.build_settings(), configured)
        tools = await asyncio.to_thread(make_tools, options, settings, configured, screen=context.screen)
        graph = build_graph(tools=tools, model=options.model, settings=settings, persistence=stored)
        config = build_thread_config(thread, options)
        plan = edit(await load_plan_editor(graph, config)).plan
        limits = settings.build_limits(can_replan=False)
        await replace_plan(graph, config, plan, toolbox=Toolbox(tools), limits=limits, ledger=stored.ledger)
        return plan


def _split_words(words: Sequence[str], thread: str | None, *names: str) -> tuple[str | None, Sequence[str]]:
    """Return the file, if one is named, and the words after it. Raises `UsageError` for a wrong number of words."""
    expected = names if thread is not None else ("FILE", *names)
    if len(words) != len(expected):
        usage = f"with --thread, give {' '.join(expected)}" if thread is not None else f"give {' '.join(expected)}"
        raise UsageError(f"{len(words)} words are given and {len(expected)} are expected: {usage}.")
    return (None, words) if thread is not None else (words[0], words[1:])


def _parse_object(text: str, *, what: str) -> dict[str, JsonValue]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"The {what} {text[:60]!r} is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise UsageError(f"The {what} {text[:60]!r} is not a JSON object; write it as {{...}}.")
    return value
