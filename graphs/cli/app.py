"""The `planwave` command."""

from typing import TYPE_CHECKING, Annotated

import typer

from graphs.cli.options import (
    Budgets,
    Config,
    Data,
    Db,
    Deadline,
    DispatchOption,
    Json,
    MaxCost,
    MaxModelCalls,
    MaxReplans,
    MaxTasks,
    MaxTokens,
    Model,
    Output,
    Thread,
    Yes,
    end,
    one_of,
    wanted,
)
from graphs.cli.plan_app import plans
from graphs.cli.threads_app import threads

if TYPE_CHECKING:
    from graphs.cli.terminal.command_context import Manner

app = typer.Typer(
    help="Plan a goal as a graph of tool calls, ask before acting, run what can run at once, and survive a restart.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Help in plain text: drawing it with rich takes longer than all the rest of it.
    rich_markup_mode=None,
    add_completion=False,
    epilog="Exit status: 0 completed, 1 failed, 2 bad use, 3 waiting for approval, 130 stopped by Ctrl-C.",
)

models = typer.Typer(help="Show which model is used, or fetch the embedded one.", invoke_without_command=True)
app.add_typer(models, name="models")
app.add_typer(threads, name="threads")
app.add_typer(plans, name="plan")


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
    max_tasks: MaxTasks = None,
    max_model_calls: MaxModelCalls = None,
    max_tokens: MaxTokens = None,
    max_cost: MaxCost = None,
    deadline: Deadline = None,
    config: Config = None,
) -> None:
    """Plan a goal and carry the plan out."""

    def work(manner: "Manner") -> int:
        from graphs.cli.commands.run import start  # noqa: PLC0415 - keeps --help quick

        budgets = Budgets(max_tasks, max_model_calls, max_tokens, max_cost)
        chosen = wanted(model, data, output, dispatch, max_replans, deadline, config, budgets=budgets)
        return start(goal, plan_file=plan, thread=thread, wanted=chosen, manner=manner)

    end(work, as_json=as_json, yes=yes, db=db)


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
    max_tasks: MaxTasks = None,
    max_model_calls: MaxModelCalls = None,
    max_tokens: MaxTokens = None,
    max_cost: MaxCost = None,
    deadline: Deadline = None,
    config: Config = None,
) -> None:
    """Go on with a thread: after Ctrl-C, a crash, a budget that is raised now, or to answer a question."""

    def work(manner: "Manner") -> int:
        from graphs.cli.commands.run import resume as go_on  # noqa: PLC0415 - keeps --help quick

        budgets = Budgets(max_tasks, max_model_calls, max_tokens, max_cost)
        chosen = wanted(model, data, output, dispatch, max_replans, deadline, config, budgets=budgets)
        return go_on(thread, wanted=chosen, manner=manner)

    end(work, as_json=as_json, yes=yes, db=db, thread=thread)


@app.command()
def migrate(*, db: Db = None, as_json: Json = False) -> None:
    """Make the tables of a database, or bring them up to date; every command does so too where it may."""

    def work(manner: "Manner") -> int:
        from graphs.cli.commands.retention import migrate_tables  # noqa: PLC0415 - keeps --help quick

        return migrate_tables(settings=wanted().settings(), manner=manner)

    end(work, as_json=as_json, db=db)


@app.command()
def show(
    thread: Thread,
    *,
    db: Db = None,
    as_json: Json = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print only the plan, as a Mermaid flowchart.")] = False,
    prov: Annotated[bool, typer.Option("--prov", help="Print where each result came from, as W3C PROV-JSON.")] = False,
    xml: Annotated[bool, typer.Option("--xml", help="Print what --json prints, as XML.")] = False,
) -> None:
    """Show a thread: plan, statuses, timings, results, answer."""

    def work(manner: "Manner") -> int:
        from graphs.cli.commands.show import export_thread, show_thread  # noqa: PLC0415 - keeps --help quick

        form = one_of(mermaid=mermaid, prov=prov, xml=xml)
        if form in {"prov", "xml"}:
            return export_thread(thread, settings=wanted().settings(), manner=manner, form=form)
        return show_thread(thread, settings=wanted().settings(), manner=manner, picture=mermaid)

    end(work, as_json=as_json, db=db, thread=thread)


@app.command()
def tools(*, as_json: Json = False, data: Data = None, config: Config = None) -> None:
    """List the tools that a plan can use."""

    def work(manner: "Manner") -> int:
        from graphs.cli.commands.plan import list_tools  # noqa: PLC0415 - keeps --help quick

        return list_tools(wanted=wanted(data=data, config=config), manner=manner)

    end(work, as_json=as_json)


@models.callback()
def list_models(context: typer.Context, *, as_json: Json = False) -> None:
    """Show which model is used, and what there is of the embedded one."""
    if context.invoked_subcommand is not None:
        return

    def work(manner: "Manner") -> int:
        from graphs.cli.commands.models import list_models as list_them  # noqa: PLC0415 - keeps --help quick

        return list_them(manner=manner)

    end(work, as_json=as_json)


@models.command()
def pull(*, as_json: Json = False) -> None:
    """Fetch the weights of the embedded model into the cache; a fetch that was stopped goes on."""

    def work(manner: "Manner") -> int:
        from graphs.cli.commands.models import pull_model  # noqa: PLC0415 - keeps --help quick

        return pull_model(manner=manner)

    end(work, as_json=as_json)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
