"""The commands on threads: list them, delete one, delete the old ones."""

from typing import TYPE_CHECKING, Annotated

import typer

from graphs.cli.options import Db, Json, Sure, Thread, end, wanted

if TYPE_CHECKING:
    from graphs.cli.terminal.command_context import Manner

threads = typer.Typer(help="List the threads, or delete them.", invoke_without_command=True)


@threads.callback()
def list_threads(
    context: typer.Context,
    *,
    db: Db = None,
    as_json: Json = False,
    most: Annotated[int, typer.Option("--most", min=1, metavar="N", help="How many, newest first.")] = 50,
) -> None:
    """List the threads, or delete them."""
    if context.invoked_subcommand is not None:
        _refuse_options_before(context)
        return

    def work(manner: "Manner") -> int:
        from graphs.cli.commands.show import list_threads as list_them  # noqa: PLC0415 - keeps --help quick

        return list_them(settings=wanted().settings(), manner=manner, most=most)

    end(work, as_json=as_json, db=db)


@threads.command()
def delete(thread: Thread, *, db: Db = None, as_json: Json = False, yes: Sure = False) -> None:
    """Delete a thread: its checkpoints, results, approvals and record of writes."""

    def work(manner: "Manner") -> int:
        from graphs.cli.commands.retention import delete_thread  # noqa: PLC0415 - keeps --help quick

        return delete_thread(thread, settings=wanted().settings(), manner=manner)

    end(work, as_json=as_json, yes=yes, db=db, thread=thread)


@threads.command()
def prune(
    *,
    older_than: Annotated[str, typer.Option(metavar="SPAN", help="Such as 12h, 30d or 8w.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Delete the threads that ended long ago; none that waits, runs or can be resumed."""

    def work(manner: "Manner") -> int:
        from graphs.cli.commands.retention import prune_threads  # noqa: PLC0415 - keeps --help quick

        return prune_threads(older_than=older_than, dry_run=dry_run, settings=wanted().settings(), manner=manner)

    end(work, as_json=as_json, db=db)


def _refuse_options_before(context: typer.Context) -> None:
    """Refuse options between a group and its command, which would be read and do nothing: `--db` above all."""
    for name in context.params:
        if str(context.get_parameter_source(name)).endswith("COMMANDLINE"):
            option = name.removeprefix("as_")
            raise typer.BadParameter(f"write --{option} behind {context.invoked_subcommand!r}.")
