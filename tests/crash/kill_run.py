"""A planned run that kills or stops itself at its k-th point, and the run that takes it up again."""

import asyncio
import json
import signal
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.types import Command

from agent.errors import ToolFailure
from agent.settings import Settings
from graphs.delegation.delegate_tool import delegate_tool
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from graphs.stores.postgres import PostgresCheckpointSaver
from graphs.stores.single_thread import SingleThreadSaver
from graphs.stores.sqlite import SqliteCheckpointSaver
from graphs.stores.tables.ledger import SqlLedger
from tests.support.faults import befall
from tests.support.journal import Journal
from tests.support.scripted_worker import Worker

READS, KEYED, UNKEYED, UNDO_KEYED, UNDO_UNKEYED = "look", "deliver", "post", "recall", "unpost"
#: First what can be read, then, approved, two writes; one reading of what was written fails and is planned anew.
PLAN = {
    "tasks": [
        {"id": "a", "tool": READS, "args": {"name": "a"}},
        {"id": "b", "tool": READS, "args": {"name": "b"}},
        {"id": "k", "tool": KEYED, "args": {"name": "k", "rests_on": {"output_of": "a"}}},
        {"id": "u", "tool": UNKEYED, "args": {"name": "u", "rests_on": {"output_of": "b"}}},
        {"id": "bad", "tool": READS, "args": {"name": "bad", "rests_on": {"output_of": "k"}}},
        {"id": "end", "tool": READS, "args": {"name": "end", "rests_on": {"output_of": "bad"}}},
    ]
}
MENDED = {
    "tasks": [
        *PLAN["tasks"][:4],
        {"id": "good", "tool": READS, "args": {"name": "good", "rests_on": {"output_of": "u"}}},
        {"id": "end", "tool": READS, "args": {"name": "end", "rests_on": {"output_of": "good"}}},
    ]
}
#: Two approved writes, the second after the first; what reads them fails and ends the run, so that both are undone.
GIVEN_UP = {
    "tasks": [
        *PLAN["tasks"][:3],
        {
            **PLAN["tasks"][3],
            "depends_on": ["k"],
            "rollback": {"tool": UNDO_UNKEYED, "args": {"name": "u", "rests_on": {"output_of": "u"}}},
        },
        {**PLAN["tasks"][4], "depends_on": ["u"], "on_failure": "abort"},
    ]
}
#: A worker makes both writes, of which one can be undone; then as above.
DELEGATED = {
    "tasks": [
        PLAN["tasks"][0],
        {"id": "job", "tool": "delegate", "args": {"task": "Deliver, then post."}, "depends_on": ["a"]},
        {**PLAN["tasks"][4], "args": {"name": "bad"}, "depends_on": ["job"], "on_failure": "abort"},
    ]
}
#: What the worker calls, turn by turn, and what its calls are called in the journal.
TURNS = [(READS, "w"), (KEYED, "k"), (UNKEYED, "u")]
_BY_WORKER = {f"job/{turn}.0": name for turn, (_, name) in enumerate(TURNS, start=1)}
STORIES: dict[str, dict[str, Any]] = {
    "replanned": {"goal": "Read the end."},
    "rolled back": {"goal": "Read the end.", "plan": GIVEN_UP},
    "delegated": {"goal": "Read the end.", "plan": DELEGATED},
}
_REPLIES = {
    "Plan for this goal": json.dumps(PLAN),
    "has come to a halt": json.dumps(MENDED),
    "Answer the goal for a person": "It reads 'look end'. [end]",
}


class ByQuestion(BaseChatModel):
    """A model that answers each role alike however often and in whatever process it is asked."""

    @property
    def _llm_type(self) -> str:
        return "by question"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        asked = " ".join(str(message.content) for message in messages)
        [reply] = [reply for words, reply in _REPLIES.items() if words in asked]
        return ChatResult(generations=[ChatGeneration(message=AIMessage(reply))])


