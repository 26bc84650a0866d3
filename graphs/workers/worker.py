"""A worker: takes jobs from a queue until it is told to stop; here those that advance a thread."""

import asyncio
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import uuid4

from procrastinate import App, JobContext, PsycopgConnector, RetryDecision
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job
from procrastinate.retry import BaseRetryStrategy
from procrastinate.worker import Worker

from agent.errors import PersistenceError, PlanwaveError, UsageError
from agent.logging_context import bind_log_context, get_logger
from graphs.compiled_graph import PlanwaveGraph
from graphs.persistence import Persistence, open_persistence
from graphs.stores.tables.submissions import MAX_FAILURES
from graphs.workers.advance import MissingToolsError, ThreadAdvancer
from graphs.workers.client import ThreadQueue
from graphs.workers.engine import (
    ADVANCE_TASK,
    THREAD_QUEUE,
    check_address,
    name_pool_queue,
    name_tool_queue,
    read_dead_seconds,
    require_engine,
)
from graphs.workers.isolation import IsolatedRunner, ProcessDiedError, load_graph_function
from graphs.workers.sweep import MAX_SWEEP_S, Sweeper, WorkerRecord, find_live_queue

_logger = get_logger(__name__)

DEFAULT_SLOTS: Final = 8
#: Seconds between two looks into the queue, if no notification comes.
_POLL_S: Final = 1.0
#: Seconds after which a thread that another run has is tried again.
_BUSY_S: Final = 1.0
#: Seconds after which a thread whose tools no live worker has is looked at again.
_TOOLS_S: Final = 5.0
#: Seconds before the engine is started again after it has lost the database.
_RESTART_S: Final = 1.0
_MAX_BACKOFF_S: Final = 60.0
#: Connections of the engine beside the one that listens: taking jobs, heartbeats, ends of jobs.
_CONNECTIONS: Final = 3


class _LeftToOther(Exception):  # noqa: N818 - where the job goes, no error
    """The job goes to another queue, or is looked at again later."""

    def __init__(self, queue: str, *, after_s: float) -> None:
        super().__init__(queue)
        self.queue = queue
        self.after_s = after_s


class _Redelivery(BaseRetryStrategy):
    """When, and in which queue, a job that did not end is tried again."""

    def __init__(self, decide: Callable[[BaseException, Job], tuple[float, str | None]]) -> None:
        self._decide = decide

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        seconds, queue = self._decide(exception, job)
        return RetryDecision(retry_at=datetime.now(UTC) + timedelta(seconds=seconds), queue=queue)


