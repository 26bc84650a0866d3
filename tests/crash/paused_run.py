"""A process that is paused in the middle of a transaction."""

import os
import signal

from journal import Journal

from graphs.persistence import open_persistence


async def pause_in_a_transaction(url: str, path: str, thread: str, ttl_s: float) -> None:
    """Stop this process where it has passed the fence and holds the thread's row."""
    journal = Journal(path)
    async with open_persistence(url, ttl_s=ttl_s) as persistence, persistence.lease(thread):

        def work(run: object) -> None:
            persistence.saver._leases.fence(run, thread)  # type: ignore[arg-type]
            if not journal.having("fault"):
                journal.note("fault", "transaction")
                os.kill(os.getpid(), signal.SIGSTOP)
            run("UPDATE planwave_leases SET expires_at = expires_at WHERE thread = ?", thread)  # type: ignore[operator]

        await persistence.saver.later(persistence._backend.database.transact, work)
