"""What all commands share: where they print, whether they ask, and where threads are stored."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from rich.control import Control
from rich.segment import ControlType

from graphs.cli.terminal.run_options import RunOptions
from graphs.cli.terminal.screen import Screen
from graphs.cli.terminal.signals import Stopper
from graphs.persistence import Persistence, open_persistence

_DEFAULT_FILE = "planwave.db"


@dataclass(frozen=True, slots=True)
class CommandContext:
    """The screen, the output mode and the database of one command."""

    screen: Screen
    as_json: bool
    #: Approve every call, or delete, without asking.
    auto_approve: bool = False
    #: The database's URL as given; None is the file in the data folder.
    db: str | None = None
    #: Where to write the report of a run when it ends or waits.
    report: Path | None = None
    #: Whether to show the report of a run in a browser while it runs.
    watch: bool = False

    def create_stopper(self) -> Stopper:
        """Return what catches Ctrl-C and SIGTERM for this command."""
        notice = "Stopping: no new task is started, running ones have a few seconds to end; Ctrl-C again ends at once."

        def say_notice() -> None:
            if self.screen.live:
                # Over the `^C` that the terminal has written: behind it the last word of a line would be broken.
                self.screen.console.control(Control((ControlType.CARRIAGE_RETURN,)))
            self.screen.say(notice, style="yellow")

        return Stopper(on_stop=say_notice)

    def open_database(self) -> AbstractAsyncContextManager[Persistence]:
        """Open the database of the command. Raises as `open_persistence` and `resolve_database_url`."""
        return open_persistence(self.resolve_database_url())

    def resolve_database_url(self) -> str:
        """Return the URL of the database. Raises `SettingsError` if it is the default and a setting is wrong."""
        if self.db is not None:
            return self.db
        file = (RunOptions().build_settings().data_folder.expanduser().absolute() / _DEFAULT_FILE).as_posix()
        return f"sqlite:///{quote(file, safe='/:')}"
