"""The options of a run, and how a thread stores them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator

from agent.config_file import DEFAULT_FILE
from agent.errors import UsageError
from agent.settings import Settings
from agent.tools.data_files.read_options import split_options
from agent.tools.sql.source_location import split_source_name
from graphs.stores.database import mask_password

#: The key in LangGraph's checkpoint metadata. Metadata stores only texts and numbers, so the value is JSON as text.
OPTIONS_METADATA_KEY = "planwave_options"


class RunOptions(BaseModel):
    """What a run works with; None leaves it to the settings and the environment."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str | None = None
    #: A file, a folder or a URL; several of them, each as NAME=PLACE or by the name of its file.
    data: str | tuple[str, ...] | None = None
    #: For a thread that was run on data behind a password, which is not stored: the URL without it.
    data_withheld: str | None = None
    #: The file that names MCP servers; None is the one in the current folder, if there is one.
    config: Path | None = None
    #: Of a stored thread: whether `config` was found in the folder and not named, so that it needs a person's trust.
    config_found: bool | None = None
    # Settings by their own names; each is an option of `run` and `resume` (`graphs.cli.options`).
    #: Threads of earlier versions have it as `output`.
    output_folder: Path | None = Field(default=None, validation_alias=AliasChoices("output_folder", "output"))
    dispatch: Literal["eager", "wave"] | None = None
    max_replans: int | None = None
    max_tasks: int | None = None
    max_model_calls: int | None = None
    max_tokens: int | None = None
    max_cost: float | None = None
    deadline_s: float | None = None
    time_zone: str | None = None
    sql_dialect: str | None = None

    @field_validator("data", mode="before")
    @classmethod
    def _unwrap_single(cls, value: object) -> object:
        if isinstance(value, list | tuple):
            return value[0] if len(value) == 1 else tuple(value) or None
        return value

    def build_settings(self) -> Settings:
        """Return the settings with these options. Raises `SettingsError` that names the first wrong value."""
        chosen = {name: value for name, value in self if value is not None and name in Settings.model_fields}
        return Settings(**chosen)

    def to_persistent(self) -> "RunOptions":
        """Return the options with absolute paths and without a password, as a thread stores them."""
        given = (self.data,) if isinstance(self.data, str) else self.data or ()
        resolved = [_resolve_data_location(each) for each in given]
        kept = tuple(each for each in resolved if each is not None)
        is_withheld = len(kept) < len(given)
        place = None if is_withheld or not kept else kept[0] if isinstance(self.data, str) else kept
        withheld = " and ".join(map(mask_password, given)) if is_withheld else None
        output = self.build_settings().output_folder.expanduser().absolute()
        file = self.find_configuration_file()
        config = file.expanduser().absolute() if file is not None else None
        return self.model_copy(
            update={
                "data": place,
                "data_withheld": withheld,
                "output_folder": output,
                "config": config,
                "config_found": file is not None and not self.is_configuration_named,
            }
        )

    def find_configuration_file(self) -> Path | None:
        """Return the configuration to read: the named one, or the one in the current folder, if there is one."""
        default = Path(DEFAULT_FILE)
        return self.config or (default if default.is_file() else None)

    @property
    def is_configuration_named(self) -> bool:
        """Whether the user named the configuration, and so trusts it."""
        return self.config is not None and not self.config_found

    def merge_defaults(self, remembered: "RunOptions") -> "RunOptions":
        """Return these options, and the remembered ones for those that are None."""
        given = {name: value for name, value in self if value is not None}
        # A file that is named now is named, however the remembered one was come by.
        named = {"config_found": False} if self.config is not None else {}
        return remembered.model_copy(update=given | named)

    def require_data(self, thread: str) -> None:
        """Raise `UsageError` if the data of a thread was behind a password and is not given again."""
        if self.data is None and self.data_withheld is not None:
            raise UsageError(
                f"The thread {thread!r} was run on {self.data_withheld!r}, whose password is not stored; "
                f"give it again: planwave resume {thread} --data URL"
            )


def load_run_options(metadata: Mapping[str, Any] | None) -> RunOptions:
    """Return the options that a thread was last run with; none of them if it was not started by the command."""
    try:
        stored = RunOptions.model_validate_json(str((metadata or {}).get(OPTIONS_METADATA_KEY) or "{}"))
        # Threads of earlier versions do not say how they came by their file.
        return stored.model_copy(update={"config_found": stored.config_found is not False})
    except ValidationError:
        return RunOptions()


def _resolve_data_location(data: str) -> str | None:
    """Return the location of data; None for a URL with a password, which must be given again."""
    name, place = split_source_name(data)
    prefix = f"{name}=" if name else ""
    if "://" in place:
        return data if mask_password(place) == place else None
    path = split_options(place)[0]
    return f"{prefix}{Path(path).expanduser().absolute()}{place[len(path) :]}"
