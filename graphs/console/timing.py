"""Durations as people read them."""

from datetime import datetime

from agent.core.outcome import Outcome


def seconds_of(outcome: Outcome) -> float | None:
    """Return the seconds between start and end of a task's call; None where no call was made."""
    if outcome.started_at is None or outcome.finished_at is None:
        return None
    return (datetime.fromisoformat(outcome.finished_at) - datetime.fromisoformat(outcome.started_at)).total_seconds()


def spell(seconds: float | None) -> str:
    """Write a duration: `0.42 s`, `12.3 s`, `2 min 05 s`, `1 h 02 min`; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
