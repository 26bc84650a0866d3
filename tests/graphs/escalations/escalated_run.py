"""A run that escalates, killed: `python -m tests.graphs.escalations.escalated_run URL DISPATCH asked|answered`."""

import asyncio
import json
import os
import signal
import sys

from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langgraph.types import Command

from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.worlds import World, thread

PLANS = [
    {"tasks": [{"id": name, "tool": "look", "args": {"value": value}} for name, value in (("k", 7), ("a", number))]}
    for number in (1, 2)
]


async def main(url: str, dispatch: str, when: str) -> None:
    """Go on until the question is asked, or until its answer is stored, and die there."""
    world = World()
    world.failing = {1, 2}
    model = FakeListChatModel(responses=[json.dumps(plan) for plan in PLANS])
    async with open_persistence(url) as stored:
        graph = build_graph(
            tools=world.tools(),
            model=model,
            settings=Settings(dispatch=dispatch, max_replans=1),
            persistence=stored,
        )
        async for _ in graph.astream({"goal": "look"}, thread(), stream_mode="custom"):
            pass
        if when == "answered":
            answer = Command(resume={"decisions": [{"type": "respond", "message": "Try 3."}]})
            async for _ in graph.astream(answer, thread(), stream_mode="updates"):
                # The first update is that of the node that asked.
                os.kill(os.getpid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


asyncio.run(main(*sys.argv[1:]))
