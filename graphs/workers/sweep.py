"""What every worker does every few seconds: say that it lives, and find the threads that a dead one has left."""

import json
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

from agent.logging_context import get_logger
from graphs.stores.database import StatementRunner, StoreDatabase
from graphs.stores.tables.leases import Owner, get_current_process
from graphs.stores.tables.submissions import count_crash
from graphs.workers.engine import ADVANCE_TASK, CALL_TASK, CONTINUED_PRIORITY, THREAD_QUEUE, defer_thread

_logger = get_logger(__name__)

#: Seconds between two sweeps at most; a worker that is dead is found at the next one.
MAX_SWEEP_S: Final = 3.0
#: Threads without a job that one sweep adopts at most.
_ADOPTED: Final = 500
#: Dead times after which a worker that is dead is not listed any more.
_LISTED: Final = 20


@dataclass(slots=True)
class WorkerRecord:
    """A running worker, as it is listed."""

    name: str
    queues: tuple[str, ...]
    tools: tuple[str, ...]
    slots: int
    #: Its number in the engine, which is another one after the engine was started again.
    engine_id: int | None = None
    #: What it runs, by the number of the job.
    doing: dict[int, str] = field(default_factory=dict)
    started_at: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What a sweep has found."""

    #: Threads of dead workers, in the queue again.
    recovered: tuple[str, ...] = ()
    #: Threads that had no job, and have one now.
    adopted: tuple[str, ...] = ()
    #: Threads that are not tried again.
    set_aside: tuple[str, ...] = ()
    #: Whether the engine still knows this worker; if not, others have taken it for dead.
    is_registered: bool = True


class Sweeper:
    """Sweeps for one worker; each sweep is one transaction, and any number of workers may sweep at once."""

    def __init__(self, database: StoreDatabase, *, dead_s: float) -> None:
        self._database = database
        self._dead_s = dead_s
        self._process = get_current_process()
        #: Jobs that the engine says are run here, though they are not, since the last sweep.
        self._suspected: set[int] = set()

    def sweep(self, worker: WorkerRecord) -> SweepReport:
        """Renew the row of `worker` and put what dead workers ran into the queue again."""
        running, engine_id = set(worker.doing), worker.engine_id
        suspected: set[int] = set()

        def sweep_tables(run: StatementRunner) -> SweepReport:
            self._renew_row(run, worker)
            found = self._list_lost_jobs(run)
            suspected.update(self._list_forgotten_jobs(run, engine_id, running))
            found += [(job, thread, queue) for job, thread, queue in self._lock_jobs(run, suspected & self._suspected)]
            recovered, set_aside = [], []
            for job, thread, queue in found:
                if not thread:
                    # A call: its row says whether it may be made again.
                    run("SELECT procrastinate_retry_job_v2(?, now(), NULL, ?, NULL)", job, queue)
                elif job not in suspected and count_crash(run, thread, how="without a word", alone=False):
                    set_aside.append(thread)
                    run("SELECT procrastinate_finish_job_v1(?, 'failed', true)", job)
                else:
                    recovered.append(thread)
                    run("SELECT procrastinate_retry_job_v2(?, now(), NULL, ?, NULL)", job, THREAD_QUEUE)
            self._free_queues(run)
            known = engine_id is None or bool(run("SELECT 1 FROM procrastinate_workers WHERE id = ?", engine_id))
            return SweepReport(tuple(recovered), tuple(self._adopt(run)), tuple(set_aside), known)

        report = self._database.run_in_transaction(sweep_tables)
        self._suspected = suspected
        for thread in report.recovered:
            _logger.warning("Thread %r recovered from a dead worker", thread, extra={"thread_id": thread})
        for thread in report.set_aside:
            _logger.error("Thread %r set aside: it has killed its workers", thread, extra={"thread_id": thread})
        if report.adopted:
            _logger.info("Threads without a job adopted: %s", ", ".join(report.adopted))
        return report

    def remove(self, worker: WorkerRecord) -> None:
        """Remove the row of a worker that ends."""
        self._database.run_in_transaction(lambda run: run("DELETE FROM planwave_workers WHERE worker = ?", worker.name))

    def _renew_row(self, run: StatementRunner, worker: WorkerRecord) -> None:
        run(
            "INSERT INTO planwave_workers (worker, engine_id, queues, tools, slots, doing, host, machine, pid,"
            " pid_started, started_at, seen_at)"
            f" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {self._database.now_expression})"
            " ON CONFLICT (worker) DO UPDATE SET engine_id = excluded.engine_id, doing = excluded.doing,"
            " seen_at = excluded.seen_at",
            worker.name,
            worker.engine_id,
            json.dumps(worker.queues),
            json.dumps(worker.tools),
            worker.slots,
            json.dumps(sorted(worker.doing.values())),
            self._process.host,
            self._process.machine,
            self._process.pid,
            self._process.pid_started,
            worker.started_at,
        )
        run(f"DELETE FROM planwave_workers WHERE seen_at < {self._database.now_expression} - ?", self._dead_s * _LISTED)

    def _list_lost_jobs(self, run: StatementRunner) -> list[tuple[int, str, str]]:
        """Return the jobs of workers that are silent, or whose process on this machine has ended; locked."""
        rows = run(
            "SELECT engine_id, host, machine, pid, pid_started FROM planwave_workers WHERE machine = ?"
            " AND engine_id IS NOT NULL",
            self._process.machine,
        )
        ended = [number for number, *owner in rows if _make_owner(owner).has_ended()]
        return self._select_jobs(
            run,
            "(worker.id IS NULL OR worker.last_heartbeat < now() - make_interval(secs => ?) OR job.worker_id = ANY(?))",
            self._dead_s,
            ended,
        )

    def _list_forgotten_jobs(self, run: StatementRunner, engine_id: int | None, running: Collection[int]) -> list[int]:
        """Return the jobs that this worker has according to the engine, and has not: their end was not stored."""
        rows = run(
            "SELECT id FROM procrastinate_jobs WHERE status = 'doing' AND worker_id = ? AND task_name = ANY(?)",
            engine_id,
            [ADVANCE_TASK, CALL_TASK],
        )
        return [job for (job,) in rows if job not in running]

    def _lock_jobs(self, run: StatementRunner, jobs: Collection[int]) -> list[tuple[int, str, str]]:
        return self._select_jobs(run, "job.id = ANY(?)", list(jobs)) if jobs else []

    def _select_jobs(self, run: StatementRunner, condition: str, *values: Any) -> list[tuple[int, str, str]]:  # noqa: ANN401 - what a column holds
        return [
            (int(job), thread or "", str(queue))
            for job, thread, queue in run(
                "SELECT job.id, job.args->>'thread', job.queue_name FROM procrastinate_jobs AS job"
                " LEFT JOIN procrastinate_workers AS worker ON worker.id = job.worker_id"
                f" WHERE job.status = 'doing' AND job.task_name = ANY(?) AND {condition}"
                " ORDER BY job.id FOR UPDATE OF job SKIP LOCKED",
                [ADVANCE_TASK, CALL_TASK],
                *values,
            )
        ]

    def _free_queues(self, run: StatementRunner) -> None:
        """Put jobs that were left to workers that are gone into the queue of all."""
        rows = run(
            f"SELECT queues FROM planwave_workers WHERE seen_at > {self._database.now_expression} - ?", self._dead_s
        )
        live = sorted({queue for (text,) in rows for queue in json.loads(text)})
        run(
            "UPDATE procrastinate_jobs SET queue_name = ? WHERE status = 'todo' AND task_name = ?"
            " AND queue_name <> ? AND queue_name <> ALL(?)",
            THREAD_QUEUE,
            ADVANCE_TASK,
            THREAD_QUEUE,
            live,
        )

    def _adopt(self, run: StatementRunner) -> list[str]:
        rows = run(
            "SELECT submission.thread FROM planwave_submissions AS submission WHERE submission.state = 'queued'"
            " AND NOT EXISTS (SELECT 1 FROM procrastinate_jobs AS job WHERE job.lock = 'planwave:' || submission.thread"
            " AND job.status IN ('todo', 'doing')) ORDER BY submission.changed_at LIMIT ?"
            " FOR UPDATE OF submission SKIP LOCKED",
            _ADOPTED,
        )
        for (thread,) in rows:
            defer_thread(run, thread, priority=CONTINUED_PRIORITY)
        return [thread for (thread,) in rows]


def find_live_queue(run: StatementRunner, tools: Collection[str], *, dead_s: float, now: str) -> str | None:
    """Return a queue of a live worker that has all these tools; None if there is none."""
    for queues, has in run(f"SELECT queues, tools FROM planwave_workers WHERE seen_at > {now} - ?", dead_s):
        if THREAD_QUEUE in json.loads(queues) and set(tools) <= set(json.loads(has)):
            return str(next(queue for queue in json.loads(queues) if queue != THREAD_QUEUE))
    return None


def _make_owner(columns: list[Any]) -> Owner:
    host, machine, pid, started = columns
    return Owner(host=host, machine=machine, pid=pid, pid_started=started)
