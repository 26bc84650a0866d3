"""Blocking savers, run on one thread and given coroutines.

One thread takes the calls in the order in which they are made. This makes a saver independent of event loops, so that a
graph can be invoked from any of them, and it stores the writes of a task before the checkpoint that follows them, which
LangGraph alone does not guarantee (langgraph#8039). The order is right because LangGraph submits the writes of a task
when the task ends and the checkpoint when all have ended, each as a task of the event loop, which starts tasks in the
order of their creation; between its start and the queue of the thread a call awaits nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.store.base import BaseStore, Op, Result

from graphs.stores.tables.leases import Lease, LeaseManager
from graphs.stores.tables.threads import ThreadTable

T = TypeVar("T")


class SingleThreadSaver(BaseCheckpointSaver[Any]):
    """A blocking saver with coroutines; every call, blocking or not, runs on the one thread."""

    def __init__(self, inner: BaseCheckpointSaver[Any], *, worker: ThreadPoolExecutor | None = None) -> None:
        """Wrap `inner`, which the caller still has to close."""
        super().__init__(serde=inner.serde)
        self.inner = inner
        self._worker = worker or ThreadPoolExecutor(max_workers=1, thread_name_prefix="planwave-saver")

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> "SingleThreadSaver":
        """Return a saver over the same storage and thread that may load these types too."""
        return type(self)(self.inner.with_allowlist(extra_allowlist), worker=self._worker)

    def close(self) -> None:
        """Wait for calls that were submitted and end the thread."""
        self._worker.shutdown(wait=True)

    async def run_on_worker(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:  # noqa: ANN401 - the call's own arguments
        """Return what a blocking call returns, run on the one thread after all that was submitted before.

        Once submitted it is run, even if the caller is cancelled: what a task has finished is stored.
        """
        future = asyncio.get_running_loop().run_in_executor(self._worker, partial(call, *args, **kwargs))
        return await asyncio.shield(future)

    def _run_and_wait(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:  # noqa: ANN401 - the saver's own arguments
        return self._worker.submit(call, *args, **kwargs).result()

    @property
    def config_specs(self) -> list[Any]:
        """Return what the inner saver reads from a config."""
        return self.inner.config_specs

    def get_next_version(self, current: Any, channel: None) -> Any:  # noqa: ANN401 - the version type of the saver
        """Return the version after `current`."""
        return self.inner.get_next_version(current, channel)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint with its metadata and pending writes."""
        return self._run_and_wait(self.inner.get_tuple, config)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint with its metadata and pending writes."""
        return await self.run_on_worker(self.inner.get_tuple, config)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Yield checkpoints, the newest first."""
        return iter(
            self._run_and_wait(_list_checkpoints, self.inner, config, filter=filter, before=before, limit=limit)
        )

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield checkpoints, the newest first."""
        for checkpoint in await self.run_on_worker(
            _list_checkpoints, self.inner, config, filter=filter, before=before, limit=limit
        ):
            yield checkpoint

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint."""
        return self._run_and_wait(self.inner.put, config, checkpoint, metadata, new_versions)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint, after all writes that were submitted before it."""
        return await self.run_on_worker(self.inner.put, config, checkpoint, metadata, new_versions)

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store the writes of a task."""
        self._run_and_wait(self.inner.put_writes, config, writes, task_id, task_path)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store the writes of a task."""
        await self.run_on_worker(self.inner.put_writes, config, writes, task_id, task_path)

    def delete_thread(self, thread_id: str) -> None:
        """Delete everything of a thread."""
        self._run_and_wait(self.inner.delete_thread, thread_id)

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete everything of a thread."""
        await self.run_on_worker(self.inner.delete_thread, thread_id)

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Return the writes from which delta channels are rebuilt."""
        return self._run_and_wait(self.inner.get_delta_channel_history, config=config, channels=channels)

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Return the writes from which delta channels are rebuilt."""
        return await self.run_on_worker(self.inner.get_delta_channel_history, config=config, channels=channels)


class LeasedSaver(SingleThreadSaver):
    """A saver whose storage has leases that fence its writes."""

    def __init__(self, inner: BaseCheckpointSaver[Any], *, leases: LeaseManager) -> None:
        """Wrap `inner`, whose writes pass the fence of `leases`; the caller still has to close both."""
        super().__init__(inner)
        self._leases = leases
        #: One row for each thread, with what is listed of it.
        self.threads = ThreadTable(leases.database, serde=inner.serde, check_fence=leases.check_fence)

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> "LeasedSaver":  # noqa: ARG002
        """Return this saver: it stores plain values only, so its list of types needs no additions.

        LangGraph's own clone would also accept unencrypted values although there is a key.
        """
        return self

    @asynccontextmanager
    async def lease(
        self, thread: str, *, caller: tuple[str, int] | None = None, writes: bool = True
    ) -> AsyncIterator[Lease]:
        """Hold a thread for one run. Raises `ThreadBusyError` if another run, also of this process, has it.

        Runs that graphs around them call share the thread in one process: see `LeaseManager.acquire`.
        """
        token = uuid4().hex
        try:
            yield await self.run_on_worker(self._leases.acquire, thread, token, caller=caller, writes=writes)
        finally:
            # Also if acquiring was cancelled, because the call on the thread still runs; the release comes after it and
            # after the last write of the run.
            if not self._leases.closed:
                await self.run_on_worker(self._leases.release, thread, token)


def _list_checkpoints(
    inner: BaseCheckpointSaver[Any],
    config: RunnableConfig | None,
    **options: Any,  # noqa: ANN401
) -> list[CheckpointTuple]:
    return list(inner.list(config, **options))


def ensure_async_saver(saver: BaseCheckpointSaver[Any]) -> BaseCheckpointSaver[Any]:
    """Return `saver`, or a `SingleThreadSaver` over it if it has no coroutines of its own."""
    blocking = isinstance(saver, SqliteSaver) or type(saver).aput is BaseCheckpointSaver.aput
    return SingleThreadSaver(saver) if blocking else saver


class SingleThreadStore(BaseStore):
    """A blocking store with coroutines."""

    def __init__(self, inner: BaseStore) -> None:
        """Wrap `inner`, which the caller still has to close."""
        super().__init__()
        self.inner = inner
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="planwave-store")

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations in order."""
        return self._worker.submit(self.inner.batch, list(ops)).result()

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations in order."""
        future = asyncio.get_running_loop().run_in_executor(self._worker, self.inner.batch, list(ops))
        return await asyncio.shield(future)

    def close(self) -> None:
        """Wait for calls that were submitted and end the thread."""
        self._worker.shutdown(wait=True)
