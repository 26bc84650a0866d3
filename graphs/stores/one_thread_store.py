"""LangGraph's store, its blocking calls made on one thread."""

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from langgraph.store.base import BaseStore, Op, Result


class OneThreadStore(BaseStore):
    """A blocking store with coroutines."""

    def __init__(self, inner: BaseStore) -> None:
        """Serve `inner`, which stays the caller's to close."""
        super().__init__()
        self.inner = inner
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="planwave-store")

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry out operations in order."""
        return self._worker.submit(self.inner.batch, list(ops)).result()

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry out operations in order."""
        made = asyncio.get_running_loop().run_in_executor(self._worker, self.inner.batch, list(ops))
        return await asyncio.shield(made)

    def close(self) -> None:
        """Finish what was begun and end the thread."""
        self._worker.shutdown(wait=True)
