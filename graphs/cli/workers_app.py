"""The commands on workers: list them, try again what they set aside."""

from typing import TYPE_CHECKING

import typer

from graphs.cli.decorators import command, default_command
from graphs.cli.options import DATABASE, JSON, ThreadArgument

if TYPE_CHECKING:
    from graphs.cli.terminal.command_context import CommandContext

workers_app = typer.Typer(help="List the workers, or try again what they set aside.", invoke_without_command=True)


@default_command(workers_app, DATABASE, JSON)
def workers(*, context: "CommandContext") -> int:
    """List the workers, what each runs, and how much waits for one."""
    from graphs.cli.commands.workers import print_workers

    return print_workers(context=context)


@command(workers_app, DATABASE, JSON)
def retry(thread: ThreadArgument, *, context: "CommandContext") -> int:
    """Put a thread that was set aside into the queue again."""
    from graphs.cli.commands.workers import retry_thread

    return retry_thread(thread, context=context)
