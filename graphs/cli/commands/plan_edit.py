"""The commands that change a plan: `plan add`, `edit`, `remove` and `move`."""

import asyncio
import json
from collections.abc import Callable, Sequence

from pydantic import JsonValue

from agent.core.compiler.editor import EditError, PlanEditor
from agent.core.plan.document import Plan
from agent.errors import UsageError
from agent.tools.toolbox import Toolbox
from graphs.cli.commands.plan_file import GivenPlan, begun_plan, read_plan, write_plan
from graphs.cli.commands.run import thread_config, thread_state
from graphs.cli.commands.tools import make_tools
from graphs.cli.terminal.command_context import Manner
from graphs.cli.terminal.run_options import Wanted, remembered_in
from graphs.cli.terminal.screen import print_json
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from graphs.run.state_updates import document
from graphs.thread_editing import plan_editor, put_plan

Edit = Callable[[PlanEditor], PlanEditor]


def add_task(
    words: Sequence[str], *, thread: str | None, before: str | None, after: str | None, wanted: Wanted, manner: Manner
) -> int:
    """Add the task in the last of `words`, to a new plan where there is no such file; return 0.

    Raises `UsageError` with every problem.
    """
    file, (task,) = _split(words, thread, "TASK")
    given = _object(task, what="task")
    return _edit(
        file,
        thread,
        lambda plan: plan.add(given, before=before, after=after),
        wanted=wanted,
        manner=manner,
        read=begun_plan,
    )


def edit_task(words: Sequence[str], *, thread: str | None, wanted: Wanted, manner: Manner) -> int:
    """Change fields of a task; return 0. Raises `UsageError` with every problem."""
    file, (task, changes) = _split(words, thread, "TASK", "CHANGES")
    given = _object(changes, what="changes")
    return _edit(file, thread, lambda plan: plan.update(task, given), wanted=wanted, manner=manner)


def remove_task(
    words: Sequence[str], *, thread: str | None, detach: bool, dependents: bool, wanted: Wanted, manner: Manner
) -> int:
    """Remove a task; return 0. Raises `UsageError` with every problem."""
    file, (task,) = _split(words, thread, "TASK")
    return _edit(
        file,
        thread,
        lambda plan: plan.remove(task, detach=detach, dependents=dependents),
        wanted=wanted,
        manner=manner,
    )


def move_task(
    words: Sequence[str], *, thread: str | None, before: str | None, after: str | None, wanted: Wanted, manner: Manner
) -> int:
    """List a task elsewhere; return 0. Raises `UsageError` with every problem."""
    file, (task,) = _split(words, thread, "TASK")
    return _edit(file, thread, lambda plan: plan.move(task, before=before, after=after), wanted=wanted, manner=manner)


def _edit(
    file: str | None,
    thread: str | None,
    edit: Edit,
    *,
    wanted: Wanted,
    manner: Manner,
    read: Callable[[str], GivenPlan] = read_plan,
) -> int:
    try:
        if thread is not None:
            plan = asyncio.run(_edit_thread(thread, edit, wanted=wanted, manner=manner))
            told = f"The plan of thread {thread!r} is changed; go on with: planwave resume {thread}"
        else:
            plan = _edit_file(file or "-", edit, read)
            told = f"{file} is changed."
    except EditError as error:
        raise UsageError(f"Nothing was changed. {error}") from error
    if manner.as_json or file == "-":
        print_json(document(plan))
    else:
        manner.screen.say(told, style="green")
    return 0


def _edit_file(file: str, edit: Edit, read: Callable[[str], GivenPlan]) -> Plan:
    given = read(file)
    plan = edit(PlanEditor(given.document)).plan
    if file != "-":
        write_plan(file, given, document(plan))
    return plan


async def _edit_thread(thread: str, edit: Edit, *, wanted: Wanted, manner: Manner) -> Plan:
    async with open_persistence(manner.database(wanted.settings())) as stored:
        state = await thread_state(thread, stored=stored)
        wanted = wanted.over(remembered_in(state.metadata))
        wanted.require_data(thread)
        settings = wanted.settings()
        tools = await asyncio.to_thread(make_tools, wanted, settings, screen=manner.screen)
        graph = build_graph(tools=tools, model=wanted.model, settings=settings, persistence=stored)
        config = thread_config(thread, wanted)
        plan = edit(await plan_editor(graph, config)).plan
        limits = settings.limits(can_replan=False)
        await put_plan(graph, config, plan, toolbox=Toolbox(tools), limits=limits, ledger=stored.ledger)
        return plan


def _split(words: Sequence[str], thread: str | None, *names: str) -> tuple[str | None, Sequence[str]]:
    """Return the file, where one is named, and the words behind it. Raises `UsageError` for another count of words."""
    expected = names if thread is not None else ("FILE", *names)
    if len(words) != len(expected):
        given = f"with --thread, give {' '.join(expected)}" if thread is not None else f"give {' '.join(expected)}"
        raise UsageError(f"{len(words)} words are given where {len(expected)} are wanted: {given}.")
    return (None, words) if thread is not None else (words[0], words[1:])


def _object(text: str, *, what: str) -> dict[str, JsonValue]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"The {what} {text[:60]!r} is not JSON: {error}.") from None
    if not isinstance(found, dict):
        raise UsageError(f"The {what} {text[:60]!r} is no JSON object; write it as {{...}}.")
    return found
