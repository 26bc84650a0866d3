"""When a superstep is on disk: before the next one begins, whoever calls the graph."""

import asyncio

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from graphs.compiled_graph import PlanwaveGraph
from graphs.plan_execute import build_graph
from tests.support.worlds import World

PLAN = {"tasks": [{"id": "a", "tool": "look", "args": {"value": 1}}]}


class SlowSaver(InMemorySaver):
    """A saver that takes a while to store a checkpoint, and notes in `log` when it has."""

    def __init__(self, log):
        super().__init__()
        self._log = log

    async def aput(self, config, checkpoint, metadata, new_versions):
        await asyncio.sleep(0.2)
        stored = await super().aput(config, checkpoint, metadata, new_versions)
        self._log.append(("stored", metadata["step"]))
        return stored


@pytest.mark.parametrize(
    ("configurable", "options", "stored_first"),
    [
        ({}, {}, True),
        ({}, {"durability": "sync"}, True),
        ({}, {"durability": "async"}, False),
        # What a LangGraph server passes for a client that says nothing.
        ({"graph_id": "planwave", "assistant_id": "1"}, {"durability": "async"}, True),
        ({"graph_id": "planwave", "assistant_id": "1"}, {"durability": "exit"}, False),
    ],
)
async def test_the_dispatch_is_stored_before_its_tasks_begin(configurable, options, stored_first):
    world = World()
    graph = build_graph(tools=world.tools(), checkpointer=SlowSaver(world.log))
    config = {"configurable": {"thread_id": "t", **configurable}}
    async for _ in graph.astream({"goal": "g", "plan": PLAN}, config, **options):
        pass
    before = world.log[: world.log.index(("look", 1))]
    assert (("stored", 2) in before) is stored_first


def test_a_copy_as_the_server_makes_it_is_still_a_graph_of_ours():
    graph = build_graph(tools=World().tools())
    copy = graph.copy({"checkpointer": InMemorySaver(), "store": None})
    assert type(copy) is PlanwaveGraph
    assert type(graph.with_config({"tags": ["x"]})) is PlanwaveGraph
    assert copy.invoke({"goal": "g", "plan": PLAN}, {"configurable": {"thread_id": "t"}})["status"] == "completed"
    assert copy.get_input_jsonschema() == graph.get_input_jsonschema()


@pytest.mark.filterwarnings("error:.*durability")
@pytest.mark.parametrize("options", [{}, {"durability": "sync"}])
async def test_a_graph_that_keeps_nothing_runs_to_its_end(options):
    out = await build_graph(tools=World().tools()).ainvoke({"goal": "g", "plan": PLAN}, **options)
    assert out["status"] == "completed"
