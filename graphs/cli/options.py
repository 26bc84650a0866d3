"""The options that commands share, and what every command does with them."""

from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

if TYPE_CHECKING:
    from graphs.cli.terminal.command_context import CommandContext
    from graphs.cli.terminal.run_options import RunOptions

#: How often `-v` was given before the command.
verbosity: ContextVar[int] = ContextVar("planwave_verbosity", default=0)

DispatchMode = Literal["eager", "wave"]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, all else on error.")
]
ApproveAllOption = Annotated[bool, typer.Option("--yes", "-y", help="Approve every call unasked.")]
SkipConfirmationOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL", envvar="PLANWAVE_DB", help="sqlite:///FILE or postgresql://... Default: a file of yours."
    ),
]
ModelOption = Annotated[str | None, typer.Option(metavar="NAME", help="openai:NAME or local.")]
DataOption = Annotated[
    str | None,
    typer.Option(
        metavar="PLACE", help="A database's URL, or a DuckDB, SQLite, CSV or Parquet file. Default: a sample shop."
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        envvar="PLANWAVE_CONFIG",
        help="Names the MCP servers whose tools a plan can use. Default: planwave.toml beside you.",
    ),
]
OutputOption = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where charts and saved files go.")]
DispatchOption = Annotated[
    DispatchMode | None, typer.Option(help="Start a task when its needs are done (eager), or wave by wave.")
]
MaxReplansOption = Annotated[
    int | None, typer.Option(min=0, metavar="N", help="Replans before a person is asked, or the run ends as failed.")
]
MaxTasksOption = Annotated[int | None, typer.Option(min=1, metavar="N", help="Tasks of the run, replans included.")]
MaxModelCallsOption = Annotated[int | None, typer.Option(min=0, metavar="N", help="Calls of the model.")]
MaxTokensOption = Annotated[int | None, typer.Option(min=0, metavar="N", help="Tokens of the model, read and written.")]
MaxCostOption = Annotated[
    float | None, typer.Option(min=0, metavar="SUM", help="Cost of the model, as its server or PLANWAVE_PRICE_... say.")
]
DeadlineOption = Annotated[float | None, typer.Option(metavar="SECONDS", help="After this time nothing new is begun.")]
ThreadArgument = Annotated[str, typer.Argument(metavar="THREAD", help="As `planwave threads` lists it.")]


class BudgetOptions(NamedTuple):
    """What a run may use up; None leaves it to the settings."""

    max_tasks: int | None = None
    max_model_calls: int | None = None
    max_tokens: int | None = None
    max_cost: float | None = None


def build_run_options(
    model: str | None = None,
    data: str | None = None,
    output: Path | None = None,
    dispatch: DispatchMode | None = None,
    max_replans: int | None = None,
    deadline: float | None = None,
    config: Path | None = None,
    *,
    budgets: BudgetOptions | None = None,
) -> "RunOptions":
    """Return the options of a command as what is wanted of its run."""
    from graphs.cli.terminal.run_options import RunOptions  # noqa: PLC0415 - keeps --help quick

    return RunOptions(
        model=model,
        data=data,
        output=output,
        dispatch=dispatch,
        max_replans=max_replans,
        **(budgets._asdict() if budgets else {}),
        deadline_s=deadline,
        config=config,
    )


def get_exclusive_flag(**flags: bool) -> str | None:
    """Return the name of the one flag that is set, None where none is; two at once are bad use."""
    chosen = [name for name, is_set in flags.items() if is_set]
    if len(chosen) > 1:
        raise typer.BadParameter(f"give either --{chosen[0]} or --{chosen[1]}.")
    return chosen[0] if chosen else None


def run_and_exit(
    work: Callable[["CommandContext"], int],
    *,
    as_json: bool,
    yes: bool = False,
    db: str | None = None,
    thread: str | None = None,
) -> None:
    """Do the work of a command and leave with its exit status; an error of ours is one sentence."""
    from graphs.cli.commands.exit import run_command  # noqa: PLC0415 - keeps --help quick

    raise typer.Exit(run_command(work, as_json=as_json, yes=yes, db=db, thread=thread))
