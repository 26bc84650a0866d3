"""The `planwave` command."""

from typing import TYPE_CHECKING, Annotated

import typer

from graphs.cli.options import (
    ApproveAllOption,
    BudgetOptions,
    ConfigOption,
    DatabaseOption,
    DataOption,
    DeadlineOption,
    DispatchOption,
    JsonOption,
    MaxCostOption,
    MaxModelCallsOption,
    MaxReplansOption,
    MaxTasksOption,
    MaxTokensOption,
    ModelOption,
    OutputOption,
    ThreadArgument,
    build_run_options,
    get_exclusive_flag,
    run_and_exit,
    verbosity,
)
from graphs.cli.plan_app import plan_app
from graphs.cli.threads_app import threads_app

if TYPE_CHECKING:
    from graphs.cli.terminal.command_context import CommandContext

app = typer.Typer(
    help="Plan a goal as a graph of tool calls, ask before acting, run what can run at once, and survive a restart.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Help in plain text: drawing it with rich takes longer than all the rest of it.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 completed, 1 failed, 2 bad use, 3 waiting for approval, 130 stopped by Ctrl-C.",
)

models_app = typer.Typer(help="Show which model is used, or fetch the embedded one.", invoke_without_command=True)
app.add_typer(models_app, name="models")
app.add_typer(threads_app, name="threads")
app.add_typer(plan_app, name="plan")


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version  # noqa: PLC0415 - keeps --help quick

        typer.echo(f"planwave {version('planwave')}")
        raise typer.Exit


@app.callback()
def take_common_options(
    *,
    verbose: Annotated[
        int, typer.Option("-v", count=True, show_default=False, help="Log what is done to standard error; -vv: more.")
    ] = 0,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keep what holds for every command."""
    del version
    verbosity.set(verbose)


@app.command()
def run(
    goal: Annotated[str | None, typer.Argument(metavar="GOAL", help="What is to be found out or done.")] = None,
    *,
    plan: Annotated[
        str | None, typer.Option(metavar="FILE", help="A plan to run instead of making one; `-` is standard input.")
    ] = None,
    thread: Annotated[str | None, typer.Option(metavar="ID", help="Name of the thread. Default: a new one.")] = None,
    db: DatabaseOption = None,
    as_json: JsonOption = False,
    yes: ApproveAllOption = False,
    model: ModelOption = None,
    data: DataOption = None,
    output: OutputOption = None,
    dispatch: DispatchOption = None,
    max_replans: MaxReplansOption = None,
    max_tasks: MaxTasksOption = None,
    max_model_calls: MaxModelCallsOption = None,
    max_tokens: MaxTokensOption = None,
    max_cost: MaxCostOption = None,
    deadline: DeadlineOption = None,
    config: ConfigOption = None,
) -> None:
    """Plan a goal and carry the plan out."""

    def run_command(manner: "CommandContext") -> int:
        from graphs.cli.commands.run import run_goal  # noqa: PLC0415 - keeps --help quick

        budgets = BudgetOptions(max_tasks, max_model_calls, max_tokens, max_cost)
        chosen = build_run_options(model, data, output, dispatch, max_replans, deadline, config, budgets=budgets)
        return run_goal(goal, plan_file=plan, thread=thread, options=chosen, context=manner)

    run_and_exit(run_command, as_json=as_json, yes=yes, db=db)


@app.command()
def resume(
    thread: ThreadArgument,
    *,
    db: DatabaseOption = None,
    as_json: JsonOption = False,
    yes: ApproveAllOption = False,
    model: ModelOption = None,
    data: DataOption = None,
    output: OutputOption = None,
    dispatch: DispatchOption = None,
    max_replans: MaxReplansOption = None,
    max_tasks: MaxTasksOption = None,
    max_model_calls: MaxModelCallsOption = None,
    max_tokens: MaxTokensOption = None,
    max_cost: MaxCostOption = None,
    deadline: DeadlineOption = None,
    config: ConfigOption = None,
) -> None:
    """Go on with a thread: after Ctrl-C, a crash, a budget that is raised now, or to answer a question."""

    def run_command(manner: "CommandContext") -> int:
        from graphs.cli.commands.run import resume_thread as go_on  # noqa: PLC0415 - keeps --help quick

        budgets = BudgetOptions(max_tasks, max_model_calls, max_tokens, max_cost)
        chosen = build_run_options(model, data, output, dispatch, max_replans, deadline, config, budgets=budgets)
        return go_on(thread, options=chosen, context=manner)

    run_and_exit(run_command, as_json=as_json, yes=yes, db=db, thread=thread)


@app.command()
def migrate(*, db: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Make the tables of a database, or bring them up to date; every command does so too where it may."""

    def run_command(manner: "CommandContext") -> int:
        from graphs.cli.commands.retention import migrate_tables  # noqa: PLC0415 - keeps --help quick

        return migrate_tables(settings=build_run_options().build_settings(), context=manner)

    run_and_exit(run_command, as_json=as_json, db=db)


@app.command()
def show(
    thread: ThreadArgument,
    *,
    db: DatabaseOption = None,
    as_json: JsonOption = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print only the plan, as a Mermaid flowchart.")] = False,
    prov: Annotated[bool, typer.Option("--prov", help="Print where each result came from, as W3C PROV-JSON.")] = False,
    xml: Annotated[bool, typer.Option("--xml", help="Print what --json prints, as XML.")] = False,
) -> None:
    """Show a thread: plan, statuses, timings, results, answer."""

    def run_command(manner: "CommandContext") -> int:
        from graphs.cli.commands.show import export_thread, show_thread  # noqa: PLC0415 - keeps --help quick

        form = get_exclusive_flag(mermaid=mermaid, prov=prov, xml=xml)
        if form in {"prov", "xml"}:
            return export_thread(thread, settings=build_run_options().build_settings(), context=manner, form=form)
        return show_thread(thread, settings=build_run_options().build_settings(), context=manner, picture=mermaid)

    run_and_exit(run_command, as_json=as_json, db=db, thread=thread)


@app.command()
def tools(*, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """List the tools that a plan can use."""

    def run_command(manner: "CommandContext") -> int:
        from graphs.cli.commands.plan import list_tools  # noqa: PLC0415 - keeps --help quick

        return list_tools(options=build_run_options(data=data, config=config), context=manner)

    run_and_exit(run_command, as_json=as_json)


@models_app.callback()
def handle_models_group(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """Show which model is used, and what there is of the embedded one."""
    if context.invoked_subcommand is not None:
        return

    def run_command(manner: "CommandContext") -> int:
        from graphs.cli.commands.models import print_models as list_them  # noqa: PLC0415 - keeps --help quick

        return list_them(context=manner)

    run_and_exit(run_command, as_json=as_json)


@models_app.command()
def pull(*, as_json: JsonOption = False) -> None:
    """Fetch the weights of the embedded model into the cache; a fetch that was stopped goes on."""

    def run_command(manner: "CommandContext") -> int:
        from graphs.cli.commands.models import pull_model  # noqa: PLC0415 - keeps --help quick

        return pull_model(context=manner)

    run_and_exit(run_command, as_json=as_json)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
