"""What a task at work may use to make calls of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from agent.core.limits import Limits
from agent.executor import Executor
from agent.settings import Settings
from agent.tools.catalogue import Toolbox
from graphs.board import Board
from graphs.grants import Grants


@dataclass(frozen=True, slots=True)
class Work:
    """One task of a dispatch, and the parts by which its calls are made."""

    task: str
    board: Board
    executor: Executor
    toolbox: Toolbox
    grants: Grants
    limits: Limits
    settings: Settings


_at_work: ContextVar[Work] = ContextVar("planwave_at_work")


@contextmanager
def at_work(work: Work) -> Iterator[None]:
    """Let the tool of a task make calls of its own, for the time of the context."""
    token = _at_work.set(work)
    try:
        yield
    finally:
        _at_work.reset(token)


def work_now() -> Work | None:
    """Return what the task that is at work here may use; None outside of a dispatch."""
    return _at_work.get(None)
