"""The commands on threads: list them, delete one, delete the old ones."""

from typing import TYPE_CHECKING, Annotated

import typer

from graphs.cli.options import (
    DatabaseOption,
    JsonOption,
    SkipConfirmationOption,
    ThreadArgument,
    build_run_options,
    run_and_exit,
)

if TYPE_CHECKING:
    from graphs.cli.terminal.command_context import CommandContext

threads_app = typer.Typer(help="List the threads, or delete them.", invoke_without_command=True)


@threads_app.callback()
def handle_threads_group(
    context: typer.Context,
    *,
    db: DatabaseOption = None,
    as_json: JsonOption = False,
    most: Annotated[int, typer.Option("--most", min=1, metavar="N", help="How many, newest first.")] = 50,
) -> None:
    """List the threads, or delete them."""
    if context.invoked_subcommand is not None:
        _reject_group_options(context)
        return

    def run_command(manner: "CommandContext") -> int:
        from graphs.cli.commands.show import print_threads as list_them  # noqa: PLC0415 - keeps --help quick

        return list_them(settings=build_run_options().build_settings(), context=manner, most=most)

    run_and_exit(run_command, as_json=as_json, db=db)


@threads_app.command()
def delete(
    thread: ThreadArgument,
    *,
    db: DatabaseOption = None,
    as_json: JsonOption = False,
    yes: SkipConfirmationOption = False,
) -> None:
    """Delete a thread: its checkpoints, results, approvals and record of writes."""

    def run_command(manner: "CommandContext") -> int:
        from graphs.cli.commands.retention import delete_thread  # noqa: PLC0415 - keeps --help quick

        return delete_thread(thread, settings=build_run_options().build_settings(), context=manner)

    run_and_exit(run_command, as_json=as_json, yes=yes, db=db, thread=thread)


@threads_app.command()
def prune(
    *,
    older_than: Annotated[str, typer.Option(metavar="SPAN", help="Such as 12h, 30d or 8w.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    db: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete the threads that ended long ago; none that waits, runs or can be resumed."""

    def run_command(manner: "CommandContext") -> int:
        from graphs.cli.commands.retention import prune_threads  # noqa: PLC0415 - keeps --help quick

        return prune_threads(
            older_than=older_than, dry_run=dry_run, settings=build_run_options().build_settings(), context=manner
        )

    run_and_exit(run_command, as_json=as_json, db=db)


def _reject_group_options(context: typer.Context) -> None:
    """Refuse options between a group and its command, which would be read and do nothing: `--db` above all."""
    for name in context.params:
        if str(context.get_parameter_source(name)).endswith("COMMANDLINE"):
            option = name.removeprefix("as_")
            raise typer.BadParameter(f"write --{option} behind {context.invoked_subcommand!r}.")
