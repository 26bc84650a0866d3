"""The `planwave` command. Each command imports what it needs when it runs, so that `planwave --help` stays quick."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphs.cli.decorators import command, default_command
from graphs.cli.library_app import library_app
from graphs.cli.options import (
    APPROVE_ALL,
    CONFIG,
    DATA,
    DATABASE,
    JSON,
    REPORT,
    RUN_OPTIONS,
    WATCH,
    GoalArgument,
    InputsOption,
    NewThreadOption,
    PlanOption,
    ThreadArgument,
    get_exclusive_flag,
    verbosity,
)
from graphs.cli.plan_app import plan_app
from graphs.cli.threads_app import threads_app
from graphs.cli.workers_app import workers_app

if TYPE_CHECKING:
    from graphs.cli.terminal.command_context import CommandContext
    from graphs.cli.terminal.run_options import RunOptions

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
app.add_typer(workers_app, name="workers")
app.add_typer(library_app, name="library")


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

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


@command(app, DATABASE, JSON, APPROVE_ALL, REPORT, WATCH, *RUN_OPTIONS)
def run(
    goal: GoalArgument = None,
    *,
    plan: PlanOption = None,
    inputs: InputsOption = None,
    thread: NewThreadOption = None,
    queue: Annotated[
        bool, typer.Option("--queue", help="Let workers run it (`planwave worker`); watch it, and ask here.")
    ] = False,
    context: "CommandContext",
    options: "RunOptions",
) -> int:
    """Plan a goal and carry the plan out."""
    from graphs.cli.commands.run import run_goal

    if queue:
        from graphs.cli.commands.workers import run_queued

        return run_queued(goal, plan_file=plan, inputs=inputs or (), thread=thread, options=options, context=context)
    return run_goal(goal, plan_file=plan, inputs=inputs or (), thread=thread, options=options, context=context)


@command(
    app,
    *(DATABASE, JSON, APPROVE_ALL, REPORT, WATCH, *RUN_OPTIONS),
    examples=(
        "planwave resume THREAD --approve file",
        'planwave resume THREAD --approve 3f2a9c11 --reject mail --why "not to everybody"',
        "planwave resume THREAD --answers answers.json",
    ),
)
def resume(
    thread: ThreadArgument,
    *,
    approve: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID", help="Approve this call: its task, its digest, or how one of them begins; give it for each."
        ),
    ] = None,
    reject: Annotated[list[str] | None, typer.Option(metavar="ID", help="Reject this call; give it for each.")] = None,
    why: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Why, for the replanner: for each --reject, or for all.")
    ] = None,
    answers: Annotated[
        str | None,
        typer.Option(metavar="FILE", help='Answers as JSON, {"decisions": [...]}; `-` is standard input.'),
    ] = None,
    context: "CommandContext",
    options: "RunOptions",
) -> int:
    """Continue a thread: after Ctrl-C, a crash, with a raised budget, or to answer what it waits for."""
    from graphs.cli.commands.given_answers import GivenAnswers
    from graphs.cli.commands.run import resume_thread

    given = GivenAnswers(approved=approve or (), rejected=reject or (), reasons=why or (), file=answers)
    return resume_thread(thread, answers=given, options=options, context=context)


@command(app, DATABASE, JSON)
def migrate(*, context: "CommandContext") -> int:
    """Create or upgrade the tables of a database; every other command does so too, if the database allows it."""
    from graphs.cli.commands.retention import migrate_tables

    return migrate_tables(context=context)


@command(app, DATABASE, JSON)
def show(
    thread: ThreadArgument,
    *,
    context: "CommandContext",
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print only the plan, as a Mermaid flowchart.")] = False,
    prov: Annotated[bool, typer.Option("--prov", help="Print where each result came from, as W3C PROV-JSON.")] = False,
    xml: Annotated[bool, typer.Option("--xml", help="Print what --json prints, as XML.")] = False,
) -> int:
    """Show a thread: plan, statuses, timings, results, answer."""
    from graphs.cli.commands.show import export_thread, show_thread

    form = get_exclusive_flag(mermaid=mermaid, prov=prov, xml=xml)
    if form in {"prov", "xml"}:
        return export_thread(thread, context=context, form=form)
    return show_thread(thread, context=context, mermaid=mermaid)


@command(app, DATABASE)
def report(
    thread: ThreadArgument,
    *,
    to: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to write it; `-` is standard output. Default: THREAD.html."),
    ] = None,
    opened: Annotated[bool, typer.Option("--open", help="Open it in your browser.")] = False,
    context: "CommandContext",
) -> int:
    """Write a thread as one HTML page: answer, plan, timeline, approvals, what each result rests on."""
    from graphs.cli.commands.report import write_thread_report

    return write_thread_report(thread, to=to, opened=opened, context=context)


@command(app, JSON, DATA, CONFIG)
def tools(*, context: "CommandContext", options: "RunOptions") -> int:
    """List the tools that a plan can use."""
    from graphs.cli.plan_commands.plan import list_tools

    return list_tools(options=options, context=context)


@command(app, DATABASE, *RUN_OPTIONS, as_json=True)
def mcp(
    *,
    http: Annotated[
        int | None,
        typer.Option("--http", metavar="PORT", min=1, max=65535, help="Serve on this port of 127.0.0.1 instead."),
    ] = None,
    context: "CommandContext",
    options: "RunOptions",
) -> int:
    """Serve plan, validate, run, answer, show and each program of the library as tools of an MCP server."""
    from graphs.cli.commands.serve_mcp import serve_mcp

    return serve_mcp(port=http, options=options, context=context)


@default_command(models_app, JSON)
def models(*, context: "CommandContext") -> int:
    """Show which model is used, and the state of the embedded one."""
    from graphs.cli.commands.models import print_models

    return print_models(context=context)


@command(models_app, JSON)
def pull(*, context: "CommandContext") -> int:
    """Fetch the weights of the embedded model into the cache; a fetch that was stopped continues."""
    from graphs.cli.commands.models import pull_model

    return pull_model(context=context)


@command(app, DATABASE)
def worker(
    *,
    context: "CommandContext",
    graph: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="A function that takes a persistence and returns a graph. Default: the default tools.",
        ),
    ] = None,
    slots: Annotated[int, typer.Option(min=1, metavar="N", help="Threads, or calls, at a time.")] = 8,
    threads: Annotated[bool, typer.Option("--threads", help="Run threads: what a worker does by default.")] = False,
    calls: Annotated[
        str | None,
        typer.Option(metavar="POOL", help="Make calls of the tools of this pool, for runs of other processes."),
    ] = None,
) -> int:
    """Run submitted threads until Ctrl-C or SIGTERM; any number of workers, on any machines, share a database."""
    from graphs.cli.commands.workers import run_thread_worker

    if threads and calls is not None:
        raise typer.BadParameter("give either --threads or --calls.")
    return run_thread_worker(graph=graph, slots=slots, calls=calls, context=context)


@command(app, DATABASE, JSON)
def submit(
    goal: GoalArgument = None,
    *,
    plan: PlanOption = None,
    inputs: InputsOption = None,
    thread: NewThreadOption = None,
    context: "CommandContext",
) -> int:
    """Give a goal to the workers and print its thread."""
    from graphs.cli.commands.workers import submit_goal

    return submit_goal(goal, plan_file=plan, inputs=inputs or (), thread=thread, context=context)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
