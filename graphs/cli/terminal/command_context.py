"""How a command speaks, and where it keeps its threads."""

from dataclasses import dataclass
from urllib.parse import quote

from agent.settings import Settings
from graphs.cli.terminal.screen import Screen
from graphs.cli.terminal.signals import Stopper

_DEFAULT_FILE = "planwave.db"


@dataclass(frozen=True, slots=True)
class CommandContext:
    """What all commands on threads have in common."""

    screen: Screen
    as_json: bool
    #: Approve every call unasked.
    auto_approve: bool = False
    #: The database's URL as given; None is the file in the data folder.
    db: str | None = None

    def create_stopper(self) -> Stopper:
        """Return what catches Ctrl-C and SIGTERM for this command."""
        told = "Stopping: nothing new begins, what runs has a few seconds to end; Ctrl-C again ends at once."
        return Stopper(on_stop=lambda: self.screen.say(told, style="yellow"))

    def resolve_database_url(self, settings: Settings) -> str:
        """Return the database's URL."""
        if self.db is not None:
            return self.db
        file = (settings.data_folder.expanduser().absolute() / _DEFAULT_FILE).as_posix()
        return f"sqlite:///{quote(file, safe='/:')}"
