"""What `graphs` relies on in LangGraph beyond its documentation; a release that changes one of these fails here."""

import asyncio
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config
from langgraph.errors import GraphInterrupt
from langgraph.graph import END, START, StateGraph
from langgraph.prebuilt.tool_node import ToolCallRequest, ToolNode
from langgraph.types import Command, Send
from typing_extensions import TypedDict

from graphs.langgraph_internals import CONFIG_KEY_CHECKPOINTER, ChannelRead, get_call_wrappers, replace_call_wrapper
from graphs.nesting import load_pending_writes
from graphs.state import merge_results
from tests.support.scripted_worker import Worker
from tests.support.worlds import thread


class State(TypedDict, total=False):
    word: str
    results: Annotated[dict[str, Any], DeltaChannel(merge_results, dict)]


def made(value):
    """Return a record, the only thing that the reducer takes for a result."""
    return {"made": value}


def fan_out(work, saver=None):
    """Return a graph that sends `a` and `b` to `work(task, config)` after a node that wrote to the state."""

    async def begin(state: State) -> Command:
        update = {"word": "written before", "results": {"z": made(0)}}
        return Command(goto=[Send("work", "a"), Send("work", "b")], update=update)

    async def run(task: str) -> dict[str, Any]:
        return {"results": {task: made(await work(task, get_config()))}}

    builder = StateGraph(State)
    builder.add_node("begin", begin, destinations=("work",))
    builder.add_node("work", run, input_schema=str)
    builder.add_edge(START, "begin")
    builder.add_edge("work", END)
    return builder.compile(checkpointer=saver or InMemorySaver())


async def test_a_sent_task_reads_the_state_at_the_beginning_of_its_superstep():
    seen: dict[str, Any] = {}

    async def work(task, config):
        await asyncio.sleep(0.05 if task == "b" else 0)
        seen[task] = ChannelRead.do_read(config, select=["word", "results"], fresh=False)
        return task

    await fan_out(work).ainvoke({}, thread(), durability="sync")
    expected = {"word": "written before", "results": {"z": made(0)}}
    assert seen == {"a": expected, "b": expected}


async def test_pending_writes_hold_what_siblings_finished_before_a_failure():
    saver, found = InMemorySaver(), []

    async def failing(task, config):
        if task == "b":
            await asyncio.sleep(0.1)
            raise ConnectionError("down")
        return "of a"

    async def looking(task, config):
        found.append((task, [value for _, name, value in await load_pending_writes(config) if name == "results"]))
        return "of b"

    with pytest.raises(ConnectionError):
        await fan_out(failing, saver).ainvoke({}, thread(), durability="sync")
    out = await fan_out(looking, saver).ainvoke(None, thread(), durability="sync")
    assert found == [("b", [{"a": made("of a")}])]
    assert out["results"] == {"z": made(0), "a": made("of a"), "b": made("of b")}


async def test_a_node_finds_the_saver_in_its_config_and_no_other_checkpoint_than_the_newest():
    saver, found = InMemorySaver(), []

    async def work(task, config):
        configurable = config["configurable"]
        newest = await configurable[CONFIG_KEY_CHECKPOINTER].aget_tuple({"configurable": thread()["configurable"]})
        found.append((configurable, newest.checkpoint["id"]))
        return task

    graph = fan_out(work, saver)
    await graph.ainvoke({}, thread(), durability="sync")
    before_work = [state async for state in graph.aget_state_history(thread()) if "work" in state.next]
    assert found
    for configurable, newest in found:
        assert isinstance(configurable[CONFIG_KEY_CHECKPOINTER], BaseCheckpointSaver)
        assert configurable["checkpoint_ns"].startswith("work:")
        assert configurable.get("checkpoint_id") in {None, newest}
        assert newest == before_work[0].config["configurable"]["checkpoint_id"]


async def test_an_empty_interrupt_leaves_a_task_unfinished_and_asks_nothing():
    saver, ran = InMemorySaver(), []

    async def suspending(task, config):
        ran.append(task)
        if task == "b" and ran.count("b") == 1:
            raise GraphInterrupt(())
        return task

    graph = fan_out(suspending, saver)
    out = await graph.ainvoke({}, thread(), durability="sync")
    assert "__interrupt__" not in out
    state = await graph.aget_state(thread())
    assert state.next == ("work",)
    assert state.interrupts == ()
    out = await graph.ainvoke(None, thread(), durability="sync")
    assert out["results"] == {"z": made(0), "a": made("a"), "b": made("b")}
    assert sorted(ran) == ["a", "b", "b"]


async def test_a_wrong_answer_does_not_use_up_the_next_question_of_the_node():
    """`human_approval` asks again in a loop; LangGraph matches answers to questions by their order."""
    from langgraph.types import interrupt

    answers: list[str] = []

    async def ask(state: State) -> dict[str, Any]:
        while True:
            answer = interrupt({"asked": len(answers)})
            if answer == "right":
                return {"word": answer}
            answers.append(answer)

    builder = StateGraph(State)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    graph = builder.compile(checkpointer=InMemorySaver())
    await graph.ainvoke({"word": ""}, thread(), durability="sync")
    await graph.ainvoke(Command(resume="wrong"), thread(), durability="sync")
    out = await graph.ainvoke(Command(resume="right"), thread(), durability="sync")
    assert out["word"] == "right"


async def test_a_tool_node_calls_through_the_wrapper_that_was_put_around_it() -> None:
    """`agent_tool` has the calls of an agent that is compiled already asked about; the original stays as it is."""

    @tool
    def double(value: int) -> int:
        """Double a value."""
        return 2 * value

    seen: list[str] = []

    async def watch(request: ToolCallRequest, execute: Any) -> Any:
        seen.append(request.tool_call["name"])
        return await execute(request.override(tool_call={**request.tool_call, "args": {"value": 21}}))

    agent = create_agent(Worker(turns=[[("double", {"value": 1})], "Done."]), [double])
    node = agent.nodes["tools"].bound
    assert isinstance(node, ToolNode)
    assert get_call_wrappers(node) == (None, None)
    wrapped = {**agent.nodes, "tools": agent.nodes["tools"].copy({"bound": replace_call_wrapper(node, watch)})}
    out = await agent.copy({"nodes": wrapped}).ainvoke({"messages": [("user", "Go.")]})
    assert ([message.text for message in out["messages"] if message.type == "tool"], seen) == (["42"], ["double"])
    out = await agent.ainvoke({"messages": [("user", "Go.")]})
    assert [message.text for message in out["messages"] if message.type == "tool"] == ["2"]
