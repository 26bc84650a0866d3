"""One job: a thread brought as far as it goes, to its end or to a question that has no answer yet."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command, StateSnapshot

from agent.errors import AnswerError, PersistenceError, UsageError
from agent.logging_context import get_logger
from graphs.compiled_graph import PlanwaveGraph
from graphs.persistence import Persistence
from graphs.stores.tables.submissions import InboxAnswer, SubmissionState, SubmissionTable, describe_question
from graphs.thread_status import is_unfinished

_logger = get_logger(__name__)

#: In the metadata of each checkpoint: the submission whose run stored it.
_SUBMISSION_KEY: Final = "planwave_submission"


class MissingToolsError(UsageError):
    """The plan of a thread names tools that this worker does not have; another one may."""

    def __init__(self, thread: str, tools: Collection[str]) -> None:
        self.tools = sorted(tools)
        named = ", ".join(map(repr, self.tools))
        super().__init__(f"The thread {thread!r} needs {named}, which this worker does not have; left to another.")


class ThreadAdvancer:
    """Advances threads with the tools of one graph."""

    def __init__(self, graph: PlanwaveGraph, persistence: Persistence, table: SubmissionTable) -> None:
        self._graph = graph
        self._persistence = persistence
        self._table = table

    async def advance(self, thread: str) -> SubmissionState | None:
        """Run a thread until it has ended or waits; return which, or None if it was deleted or set aside.

        Raises `MissingToolsError` with nothing run, and what the graph raises: `ThreadBusyError` and `LeaseLostError`
        mean that another run has the thread.
        """
        config: RunnableConfig = {"configurable": {"thread_id": thread}}
        while True:
            submission = await asyncio.to_thread(self._table.load, thread)
            if submission is None or submission.state == "set_aside":
                return None
            state = await self._graph.aget_state(config)
            begun = submission.begun or (state.metadata or {}).get(_SUBMISSION_KEY) == submission.id
            config["metadata"] = {_SUBMISSION_KEY: submission.id}
            await self._require_tools(thread, state.values if begun else submission.input)
            on_begun: Callable[[], None] = partial(self._table.mark_begun, thread, submission.id)
            if not begun:
                await self._run(submission.input, config, on_begun)
                continue
            answer = await self._find_answer(thread, state)
            if answer is not None:
                await self._give_answer(answer, config)
            elif state.interrupts or not is_unfinished(state):
                ended: SubmissionState = "waiting" if state.interrupts else "ended"
                # Not while a run, such as one of a terminal, has it: what it stores would make this wrong.
                if await self._persistence.is_busy(thread):
                    raise PersistenceError(f"The thread {thread!r} is being run elsewhere; looked at again later.")
                if await asyncio.to_thread(self._table.settle, submission, ended):
                    return ended
            else:
                await self._run(None, config, on_begun)

    async def _require_tools(self, thread: str, values: Mapping[str, Any]) -> None:
        missing = list_planned_tools(values) - (await self._graph.toolbox()).keys()
        if missing:
            raise MissingToolsError(thread, missing)

    async def _find_answer(self, thread: str, state: StateSnapshot) -> InboxAnswer | None:
        """Return the answer to what the thread asks; one to a question that it does not ask any more has been taken."""
        for answer in await asyncio.to_thread(self._table.list_answers, thread):
            if state.interrupts:
                subject = describe_question(answer.resume, state.interrupts)
                count = await asyncio.to_thread(self._table.count_taken, thread, subject)
                if answer.question == f"{subject}:{count}":
                    return answer
            await asyncio.to_thread(self._table.mark_taken, answer.id)
        return None

    async def _give_answer(self, answer: InboxAnswer, config: RunnableConfig) -> None:
        try:
            await self._run(Command(resume=answer.resume), config, partial(self._table.mark_taken, answer.id))
        except AnswerError as error:
            _logger.warning("Answer in the inbox refused: %s", error)
            await asyncio.to_thread(self._table.refuse_answer, answer.id, str(error))

    async def _run(self, given: Any, config: RunnableConfig, on_begun: Callable[[], None]) -> None:  # noqa: ANN401 - an input of a graph
        """Run the graph; `on_begun` is called once what was given is stored with the thread."""
        pending: Callable[[], Awaitable[None]] | None = partial(asyncio.to_thread, on_begun)
        stream = self._graph.astream(given, config, stream_mode=["updates", "custom"])
        async with aclosing(stream) as parts:  # type: ignore[type-var]  # an async generator, typed as an iterator
            async for _ in parts:
                if pending is not None:
                    await pending()
                    pending = None
        if pending is not None:
            await pending()


def list_planned_tools(values: Mapping[str, Any] | None) -> set[str]:
    """Return the tools that the plan of an input or a state names, those of its rollbacks too."""
    found: set[str] = set()
    waiting: list[Any] = [(values or {}).get("plan"), (values or {}).get("rollback_plan")]
    for plan in waiting:
        tasks = plan.get("tasks") if isinstance(plan, Mapping) else None
        for task in tasks if isinstance(tasks, list) else ():
            for call in (task, task.get("rollback")) if isinstance(task, Mapping) else ():
                tool = call.get("tool") if isinstance(call, Mapping) else None
                if isinstance(tool, str):
                    found.add(tool)
    return found
