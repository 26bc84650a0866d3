"""The commands that change a plan: `plan add`, `edit`, `remove` and `move`."""

import asyncio
import copy
import json
import re
from collections.abc import Callable, Sequence
from typing import Final

from pydantic import JsonValue

from agent.core.compiler.editor import EditError, PlanEditor
from agent.core.plan.document import Plan, Task
from agent.errors import UsageError
from agent.tools.toolbox import Toolbox
from graphs.cli.commands.config_trust import apply_secrets, read_trusted_configuration
from graphs.cli.commands.run import build_thread_config, load_thread_state
from graphs.cli.commands.tools import make_tools
from graphs.cli.plan_commands.plan_file import PlanFile, read_or_create_plan, read_plan, write_plan
from graphs.cli.terminal.command_context import CommandContext
from graphs.cli.terminal.report import format_command
from graphs.cli.terminal.run_options import load_run_options
from graphs.cli.terminal.screen import print_json
from graphs.plan_execute import build_graph
from graphs.run.state_updates import plan_to_json
from graphs.thread_editing import load_plan_editor, replace_plan

PlanEdit = Callable[[PlanEditor], PlanEditor]
#: `args.path=other.csv`: fields and names, and a value of any text.
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_][\w\-]*(\.[\w\-]+)*=")
#: Fields of a task that hold a text.
_TEXT_FIELDS: Final = frozenset(
    name for name, field in Task.model_fields.items() if field.annotation in {str, str | None}
)


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
    """Change fields of a task, by JSON or by `FIELD=VALUE`; return 0. Raises `UsageError` with every problem."""
    count = 2 if thread is not None else 3
    # Several changes are as many words.
    words, more = (words[:count], words[count:]) if all(map(_is_assignment, words[count - 1 :])) else (words, ())
    file, (task, changes) = _split_words(words, thread, "TASK", "CHANGES")
    if not _is_assignment(changes):
        given = _parse_object(changes, what="changes")
        return _apply_edit(file, thread, lambda plan: plan.update(task, given), context=context)
    pairs = [changes, *more]
    return _apply_edit(
        file, thread, lambda plan: plan.update(task, _parse_assignments(pairs, plan.get(task))), context=context
    )


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
            command = format_command("resume", thread, db=context.db)
            message = f"The plan of thread {thread!r} was changed; continue with: {command}"
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


def _is_assignment(word: str) -> bool:
    return _ASSIGNMENT.match(word) is not None


def _parse_assignments(pairs: Sequence[str], task: Task) -> dict[str, JsonValue]:
    """Return the changes that `FIELD=VALUE` and `FIELD.NAME=VALUE` make. Raises `UsageError`.

    A value is a text where a text stands or belongs, else JSON if it reads as JSON, else a text.
    """
    before: dict[str, JsonValue] = task.model_dump(mode="json", exclude_unset=True)
    changes: dict[str, JsonValue] = {}
    for pair in pairs:
        if not _is_assignment(pair):
            raise UsageError(f"The change {pair[:60]!r} is not FIELD=VALUE; write for example args.path=other.csv.")
        place, _, text = pair.partition("=")
        field, *names = place.split(".")
        if not names:
            changes[field] = _parse_field(field, text)
            continue
        changes.setdefault(field, copy.deepcopy(before.get(field) or {}))
        _set_value(changes, [field, *names], text, place=place)
    return changes


def _set_value(changes: dict[str, JsonValue], names: Sequence[str], text: str, *, place: str) -> None:
    """Set what stands at `names` within `changes`; objects on the way are made. Raises `UsageError`."""
    holder: JsonValue = changes
    for depth, name in enumerate(names):
        is_last = depth == len(names) - 1
        if isinstance(holder, dict):
            holder[name] = _parse_text(text, holder.get(name)) if is_last else holder.get(name) or {}
            holder = holder[name]
        elif isinstance(holder, list) and name.isdecimal() and int(name) < len(holder):
            position = int(name)
            holder[position] = _parse_text(text, holder[position]) if is_last else holder[position]
            holder = holder[position]
        else:
            raise UsageError(f"There is no place {place!r}: {'.'.join(names[:depth])} is {holder!r:.60}.")


def _parse_field(field: str, text: str) -> JsonValue:
    if field in _TEXT_FIELDS and text != "null":
        return text
    if field == "depends_on" and not text.startswith("[") and text != "null":
        return [name.strip() for name in text.split(",") if name.strip()]
    return _parse_text(text, None)


def _parse_text(text: str, before: JsonValue) -> JsonValue:
    try:
        value: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        return text
    # A text stays one, such as the number of a house; quoted, it is what the quotes hold.
    return text if isinstance(before, str) and not isinstance(value, str | dict) else value


def _parse_object(text: str, *, what: str) -> dict[str, JsonValue]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"The {what} {text[:60]!r} is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise UsageError(f"The {what} {text[:60]!r} is not a JSON object; write it as {{...}}.")
    return value