class Points:
    """Counts the points that a run comes by, and kills or stops the process at one of them."""

    def __init__(self, journal: Journal, *, fault_at: int | None, fault: int) -> None:
        self.passed: list[str] = []
        #: What is held while the process is paused.
        self.while_paused: list[AbstractContextManager[Any]] = []
        self._journal = journal
        self._fault_at = fault_at
        self._fault = fault
        self._lock = threading.Lock()

    def reach(self, point: str) -> None:
        with self._lock:
            self.passed.append(point)
            if len(self.passed) == self._fault_at:
                with ExitStack() as held:
                    for lock in self.while_paused if self._fault == signal.SIGSTOP else ():
                        held.enter_context(lock)
                    self._journal.note("fault", point)
                    befall(self._fault)

    def around(self, owner: type, name: str) -> None:
        """Make the entry and the exit of a coroutine method points."""
        method = getattr(owner, name)

        async def reached(this: object, *args: Any, **kwargs: Any) -> Any:
            if name == "aput_writes":
                self._note("ended", args[1])
            self.reach(f"{name}-entry")
            made = await method(this, *args, **kwargs)
            self.reach(f"{name}-exit")
            return made

        setattr(owner, name, reached)

    def around_storing(self, owner: type) -> None:
        """Make the beginning and the end of storing a checkpoint points, and note what is stored of the tasks."""
        put, put_writes = owner.put, owner.put_writes  # type: ignore[attr-defined]

        def closing(this: object, config: RunnableConfig, *args: Any) -> Any:
            if not config["configurable"].get("checkpoint_ns"):
                # A worker stores steps of its own, beside the tasks that are at work.
                self._journal.note("closing")
            self.reach("put-entry")
            made = put(this, config, *args)
            self.reach("put-exit")
            return made

        def storing(this: object, *args: Any) -> None:
            put_writes(this, *args)
            self._note("stored", args[1])

        owner.put, owner.put_writes = closing, storing  # type: ignore[attr-defined]

    def _note(self, word: str, writes: Sequence[tuple[str, Any]]) -> None:
        for channel, value in writes:
            if channel == "results" and isinstance(value, dict):
                for task in value:
                    self._journal.note(word, task)


def tools_over(journal: Journal, points: Points) -> list[BaseTool]:
    """Return a reading tool, writes with a key and without, what undoes them; an effect is a line of the journal."""

    async def effect(tool: str, name: str, key: str = "") -> str:
        points.reach("effect-entry")
        journal.note("call", name, key)
        await asyncio.sleep(0.002)
        points.reach("effect-exit")
        if name == "bad":
            raise ToolFailure("There is nothing at 'bad'.")
        return f"{tool} {name}"

    async def look(name: str, rests_on: str = "") -> str:
        return await effect(READS, name)

    async def deliver(name: str, idempotency_key: str, rests_on: str = "") -> str:
        return await effect(KEYED, name, idempotency_key)

    async def post(name: str, rests_on: str = "") -> str:
        return await effect(UNKEYED, name)

    async def recall(name: str, idempotency_key: str) -> str:
        return await effect(UNDO_KEYED, f"undo:{name}", idempotency_key)

    async def unpost(name: str, rests_on: str = "") -> str:
        return await effect(UNDO_UNKEYED, f"undo:{name}")

    reading, undone = {"readOnlyHint": True}, {"compensate": UNDO_KEYED}
    return [
        StructuredTool.from_function(coroutine=look, name=READS, description="look", metadata=reading),
        StructuredTool.from_function(coroutine=deliver, name=KEYED, description="deliver", metadata=undone),
        StructuredTool.from_function(coroutine=post, name=UNKEYED, description="post"),
        StructuredTool.from_function(coroutine=recall, name=UNDO_KEYED, description="recall"),
        StructuredTool.from_function(coroutine=unpost, name=UNDO_UNKEYED, description="unpost"),
    ]


def called(task: str) -> str:
    """Return what a task, or a call of a worker, is called in the journal."""
    call = task.removeprefix("undo:")
    return f"{task[: -len(call)]}{_BY_WORKER.get(call, call)}"


def answer_to(request: dict[str, Any], journal: Journal, *, leaves_doubts: bool) -> Command[Any]:
    """Answer as a person would who approves every call and looks whether one in doubt has happened, or leaves it."""

    def decision(action: dict[str, Any]) -> dict[str, Any]:
        name = called(action["task_id"])
        journal.note("asked", "doubt" if "doubt" in action else "approval", name)
        if "doubt" in action and leaves_doubts:
            return {"type": "reject"}
        if "doubt" in action and journal.having("call", name):
            return {"type": "respond", "message": f"{action['name']} {name}"}
        return {"type": "approve"}

    return Command(resume={"decisions": [decision(action) for action in request["action_requests"]]})


