"""The commands of `planwave library`."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from anyio import to_thread
from rich.table import Table

from agent.errors import UsageError
from agent.programs.input_proposal import Proposal, make_template, propose_inputs
from agent.programs.program import Program, ProgramApproval, ProgramOrigin, read_program_plan
from agent.settings import Settings
from agent.tools.plan_check import CheckedPlan, check_plan
from agent.tools.sql.query_process import run_cancellable
from agent.tools.toolbox import Toolbox
from graphs.cli.commands.config_trust import apply_secrets, read_trusted_configuration
from graphs.cli.commands.run import load_thread_state, run_plan
from graphs.cli.commands.tools import make_tools
from graphs.cli.plan_commands.plan_file import PlanFile, read_plan
from graphs.cli.plan_commands.plan_view import get_plan_document
from graphs.cli.terminal.approval_prompts import read_line
from graphs.cli.terminal.command_context import CommandContext
from graphs.cli.terminal.run_options import RunOptions
from graphs.cli.terminal.screen import as_text, print_error, print_json, print_table
from graphs.stores.library import Library


@asynccontextmanager
async def _open_library(context: CommandContext) -> AsyncIterator[Library]:
    """Open the library of `PLANWAVE_LIBRARY`, or else that of the database."""
    if (folder := RunOptions().build_settings().library) is not None:
        yield Library(folder)
        return
    async with context.open_database() as stored:
        yield Library(stored)


def print_programs(*, context: CommandContext) -> int:
    """List the programs; return 0."""
    programs = asyncio.run(_list_programs(context))
    if context.as_json:
        print_json({"programs": [_summarize(program) for program in programs]})
    elif not programs:
        context.screen.say("The library is empty; keep a plan with: planwave library add THREAD --name NAME")
    else:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading in ("program", "version", "inputs", "goal"):
            table.add_column(heading, overflow="fold")
        for program in programs:
            inputs = ", ".join(program.inputs_schema["properties"])
            table.add_row(program.name, str(program.version), inputs, as_text(program.goal, width=100))
        print_table(table, screen=context.screen)
    return 0


async def _list_programs(context: CommandContext) -> list[Program]:
    async with _open_library(context) as library:
        return await library.list_programs()


def _summarize(program: Program) -> dict[str, Any]:
    return {**program.model_dump(mode="json", exclude={"plan"}), "inputs": program.inputs_schema}


def show_program(name: str, *, version: int | None, context: CommandContext) -> int:
    """Print a program; return 0. Raises `UsageError` if there is none."""
    program, versions = asyncio.run(_load_program(name, version=version, context=context))
    if context.as_json:
        document = {**_summarize(program), "plan": program.plan, "versions": [each.version for each in versions]}
        print_json(document)
        return 0
    screen, schema = context.screen, program.inputs_schema
    screen.say(f"program  {program.label}, saved {program.saved_at}, from {program.origin}")
    for approval in program.origin.approvals:
        screen.say(f"approved {approval.task} by {approval.by or 'a person'} at {approval.at}")
    screen.say(f"goal     {program.goal_template or program.goal}")
    for wording in program.wordings:
        screen.say(f"or       {wording}")
    for key, own in schema["properties"].items():
        needed = "required" if key in schema.get("required", ()) else f"default {own.get('default')!r}"
        screen.say(f"input    {key}: {own.get('type', 'any value')}, {needed}")
    for task in read_program_plan(program.plan)[0].tasks:
        screen.say(f"task     {task.id}: {task.tool} {as_text(task.args, width=160)}")
    screen.say(f"versions {', '.join(str(each.version) for each in reversed(versions))}")
    return 0


async def _load_program(name: str, *, version: int | None, context: CommandContext) -> tuple[Program, list[Program]]:
    async with _open_library(context) as library:
        return await library.get(name, version=version), await library.list_versions(name)


def run_program(
    name: str,
    *,
    inputs: Sequence[str],
    version: int | None,
    thread: str | None,
    options: RunOptions,
    context: CommandContext,
) -> int:
    """Run a program as `planwave run --plan` runs a file, and return the exit status."""
    program, _ = asyncio.run(_load_program(name, version=version, context=context))
    given = PlanFile(program.plan, program.goal or program.name, {})
    return run_plan(None, given=given, inputs=inputs, thread=thread, options=options, context=context)


def remove_program(name: str, *, context: CommandContext) -> int:
    """Remove a program; return 0, or 1 if nobody has confirmed it. Raises `UsageError` if there is none."""
    program, versions = asyncio.run(_load_program(name, version=None, context=context))
    if not context.auto_approve:
        if not context.screen.interactive:
            raise UsageError(f"Removing asks first, and there is no terminal to ask at; add --yes to remove {name!r}.")
        question = f"Remove the program {program.name!r} with {len(versions)} versions for good? [y/N] "
        if (read_line(question, screen=context.screen) or "").strip().lower() not in {"y", "yes"}:
            context.screen.say("Nothing was removed.")
            return 1

    async def remove() -> None:
        async with _open_library(context) as library:
            await library.remove(name)

    asyncio.run(remove())
    context.screen.say(f"removed {program.name}", style="green")
    return 0


def add_program(
    source: str,
    *,
    name: str,
    kept: Sequence[str],
    wordings: Sequence[str],
    as_is: bool,
    context: CommandContext,
    options: RunOptions,
) -> int:
    """Keep the plan of a thread or a file as a program; return 0, or 1 if it does not compile as one."""
    return asyncio.run(
        _add_program(source, name=name, kept=kept, wordings=wordings, as_is=as_is, context=context, options=options)
    )


async def _add_program(
    source: str,
    *,
    name: str,
    kept: Sequence[str],
    wordings: Sequence[str],
    as_is: bool,
    context: CommandContext,
    options: RunOptions,
) -> int:
    if await to_thread.run_sync(_is_file, source):
        given = read_plan(source)
        document, goal, origin = given.document, given.goal or "", ProgramOrigin(file=Path(source).name, author="user")
    else:
        document, goal, origin = await _read_thread(source, context=context)
    plan, _ = read_program_plan(document)
    settings, toolbox = await _make_toolbox(document, options=options, context=context)
    proposal = Proposal(document, (), make_template(goal, (), frozenset()))
    if not as_is:
        proposal = propose_inputs(plan, goal, toolbox.specs, refused=frozenset(kept))
        refused = _ask_about(proposal, context=context)
        if refused:
            proposal = propose_inputs(plan, goal, toolbox.specs, refused=refused | frozenset(kept))
    limits = settings.build_limits(can_replan=False)
    # With the values of now, which the engine binds as it will those of a run.
    values = {each.name: each.value for each in proposal.inputs}
    document = {**proposal.plan, "input_values": values} if values else proposal.plan
    checked = await check_plan(document, toolbox, limits=limits, needs_values=False)
    if not isinstance(checked, CheckedPlan):
        print_error("The plan does not compile as a program; nothing was kept. Try --keep VALUE, or --as-is.")
        for problem in checked:
            print_error(f"problem: {problem}")
        return 1
    templates = tuple(_make_wording(text, proposal) for text in wordings)
    goal_template = proposal.goal_template if _has_places(proposal.goal_template, proposal) else ""
    async with _open_library(context) as library:
        program = await library.add(
            name,
            proposal.plan,
            goal=goal,
            goal_template=goal_template,
            wordings=templates,
            origin=origin,
        )
    if context.as_json:
        print_json({**_summarize(program), "plan": program.plan, "leftovers": list(proposal.leftovers)})
        return 0
    for sentence in proposal.leftovers:
        context.screen.say(sentence, style="yellow")
    if not program.goal_template:
        why = "it does not say where each input stands" if goal else "it is empty"
        context.screen.say(f"The planner will not find it by its goal: {why}.", style="yellow")
    needed = " ".join(f"--input {each}=..." for each in program.inputs_schema.get("required", ()))
    context.screen.say(f"kept {program.label}; run it with: planwave library run {program.name} {needed}".rstrip())
    return 0


def _make_wording(text: str, proposal: Proposal) -> str:
    """Return a wording as a template. Raises `UsageError` if it does not have the value of each input."""
    names = read_program_plan(proposal.plan)[1]["properties"]
    template = make_template(text, proposal.inputs, frozenset(names))
    if not template or not _has_places(template, proposal):
        listed = ", ".join(f"{each.as_written!r} or {{{each.name}}}" for each in proposal.inputs)
        known = f"say it with {listed}" if listed else f"its inputs are {', '.join(names) or 'none'}"
        raise UsageError(f"The wording {text!r} does not say where each input of the program stands; {known}.")
    return template


def _has_places(template: str, proposal: Proposal) -> bool:
    """Whether a template says where each input stands that has no default."""
    return all(f"{{{name}}}" in template for name in read_program_plan(proposal.plan)[1].get("required", ()))


def _is_file(source: str) -> bool:
    return Path(source).expanduser().is_file()


async def _make_toolbox(
    document: dict[str, Any], *, options: RunOptions, context: CommandContext
) -> tuple[Settings, Toolbox]:
    configured = read_trusted_configuration(options, context=context)
    settings = apply_secrets(options.build_settings(), configured)
    make = partial(make_tools, options, settings, configured, screen=context.screen, plan=document)
    return settings, Toolbox(await run_cancellable(make))


async def _read_thread(source: str, *, context: CommandContext) -> tuple[dict[str, Any], str, ProgramOrigin]:
    """Return the plan of a thread, its goal, and where it came from."""
    async with context.open_database() as stored:
        state = await load_thread_state(source, stored=stored)
        grants = await stored.ledger.list_grants(source)
    values, document = state.values, get_plan_document(state, thread=source)
    history = [entry for entry in values.get("plan_history") or () if entry["author"] != "rollback"]
    last = history[-1] if history else {}
    program = values.get("program")
    # Its values are in place in the plan that ran; a plan that was changed since has only those.
    if program is not None and len(history) == 1:
        document = program
    revision = values.get("revision") or 1
    origin = ProgramOrigin(
        thread=source,
        revision=revision,
        author=last.get("author"),
        model=last.get("model"),
        approvals=tuple(
            ProgramApproval(task=each.grant.task, by=each.grant.by or None, at=each.granted_at)
            for each in grants
            if each.grant.revision == revision
        ),
    )
    return document, values.get("goal") or "", origin


def _ask_about(proposal: Proposal, *, context: CommandContext) -> frozenset[str]:
    """Show the proposed inputs and return the values that are to stay as they are; nobody is asked off a terminal."""
    refused: set[str] = set()
    for each in proposal.inputs:
        line = f"input {each.name} ({each.schema['type']}) in place of {each.value!r}"
        if context.auto_approve or not context.screen.interactive:
            context.screen.say(line)
        elif (read_line(f"{line}? [Y/n] ", screen=context.screen) or "").strip().lower() in {"n", "no"}:
            refused.add(each.as_written)
    return frozenset(refused)
