"""The commands on plans: make one, look at it, check it, edit it where it is kept."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from graphs.cli.options import Config, Data, Db, Json, Model, end, wanted

if TYPE_CHECKING:
    from graphs.cli.terminal.command_context import Manner

_OF = "As `planwave threads` lists it: the plan of that thread, which must rest, in the place of a file."
OfThread = Annotated[str | None, typer.Option("--thread", metavar="THREAD", help=_OF)]
Before = Annotated[str | None, typer.Option(metavar="TASK", help="List it right before this task.")]
After = Annotated[str | None, typer.Option(metavar="TASK", help="List it right behind this task.")]
File = Annotated[str | None, typer.Argument(metavar="[FILE]", help="A plan file; `-` is standard input.")]


class PlanGroup(TyperGroup):
    """The group whose first word is a command or, where it is none, the goal of `make`."""

    default = "make"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer keeps its context to itself
        """Put `make` before a goal and before its options."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [self.default, *args]
        return super().parse_args(ctx, args)


plans = typer.Typer(
    cls=PlanGroup,
    help="Plan a goal, or look at a plan, check and edit it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="`planwave plan GOAL` is `planwave plan make GOAL`, which a goal needs that is a command's name.",
)


@plans.command()
def make(
    goal: Annotated[str, typer.Argument(metavar="GOAL", help="What is to be found out or done.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan document, which `run --plan` takes.")] = False,
    model: Model = None,
    data: Data = None,
    config: Config = None,
) -> None:
    """Plan a goal and run nothing."""

    def work(manner: "Manner") -> int:
        from graphs.cli.commands.plan import plan_goal  # noqa: PLC0415 - keeps --help quick

        return plan_goal(goal, wanted=wanted(model, data, config=config), manner=manner)

    end(work, as_json=as_json)


@plans.command()
def show(
    file: File = None,
    *,
    thread: OfThread = None,
    db: Db = None,
    as_json: Json = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print the plan as a Mermaid flowchart.")] = False,
) -> None:
    """Show a plan wave by wave, with its phases."""

    def work(manner: "Manner") -> int:
        from graphs.cli.commands.plan_view import show_plan  # noqa: PLC0415 - keeps --help quick

        return show_plan(file, thread=thread, settings=wanted().settings(), manner=manner, picture=mermaid)

    end(work, as_json=as_json, db=db, thread=thread)


@plans.command()
def validate(
    file: File = None,
    *,
    thread: OfThread = None,
    db: Db = None,
    as_json: Json = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Compile a plan against the tools and name every problem; nothing runs."""

    def work(manner: "Manner") -> int:
        from graphs.cli.commands.plan_view import validate_plan  # noqa: PLC0415 - keeps --help quick

        return validate_plan(file, thread=thread, wanted=wanted(data=data, config=config), manner=manner)

    end(work, as_json=as_json, db=db, thread=thread)


@plans.command()
def add(
    words: Annotated[
        list[str],
        typer.Argument(metavar="[FILE] TASK", help='As JSON: {"id": ..., "tool": ..., "args": ...}.'),
    ],
    *,
    before: Before = None,
    after: After = None,
    thread: OfThread = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Add a task, last or beside another one; where there is no such file, a plan begins with it."""

    def work(manner: "Manner") -> int:
        from graphs.cli.commands.plan_edit import add_task  # noqa: PLC0415 - keeps --help quick

        return add_task(words, thread=thread, before=before, after=after, wanted=wanted(), manner=manner)

    end(work, as_json=as_json, db=db, thread=thread)


@plans.command()
def edit(
    words: Annotated[
        list[str],
        typer.Argument(metavar="[FILE] TASK CHANGES", help="Fields and new values, as JSON; null: the default again."),
    ],
    *,
    thread: OfThread = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Change fields of a task; a new id goes into every reference."""

    def work(manner: "Manner") -> int:
        from graphs.cli.commands.plan_edit import edit_task  # noqa: PLC0415 - keeps --help quick

        return edit_task(words, thread=thread, wanted=wanted(), manner=manner)

    end(work, as_json=as_json, db=db, thread=thread)


@plans.command()
def remove(
    words: Annotated[list[str], typer.Argument(metavar="[FILE] TASK", help="The id of the task.")],
    *,
    detach: Annotated[bool, typer.Option("--detach", help="Drop it from what other tasks wait for.")] = False,
    dependents: Annotated[bool, typer.Option("--dependents", help="Remove all that rests on it as well.")] = False,
    thread: OfThread = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Remove a task that no other names."""

    def work(manner: "Manner") -> int:
        from graphs.cli.commands.plan_edit import remove_task  # noqa: PLC0415 - keeps --help quick

        return remove_task(words, thread=thread, detach=detach, dependents=dependents, wanted=wanted(), manner=manner)

    end(work, as_json=as_json, db=db, thread=thread)


@plans.command()
def move(
    words: Annotated[list[str], typer.Argument(metavar="[FILE] TASK", help="The id of the task.")],
    *,
    before: Before = None,
    after: After = None,
    thread: OfThread = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """List a task before or behind another one, or last."""

    def work(manner: "Manner") -> int:
        from graphs.cli.commands.plan_edit import move_task  # noqa: PLC0415 - keeps --help quick

        return move_task(words, thread=thread, before=before, after=after, wanted=wanted(), manner=manner)

    end(work, as_json=as_json, db=db, thread=thread)


@plans.command()
def export(
    file: File = None,
    *,
    thread: OfThread = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="Write here. Default: standard output.")
    ] = None,
    db: Db = None,
) -> None:
    """Write a plan as a document that `run --plan` takes, with its goal."""

    def work(manner: "Manner") -> int:
        from graphs.cli.commands.plan_view import export_plan  # noqa: PLC0415 - keeps --help quick

        return export_plan(file, thread=thread, to=to, settings=wanted().settings(), manner=manner)

    end(work, as_json=True, db=db, thread=thread)
