"""Names of threads that a person can tell apart and type."""

import re
import secrets

_WORDS = 4
_LONGEST = 32


def thread_name(goal: str) -> str:
    """Return a new thread id: the first words of the goal, and four random characters."""
    words = re.findall(r"[a-z0-9]+", goal.lower())[:_WORDS]
    stem = "-".join(words)[:_LONGEST].strip("-") or "run"
    return f"{stem}-{secrets.token_hex(2)}"
