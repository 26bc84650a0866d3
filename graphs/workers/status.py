"""Who works, on what, and what waits."""

import json
import time
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from graphs.stores.database import StatementRunner, StoreDatabase
from graphs.workers.engine import defer_thread, read_dead_seconds

#: Threads of which it is said why they wait or were set aside.
_EXPLAINED: Final = 50


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker."""

    name: str
    host: str
    pid: int
    #: `dead`: silent for longer than the dead time.
    state: Literal["alive", "dead"]
    #: Seconds since it started, and since it was seen last.
    age_s: float
    silent_s: float
    slots: int
    #: The threads that it runs.
    doing: list[str]
    tools: list[str]


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """The workers of a database, and its threads by state."""

    workers: list[WorkerStatus]
    #: How many threads are `queued` (of which `running`), `waiting` for an answer, `ended` and `set_aside`.
    depth: dict[str, int]
    #: Why threads wait for a worker, or were set aside.
    explained: dict[str, str]

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def load_queue_status(database: StoreDatabase) -> QueueStatus:
    """Return who lives, what each does and how much waits; blocks."""
    dead_s, now = read_dead_seconds(), database.now_expression

    def load_status(run: StatementRunner) -> QueueStatus:
        workers = [
            WorkerStatus(
                name=name,
                host=host,
                pid=pid,
                state="alive" if silent_s < dead_s else "dead",
                age_s=age_s,
                silent_s=silent_s,
                slots=slots,
                doing=json.loads(doing),
                tools=json.loads(tools),
            )
            for name, host, pid, age_s, silent_s, slots, doing, tools in run(
                f"SELECT worker, host, pid, {now} - started_at, {now} - seen_at, slots, doing, tools"
                " FROM planwave_workers ORDER BY started_at, worker"
            )
        ]
        states = dict(run("SELECT state, COUNT(*) FROM planwave_submissions GROUP BY state"))
        [(running,)] = run("SELECT COUNT(*) FROM procrastinate_jobs WHERE status = 'doing'")
        depth = {"queued": states.get("queued", 0), "running": running}
        depth |= {name: states.get(name, 0) for name in ("waiting", "ended", "set_aside")}
        explained = run(
            "SELECT thread, reason FROM planwave_submissions WHERE reason IS NOT NULL AND state <> 'ended'"
            " ORDER BY changed_at DESC LIMIT ?",
            _EXPLAINED,
        )
        return QueueStatus(workers, depth, dict(explained))

    return database.run_in_transaction(load_status)


def retry_set_aside(database: StoreDatabase, thread: str) -> bool:
    """Put a thread that was set aside into the queue again; return False if it was not set aside."""

    def requeue(run: StatementRunner) -> bool:
        changed = run(
            "UPDATE planwave_submissions SET state = 'queued', reason = NULL, failures = 0, crashes = 0, stuck = 0,"
            " isolated = 0, version = version + 1, changed_at = ? WHERE thread = ? AND state = 'set_aside'"
            " RETURNING thread",
            time.time(),
            thread,
        )
        if changed:
            defer_thread(run, thread)
        return bool(changed)

    return database.run_in_transaction(requeue)
