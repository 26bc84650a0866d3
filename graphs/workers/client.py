"""What users of workers call: submit a goal, answer what it asks, wait for its end. No worker need be running."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cached_property, partial
from typing import Any, Final, cast
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command, StateSnapshot

from agent.core.engine.approvals import is_refused, parse_decisions
from agent.core.plan.document import Plan
from agent.errors import AnswerError, UsageError
from graphs.compiled_graph import PlanwaveGraph
from graphs.input_validation import bind_answer, find_last_answered, is_same_answer, reject_unstorable, validate_input
from graphs.persistence import Persistence, open_persistence
from graphs.plan_execute import build_graph
from graphs.state import Input, Output
from graphs.stores.tables.submissions import Submission, SubmissionTable, describe_question
from graphs.thread_status import collect_results, is_unfinished
from graphs.workers.engine import CONTINUED_PRIORITY, check_address, defer_thread, require_engine

#: Seconds between two looks at a thread that is waited for, at first and at most.
_POLL_S: Final = (0.05, 0.5)


class ThreadQueue:
    """The queue in one database; `open_queue` opens it."""

    def __init__(self, persistence: Persistence) -> None:
        self.persistence = persistence
        self.table = SubmissionTable(persistence.backend.database, serde=persistence.saver.serde)

    @cached_property
    def _graph(self) -> PlanwaveGraph:
        """A graph without tools, to read states."""
        return build_graph(tools=[], persistence=self.persistence)

    async def submit(self, given: Input | Mapping[str, Any], *, thread_id: str | None = None) -> str:
        """Store the input of a run, for a worker to begin, and return its thread.

        The same input may be submitted again to the same thread until it has ended. Raises `UsageError` for an input
        that no graph takes, and for another one on a thread that has not ended.
        """
        # As it is given: what is made of it, such as the id of the run, is made when the run begins.
        checked = dict(given)
        if isinstance(plan := checked.get("plan"), Plan):
            checked["plan"] = plan.model_dump(mode="json", exclude_defaults=True)
        validate_input(checked)
        reject_unstorable(checked, self.persistence.saver)
        thread = thread_id or uuid4().hex
        if not thread_id or not await self._is_elsewhere(thread):
            defer = partial(defer_thread, thread=thread)
            if await asyncio.to_thread(partial(self.table.insert, thread, checked, defer=defer)):
                return thread
            existing = await self.load(thread)
            if existing is None or existing.input == checked:
                return thread
        raise UsageError(f"The thread {thread!r} is not finished; wait for its end, or submit to another thread.")

    async def answer(self, thread_id: str, answer: Any) -> None:  # noqa: ANN401 - whatever a caller passes
        """Put an answer into the inbox of a thread, where the next worker finds it.

        It is valid for what the thread asks now, and takes effect once, however often it is given. Raises
        `AnswerError` if nothing waits, it does not fit, or another answer was given first; `UsageError` if there is no
        such thread.
        """
        command: Command[Any] = Command(resume=answer)
        state = await self.load_state(thread_id)
        waiting = state.interrupts
        if not waiting and await self._was_taken(thread_id, command):
            return
        bound = bind_answer(command, waiting).resume
        for each in (bound, *(bound.values() if isinstance(bound, dict) else ())):
            if is_refused(each):
                raise AnswerError(f"{parse_decisions(each, ())} Nothing was changed.")
        subject = describe_question(bound, waiting)
        # Counted before the question is read again: if it is answered in between, this answer is for the earlier one.
        count = await asyncio.to_thread(self.table.count_taken, thread_id, subject)
        if (await self.load_state(thread_id)).interrupts != waiting:
            if await self._was_taken(thread_id, command):
                return
            raise AnswerError("What the thread asked was answered meanwhile; look at what it asks now.")
        defer = partial(defer_thread, thread=thread_id, priority=CONTINUED_PRIORITY)
        stored = await asyncio.to_thread(
            partial(self.table.put_answer, thread_id, (subject, count), bound, defer=defer)
        )
        if stored != bound:
            raise AnswerError("Another answer to this was given first; nothing was changed.")

    async def wait(self, thread_id: str, *, timeout_s: float | None = None) -> Output:
        """Wait until a thread has ended, or waits for an answer, and return what `ainvoke` would return.

        A thread that was set aside is `failed`, with the reason in `problems`. Raises `TimeoutError`, and `UsageError`
        if there is no such thread.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = _POLL_S[0]
        while True:
            submission = await self.load(thread_id)
            if submission is not None and submission.state != "queued":
                return await self._build_output(thread_id, submission)
            if submission is None:
                state = await self.load_state(thread_id)
                if (state.interrupts or not is_unfinished(state)) and not await self.persistence.is_busy(thread_id):
                    return await self._build_output(thread_id, None)
            if end is not None and time.monotonic() + pause_s > end:
                raise TimeoutError(f"The thread {thread_id!r} has neither ended nor asked within {timeout_s:g} s.")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _POLL_S[1])

    async def load(self, thread: str) -> Submission | None:
        """Return what workers know of a thread; None if it was never submitted or answered here."""
        return await asyncio.to_thread(self.table.load, thread)

    async def load_state(self, thread: str) -> StateSnapshot:
        """Return the state of a thread, empty until a worker has begun it. Raises `UsageError` if there is none."""
        state = await self._graph.aget_state(_config_of(thread))
        if state.created_at is None and await self.load(thread) is None:
            raise UsageError(f"There is no thread {thread!r} in {self.persistence.url}.")
        return state

    async def _is_elsewhere(self, thread: str) -> bool:
        """Return whether the thread has not ended and was not submitted: somebody else runs it."""
        state = await self._graph.aget_state(_config_of(thread))
        return is_unfinished(state) and await self.load(thread) is None

    async def _was_taken(self, thread: str, command: Command[Any]) -> bool:
        """Return whether the thread was given this answer last, so that it may come again."""
        last = await find_last_answered(self.persistence.saver, _config_of(thread))
        try:
            return last is not None and is_same_answer(bind_answer(command, last[0]), *last)
        except AnswerError:
            return False

    async def _build_output(self, thread: str, submission: Submission | None) -> Output:
        state = await self._graph.aget_state(_config_of(thread))
        results = await self._graph.aload_outputs(collect_results(state), _config_of(thread))
        out: dict[str, Any] = {key: state.values[key] for key in Output.__annotations__ if key in state.values}
        out["results"] = results
        if state.interrupts:
            out |= {"status": "awaiting_approval", "__interrupt__": list(state.interrupts)}
        if submission is not None and submission.state == "set_aside":
            problem = f"The thread was set aside: {submission.reason}."
            out |= {"status": "failed", "answer": "", "problems": [*out.get("problems", ()), problem]}
        return cast("Output", out)


