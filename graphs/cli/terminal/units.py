"""Durations and sizes as humans read and write them."""

import re
from datetime import datetime, timedelta
from typing import Final

from agent.core.engine.outcomes import Outcome
from agent.errors import UsageError

_DURATION_PATTERN: Final = re.compile(r"([0-9]{1,9})([mhdw])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def get_call_seconds(outcome: Outcome) -> float | None:
    """Return the seconds between start and end of a task's call; None if no call was made."""
    if outcome.started_at is None or outcome.finished_at is None:
        return None
    return (datetime.fromisoformat(outcome.finished_at) - datetime.fromisoformat(outcome.started_at)).total_seconds()


def format_duration(seconds: float | None) -> str:
    """Format a duration: `0.42 s`, `12.3 s`, `2 min 05 s`, `1 h 02 min`; empty for None."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def format_size(size: int) -> str:
    """Format a number of bytes: `512 B`, `65.5 kB`, `1.2 MB`."""
    if size < 1000:
        return f"{size} B"
    return f"{size / 1e3:.1f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"


def parse_duration(text: str) -> timedelta:
    """Parse a duration such as `12h`, `30d` or `8w`. Raises `UsageError` for anything else."""
    match = _DURATION_PATTERN.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a duration; write a number with m, h, d or w, such as 12h, 30d or 8w.")
    try:
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        raise UsageError(f"{text!r} is too long; write a shorter duration.") from None
