"""A run inside another graph: as its node, in a function of a node, or in a tool."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple, PendingWrite
from langgraph.errors import GraphInterrupt
from langgraph.runtime import Runtime
from langgraph.types import Durability, interrupt

from agent.core.plan.hashing import hash_json
from agent.json_values import JsonConversionError, to_json_value
from graphs.langgraph_internals import (
    CONFIG_KEY_CHECKPOINT_MAP,
    CONFIG_KEY_CHECKPOINTER,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_SCRATCHPAD,
    CONFIG_KEY_TASK_ID,
    INTERRUPT,
    PregelScratchpad,
    ensure_config,
    patch_configurable,
)

_MAX_TASKS: Final = 256
#: The key, in what an interrupt shows, of what its task has asked, in order; "" stands for another task's question.
_ASKED: Final = "asked"
#: The key, in the metadata of a run's checkpoints, of the digest of the input that a node called it with.
_CALLED_WITH: Final = "planwave_called_with"
#: Numbers without a run among those of the runs that a node called, after which no more are looked for.
_MAX_GAP: Final = 4
_LOOK_AGAIN_S: Final = 0.02

#: A task of the graph around a run, and its execution in this process.
Caller = tuple[str, int]


def merge_caller_config(*configs: RunnableConfig | None) -> RunnableConfig:
    """Return the last of `configs` with all that is `configurable`, also by the earlier ones and a graph around it."""
    return {**(configs[-1] or {}), "configurable": ensure_config(*configs)["configurable"]}


def is_nested(config: RunnableConfig) -> bool:
    """Return whether a run with this config is part of a run of another graph."""
    return CONFIG_KEY_TASK_ID in config.get("configurable", {})


def is_checkpointed(config: RunnableConfig, *, own: object) -> bool:
    """Return whether a run with this config has a checkpointer: that of the graph around it counts, and else `own`.

    A graph around it without one says so by None, and then `own` does not count either.
    """
    configurable = config.get("configurable", {})
    return bool(configurable.get(CONFIG_KEY_CHECKPOINTER, own))


def resolve_durability(requested: Durability | None, config: RunnableConfig) -> Durability:
    """Return `requested`, or "sync" if that is None.

    A LangGraph server passes "async" for each client that passes nothing, so on a server "async" counts as None.
    """
    return "sync" if requested is None or (is_on_server(config) and requested == "async") else requested


def is_on_server(config: RunnableConfig) -> bool:
    """Return whether a LangGraph server makes the run."""
    return "graph_id" in config.get("configurable", {})


def identify_caller(config: RunnableConfig) -> Caller | None:
    """Return what tells one execution of a node, in which graphs are called, from another; None if there is none.

    Its first part is the same for two executions of one task, such as when two processes resume one thread.
    """
    scratchpad = config.get("configurable", {}).get(CONFIG_KEY_SCRATCHPAD)
    if not is_nested(config) or not isinstance(scratchpad, PregelScratchpad):
        return None
    return str(config["configurable"][CONFIG_KEY_TASK_ID]), id(scratchpad.subgraph_counter)


async def load_pending_writes(config: RunnableConfig) -> list[PendingWrite]:
    """Return what the tasks of the current superstep have written, in a node of it: task id, channel and value."""
    saved = await _load_checkpoint(config)
    return list(saved.pending_writes or ()) if saved else []


async def load_checkpoint_time(config: RunnableConfig) -> str | None:
    """Return when the superstep of a node began, as ISO 8601; None without a checkpointer."""
    saved = await _load_checkpoint(config)
    return saved.checkpoint["ts"] if saved else None


async def _load_checkpoint(config: RunnableConfig) -> CheckpointTuple | None:
    configurable = config["configurable"]
    saver = configurable.get(CONFIG_KEY_CHECKPOINTER)
    if not isinstance(saver, BaseCheckpointSaver):
        return None
    own_checkpoint = {
        "thread_id": configurable["thread_id"],
        "checkpoint_id": configurable["checkpoint_id"],
        "checkpoint_ns": get_run_namespace(configurable.get("checkpoint_ns")),
    }
    return await saver.aget_tuple({"configurable": own_checkpoint})


def get_run_namespace(namespace: str | None) -> str:
    """Return the namespace of a run by that of a node of it; "" for a run that is part of no other graph."""
    # The last part is the node.
    return (namespace or "").rpartition("|")[0]


class Questions:
    """The questions that one task of a run inside another graph asks, and the answers that are theirs.

    A graph around a run stores an answer before it comes here, bound to nothing. After a crash LangGraph gives it to
    whatever asks first, which may be another run of the same node, or another question of the same task. So an
    interrupt says what its task has asked up to it, and an answer counts only if it was given to the question.
    """

    def __init__(self, stored: Sequence[str] | None) -> None:
        """Take what was asked before, as the last interrupt of the task says; None: any answer counts."""
        self._stored = stored
        self._asked: list[str] = []

    def ask(self, payload: dict[str, Any], *, digest: str) -> Any:  # noqa: ANN401 - whatever a person answers
        """Interrupt the task with a question, named by `digest`, and return its answer when there is one."""
        if self._stored is None:
            return interrupt(payload)
        while True:
            position = len(self._asked)
            self._asked.append(digest)
            answer = interrupt({**payload, _ASKED: [*self._asked]})
            if list(self._stored[position : position + 1]) == [digest]:
                return answer
            # It was given to another question.
            self._asked[position] = ""


async def load_questions(config: RunnableConfig) -> Questions:
    """Return the questions of the node that has this config."""
    if not get_run_namespace(config["configurable"].get("checkpoint_ns")):
        # What `PlanwaveGraph` is given itself, it binds.
        return Questions(None)
    task_id = config["configurable"].get(CONFIG_KEY_TASK_ID)
    asked = [
        value for task, channel, value in await load_pending_writes(config) if (task, channel) == (task_id, INTERRUPT)
    ]
    if not asked:
        return Questions(())
    [question, *_] = asked[-1]
    shown = await _load_shown_ids(config)
    if shown and question.id not in shown:
        # Runs side by side in one node ask together, and a person is shown one of their questions.
        _withhold_answer(config)
    return Questions(question.value.get(_ASKED))


async def _load_shown_ids(config: RunnableConfig) -> set[str]:
    """Return the ids of the questions that the outermost graph has shown; none if that is not stored."""
    configurable = config["configurable"]
    saver, outermost = configurable.get(CONFIG_KEY_CHECKPOINTER), configurable.get(CONFIG_KEY_CHECKPOINT_MAP) or {}
    if not isinstance(saver, BaseCheckpointSaver) or not outermost.get(""):
        return set()
    saved = await saver.aget_tuple(
        {"configurable": {"thread_id": configurable["thread_id"], "checkpoint_ns": "", "checkpoint_id": outermost[""]}}
    )
    writes = (saved.pending_writes or ()) if saved else ()
    return {interrupt.id for _, channel, value in writes if channel == INTERRUPT for interrupt in value}


def _withhold_answer(config: RunnableConfig) -> None:
    """Keep an answer that names no question from the task with this config: LangGraph gives it to whoever asks first.

    One that names the task's own question by its id still comes.
    """
    configurable = config["configurable"]
    scratchpad = configurable.get(CONFIG_KEY_SCRATCHPAD)
    if isinstance(scratchpad, PregelScratchpad):
        configurable[CONFIG_KEY_SCRATCHPAD] = replace(scratchpad, get_null_resume=lambda _consume: None)


@dataclass(slots=True, eq=False)
class _Call:
    """A call of a graph in a node, and the number of its namespace among those that the node calls."""

    number: int
    #: Whether no other call may be given the number any more.
    is_settled: bool = False
    #: Whether its run has ended, or has asked and waits.
    is_over: bool = False


@dataclass(slots=True)
class _CalledRuns:
    """The runs that one task of a graph around them has called: the numbers of their namespaces."""

    #: LangGraph's counter, the same one in every attempt.
    count: Callable[[], int]
    attempt: int = 1
    numbers: list[int] = field(default_factory=list)
    #: By number, the calls of this attempt.
    held: dict[int, _Call] = field(default_factory=dict)

    def begin_call(self, attempt: int) -> _Call:
        """Return a call with the first number that no call of this attempt has."""
        if self.attempt != attempt:
            self.attempt, self.held = attempt, {}
        number = next((one for one in self.numbers if one not in self.held), None)
        if number is None:
            number = self.count()
            self.numbers.append(number)
        self.held[number] = call = _Call(number)
        return call

    def move_call(self, call: _Call, number: int) -> None:
        """Settle a call on a number, and give its own to the call that has that; not if that call is settled."""
        while max(self.numbers) < number:
            self.numbers.append(self.count())
        holder, old = self.held.get(number), call.number
        if holder is not None and holder.is_settled:
            return
        self.held[number], call.number, call.is_settled = call, number, True
        if holder is None:
            del self.held[old]
        else:
            self.held[old], holder.number = holder, old


class RepeatedRuns:
    """Gives a run that a node calls again, when LangGraph runs the node again, the namespace that it had before.

    LangGraph counts the graphs that a node calls. But a node that calls them in threads, as `ToolNode` does, calls them
    in another order each time, and would get the result of one for another; and one that is retried by its
    `retry_policy` goes on counting, so that the first graph of the second attempt would look for its checkpoint where
    none is. So a call gets the first number whose run was called with the same input, or else the next one.
    """

    def __init__(self) -> None:
        self._tasks: OrderedDict[int, _CalledRuns] = OrderedDict()
        self._lock = threading.Lock()

    @asynccontextmanager
    async def number_call(self, config: RunnableConfig, given: object) -> AsyncIterator[RunnableConfig]:
        """Yield the config of a run that begins now with the input `given`, with its number among its siblings.

        A run that asks ends the node, so that first its siblings end too, or ask: they would be cut off.
        """
        configurable = config.get("configurable", {})
        scratchpad, runtime = configurable.get(CONFIG_KEY_SCRATCHPAD), configurable.get(CONFIG_KEY_RUNTIME)
        if not isinstance(scratchpad, PregelScratchpad):
            yield config
            return
        info = runtime.execution_info if isinstance(runtime, Runtime) else None
        with self._lock:
            called = self._find_task(scratchpad.subgraph_counter)
            call = called.begin_call(info.node_attempt if info else 1)
        try:
            digest = _hash_input(given)
            if digest is not None:
                await self._match_stored_run(call, called, digest, config)
                config = {**config, "metadata": {**(config.get("metadata") or {}), _CALLED_WITH: digest}}
            call.is_settled = True
            counted = replace(scratchpad, subgraph_counter=lambda: call.number)
            yield patch_configurable(config, {CONFIG_KEY_SCRATCHPAD: counted})
        except GraphInterrupt:
            call.is_over = True
            while not all(each.is_over for each in list(called.held.values())):  # noqa: ASYNC110 - in several event loops
                await asyncio.sleep(_LOOK_AGAIN_S)
            raise
        finally:
            call.is_over = True

    async def _match_stored_run(self, call: _Call, called: _CalledRuns, digest: str, config: RunnableConfig) -> None:
        """Give a call the number of the stored run that was called with the same input, if there is one."""
        saver = config["configurable"].get(CONFIG_KEY_CHECKPOINTER)
        while isinstance(saver, BaseCheckpointSaver) and not call.is_settled:
            number = call.number
            found: int | None = number
            if await _load_digest(saver, config, number) not in {None, "", digest}:
                found = await _find_number(saver, config, digest, called)
            with self._lock:
                if found is not None and found != number:
                    called.move_call(call, found)
                elif call.number == number:
                    call.is_settled = True

    def _find_task(self, own_count: Callable[[], int]) -> _CalledRuns:
        called = self._tasks.get(id(own_count))
        if called is None:
            # It holds the counter, so that no other one gets its id while it is here.
            called = self._tasks[id(own_count)] = _CalledRuns(own_count)
            while len(self._tasks) > _MAX_TASKS:
                self._tasks.popitem(last=False)
        self._tasks.move_to_end(id(own_count))
        return called


def _hash_input(given: object) -> str | None:
    """Return the digest of what a run is called with; None for what is no input of a new run."""
    try:
        return hash_json(to_json_value(given)) if isinstance(given, Mapping) else None
    except JsonConversionError:
        return None


async def _load_digest(saver: BaseCheckpointSaver[Any], config: RunnableConfig, number: int) -> str | None:
    """Return the digest that a stored run was called with, "" if that is not known; None if there is no such run."""
    configurable = config["configurable"]
    namespace = configurable.get("checkpoint_ns") or ""
    saved = await saver.aget_tuple(
        {
            "configurable": {
                "thread_id": configurable["thread_id"],
                # As LangGraph names them: the first has no number.
                "checkpoint_ns": f"{namespace}|{number}" if number else namespace,
            }
        }
    )
    return str((saved.metadata or {}).get(_CALLED_WITH, "")) if saved else None


async def _find_number(
    saver: BaseCheckpointSaver[Any], config: RunnableConfig, digest: str, called: _CalledRuns
) -> int | None:
    """Return the first number whose run was called with an input of that digest, and which no settled call has."""
    gap = 0
    for number in count():
        stored = await _load_digest(saver, config, number)
        gap = gap + 1 if stored is None else 0
        if gap > _MAX_GAP:
            return None
        holder = called.held.get(number)
        if stored == digest and not (holder is not None and holder.is_settled):
            return number
    return None


#: One for the process, because the graphs that a node calls may be several.
repeated_runs: Final = RepeatedRuns()
