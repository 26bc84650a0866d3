"""The commands on plans: make one, show it, check it, edit it where it is stored."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from graphs.cli.decorators import command
from graphs.cli.options import CONFIG, DATA, DATABASE, JSON, MODEL, PLAN_JSON

if TYPE_CHECKING:
    from graphs.cli.terminal.command_context import CommandContext
    from graphs.cli.terminal.run_options import RunOptions

_THREAD_HELP = "Use the plan of this thread, which must not be running, instead of a file."
ThreadOption = Annotated[str | None, typer.Option("--thread", metavar="THREAD", help=_THREAD_HELP)]
BeforeOption = Annotated[str | None, typer.Option(metavar="TASK", help="List it right before this task.")]
AfterOption = Annotated[str | None, typer.Option(metavar="TASK", help="List it right after this task.")]
PlanFileArgument = Annotated[str | None, typer.Argument(metavar="[FILE]", help="A plan file; `-` is standard input.")]
TaskArguments = Annotated[list[str], typer.Argument(metavar="[FILE] TASK", help="The id of the task.")]


class PlanGroup(TyperGroup):
    """The group whose first word is a command or, if it is none, the goal of `make`."""

    default_command = "make"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer keeps its context to itself
        """Put `make` before a goal and before its options."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [self.default_command, *args]
        return super().parse_args(ctx, args)


plan_app = typer.Typer(
    cls=PlanGroup,
    help="Plan a goal, or show, check and edit a plan.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="`planwave plan GOAL` is short for `planwave plan make GOAL`; write `make` if the goal is a command's name.",
)


@command(plan_app, PLAN_JSON, MODEL, DATA, CONFIG)
def make(
    goal: Annotated[str, typer.Argument(metavar="GOAL", help="What is to be found out or done.")],
    *,
    context: "CommandContext",
    options: "RunOptions",
) -> int:
    """Plan a goal and run nothing."""
    from graphs.cli.plan_commands.plan import plan_goal

    return plan_goal(goal, options=options, context=context)


@command(plan_app, DATABASE, JSON)
def show(
    file: PlanFileArgument = None,
    *,
    thread: ThreadOption = None,
    context: "CommandContext",
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print the plan as a Mermaid flowchart.")] = False,
) -> int:
    """Show a plan wave by wave, with its phases."""
    from graphs.cli.plan_commands.plan_view import show_plan

    return show_plan(file, thread=thread, context=context, mermaid=mermaid)


@command(plan_app, DATABASE, JSON, DATA, CONFIG)
def validate(
    file: PlanFileArgument = None,
    *,
    thread: ThreadOption = None,
    context: "CommandContext",
    options: "RunOptions",
) -> int:
    """Compile a plan against the tools and name every problem; nothing runs."""
    from graphs.cli.plan_commands.plan_view import validate_plan

    return validate_plan(file, thread=thread, options=options, context=context)


@command(plan_app, DATABASE, JSON)
def add(
    words: Annotated[
        list[str],
        typer.Argument(metavar="[FILE] TASK", help='As JSON: {"id": ..., "tool": ..., "args": ...}.'),
    ],
    *,
    before: BeforeOption = None,
    after: AfterOption = None,
    thread: ThreadOption = None,
    context: "CommandContext",
) -> int:
    """Add a task, last or next to another one; if the file does not exist, it is made."""
    from graphs.cli.plan_commands.plan_edit import add_task

    return add_task(words, thread=thread, before=before, after=after, context=context)


@command(
    plan_app,
    *(DATABASE, JSON),
    examples=(
        "planwave plan edit top.json file args.path=other.csv args.overwrite=true",
        "planwave plan edit top.json chart description='Revenue by customer' depends_on=customers,products",
        "planwave plan edit --thread THREAD file timeout_s=60 condition=null",
        """planwave plan edit top.json file '{"id": "table", "args": {"path": "a.csv", "content": "x"}}'""",
    ),
)
def edit(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[FILE] TASK CHANGES",
            help="FIELD=VALUE, also within a field (args.path=a.csv), or all as a JSON object; null: back to default.",
        ),
    ],
    *,
    thread: ThreadOption = None,
    context: "CommandContext",
) -> int:
    """Change fields of a task; a new id goes into every reference."""
    from graphs.cli.plan_commands.plan_edit import edit_task

    return edit_task(words, thread=thread, context=context)


@command(plan_app, DATABASE, JSON)
def remove(
    words: TaskArguments,
    *,
    detach: Annotated[bool, typer.Option("--detach", help="Drop it from what other tasks wait for.")] = False,
    dependents: Annotated[
        bool, typer.Option("--dependents", help="Also remove every task that depends on it.")
    ] = False,
    thread: ThreadOption = None,
    context: "CommandContext",
) -> int:
    """Remove a task that no other task refers to."""
    from graphs.cli.plan_commands.plan_edit import remove_task

    return remove_task(words, thread=thread, detach=detach, dependents=dependents, context=context)


@command(plan_app, DATABASE, JSON)
def move(
    words: TaskArguments,
    *,
    before: BeforeOption = None,
    after: AfterOption = None,
    thread: ThreadOption = None,
    context: "CommandContext",
) -> int:
    """List a task before or after another one, or last."""
    from graphs.cli.plan_commands.plan_edit import move_task

    return move_task(words, thread=thread, before=before, after=after, context=context)


@command(plan_app, DATABASE, as_json=True)
def export(
    file: PlanFileArgument = None,
    *,
    thread: ThreadOption = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="Write here. Default: standard output.")
    ] = None,
    context: "CommandContext",
) -> int:
    """Write a plan as a document that `run --plan` takes, with its goal."""
    from graphs.cli.plan_commands.plan_view import export_plan

    return export_plan(file, thread=thread, to=to, context=context)