def _config_of(thread: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread}}


async def is_submitted(thread: str, *, stored: Persistence) -> bool:
    """Return whether workers have a thread that has not ended."""
    submission = await ThreadQueue(stored).load(thread)
    return submission is not None and submission.state in {"queued", "waiting", "set_aside"}


@asynccontextmanager
async def open_queue(db: str) -> AsyncIterator[ThreadQueue]:
    """Open the queue of a PostgreSQL database, with the tables it needs.

    Raises `UsageError` for another database or without the extra `workers`, else as `open_persistence`.
    """
    await asyncio.to_thread(check_address, db)
    async with open_persistence(db) as persistence:
        await asyncio.to_thread(require_engine, persistence)
        yield ThreadQueue(persistence)


async def submit(given: Input | Mapping[str, Any], *, db: str, thread_id: str | None = None) -> str:
    """Store the input of a run for the workers of a database and return its thread. See `ThreadQueue.submit`."""
    async with open_queue(db) as threads:
        return await threads.submit(given, thread_id=thread_id)


async def answer_thread(thread_id: str, answer: Any, *, db: str) -> None:  # noqa: ANN401 - whatever a caller passes
    """Answer what a thread asks, whether a worker is running or not. See `ThreadQueue.answer`."""
    async with open_queue(db) as threads:
        await threads.answer(thread_id, answer)


async def wait(thread_id: str, *, db: str, timeout_s: float | None = None) -> Output:
    """Wait until a thread has ended or asks, and return what `ainvoke` would return. See `ThreadQueue.wait`."""
    async with open_queue(db) as threads:
        return await threads.wait(thread_id, timeout_s=timeout_s)
