"""Log records that say which run, thread, task and tool they are about.

Each module that logs has `_logger = get_logger(__name__)`. Whoever begins a run or a task binds its name with
`bind_log_context`; every record made meanwhile, in the same context or in an asyncio task started from it, has the
fields `run_id`, `thread_id`, `task_id` and `tool`, None if they are not known. (`thread` is the operating system's
thread in a `LogRecord`, so it cannot be used.)

Texts hold no arguments, outputs, prompts or secrets: identifiers, counts, and errors as they are stored, redacted.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from agent.secret_masking import get_registered_masks

_FIELDS: Final = ("run_id", "thread_id", "task_id", "tool")
#: Characters of an error in a log record.
_MAX_TEXT_LENGTH: Final = 300

_bound_fields: ContextVar[Mapping[str, str]] = ContextVar("planwave_log_context")

# An application that configures no logging would otherwise find our warnings on its standard error.
for _package in ("agent", "graphs", "planwave"):
    logging.getLogger(_package).addHandler(logging.NullHandler())


class LogContextFilter(logging.Filter):
    """Adds the bound fields to each record, and masks secrets in it. On a handler: in other libraries' records too."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields that the record does not have yet, and let it pass."""
        bound = _bound_fields.get({})
        for field in _FIELDS:
            if not hasattr(record, field):
                setattr(record, field, bound.get(field))
        masks = get_registered_masks()
        if masks:
            message = record.getMessage()
            redacted = masks.redact(message)
            if redacted != message:
                record.msg, record.args = redacted, ()
        return True


_FILTER: Final = LogContextFilter()


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module; its records have the bound fields whatever handler takes them."""
    logger = logging.getLogger(name)
    logger.addFilter(_FILTER)
    return logger


@contextmanager
def bind_log_context(
    *, run: str | None = None, thread: str | None = None, task: str | None = None, tool: str | None = None
) -> Iterator[None]:
    """Give the log records made within the context these fields; what is None stays as it was bound before."""
    named = zip(_FIELDS, (run, thread, task, tool), strict=True)
    token = _bound_fields.set(
        {**_bound_fields.get({}), **{field: value for field, value in named if value is not None}}
    )
    try:
        yield
    finally:
        _bound_fields.reset(token)


def shorten_for_log(text: str) -> str:
    """Return `text` on one line and in at most 300 characters, so that a record cannot pretend to be two."""
    line = " ".join(text.split())
    return line if len(line) <= _MAX_TEXT_LENGTH else f"{line[:_MAX_TEXT_LENGTH]}..."
