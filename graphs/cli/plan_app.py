"""The commands on plans: make one, look at it, check it, edit it where it is kept."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from graphs.cli.options import (
    ConfigOption,
    DatabaseOption,
    DataOption,
    JsonOption,
    ModelOption,
    build_run_options,
    run_and_exit,
)

if TYPE_CHECKING:
    from graphs.cli.terminal.command_context import CommandContext

_THREAD_HELP = "As `planwave threads` lists it: the plan of that thread, which must rest, in the place of a file."
ThreadOption = Annotated[str | None, typer.Option("--thread", metavar="THREAD", help=_THREAD_HELP)]
BeforeOption = Annotated[str | None, typer.Option(metavar="TASK", help="List it right before this task.")]
AfterOption = Annotated[str | None, typer.Option(metavar="TASK", help="List it right behind this task.")]
PlanFileArgument = Annotated[str | None, typer.Argument(metavar="[FILE]", help="A plan file; `-` is standard input.")]


class PlanGroup(TyperGroup):
    """The group whose first word is a command or, where it is none, the goal of `make`."""

    default_command = "make"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer keeps its context to itself
        """Put `make` before a goal and before its options."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [self.default_command, *args]
        return super().parse_args(ctx, args)


plan_app = typer.Typer(
    cls=PlanGroup,
    help="Plan a goal, or look at a plan, check and edit it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="`planwave plan GOAL` is `planwave plan make GOAL`, which a goal needs that is a command's name.",
)


@plan_app.command()
def make(
    goal: Annotated[str, typer.Argument(metavar="GOAL", help="What is to be found out or done.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan document, which `run --plan` takes.")] = False,
    model: ModelOption = None,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Plan a goal and run nothing."""

    def run_command(manner: "CommandContext") -> int:
        from graphs.cli.commands.plan import plan_goal  # noqa: PLC0415 - keeps --help quick

        return plan_goal(goal, options=build_run_options(model, data, config=config), context=manner)

    run_and_exit(run_command, as_json=as_json)


@plan_app.command()
def show(
    file: PlanFileArgument = None,
    *,
    thread: ThreadOption = None,
    db: DatabaseOption = None,
    as_json: JsonOption = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print the plan as a Mermaid flowchart.")] = False,
) -> None:
    """Show a plan wave by wave, with its phases."""

    def run_command(manner: "CommandContext") -> int:
        from graphs.cli.commands.plan_view import show_plan  # noqa: PLC0415 - keeps --help quick

        return show_plan(
            file, thread=thread, settings=build_run_options().build_settings(), context=manner, picture=mermaid
        )

    run_and_exit(run_command, as_json=as_json, db=db, thread=thread)


@plan_app.command()
def validate(
    file: PlanFileArgument = None,
    *,
    thread: ThreadOption = None,
    db: DatabaseOption = None,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Compile a plan against the tools and name every problem; nothing runs."""

    def run_command(manner: "CommandContext") -> int:
        from graphs.cli.commands.plan_view import validate_plan  # noqa: PLC0415 - keeps --help quick

        return validate_plan(file, thread=thread, options=build_run_options(data=data, config=config), context=manner)

    run_and_exit(run_command, as_json=as_json, db=db, thread=thread)


@plan_app.command()
def add(
    words: Annotated[
        list[str],
        typer.Argument(metavar="[FILE] TASK", help='As JSON: {"id": ..., "tool": ..., "args": ...}.'),
    ],
    *,
    before: BeforeOption = None,
    after: AfterOption = None,
    thread: ThreadOption = None,
    db: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a task, last or beside another one; where there is no such file, a plan begins with it."""

    def run_command(manner: "CommandContext") -> int:
        from graphs.cli.commands.plan_edit import add_task  # noqa: PLC0415 - keeps --help quick

        return add_task(words, thread=thread, before=before, after=after, options=build_run_options(), context=manner)

    run_and_exit(run_command, as_json=as_json, db=db, thread=thread)


@plan_app.command()
def edit(
    words: Annotated[
        list[str],
        typer.Argument(metavar="[FILE] TASK CHANGES", help="Fields and new values, as JSON; null: the default again."),
    ],
    *,
    thread: ThreadOption = None,
    db: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change fields of a task; a new id goes into every reference."""

    def run_command(manner: "CommandContext") -> int:
        from graphs.cli.commands.plan_edit import edit_task  # noqa: PLC0415 - keeps --help quick

        return edit_task(words, thread=thread, options=build_run_options(), context=manner)

    run_and_exit(run_command, as_json=as_json, db=db, thread=thread)


@plan_app.command()
def remove(
    words: Annotated[list[str], typer.Argument(metavar="[FILE] TASK", help="The id of the task.")],
    *,
    detach: Annotated[bool, typer.Option("--detach", help="Drop it from what other tasks wait for.")] = False,
    dependents: Annotated[bool, typer.Option("--dependents", help="Remove all that rests on it as well.")] = False,
    thread: ThreadOption = None,
    db: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a task that no other names."""

    def run_command(manner: "CommandContext") -> int:
        from graphs.cli.commands.plan_edit import remove_task  # noqa: PLC0415 - keeps --help quick

        return remove_task(
            words, thread=thread, detach=detach, dependents=dependents, options=build_run_options(), context=manner
        )

    run_and_exit(run_command, as_json=as_json, db=db, thread=thread)


@plan_app.command()
def move(
    words: Annotated[list[str], typer.Argument(metavar="[FILE] TASK", help="The id of the task.")],
    *,
    before: BeforeOption = None,
    after: AfterOption = None,
    thread: ThreadOption = None,
    db: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List a task before or behind another one, or last."""

    def run_command(manner: "CommandContext") -> int:
        from graphs.cli.commands.plan_edit import move_task  # noqa: PLC0415 - keeps --help quick

        return move_task(words, thread=thread, before=before, after=after, options=build_run_options(), context=manner)

    run_and_exit(run_command, as_json=as_json, db=db, thread=thread)


@plan_app.command()
def export(
    file: PlanFileArgument = None,
    *,
    thread: ThreadOption = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="Write here. Default: standard output.")
    ] = None,
    db: DatabaseOption = None,
) -> None:
    """Write a plan as a document that `run --plan` takes, with its goal."""

    def run_command(manner: "CommandContext") -> int:
        from graphs.cli.commands.plan_view import export_plan  # noqa: PLC0415 - keeps --help quick

        return export_plan(file, thread=thread, to=to, settings=build_run_options().build_settings(), context=manner)

    run_and_exit(run_command, as_json=True, db=db, thread=thread)
