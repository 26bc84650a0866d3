"""What the command logs: to standard error, as text or as JSON, without secrets."""

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final, TextIO

from agent.errors import SettingsError
from agent.secret_values import redact_known_secrets

#: By how often `-v` was given; without it the root logger's: warnings, unless the environment says otherwise.
_LEVELS: Final = (logging.NOTSET, logging.INFO, logging.DEBUG)
_JSON_VARIABLE: Final = "PLANWAVE_LOG_JSON"
_TRUE: Final = frozenset({"true", "1", "yes", "on"})
_FALSE: Final = frozenset({"false", "0", "no", "off"})
#: In the wheel the rooms are inside of `planwave`.
_PACKAGE: Final = __name__.rpartition("graphs.")[0]
_ROOMS: Final = tuple(f"{_PACKAGE}{room}" for room in ("agent", "graphs", "prompts"))
#: What a line says, and the attribute of a record that has it: `thread` is there the thread of the operating system.
_FIELDS: Final = {"run": "run_id", "thread": "thread_id", "task": "task_id", "tool": "tool"}


def configure_logging(verbosity: int, *, environ: Mapping[str, str] = os.environ) -> None:
    """Send the records of our rooms to standard error: warnings, with `verbosity` 1 what is done, with 2 all of it.

    PLANWAVE_LOG_JSON chooses the form. Raises `SettingsError` for what is neither true nor false.
    """
    said = environ.get(_JSON_VARIABLE, "false").lower()
    if said not in _TRUE | _FALSE:
        raise SettingsError(f"{_JSON_VARIABLE} is {said!r}; say true or false.")
    handler = StandardErrorHandler()
    handler.setFormatter(JsonFormatter() if said in _TRUE else TextFormatter())
    level = _LEVELS[min(verbosity, len(_LEVELS) - 1)]
    for logger in map(logging.getLogger, _ROOMS):
        logger.setLevel(level)
        for earlier in [other for other in logger.handlers if isinstance(other, StandardErrorHandler)]:
            logger.removeHandler(earlier)
        logger.addHandler(handler)


class StandardErrorHandler(logging.StreamHandler[TextIO]):
    """Writes to what standard error is at that time: while a table is drawn, to what keeps the two apart."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        """Return standard error."""
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        raise AttributeError(f"This handler writes to standard error, not to {value!r}.")


class TextFormatter(logging.Formatter):
    """A line for each record: time, level, logger, message, and what it is about."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; the traceback of an error follows it."""
        about = "".join(f" {name}={value}" for name, value in _find_fields(record))
        line = f"{_format_time(record)} {record.levelname} {record.name}: {_redact_message(record)}{about}"
        return "\n".join(filter(None, (line, _redact_traceback(record))))


class JsonFormatter(logging.Formatter):
    """A JSON object for each record, on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object."""
        error = _redact_traceback(record)
        return json.dumps(
            {
                "time": _format_time(record),
                "level": record.levelname,
                "logger": record.name,
                "message": _redact_message(record),
                **dict(_find_fields(record)),
                **({"error": error} if error else {}),
            }
        )


def _find_fields(record: logging.LogRecord) -> Iterator[tuple[str, str]]:
    for name, attribute in _FIELDS.items():
        value = getattr(record, attribute, None)
        if value is not None:
            yield name, redact_known_secrets(str(value))


def _format_time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _redact_message(record: logging.LogRecord) -> str:
    return redact_known_secrets(record.getMessage())


def _redact_traceback(record: logging.LogRecord) -> str:
    return redact_known_secrets(logging.Formatter().formatException(record.exc_info)) if record.exc_info else ""
