"""A command of `planwave`, made from a function that returns an exit status."""

from collections.abc import Callable, Sequence
from functools import cached_property
from inspect import Parameter, Signature, signature
from typing import Any

import typer
from typer.core import TyperCommand

from graphs.cli.options import SharedOption

#: Takes its own arguments and options, `context` and, if it wants them, `options`; returns the exit status.
CommandFunction = Callable[..., int]
#: The options that become the `CommandContext`.
_CONTEXT_OPTIONS = ("as_json", "yes", "db", "report", "watch")


def command(
    group: typer.Typer, *shared: SharedOption, as_json: bool = False, examples: Sequence[str] = ()
) -> Callable[[CommandFunction], CommandFunction]:
    """Return a decorator that makes a function a command of `group`, named and described as the function is.

    `shared` are options that the function does not take one by one: it gets them as `context` (`CommandContext`) and
    `options` (`RunOptions`), and the help lists them at the positions of these parameters. `as_json` is the output mode
    of a command without the option `--json`; the help ends with the `examples`.
    """
    # Of what begins with \b the lines are kept as they are.
    epilog = "\n".join(["\b", "Examples:", *(f"  {example}" for example in examples)]) if examples else None

    def register(function: CommandFunction) -> CommandFunction:
        parts = {"build_callback": lambda _: _build_callback(function, shared, as_json=as_json)}
        # A placeholder: what it is built from is read when the command is run, or its own help is shown.
        lazy = type("LazyCommand", (_LazyCommand,), parts)
        group.command(function.__name__, cls=lazy, help=function.__doc__, epilog=epilog)(lambda: None)
        return function

    return register


def default_command(group: typer.Typer, *shared: SharedOption) -> Callable[[CommandFunction], CommandFunction]:
    """Return a decorator that makes a function what `group` does when no command of it is named; else as `command`."""

    def register(function: CommandFunction) -> CommandFunction:
        run_default = _build_callback(function, shared)

        def run_unless_subcommand(invocation: typer.Context, **values: Any) -> None:  # noqa: ANN401 - of the options
            if invocation.invoked_subcommand is None:
                run_default(**values)
            else:
                _reject_group_options(invocation)

        own = Parameter("invocation", Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
        _set_parameters(run_unless_subcommand, [own, *signature(run_default).parameters.values()])
        group.callback()(run_unless_subcommand)
        return function

    return register


class _LazyCommand(TyperCommand):
    """A command that is built when it is first needed, so that the list of all commands is shown without `Settings`."""

    build_callback: Callable[[], Callable[..., None]]

    @cached_property
    def _built(self) -> Any:  # noqa: ANN401 - typer keeps click's `Command` to itself
        app = typer.Typer(add_completion=False)
        app.command()(self.build_callback())
        return typer.main.get_command(app)

    @property
    def params(self) -> Any:  # noqa: ANN401 - as above
        return self._built.params

    @params.setter
    def params(self, _: object) -> None:
        """Ignore the placeholder's."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as above
        """Run the command."""
        return self._built.invoke(ctx)


def _build_callback(
    function: CommandFunction, shared: Sequence[SharedOption], *, as_json: bool = False
) -> Callable[..., None]:
    """Return the function that typer calls: it exits with the status that `function` returns."""
    own = signature(function).parameters
    expanded = [option for each in shared for option in ([each] if isinstance(each, Parameter) else each())]
    chosen = [option for option in expanded if option.name not in _CONTEXT_OPTIONS]

    def run_and_exit(**values: Any) -> None:  # noqa: ANN401 - of the options
        from graphs.cli.commands.exit import run_command  # noqa: PLC0415 - loads LangGraph
        from graphs.cli.terminal.run_options import RunOptions  # noqa: PLC0415 - as above

        about = {
            "thread": values.get("thread"),
            "as_json": as_json,
            **{name: values.pop(name) for name in _CONTEXT_OPTIONS if name in values},
        }
        options = {option.name: values.pop(option.name) for option in chosen}
        if "options" in own:
            values["options"] = RunOptions(**options)
        raise typer.Exit(run_command(lambda context: function(context=context, **values), **about))

    places = {"context": [option for option in expanded if option.name in _CONTEXT_OPTIONS], "options": chosen}
    _set_parameters(run_and_exit, [each for name in own for each in places.get(name, [own[name]])])
    return run_and_exit


def _set_parameters(function: Callable[..., None], parameters: Sequence[Parameter]) -> None:
    """Give a function that takes any keywords the parameters that typer makes options of."""
    function.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # read by `inspect.signature`
    function.__annotations__ = {each.name: each.annotation for each in parameters}


def _reject_group_options(invocation: typer.Context) -> None:
    """Refuse options between a group and its command, which would be read and do nothing: `--db` above all."""
    for name in invocation.params:
        if str(invocation.get_parameter_source(name)).endswith("COMMANDLINE"):
            option = name.removeprefix("as_")
            raise typer.BadParameter(f"write --{option} after {invocation.invoked_subcommand!r}.")