class EngineWorker(ABC):
    """Takes jobs of one kind from the engine, several at a time, and sweeps."""

    #: The name of its jobs.
    task_name: str

    def __init__(self, threads: ThreadQueue, record: WorkerRecord, *, db: str, grace_s: float) -> None:
        """Give what runs `grace_s` seconds to end when the worker stops, before it is cancelled."""
        self._threads = threads
        self._record = record
        self._db = db
        self._grace_s = grace_s
        self._dead_s = read_dead_seconds()
        self._sweeper = Sweeper(threads.persistence.backend.database, dead_s=self._dead_s)
        self._engine: Worker | None = None
        self.is_stopping = False

    @abstractmethod
    async def handle(self, context: JobContext, /, **args: Any) -> None:  # noqa: ANN401 - a job's
        """Do a job."""

    @abstractmethod
    def retry_after(self, exception: BaseException, job: Job) -> tuple[float, str | None]:
        """Return the seconds after which a job that raised is tried again, and its queue, None: the same."""

    async def close(self) -> None:  # noqa: B027 - most workers have started nothing
        """End what the worker has started."""

    def stop(self) -> None:
        """Take no further job, and stop what runs so that another worker can go on with it."""
        self.is_stopping = True
        if self._engine is not None:
            self._engine.stop()  # type: ignore[no-untyped-call]  # the engine's

    async def serve(self) -> None:
        """Work until `stop` is called; a database that goes away is waited for."""
        sweeping = asyncio.create_task(self._sweep_forever())
        try:
            while not self.is_stopping:
                try:
                    await self._run_engine()
                except (ConnectorException, PersistenceError, OSError) as error:
                    _logger.warning("The queue cannot be used, tried again: %s", error.__cause__ or error)
                if not self.is_stopping:
                    await asyncio.sleep(_RESTART_S)
        finally:
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)
            await self.close()
            await asyncio.to_thread(self._sweeper.remove, self._record)

    async def _run_engine(self) -> None:
        app = App(connector=PsycopgConnector(conninfo=self._db, min_size=1, max_size=_CONNECTIONS, timeout=10.0))
        app.task(name=self.task_name, retry=_Redelivery(self.retry_after), pass_context=True)(self.handle)
        async with app.open_async():
            self._engine = Worker(
                app,
                queues=list(self._record.queues),
                name=self._record.name,
                concurrency=self._record.slots,
                fetch_job_polling_interval=_POLL_S,
                update_heartbeat_interval=self._dead_s / 3,
                stalled_worker_timeout=self._dead_s,
                shutdown_graceful_timeout=self._grace_s,
                delete_jobs="always",
                install_signal_handlers=False,
            )
            if self.is_stopping:
                return
            try:
                await self._engine.run()  # type: ignore[no-untyped-call]  # as above
            finally:
                self._engine = self._record.engine_id = None

    async def _sweep_forever(self) -> None:
        while True:
            engine = self._engine
            self._record.engine_id = engine.worker_id if engine is not None else None
            try:
                report = await asyncio.to_thread(self._sweeper.sweep, self._record)
            except PersistenceError as error:
                _logger.warning("Sweep failed, tried again: %s", error)
            else:
                if not report.is_registered and engine is not None and engine is self._engine:
                    _logger.warning("This worker was silent for too long and taken for dead; it registers again")
                    engine.stop()  # type: ignore[no-untyped-call]  # as above
            await asyncio.sleep(min(MAX_SWEEP_S, self._dead_s / 3))


class ThreadWorker(EngineWorker):
    """Advances threads with one graph."""

    task_name = ADVANCE_TASK

    def __init__(
        self, threads: ThreadQueue, advancer: ThreadAdvancer, record: WorkerRecord, *, db: str, graph: str | None
    ) -> None:
        # What runs is stopped at once: its run gives its calls the grace time.
        super().__init__(threads, record, db=db, grace_s=0)
        self._advancer = advancer
        self._isolated = IsolatedRunner(db=db, graph=graph)

    async def close(self) -> None:
        """End the processes of suspects."""
        await self._isolated.close()

    def retry_after(self, exception: BaseException, job: Job) -> tuple[float, str | None]:
        """Return when a thread is tried again: one whose worker is told to stop at once, by another worker."""
        match exception:
            case _LeftToOther(queue=queue, after_s=after_s):
                return after_s, queue
            case PersistenceError():  # also: another run has the thread, or has taken it over
                return _BUSY_S, THREAD_QUEUE
            case Exception():
                return min(2.0**job.attempts, _MAX_BACKOFF_S), THREAD_QUEUE
            case _:  # cancelled, because the worker is told to stop
                return 0, THREAD_QUEUE

    async def handle(self, context: JobContext, /, **args: Any) -> None:  # noqa: ANN401 - a job's
        """Advance the thread that a job names."""
        job, thread = context.job.id or 0, str(args["thread"])
        self._record.doing[job] = thread
        try:
            with bind_log_context(thread=thread):
                await self._advance_thread(thread)
        finally:
            del self._record.doing[job]

    async def _advance_thread(self, thread: str) -> None:
        table = self._threads.table
        submission = await self._threads.load(thread)
        try:
            if submission is not None and submission.is_suspect:
                _logger.warning("Thread %r has killed its workers and is run alone", thread)
                await asyncio.to_thread(table.mark_isolated, thread)
                await self._isolated.advance(thread)
            else:
                await self._advancer.advance(thread)
        except MissingToolsError as error:
            queue = await asyncio.to_thread(self._find_queue, error.tools)
            reason = str(error) if queue else f"no live worker has {', '.join(map(repr, error.tools))}"
            _logger.info("%s", error)
            await asyncio.to_thread(table.explain, thread, reason)
            raise _LeftToOther(queue or THREAD_QUEUE, after_s=0 if queue else _TOOLS_S) from None
        except ProcessDiedError as error:
            if not await asyncio.to_thread(table.count_kill, thread, str(error)):
                raise
            _logger.error("Thread %r set aside: its process died %s", thread, error)  # noqa: TRY400 - ours, no bug
        except PersistenceError:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            final = isinstance(error, UsageError)
            failures = await asyncio.to_thread(table.count_failure, thread, what, final=final)
            if failures < MAX_FAILURES and not final:
                raise
            log = _logger.error if isinstance(error, PlanwaveError) else _logger.exception
            log("Thread %r set aside after %d failures: %s", thread, failures, what)

    def _find_queue(self, tools: list[str]) -> str | None:
        database = self._threads.persistence.backend.database
        return database.run_in_transaction(
            partial(find_live_queue, tools=tools, dead_s=self._dead_s, now=database.now_expression)
        )


