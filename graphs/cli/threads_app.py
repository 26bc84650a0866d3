"""The commands on threads: list them, delete one, delete the old ones."""

from typing import TYPE_CHECKING, Annotated

import typer

from graphs.cli.decorators import command, default_command
from graphs.cli.options import DATABASE, JSON, SKIP_CONFIRMATION, ThreadArgument

if TYPE_CHECKING:
    from graphs.cli.terminal.command_context import CommandContext

threads_app = typer.Typer(help="List the threads, or delete them.", invoke_without_command=True)


@default_command(threads_app, DATABASE, JSON)
def threads(
    *,
    context: "CommandContext",
    most: Annotated[int, typer.Option("--most", min=1, metavar="N", help="How many, newest first.")] = 50,
) -> int:
    """List the threads, or delete them."""
    from graphs.cli.commands.show import print_threads

    return print_threads(context=context, most=most)


@command(threads_app, DATABASE, JSON, SKIP_CONFIRMATION)
def delete(thread: ThreadArgument, *, context: "CommandContext") -> int:
    """Delete a thread: its checkpoints, results, approvals and record of writes."""
    from graphs.cli.commands.retention import delete_thread

    return delete_thread(thread, context=context)


@command(threads_app, DATABASE, JSON)
def prune(
    *,
    older_than: Annotated[str, typer.Option(metavar="DURATION", help="Such as 12h, 30d or 8w.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    context: "CommandContext",
) -> int:
    """Delete the threads that ended long ago; none that waits, runs or can be resumed."""
    from graphs.cli.commands.retention import prune_threads

    return prune_threads(older_than=older_than, dry_run=dry_run, context=context)
