"""Tools that raise or return what no program expects: their task fails with a sentence, and the run goes on."""

import asyncio
import json
import sys

import pytest
from langchain_core.tools import StructuredTool

from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.worlds import READ, World, thread


class MuteError(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def ends():
    sys.exit("that was all")


async def leaves():
    await asyncio.sleep(0)
    sys.exit(3)


async def cancels():
    raise asyncio.CancelledError


async def stops():
    raise StopAsyncIteration


async def is_mute():
    raise MuteError


async def talks():
    raise ValueError("no " * 10_000)


async def stammers():
    raise ValueError("half \ud800 a letter")


async def circles():
    found = []
    found.append(found)
    return found


async def digs():
    found = 0
    for _ in range(100_000):
        found = [found]
    return found


TELLS = {
    ends: "The tool 'ends' raised SystemExit: that was all",
    leaves: "The tool 'leaves' raised SystemExit: 3",
    cancels: "The tool 'cancels' cancelled itself.",
    stops: "The tool 'stops' raised StopAsyncIteration: ",
    is_mute: "MuteError: its message cannot be read",
    talks: f"ValueError: {('no ' * 1_000)[:2_000]}...",
    stammers: "ValueError: half \ufffd a letter",
    circles: "The output of 'circles' is not a JSON value: it contains itself, or is nested deeper than 250 levels.",
    digs: "The output of 'digs' is not a JSON value: it contains itself, or is nested deeper than 250 levels.",
}


@pytest.mark.parametrize("dispatch", ["eager", "wave"])
@pytest.mark.parametrize("unruly", TELLS, ids=lambda unruly: unruly.__name__)
async def test_an_unruly_tool_fails_alone(unruly, dispatch, tmp_path):
    world, name = World(), unruly.__name__
    if asyncio.iscoroutinefunction(unruly):
        tool = world.tool(name, unruly, READ)
    else:
        tool = StructuredTool.from_function(unruly, name=name, description=name, metadata=READ)
    plan = {"tasks": [{"id": "a", "tool": name}, {"id": "k", "tool": "look", "args": {"value": 1}}]}
    async with open_persistence(f"sqlite:///{tmp_path}/run.db") as persistence:
        settings = Settings(dispatch=dispatch, max_replans=0)
        graph = build_graph(tools=[*world.tools(), tool], settings=settings, persistence=persistence)
        out = await asyncio.wait_for(graph.ainvoke({"goal": "g", "plan": plan}, thread()), 60)
    assert (out["status"], out["results"]["k"]["status"]) == ("failed", "done")
    assert out["results"]["a"]["error"].startswith(TELLS[unruly])
    assert len(out["results"]["a"]["error"]) < 2_100
    json.dumps(out["results"], ensure_ascii=False).encode()
