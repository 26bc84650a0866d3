"""Signs of life while a role waits for its model: an event at least every few seconds, whatever it waits for."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from agent.events import Emit, Role, RunEvent, Thinking, ThinkingProgress

#: Seconds without an event after which one is sent; watchers are promised one every 3 s.
_INTERVAL_S: Final = 2.0


class RoleProgress:
    """Passes on the events of one role and knows how far its work is: which variant, and tokens of the reply so far."""

    def __init__(self, emit: Emit, *, role: Role) -> None:
        self._emit = emit
        self._role: Role = role
        self._began = self._last = time.monotonic()
        self._tokens = 0
        self._variant: tuple[int, int] | None = None

    def emit(self, event: RunEvent) -> None:
        """Pass on an event; a silence is counted from here."""
        if isinstance(event, Thinking):
            self._tokens = 0
        self._last = time.monotonic()
        self._emit(event)

    def begin_variant(self, number: int, *, of: int) -> None:
        """Say which of several plans is being made, counted from 1; `of=1` says that there is only one."""
        self._variant = (number, of) if of > 1 else None
        self._tokens = 0

    def begin_reply(self) -> None:
        """Count the tokens of a new reply."""
        self._tokens = 0

    def count_piece(self, _text: str) -> None:
        """Count a piece of a reply: servers stream about a token at a time."""
        self._tokens += 1

    async def watch(self) -> None:
        """Emit a `ThinkingProgress` whenever nothing was emitted for a while; runs until it is cancelled."""
        while True:
            wait = self._last + _INTERVAL_S - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
                continue
            number, of = self._variant or (None, None)
            self.emit(
                ThinkingProgress(
                    role=self._role,
                    variant=number,
                    variants=of,
                    tokens=self._tokens,
                    elapsed_s=round(time.monotonic() - self._began, 1),
                )
            )


@asynccontextmanager
async def report_progress(emit: Emit, *, role: Role) -> AsyncIterator[RoleProgress]:
    """Report the progress of `role` until the block ends; the block emits through the reporter."""
    reporter = RoleProgress(emit, role=role)
    watcher = asyncio.create_task(reporter.watch())
    try:
        yield reporter
    finally:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher
