"""The commands on the library: keep a plan as a program, list, show, run and remove programs."""

from typing import TYPE_CHECKING, Annotated

import typer

from graphs.cli.decorators import command, default_command
from graphs.cli.options import (
    APPROVE_ALL,
    DATABASE,
    JSON,
    REPORT,
    RUN_OPTIONS,
    SKIP_CONFIRMATION,
    TAKE_PROPOSED,
    WATCH,
    InputsOption,
    NewThreadOption,
)

if TYPE_CHECKING:
    from graphs.cli.terminal.command_context import CommandContext
    from graphs.cli.terminal.run_options import RunOptions

library_app = typer.Typer(
    help="List the programs, which are plans with inputs under a name, or change them.", invoke_without_command=True
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A program as `planwave library` lists it.")]
VersionOption = Annotated[int | None, typer.Option("--version", min=1, metavar="N", help="Default: the latest.")]


@default_command(library_app, DATABASE, JSON)
def library(*, context: "CommandContext") -> int:
    """List the programs, or change them."""
    from graphs.cli.plan_commands.library import print_programs

    return print_programs(context=context)


@command(library_app, DATABASE, JSON, TAKE_PROPOSED, *RUN_OPTIONS)
def add(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A thread, or a plan file.")],
    *,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Letters, digits, '_' and '-'.")],
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", metavar="VALUE", help="A value of the goal that is to stay as it is; give it for each."),
    ] = None,
    also_says: Annotated[
        list[str] | None,
        typer.Option(
            "--also-says",
            metavar="TEXT",
            help="Another wording of the goal, with the same values or with {input} in their place; give it for each.",
        ),
    ] = None,
    as_is: Annotated[bool, typer.Option("--as-is", help="Propose no inputs.")] = False,
    context: "CommandContext",
    options: "RunOptions",
) -> int:
    """Keep a plan as a program: what its goal names becomes inputs, which you confirm."""
    from graphs.cli.plan_commands.library import add_program

    return add_program(
        source, name=name, kept=keep or (), wordings=also_says or (), as_is=as_is, context=context, options=options
    )


@command(library_app, DATABASE, JSON)
def show(name: NameArgument, *, version: VersionOption = None, context: "CommandContext") -> int:
    """Show a program: its inputs, tasks, versions and where it came from."""
    from graphs.cli.plan_commands.library import show_program

    return show_program(name, version=version, context=context)


@command(library_app, DATABASE, JSON, APPROVE_ALL, REPORT, WATCH, *RUN_OPTIONS)
def run(
    name: NameArgument,
    *,
    inputs: InputsOption = None,
    version: VersionOption = None,
    thread: NewThreadOption = None,
    context: "CommandContext",
    options: "RunOptions",
) -> int:
    """Run a program with values for its inputs; no model is asked for a plan."""
    from graphs.cli.plan_commands.library import run_program

    return run_program(name, inputs=inputs or (), version=version, thread=thread, options=options, context=context)


@command(library_app, DATABASE, JSON, SKIP_CONFIRMATION)
def remove(name: NameArgument, *, context: "CommandContext") -> int:
    """Remove a program with all its versions."""
    from graphs.cli.plan_commands.library import remove_program

    return remove_program(name, context=context)
