"""Processes that are paused in the middle of a transaction."""

import signal
from collections.abc import Generator
from typing import Any

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.store.base import PutOp

from graphs.persistence import Persistence, open_persistence
from tests.support.faults import befall
from tests.support.journal import Journal


async def pause_in_a_transaction(url: str, path: str, thread: str, ttl_s: float) -> None:
    """Stop this process where it has passed the fence and holds the thread's row."""
    journal = Journal(path)
    async with open_persistence(url, ttl_s=ttl_s) as persistence, persistence.lease(thread):

        def work(run: object) -> None:
            persistence.saver._leases.check_fence(run, thread)  # type: ignore[arg-type]
            if not journal.having("fault"):
                journal.note("fault", "transaction")
                befall(signal.SIGSTOP)
            run("UPDATE planwave_leases SET expires_at = expires_at WHERE thread = ?", thread)  # type: ignore[operator]

        await persistence.saver.run_on_worker(persistence._backend.database.run_in_transaction, work)


class Waits:
    """Counts the waits of psycopg for the server, each of them after something was sent, and stops at one of them."""

    def __init__(self, journal: Journal, *, pause_at: int | None) -> None:
        self.passed = 0
        self._journal = journal
        self._pause_at = pause_at

    def count(self) -> None:
        wait = psycopg.Connection.wait

        def waiting(connection: Any, messages: Any, *args: Any, **options: Any) -> Any:
            return wait(connection, self._counted(messages), *args, **options)

        psycopg.Connection.wait = waiting  # type: ignore[method-assign]

    def _counted(self, messages: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        ready = None
        while True:
            try:
                wanted = messages.send(ready)
            except StopIteration as end:
                return end.value
            self.passed += 1
            if self.passed == self._pause_at:
                self._journal.note("fault", self.passed)
                befall(signal.SIGSTOP)
            ready = yield wanted


async def store(persistence: Persistence, thread: str) -> None:
    """Store a checkpoint, what a task wrote, and two values."""
    config: RunnableConfig = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    checkpoint = {**empty_checkpoint(), "channel_values": {"goal": "go", "plan": [1]}}
    config = await persistence.saver.aput(config, checkpoint, {}, {"goal": "1", "plan": "1"})  # type: ignore[arg-type]
    await persistence.saver.aput_writes(config, [("results", {"a": 1}), ("results", {"b": 2})], "task")
    await persistence.store.abatch([PutOp(("learned",), name, {"seconds": 1}) for name in ("a", "b")])


async def pause_while_storing(url: str, path: str, thread: str, ttl_s: float, *, pause_at: int | None = None) -> int:
    """Store with the thread's lease and stop at a wait for the server; return how many there are."""
    async with open_persistence(url, ttl_s=ttl_s) as persistence:
        waits = Waits(Journal(path), pause_at=pause_at)
        async with persistence.lease(thread):
            waits.count()
            await store(persistence, thread)
            return waits.passed


async def store_with_the_lease(url: str, thread: str) -> None:
    async with open_persistence(url) as persistence, persistence.lease(thread):
        await store(persistence, thread)
