"""Answers that were taken already: a queue that delivers at least once gives an answer again after a crash."""

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.types import Command, Interrupt

from graphs.langgraph_internals import INTERRUPT, RESUME_CHANNEL

#: The newest checkpoints among which the last answered question is looked for.
_CHECKPOINTS = 200


async def find_last_answered(
    saver: BaseCheckpointSaver[Any], config: RunnableConfig
) -> tuple[list[Interrupt], Mapping[str, list[Any]]] | None:
    """Return the questions that were answered last and, by the id of each, the answers that it was given.

    None if nothing was answered lately. LangGraph keeps both beside the checkpoint in which the question was asked.
    """
    own = {key: value for key, value in config["configurable"].items() if key in {"thread_id", "checkpoint_ns"}}
    found: CheckpointTuple | None = None
    async for saved in saver.alist({"configurable": {"checkpoint_ns": "", **own}}, limit=_CHECKPOINTS):
        if any(channel == RESUME_CHANNEL for _, channel, _ in saved.pending_writes or ()):
            found = saved
            break
    if found is None:
        return None
    given: dict[str, list[Any]] = {}
    for task, channel, value in found.pending_writes or ():
        if channel == RESUME_CHANNEL:
            given.setdefault(task, []).extend(value if isinstance(value, list) else [value])
    asked = [
        (task, interrupt)
        for task, channel, value in found.pending_writes or ()
        if channel == INTERRUPT and task in given
        for interrupt in value
    ]
    return [interrupt for _, interrupt in asked], {interrupt.id: given[task] for task, interrupt in asked}


def is_same_answer(bound: Command[Any], waited: list[Interrupt], given: Mapping[str, list[Any]]) -> bool:
    """Return whether an answer, bound to the questions that `waited`, is what they were `given`."""
    answer = bound.resume
    if isinstance(answer, dict) and answer.keys() <= given.keys() and answer:
        return all(one in given[key] for key, one in answer.items())
    return len(waited) == 1 and answer in given[waited[0].id]
