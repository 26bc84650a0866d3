"""How a file is to be read: the options after `?` in a location, or in the table `[data]` of planwave.toml."""

import codecs
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from agent.errors import DataError

#: Words for characters that are awkward to write in a location.
_CHARACTER_NAMES: Mapping[str, str] = {
    "tab": "\t",
    "\\t": "\t",
    "space": " ",
    "comma": ",",
    "semicolon": ";",
    "pipe": "|",
    "none": "",
}


class ReadOptions(BaseModel):
    """What the user says about files; None leaves it to what the file looks like."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: The character between two fields.
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    #: The character around a field; empty: there is none.
    quote: str | None = Field(default=None, max_length=1)
    #: The character before a quote inside of a field.
    escape: str | None = Field(default=None, max_length=1)
    #: Whether the first line that is read has the names of the columns.
    header: bool | None = None
    #: Lines before the header.
    skip: int | None = Field(default=None, ge=0)
    encoding: str | None = None
    decimal: Literal[".", ","] | None = None
    #: The character between thousands.
    thousands: str | None = Field(default=None, max_length=1)
    #: The form of dates, by the letters of `strptime`: %d/%m/%Y.
    dateformat: str | None = Field(default=None, pattern="%")
    #: The form of dates with a time.
    timestampformat: str | None = Field(default=None, pattern="%")
    #: Texts that stand for no value.
    nullstr: tuple[str, ...] | None = None
    #: Columns that stay text, whatever they look like.
    text: tuple[str, ...] = ()
    #: `skip` leaves out lines that cannot be read; else they are an error.
    errors: Literal["refuse", "skip"] = "refuse"
    #: The sheet of an Excel file.
    sheet: str | None = None
    #: The cells of an Excel sheet: A4:F200.
    range: str | None = Field(default=None, pattern="^[A-Za-z]+[0-9]+:[A-Za-z]+[0-9]+$")

    @field_validator("delimiter", "quote", "escape", "thousands", mode="before")
    @classmethod
    def _name_character(cls, value: object) -> object:
        return _CHARACTER_NAMES.get(value.lower(), value) if isinstance(value, str) else value

    @field_validator("nullstr", "text", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        return tuple(value.split(",")) if isinstance(value, str) else value

    @field_validator("encoding")
    @classmethod
    def _check_encoding(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                codecs.lookup(value)
            except LookupError:
                raise ValueError(
                    f"there is no encoding {value!r}; cp1252, latin-1, utf-16 and utf-8 are some"
                ) from None
        return value

    def merge_defaults(self, defaults: "ReadOptions") -> "ReadOptions":
        """Return these options, and the defaults for those that are not given."""
        return defaults.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})

    def to_message(self) -> dict[str, Any]:
        """Return the given options as JSON."""
        return self.model_dump(mode="json", exclude_unset=True)


def split_options(location: str) -> tuple[str, ReadOptions]:
    """Return the path of a location, and the options after its last `?`; a file whose own name has a `?` is a path.

    Raises `DataError` for an option that there is not, or that has a wrong value.
    """
    if "?" not in location or _exists(location):
        return location, ReadOptions()
    places = [place for place, letter in enumerate(location) if letter == "?"]
    # The last that leaves a path that exists: dateformat and the like may have a question mark too.
    place = next((place for place in reversed(places) if _exists(location[:place])), places[0])
    path, query = location[:place], location[place + 1 :]
    return path, parse_options(dict(_split_query(query, file=path)), subject=f"the file {path!r}")


def _exists(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False


def _split_query(query: str, *, file: str) -> Iterator[tuple[str, str]]:
    for part in filter(None, query.split("&")):
        name, equals, value = part.partition("=")
        if not equals:
            raise DataError(
                f"The option {part!r} of the file {file!r} has no value; write it as NAME=VALUE, with & between two."
            )
        yield name, unquote(value)


def parse_options(given: Mapping[str, Any], *, subject: str) -> ReadOptions:
    """Return the options by their names. Raises `DataError` that names the wrong one and what there is."""
    names = list(ReadOptions.model_fields)
    for name in given:
        if name not in names:
            close = get_close_matches(name, names, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise DataError(f"There is no option {name!r} for {subject}{hint} There are {', '.join(names)}.")
    try:
        return ReadOptions.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = str(first["msg"]).removeprefix("Value error, ")
        raise DataError(
            f"The option {first['loc'][0]!s}={first['input']} for {subject} is not valid: {reason}."
        ) from None