async def run(
    url: str,
    path: str,
    dispatch: str,
    thread: str,
    *,
    fault_at: int | None = None,
    fault: int = signal.SIGKILL,
    ttl_s: float = 30.0,
    leaves_doubts: bool = False,
    story: str = "replanned",
) -> dict[str, Any]:
    """Begin the thread's run, or take up what is left of it, and bring it to its end."""
    journal = Journal(path)
    points = Points(journal, fault_at=fault_at, fault=fault)
    for name in ("aput", "aput_writes"):
        points.around(SingleThreadSaver, name)
    points.around_storing(SqliteCheckpointSaver if url.startswith("sqlite") else PostgresCheckpointSaver)
    for name in ("claim", "complete"):
        points.around(SqlLedger, name)
    config: RunnableConfig = {"configurable": {"thread_id": thread}}
    async with open_persistence(url, ttl_s=ttl_s) as persistence:
        if url.startswith("sqlite"):
            # Nobody can end the transaction of a paused process in a file, so it must not be paused within one.
            points.while_paused = [persistence._backend.database.lock, persistence._backend.store.lock]  # type: ignore[attr-defined]
        settings, tools = Settings(dispatch=dispatch), tools_over(journal, points)
        if story == "delegated":
            turns = [[(tool, {"name": name})] for tool, name in TURNS]
            tools.append(delegate_tool(tools[:3], lambda: Worker(turns=[*turns, "Done."])))
        graph = build_graph(tools=tools, model=ByQuestion(), settings=settings, persistence=persistence)
        begun = [
            called(row.intent.task) for row in await persistence.ledger.list_rows(thread) if row.state == "started"
        ]
        left = await graph.aget_state(config)
        given: Any = None if left.values or left.next else STORIES[story]
        for _ in range(8):
            if (out := await graph.ainvoke(given, config))["status"] != "awaiting_approval":
                break
            given = answer_to(out["__interrupt__"][0].value, journal, leaves_doubts=leaves_doubts)
    return {"out": {**out, "__interrupt__": None}, "points": points.passed, "begun": begun}


async def record_of(url: str, thread: str) -> list[Any]:
    """Return what is stored of a thread: the newest checkpoint with its values, and the rows of the ledger."""
    async with open_persistence(url) as persistence:
        newest = await persistence.saver.aget_tuple({"configurable": {"thread_id": thread}})
        rows = [row.model_dump() for row in await persistence.ledger.list_rows(thread)]
    return [newest and (newest.checkpoint["id"], newest.checkpoint["channel_values"], newest.pending_writes), rows]


def ending(out: dict[str, Any]) -> dict[str, Any]:
    """Return what is the same at the end of each run: all but times, attempts and the like."""
    results = {task: (found["status"], found["output"], found["error"]) for task, found in out["results"].items()}
    keys = ("status", "answer", "plan", "replans", "revision", "rollback")
    return {"results": results, **{key: out[key] for key in keys}}


def effects(journal: Journal) -> dict[str, int]:
    """Return how often each write and each undoing took effect; what has the same key twice takes effect once."""
    calls = [(name, *key) for _, name, *key in journal.having("call")]
    undoings = {name for name, *_ in calls if name.startswith("undo:")}
    keyed = {name: len({call for call in calls if call[0] == name}) for name in ("k", "undo:k")}
    found = {**keyed, **{name: calls.count((name,)) for name in ("u", "undo:u")}}
    return {name: count for name, count in found.items() if name in {"k", "u", *undoings}}


def unasked(journal: Journal) -> list[str]:
    """Return the writes and undoings that were made before a person was asked about them."""
    lines = journal.lines()
    return [
        line[1]
        for at, line in enumerate(lines)
        if line[0] == "call" and line[1] in {"k", "u", "undo:k", "undo:u"}
        if not any(before[0] == "asked" and before[2] == line[1] for before in lines[:at])
    ]


def repeated(journal: Journal) -> list[str]:
    """Return the tasks that were called again after their results had been stored."""
    lines = journal.lines()
    return [line[1] for at, line in enumerate(lines) if line[0] == "call" and ["stored", line[1]] in lines[:at]]


def closed_too_early(journal: Journal) -> list[str]:
    """Return the tasks that had ended and were not stored when a checkpoint after them was."""
    ended: list[str] = []
    found: list[str] = []
    for word, *rest in journal.lines():
        match word:
            case "ended":
                ended += rest
            case "stored":
                ended = [task for task in ended if task not in rest]
            case "fault":
                # What has not been stored by now is run again.
                ended = []
            case "closing":
                found += ended
    return found
