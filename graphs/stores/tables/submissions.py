"""The tables of what workers run: a row for each submitted thread, the inbox of answers, and the workers that live."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import uuid4

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.types import Interrupt

from graphs.stores.database import StatementRunner, StoreDatabase
from graphs.stores.tables.threads import open_thread_row

#: `queued`: work is left for a worker; `waiting`: for an answer; `set_aside`: not tried again, see the reason.
SubmissionState = Literal["queued", "waiting", "ended", "set_aside"]
#: A thread that has so often taken its worker with it, without any progress in between, is set aside.
MAX_KILLS: Final = 3
#: One that was so often run by a worker that died is run in a process of its own, whatever its progress.
_MAX_CRASHES: Final = 6
#: Errors of a run after which it is set aside.
MAX_FAILURES: Final = 5

_SUBMISSION: Final = "submission, version, state, reason, begun, isolated, failures, crashes, stuck, input_type, input"
_CHANGED: Final = "version = version + 1, changed_at = ?"


@dataclass(frozen=True, slots=True)
class Submission:
    """One thread as workers know it."""

    thread: str
    id: str
    #: Grows with each change, so that a worker that slept does not overwrite what came meanwhile.
    version: int
    state: SubmissionState
    reason: str | None
    #: Whether its input has become the state of the thread.
    begun: bool
    #: Whether it is being run in a process of its own.
    isolated: bool
    failures: int
    crashes: int
    #: How many workers have died with it since it last made progress.
    stuck: int
    #: None for a thread that was begun elsewhere.
    input: Any

    @property
    def is_suspect(self) -> bool:
        """Whether it must be run in a process of its own, so that no other thread dies with it."""
        return self.stuck >= MAX_KILLS - 1 or self.crashes >= _MAX_CRASHES


@dataclass(frozen=True, slots=True)
class InboxAnswer:
    """An answer that was given and not taken yet."""

    id: str
    question: str
    #: What to resume with, bound to what was asked.
    resume: Any


class SubmissionTable:
    """Reads and writes the rows; every call blocks and is one transaction."""

    def __init__(self, database: StoreDatabase, *, serde: SerializerProtocol) -> None:
        self._database = database
        self._serde = serde

    def insert(self, thread: str, given: Any, *, defer: Callable[[StatementRunner], None]) -> bool:  # noqa: ANN401 - an input of a graph
        """Store an input, or replace that of a thread that has ended; return False if the thread has not ended.

        `given` is None for a thread whose run was begun elsewhere.
        """
        tag, data = self._serde.dumps_typed(given)
        now = time.time()

        def insert_row(run: StatementRunner) -> bool:
            inserted = run(
                "INSERT INTO planwave_submissions (thread, submission, version, state, begun, input_type, input,"
                " submitted_at, changed_at) VALUES (?, ?, 1, 'queued', ?, ?, ?, ?, ?)"
                " ON CONFLICT (thread) DO UPDATE SET submission = excluded.submission,"
                " version = planwave_submissions.version + 1, state = 'queued',"
                " reason = NULL, begun = excluded.begun, isolated = 0, failures = 0, crashes = 0, stuck = 0,"
                " input_type = excluded.input_type, input = excluded.input, submitted_at = excluded.submitted_at,"
                " changed_at = excluded.changed_at WHERE planwave_submissions.state IN ('ended', 'set_aside')"
                " RETURNING thread",
                thread,
                uuid4().hex,
                int(given is None),
                tag,
                data,
                now,
                now,
            )
            if inserted:
                open_thread_row(run, thread)
                defer(run)
            return bool(inserted)

        return self._database.run_in_transaction(insert_row)

    def load(self, thread: str) -> Submission | None:
        """Return the row of a thread."""
        rows = self._database.run_in_transaction(
            lambda run: run(f"SELECT {_SUBMISSION} FROM planwave_submissions WHERE thread = ?", thread)
        )
        return self._parse(thread, rows[0]) if rows else None

    def _parse(self, thread: str, row: Sequence[Any]) -> Submission:
        submission, version, state, reason, begun, isolated, failures, crashes, stuck, tag, data = row
        given = self._serde.loads_typed((tag, bytes(data))) if tag is not None else None
        return Submission(
            thread, submission, version, state, reason, bool(begun), bool(isolated), failures, crashes, stuck, given
        )

    def settle(self, submission: Submission, state: SubmissionState, *, reason: str | None = None) -> bool:
        """Set the state of a thread; return False, with nothing changed, if it was changed since it was loaded."""
        return bool(
            self._database.run_in_transaction(
                lambda run: run(
                    f"UPDATE planwave_submissions SET state = ?, reason = ?, begun = 1, isolated = 0, failures = 0,"
                    f" crashes = 0, stuck = 0, {_CHANGED} WHERE thread = ? AND version = ? RETURNING thread",
                    state,
                    reason,
                    time.time(),
                    submission.thread,
                    submission.version,
                )
            )
        )

    def mark_begun(self, thread: str, submission: str) -> None:
        """Record that the input has become the state of the thread."""
        self._database.run_in_transaction(
            lambda run: run(
                "UPDATE planwave_submissions SET begun = 1 WHERE thread = ? AND submission = ?", thread, submission
            )
        )

    def explain(self, thread: str, reason: str | None) -> None:
        """Say why a thread still waits for a worker."""
        self._database.run_in_transaction(
            lambda run: run("UPDATE planwave_submissions SET reason = ? WHERE thread = ?", reason, thread)
        )

    def count_failure(self, thread: str, reason: str, *, final: bool) -> int:
        """Count an error of the run, which is set aside after `MAX_FAILURES`, or if it is `final`; return the count."""
        rows = self._database.run_in_transaction(
            lambda run: run(
                "UPDATE planwave_submissions SET failures = failures + 1, reason = ?,"
                f" state = CASE WHEN failures + 1 >= ? THEN 'set_aside' ELSE state END, {_CHANGED}"
                " WHERE thread = ? RETURNING failures",
                reason,
                0 if final else MAX_FAILURES,
                time.time(),
                thread,
            )
        )
        return int(rows[0][0]) if rows else MAX_FAILURES

    def mark_isolated(self, thread: str) -> None:
        """Record that the thread is run in a process of its own."""
        self._database.run_in_transaction(
            lambda run: run("UPDATE planwave_submissions SET isolated = 1 WHERE thread = ?", thread)
        )

    def count_kill(self, thread: str, how: str) -> bool:
        """Count a process that died of this thread alone; return whether the thread is set aside now."""
        return self._database.run_in_transaction(lambda run: count_crash(run, thread, how=how, alone=True))

    # The inbox.

    def count_taken(self, thread: str, subject: str) -> int:
        """Return how often the same question of the thread was answered before."""
        return self._database.run_in_transaction(lambda run: _count_taken(run, thread, subject))

    def put_answer(
        self,
        thread: str,
        question: tuple[str, int],
        resume: Any,  # noqa: ANN401 - an answer
        *,
        defer: Callable[[StatementRunner], None],
    ) -> Any:  # noqa: ANN401 - as above
        """Store an answer to a question and return it; return the earlier one if the question has one."""
        tag, data = self._serde.dumps_typed(resume)
        subject, count = question
        now = time.time()

        def insert_answer(run: StatementRunner) -> Any:  # noqa: ANN401 - as above
            inserted = run(
                "INSERT INTO planwave_answers (id, thread, question, subject, state, answer_type, answer, given_at)"
                " VALUES (?, ?, ?, ?, 'given', ?, ?, ?) ON CONFLICT (thread, question) DO NOTHING RETURNING id",
                uuid4().hex,
                thread,
                f"{subject}:{count}",
                subject,
                tag,
                data,
                now,
            )
            if not inserted:
                [(kind, value)] = run(
                    "SELECT answer_type, answer FROM planwave_answers WHERE thread = ? AND question = ?",
                    thread,
                    f"{subject}:{count}",
                )
                return self._serde.loads_typed((kind, bytes(value)))
            changed = run(
                f"UPDATE planwave_submissions SET state = 'queued', reason = NULL, {_CHANGED} WHERE thread = ?"
                " RETURNING thread",
                now,
                thread,
            )
            if not changed:
                # Its run was begun elsewhere; from here on it is the workers'.
                none_type, none = self._serde.dumps_typed(None)
                run(
                    "INSERT INTO planwave_submissions (thread, submission, version, state, begun, input_type, input,"
                    " submitted_at, changed_at) VALUES (?, ?, 1, 'queued', 1, ?, ?, ?, ?)",
                    thread,
                    uuid4().hex,
                    none_type,
                    none,
                    now,
                    now,
                )
            defer(run)
            return resume

        return self._database.run_in_transaction(insert_answer)

    def list_answers(self, thread: str) -> list[InboxAnswer]:
        """Return the answers that were not taken yet, the oldest first."""
        rows = self._database.run_in_transaction(
            lambda run: run(
                "SELECT id, question, answer_type, answer FROM planwave_answers WHERE thread = ? AND state = 'given'"
                " ORDER BY given_at, id",
                thread,
            )
        )
        return [
            InboxAnswer(name, question, self._serde.loads_typed((tag, bytes(data))))
            for name, question, tag, data in rows
        ]

    def mark_taken(self, answer: str) -> None:
        """Record that the thread has an answer, so that the same question may be asked and answered again."""
        self._database.run_in_transaction(
            lambda run: run("UPDATE planwave_answers SET state = 'taken' WHERE id = ? AND state = 'given'", answer)
        )

    def refuse_answer(self, answer: str, reason: str) -> None:
        """Record that an answer did not fit after all; the question can be answered again."""
        self._database.run_in_transaction(
            lambda run: run(
                "UPDATE planwave_answers SET state = 'refused', reason = ?, question = question || ':refused:' || id"
                " WHERE id = ? AND state = 'given'",
                reason,
                answer,
            )
        )


def describe_question(resume: Any, waiting: Sequence[Interrupt]) -> str:  # noqa: ANN401 - an answer
    """Return a digest of what `resume` answers among the interrupts that wait: their ids and what they ask."""
    asked = {interrupt.id: interrupt.value for interrupt in waiting}
    keys = resume.keys() if isinstance(resume, Mapping) and resume and resume.keys() <= asked.keys() else asked.keys()
    text = json.dumps({key: asked[key] for key in keys}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def count_crash(run: StatementRunner, thread: str, *, how: str, alone: bool) -> bool:
    """Count that a worker died while it ran the thread, within a transaction; return whether it is set aside now.

    Counted anew from one if the thread made progress since the last time. A worker that ran the thread in a process of
    its own says itself how that ended (`alone`); if it is the worker that died, the thread is not to blame.
    """
    rows = run(
        "SELECT isolated, stuck, crash_mark, state FROM planwave_submissions WHERE thread = ? FOR UPDATE", thread
    )
    if not rows or rows[0][3] != "queued" or (rows[0][0] and not alone):
        return False
    held = run("SELECT 1 FROM planwave_leases WHERE thread = ? AND owner IS NOT NULL", thread)
    if not held and not alone:
        # It was taken from the queue and not begun.
        return False
    mark = read_progress_mark(run, thread)
    stuck = 1 + (rows[0][1] if rows[0][2] in {None, mark} or alone else 0)
    is_poison = stuck >= MAX_KILLS
    reason = f"its worker died {stuck} times while it ran, the last time {how}" if is_poison else None
    run(
        "UPDATE planwave_submissions SET stuck = ?, crashes = crashes + 1, isolated = 0, crash_mark = ?, state = ?,"
        f" reason = ?, {_CHANGED} WHERE thread = ?",
        stuck,
        mark,
        "set_aside" if is_poison else "queued",
        reason,
        time.time(),
        thread,
    )
    return is_poison


def read_progress_mark(run: StatementRunner, thread: str) -> str:
    """Return a text that changes whenever the thread stores a checkpoint or what a task returned."""
    [(newest,)] = run("SELECT MAX(checkpoint_id) FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = ''", thread)
    [(writes,)] = run(
        "SELECT COUNT(*) FROM checkpoint_writes WHERE thread_id = ? AND checkpoint_ns = '' AND checkpoint_id = ?",
        thread,
        newest or "",
    )
    return f"{newest}:{writes}"


def delete_submission_rows(run: StatementRunner, thread: str) -> None:
    """Delete what workers know of a thread, within a transaction; a job that is left finds nothing to do."""
    run("DELETE FROM planwave_submissions WHERE thread = ?", thread)
    run("DELETE FROM planwave_answers WHERE thread = ?", thread)
    run("DELETE FROM planwave_pool_calls WHERE thread = ?", thread)


def _count_taken(run: StatementRunner, thread: str, subject: str) -> int:
    [(count,)] = run(
        "SELECT COUNT(*) FROM planwave_answers WHERE thread = ? AND subject = ? AND state = 'taken'", thread, subject
    )
    return int(count)
