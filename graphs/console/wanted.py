"""What the options of a command ask for, and how a thread remembers it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from agent.errors import SettingsError
from agent.settings import Settings

#: Under this key of LangGraph's checkpoint metadata, which keeps texts and numbers only: so it is JSON as text.
REMEMBERED = "planwave_options"


class Wanted(BaseModel):
    """The options that decide what a run works with; None leaves it to the settings."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str | None = None
    #: A file, a folder or a URL.
    data: str | None = None
    output: Path | None = None
    dispatch: Literal["eager", "wave"] | None = None
    max_replans: int | None = None
    deadline_s: float | None = None

    def settings(self) -> Settings:
        """Return the settings with these options. Raises `SettingsError` naming the first value that is wrong."""
        chosen: dict[str, Any] = {
            "dispatch": self.dispatch,
            "max_replans": self.max_replans,
            "deadline_s": self.deadline_s,
            "output_folder": self.output,
        }
        try:
            return Settings(**{name: value for name, value in chosen.items() if value is not None})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = str(first["loc"][0]) if first["loc"] else "settings"
            raise SettingsError(
                f"The setting {name!r} (PLANWAVE_{name.upper()} or an option) is {first['input']!r}: {first['msg']}."
            ) from error

    def lasting(self) -> "Wanted":
        """Return the options so that they mean the same from any folder and hold no password."""
        output = self.output.expanduser().absolute() if self.output else None
        return self.model_copy(update={"data": _lasting_place(self.data), "output": output})

    def over(self, remembered: "Wanted") -> "Wanted":
        """Return these options, and the remembered ones where nothing is said now."""
        now = {name: value for name, value in self if value is not None}
        return remembered.model_copy(update=now)


def remembered_in(metadata: Mapping[str, Any] | None) -> Wanted:
    """Return the options that a thread was last run with; none for a thread that was started another way."""
    try:
        return Wanted.model_validate_json(str((metadata or {}).get(REMEMBERED) or "{}"))
    except ValidationError:
        return Wanted()


def _lasting_place(data: str | None) -> str | None:
    """Return where data is; None for a URL with a password, which is to be given again."""
    if data is None:
        return None
    if "://" in data:
        return None if urlsplit(data).password is not None or "password=" in data else data
    return str(Path(data).expanduser().absolute())
