"""What the options of a command ask for, and how a thread remembers it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from agent.config_file import DEFAULT_FILE
from agent.errors import UsageError
from agent.settings import Settings
from graphs.stores.database import mask_password

#: Under this key of LangGraph's checkpoint metadata, which keeps texts and numbers only: so it is JSON as text.
OPTIONS_METADATA_KEY = "planwave_options"


class RunOptions(BaseModel):
    """The options that decide what a run works with; None leaves it to the settings."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str | None = None
    #: A file, a folder or a URL.
    data: str | None = None
    #: Of a thread that was run on data behind a password, which is not kept: the URL without it.
    data_withheld: str | None = None
    output: Path | None = None
    #: The file that names MCP servers; None is the one beside the user, if there is one.
    config: Path | None = None
    dispatch: Literal["eager", "wave"] | None = None
    max_replans: int | None = None
    max_tasks: int | None = None
    max_model_calls: int | None = None
    max_tokens: int | None = None
    max_cost: float | None = None
    deadline_s: float | None = None

    def build_settings(self) -> Settings:
        """Return the settings with these options. Raises `SettingsError` naming the first value that is wrong."""
        chosen: dict[str, Any] = {
            "dispatch": self.dispatch,
            "max_replans": self.max_replans,
            "max_tasks": self.max_tasks,
            "max_model_calls": self.max_model_calls,
            "max_tokens": self.max_tokens,
            "max_cost": self.max_cost,
            "deadline_s": self.deadline_s,
            "output_folder": self.output,
        }
        return Settings(**{name: value for name, value in chosen.items() if value is not None})

    def to_persistent(self) -> "RunOptions":
        """Return the options so that they mean the same from any folder and hold no password."""
        place = _resolve_data_location(self.data)
        withheld = mask_password(self.data) if self.data is not None and place is None else None
        output = self.build_settings().output_folder.expanduser().absolute()
        file = self.find_configuration_file()
        config = file.expanduser().absolute() if file is not None else None
        return self.model_copy(update={"data": place, "data_withheld": withheld, "output": output, "config": config})

    def find_configuration_file(self) -> Path | None:
        """Return the configuration to read: the one that is named, or the one in this folder, if there is one."""
        beside = Path(DEFAULT_FILE)
        return self.config or (beside if beside.is_file() else None)

    def merge_defaults(self, remembered: "RunOptions") -> "RunOptions":
        """Return these options, and the remembered ones where nothing is said now."""
        now = {name: value for name, value in self if value is not None}
        return remembered.model_copy(update=now)

    def require_data(self, thread: str) -> None:
        """Raise `UsageError` where the data of a thread was behind a password and is not given again."""
        if self.data is None and self.data_withheld is not None:
            raise UsageError(
                f"The thread {thread!r} was run on {self.data_withheld!r}, whose password is not stored; "
                f"give it again: planwave resume {thread} --data URL"
            )


def load_run_options(metadata: Mapping[str, Any] | None) -> RunOptions:
    """Return the options that a thread was last run with; none for a thread that was started another way."""
    try:
        return RunOptions.model_validate_json(str((metadata or {}).get(OPTIONS_METADATA_KEY) or "{}"))
    except ValidationError:
        return RunOptions()


def _resolve_data_location(data: str | None) -> str | None:
    """Return where data is; None for a URL with a password, which is to be given again."""
    if data is None:
        return None
    if "://" in data:
        return data if mask_password(data) == data else None
    return str(Path(data).expanduser().absolute())
