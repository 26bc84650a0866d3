"""The `planwave` command."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from graphs.console.manner import Manner
    from graphs.console.wanted import Wanted

app = typer.Typer(
    help="Plan a goal as a graph of tool calls, ask before acting, run what can run at once, and survive a restart.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Help in plain text: drawing it with rich takes longer than all the rest of it.
    rich_markup_mode=None,
    add_completion=False,
    epilog="Exit status: 0 completed, 1 failed, 2 bad use, 3 waiting for approval, 130 stopped by Ctrl-C.",
)
Dispatch = Literal["eager", "wave"]

models = typer.Typer(help="Show which model is used, or fetch the embedded one.", invoke_without_command=True)
app.add_typer(models, name="models")


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, all else on error.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Approve every call unasked.")]
Db = Annotated[
    str | None,
    typer.Option(
        metavar="URL", envvar="PLANWAVE_DB", help="sqlite:///FILE or postgresql://... Default: a file of yours."
    ),
]
Model = Annotated[str | None, typer.Option(metavar="NAME", help="openai:NAME or local.")]
Data = Annotated[
    str | None,
    typer.Option(
        metavar="PLACE", help="A database's URL, or a DuckDB, SQLite, CSV or Parquet file. Default: a sample shop."
    ),
]
Output = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where charts and saved files go.")]
DispatchOption = Annotated[
    Dispatch | None, typer.Option(help="Start a task when its needs are done (eager), or wave by wave.")
]
MaxReplans = Annotated[int | None, typer.Option(min=0, metavar="N", help="Replans before the run ends as failed.")]
Deadline = Annotated[float | None, typer.Option(metavar="SECONDS", help="After this time nothing new is begun.")]
Thread = Annotated[str, typer.Argument(metavar="THREAD", help="As `planwave threads` lists it.")]


@app.command()
def run(
    goal: Annotated[str | None, typer.Argument(metavar="GOAL", help="What is to be found out or done.")] = None,
    *,
    plan: Annotated[
        str | None, typer.Option(metavar="FILE", help="A plan to run instead of making one; `-` is standard input.")
    ] = None,
    thread: Annotated[str | None, typer.Option(metavar="ID", help="Name of the thread. Default: a new one.")] = None,
    db: Db = None,
    as_json: Json = False,
    yes: Yes = False,
    model: Model = None,
    data: Data = None,
    output: Output = None,
    dispatch: DispatchOption = None,
    max_replans: MaxReplans = None,
    deadline: Deadline = None,
) -> None:
    """Plan a goal and carry the plan out."""

    def work(manner: "Manner") -> int:
        from graphs.console.runs import start  # noqa: PLC0415 - keeps --help quick

        wanted = _wanted(model, data, output, dispatch, max_replans, deadline)
        return start(goal, plan_file=plan, thread=thread, wanted=wanted, manner=manner)

    _end(work, as_json=as_json, yes=yes, db=db)


@app.command()
def resume(
    thread: Thread,
    *,
    db: Db = None,
    as_json: Json = False,
    yes: Yes = False,
    model: Model = None,
    data: Data = None,
    output: Output = None,
    dispatch: DispatchOption = None,
    max_replans: MaxReplans = None,
    deadline: Deadline = None,
) -> None:
    """Go on with a thread: after Ctrl-C, a crash, or to answer an approval."""

    def work(manner: "Manner") -> int:
        from graphs.console.runs import resume as go_on  # noqa: PLC0415 - keeps --help quick

        return go_on(thread, wanted=_wanted(model, data, output, dispatch, max_replans, deadline), manner=manner)

    _end(work, as_json=as_json, yes=yes, db=db, thread=thread)


@app.command()
def threads(
    *,
    db: Db = None,
    as_json: Json = False,
    most: Annotated[int, typer.Option("--most", min=1, metavar="N", help="How many, newest first.")] = 50,
) -> None:
    """List the threads."""

    def work(manner: "Manner") -> int:
        from graphs.console.shown import list_threads  # noqa: PLC0415 - keeps --help quick

        return list_threads(settings=_wanted().settings(), manner=manner, most=most)

    _end(work, as_json=as_json, db=db)


@app.command()
def show(
    thread: Thread,
    *,
    db: Db = None,
    as_json: Json = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print only the plan, as a Mermaid flowchart.")] = False,
) -> None:
    """Show a thread: plan, statuses, timings, results, answer."""

    def work(manner: "Manner") -> int:
        from graphs.console.shown import show_thread  # noqa: PLC0415 - keeps --help quick

        return show_thread(thread, settings=_wanted().settings(), manner=manner, picture=mermaid)

    _end(work, as_json=as_json, db=db, thread=thread)


@app.command()
def plan(
    goal: Annotated[str, typer.Argument(metavar="GOAL", help="What is to be found out or done.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan document, which `run --plan` takes.")] = False,
    model: Model = None,
    data: Data = None,
) -> None:
    """Plan a goal and run nothing."""

    def work(manner: "Manner") -> int:
        from graphs.console.planning import plan_goal  # noqa: PLC0415 - keeps --help quick

        return plan_goal(goal, wanted=_wanted(model, data), manner=manner)

    _end(work, as_json=as_json)


@app.command()
def tools(*, as_json: Json = False, data: Data = None) -> None:
    """List the tools that a plan can use."""

    def work(manner: "Manner") -> int:
        from graphs.console.planning import list_tools  # noqa: PLC0415 - keeps --help quick

        return list_tools(wanted=_wanted(data=data), manner=manner)

    _end(work, as_json=as_json)


@models.callback()
def list_models(context: typer.Context, *, as_json: Json = False) -> None:
    """Show which model is used, and what there is of the embedded one."""
    if context.invoked_subcommand is not None:
        return

    def work(manner: "Manner") -> int:
        from graphs.console.modelling import list_models as list_them  # noqa: PLC0415 - keeps --help quick

        return list_them(manner=manner)

    _end(work, as_json=as_json)


@models.command()
def pull(*, as_json: Json = False) -> None:
    """Fetch the weights of the embedded model into the cache; a fetch that was stopped goes on."""

    def work(manner: "Manner") -> int:
        from graphs.console.modelling import pull_model  # noqa: PLC0415 - keeps --help quick

        return pull_model(manner=manner)

    _end(work, as_json=as_json)


def main() -> None:
    """Run the command line."""
    app()


def _wanted(
    model: str | None = None,
    data: str | None = None,
    output: Path | None = None,
    dispatch: Dispatch | None = None,
    max_replans: int | None = None,
    deadline: float | None = None,
) -> "Wanted":
    from graphs.console.wanted import Wanted  # noqa: PLC0415 - keeps --help quick

    return Wanted(
        model=model,
        data=data,
        output=output,
        dispatch=dispatch,
        max_replans=max_replans,
        deadline_s=deadline,
    )


def _end(
    work: Callable[["Manner"], int],
    *,
    as_json: bool,
    yes: bool = False,
    db: str | None = None,
    thread: str | None = None,
) -> None:
    """Do the work of a command and leave with its exit status; an error of ours is one sentence."""
    from graphs.console.door import leave_with  # noqa: PLC0415 - keeps --help quick

    raise typer.Exit(leave_with(work, as_json=as_json, yes=yes, db=db, thread=thread))


if __name__ == "__main__":
    main()