async def run_worker(
    db: str,
    *,
    graph: str | None = None,
    slots: int = DEFAULT_SLOTS,
    calls: str | None = None,
    on_start: Callable[[WorkerRecord], None] | None = None,
) -> None:
    """Work on the threads of a PostgreSQL database until SIGTERM or SIGINT; a second signal ends at once.

    `graph` is `MODULE:FUNCTION`, a function that takes a persistence and returns a graph over it; None: the default
    tools. `slots` is the number of threads at a time; with `calls`, the name of a pool, of calls of its tools. What
    runs at a signal has the settings' `grace_s` to end, and the rest of it is another worker's. Raises `UsageError` for
    a wrong argument, else as `open_persistence`.
    """
    if slots < 1:
        raise UsageError(f"The number of slots is {slots}; give 1 or more.")
    make_graph = load_graph_function(graph)
    await asyncio.to_thread(check_address, db)
    async with open_persistence(db) as persistence:
        await asyncio.to_thread(require_engine, persistence)
        worker, record = await _make_worker(persistence, make_graph, db=db, graph=graph, slots=slots, calls=calls)
        loop, signals = asyncio.get_running_loop(), (signal.SIGTERM, signal.SIGINT)

        def stop() -> None:
            _logger.info("Worker %s stops", record.name)
            worker.stop()
            for number in signals:
                loop.remove_signal_handler(number)

        for number in signals:
            loop.add_signal_handler(number, stop)
        if on_start is not None:
            on_start(record)
        await worker.serve()


async def _make_worker(
    persistence: Persistence,
    make_graph: Callable[[Persistence], PlanwaveGraph],
    *,
    db: str,
    graph: str | None,
    slots: int,
    calls: str | None,
) -> tuple[EngineWorker, WorkerRecord]:
    threads, built = ThreadQueue(persistence), make_graph(persistence)
    toolbox = await built.toolbox()
    name, tools = f"worker-{uuid4().hex[:8]}", tuple(sorted(toolbox))
    if calls is None:
        record = WorkerRecord(name=name, queues=(THREAD_QUEUE, name_tool_queue(tools)), tools=tools, slots=slots)
        advancer = ThreadAdvancer(built, persistence, threads.table)
        return ThreadWorker(threads, advancer, record, db=db, graph=graph), record
    from graphs.workers.call_worker import CallWorker  # noqa: PLC0415 - it needs this module

    pooled = tuple(tool for tool in tools if toolbox.specs[tool].policy.pool == calls)
    if not pooled:
        raise UsageError(f"No tool has the pool {calls!r}; give one the metadata {{'pool': {calls!r}}}.")
    record = WorkerRecord(name=name, queues=(name_pool_queue(calls),), tools=pooled, slots=slots)
    return CallWorker(threads, toolbox, record, db=db, grace_s=built.settings.grace_s), record
