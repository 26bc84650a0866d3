"""The options that commands share.

`planwave --help` stays quick because nothing here loads pydantic or LangGraph: `list_setting_options` does, and it is
called only when `run` or `resume` is run or shows its own help.
"""

from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import typer

#: How often `-v` was given before the command.
verbosity: ContextVar[int] = ContextVar("planwave_verbosity", default=0)

#: An option, or what returns several when they are needed.
SharedOption = Parameter | Callable[[], Iterable[Parameter]]


def _declare(name: str, annotation: Any, default: object = None) -> Parameter:  # noqa: ANN401 - as typer reads it
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


JSON = _declare(
    "as_json",
    Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object on standard output, everything else on standard error."),
    ],
    default=False,
)
PLAN_JSON = JSON.replace(
    annotation=Annotated[bool, typer.Option("--json", help="Print the plan document, which `run --plan` takes.")]
)
APPROVE_ALL = _declare(
    "yes", Annotated[bool, typer.Option("--yes", "-y", help="Approve every call without asking.")], default=False
)
SKIP_CONFIRMATION = APPROVE_ALL.replace(
    annotation=Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")]
)
TAKE_PROPOSED = APPROVE_ALL.replace(
    annotation=Annotated[bool, typer.Option("--yes", "-y", help="Take the proposed inputs without asking.")]
)
REPORT = _declare(
    "report",
    Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the report of the run to FILE, one HTML page, when it ends or waits."),
    ],
)
WATCH = _declare(
    "watch",
    Annotated[
        bool, typer.Option("--watch", help="Show the report in your browser while the run runs; only on this machine.")
    ],
    default=False,
)
DATABASE = _declare(
    "db",
    Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="PLANWAVE_DB",
            help="sqlite:///FILE or postgresql://... Default: a file in your data folder.",
        ),
    ],
)
MODEL = _declare(
    "model", Annotated[str | None, typer.Option(metavar="NAME", help="openai:NAME, another PROVIDER:NAME or local.")]
)
DATA = _declare(
    "data",
    Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLACE",
            help="A database URL, or a DuckDB, SQLite, CSV, JSON, Excel or Parquet file; several as NAME=PLACE each. "
            "Default: a sample shop.",
        ),
    ],
)
CONFIG = _declare(
    "config",
    Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="PLANWAVE_CONFIG",
            help="Names the MCP servers whose tools a plan can use. Default: planwave.toml in the current folder, "
            "once you have agreed to it.",
        ),
    ],
)
GoalArgument = Annotated[str | None, typer.Argument(metavar="GOAL", help="What is to be found out or done.")]
PlanOption = Annotated[
    str | None, typer.Option(metavar="FILE", help="A plan to run instead of making one; `-` is standard input.")
]
InputsOption = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="NAME=VALUE", help="A value for an input of the plan; give it for each input."),
]
NewThreadOption = Annotated[str | None, typer.Option(metavar="ID", help="Name of the thread. Default: a new one.")]
ThreadArgument = Annotated[str, typer.Argument(metavar="THREAD", help="A thread as `planwave threads` lists it.")]

#: Of a setting whose option is not simply `--its-name N`: the spelling and the placeholder of its value.
_SPELLINGS = {
    "output_folder": ("--output", "FOLDER"),
    "dispatch": ("--dispatch", None),
    "max_cost": ("--max-cost", "SUM"),
    "deadline_s": ("--deadline", "SECONDS"),
    "time_zone": ("--time-zone", "NAME"),
    "sql_dialect": ("--sql-dialect", "NAME"),
}


def list_setting_options() -> Iterator[Parameter]:
    """Yield an option for each setting that a run can choose; type, lower bound and help are the field's own.

    The environment variable is named but not read here: an option that is given replaces what a resumed thread
    remembers, and the environment does not.
    """
    from agent.settings import Settings  # noqa: PLC0415 - see the top of the file
    from graphs.cli.terminal.run_options import RunOptions  # noqa: PLC0415 - as above

    for name in RunOptions.model_fields:
        field = Settings.model_fields.get(name)
        if field is None:
            continue
        spelling, metavar = _SPELLINGS.get(name, (f"--{name.replace('_', '-')}", "N"))
        minimum = next((bound.ge for bound in field.metadata if hasattr(bound, "ge")), None)
        about = f"{' '.join((field.description or '').split())}  [env var: PLANWAVE_{name.upper()}]"
        option = typer.Option(spelling, metavar=metavar, min=minimum, help=about)
        yield _declare(name, Annotated[field.annotation | None, option])  # type: ignore[operator]  # a field has a type


#: What decides what a run works with; together they are a `RunOptions`.
RUN_OPTIONS: tuple[SharedOption, ...] = (MODEL, DATA, list_setting_options, CONFIG)


def get_exclusive_flag(**flags: bool) -> str | None:
    """Return the name of the one flag that is set, or None. Raises `BadParameter` if several are."""
    chosen = [name for name, is_set in flags.items() if is_set]
    if len(chosen) > 1:
        raise typer.BadParameter(f"give either --{chosen[0]} or --{chosen[1]}.")
    return chosen[0] if chosen else None
