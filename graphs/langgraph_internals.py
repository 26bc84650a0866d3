"""What LangGraph keeps to itself and this room needs: nothing else in the house imports a private name of a package.

`pyproject.toml` holds LangGraph below the next minor release for these, and `tests/graphs/test_langgraph_pins.py` tries
what they do.
"""

from copy import copy
from typing import Any

# `ensure_config` returns what a run gets of its caller's config and of a graph around it; `patch_configurable` changes
# `configurable` in a config that a parent graph hands down, as LangGraph itself does.
from langgraph._internal._config import ensure_config, patch_configurable

# The key of a node's config under which its saver is, also that of a graph around this one: by it a run knows whether
# it can wait for a person, and one that is taken up finds what its siblings have written.
# The other keys are those of a node in which a graph is called: the checkpoints of the graphs around it, its runtime,
# its scratchpad, and its task's id; and the channel in which a task that asks is stored.
from langgraph._internal._constants import (
    CONFIG_KEY_CHECKPOINT_MAP,
    CONFIG_KEY_CHECKPOINTER,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_SCRATCHPAD,
    CONFIG_KEY_TASK_ID,
    INTERRUPT,
)

# Where a saver keeps questions and the answers that were taken: by them an answer that comes twice is known.
from langgraph._internal._constants import RESUME as RESUME_CHANNEL

# The channel in which a checkpoint has the `Send`s of its superstep: by it another process knows what was dispatched.
from langgraph._internal._constants import TASKS as SENDS_CHANNEL

# What a node's task counts, among other things the graphs that were called in it.
from langgraph._internal._scratchpad import PregelScratchpad

# How a delta channel stands in a checkpoint: the serializer has to look into it for numbers beyond 64 bits.
from langgraph.checkpoint.serde.types import _DeltaSnapshot as DeltaSnapshot

# The reducer of messages that a delta channel replays: as `add_messages` merges by id, but in one pass.
from langgraph.graph.message import _messages_delta_reducer as merge_messages

# The node that makes the calls of an agent: how its calls are wrapped is known to it alone once it is made.
from langgraph.prebuilt.tool_node import ToolNode

# Collects what the stream mode `messages` shows; without one nobody reads an answer while it is written.
from langgraph.pregel._messages import StreamMessagesHandler

# Reads the state as it was when the superstep began, as conditional edges do: a `Send` brings its own argument only.
from langgraph.pregel._read import ChannelRead

__all__ = [
    "CONFIG_KEY_CHECKPOINTER",
    "CONFIG_KEY_CHECKPOINT_MAP",
    "CONFIG_KEY_RUNTIME",
    "CONFIG_KEY_SCRATCHPAD",
    "CONFIG_KEY_TASK_ID",
    "INTERRUPT",
    "RESUME_CHANNEL",
    "SENDS_CHANNEL",
    "ChannelRead",
    "DeltaSnapshot",
    "PregelScratchpad",
    "StreamMessagesHandler",
    "ensure_config",
    "get_call_wrappers",
    "merge_messages",
    "patch_configurable",
    "replace_call_wrapper",
]


def get_call_wrappers(node: ToolNode) -> tuple[Any, Any]:
    """Return what a tool node has around each call, blocking and asynchronous; a node is given both when it is made."""
    return node._wrap_tool_call, node._awrap_tool_call  # noqa: SLF001 - see the top of the file


def replace_call_wrapper(node: ToolNode, wrapper: Any) -> ToolNode:  # noqa: ANN401 - as LangGraph types it
    """Return a copy of `node` with another asynchronous wrapper around each call."""
    other = copy(node)
    other._awrap_tool_call = wrapper  # noqa: SLF001 - as above
    # What is called are these two, which a copy has bound to the original.
    other.func, other.afunc = other._func, other._afunc  # noqa: SLF001 - as above
    return other
