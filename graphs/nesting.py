"""A run inside another graph: as its node, in a function of a node, or in a tool."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple, PendingWrite
from langgraph.runtime import Runtime
from langgraph.types import interrupt

from graphs.langgraph_internals import (
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
    return Questions(asked[-1][0].value.get(_ASKED) if asked else ())


@dataclass(slots=True)
class _CalledRuns:
    """The runs that one task of a graph around them has called: the numbers of their namespaces, in order."""

    #: LangGraph's counter, the same one in every attempt.
    count: Callable[[], int]
    numbers: list[int] = field(default_factory=list)
    attempt: int = 1
    next_call: int = 0


class RetriedRuns:
    """Gives a run that a retried node calls again the namespace that it had in the first attempt.

    A node's `retry_policy` has the graphs that are called in it resumed. But LangGraph goes on counting them, so that
    the first graph of the second attempt would look for its checkpoint where none is, and repeat all that it did.
    """

    def __init__(self) -> None:
        self._tasks: OrderedDict[int, _CalledRuns] = OrderedDict()
        self._lock = threading.Lock()

    def number_calls(self, config: RunnableConfig) -> RunnableConfig:
        """Return the config of a run that begins now, with a counter that gives it its number among its siblings."""
        configurable = config.get("configurable", {})
        scratchpad, runtime = configurable.get(CONFIG_KEY_SCRATCHPAD), configurable.get(CONFIG_KEY_RUNTIME)
        if not isinstance(scratchpad, PregelScratchpad):
            return config
        info = runtime.execution_info if isinstance(runtime, Runtime) else None
        count = self._create_counter(scratchpad.subgraph_counter, attempt=info.node_attempt if info else 1)
        return patch_configurable(config, {CONFIG_KEY_SCRATCHPAD: replace(scratchpad, subgraph_counter=count)})

    def _create_counter(self, own_count: Callable[[], int], *, attempt: int) -> Callable[[], int]:
        def count() -> int:
            with self._lock:
                called = self._find_task(own_count)
                if called.attempt != attempt:
                    called.attempt, called.next_call = attempt, 0
                if called.next_call == len(called.numbers):
                    called.numbers.append(own_count())
                called.next_call += 1
                return called.numbers[called.next_call - 1]

        return count

    def _find_task(self, own_count: Callable[[], int]) -> _CalledRuns:
        called = self._tasks.get(id(own_count))
        if called is None:
            # It holds the counter, so that no other one gets its id while it is here.
            called = self._tasks[id(own_count)] = _CalledRuns(own_count)
            while len(self._tasks) > _MAX_TASKS:
                self._tasks.popitem(last=False)
        self._tasks.move_to_end(id(own_count))
        return called


#: One for the process, because the graphs that a node calls may be several.
retried_runs: Final = RetriedRuns()
