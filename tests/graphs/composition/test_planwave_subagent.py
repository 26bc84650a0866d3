"""Planwave as a subagent: tasks come as messages, answers go as messages, people are asked through the agent."""

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command

from agent.errors import UsageError
from graphs.plan_execute import build_graph
from planwave import planwave_subagent
from tests.support.openai_endpoint import Endpoint
from tests.support.planning_kit import model_at
from tests.support.scripted_worker import Worker
from tests.support.worlds import World, thread

WRITING = {"tasks": [{"id": "w", "tool": "write", "args": {"value": "x"}}]}


@pytest.fixture
def world():
    return World()


class FilesState(MessagesState):
    files: dict[str, str]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_task_comes_as_a_message_and_the_person_is_asked_through_the_agent(world, asynchronous):
    with Endpoint([WRITING, "x is written [w]."]) as endpoint:
        subagent = planwave_subagent(
            tools=world.tools(), model=model_at(endpoint).chat, name="clerk", description="Does things."
        )
        assert {key: value for key, value in subagent.items() if key != "runnable"} == {
            "name": "clerk",
            "description": "Does things.",
        }
        # As a deep agent calls it: with all of its own state.
        builder = StateGraph(FilesState)
        if asynchronous:

            async def call(state):
                return await subagent["runnable"].ainvoke({**state, "messages": [HumanMessage("Write x.")]})
        else:

            def call(state):
                return subagent["runnable"].invoke({**state, "messages": [HumanMessage("Write x.")]})

        builder.add_node("task", call)
        builder.add_edge(START, "task")
        agent = builder.compile(checkpointer=InMemorySaver())
        given = {"messages": [HumanMessage("Go.")], "files": {"a.md": "text"}}
        out = await agent.ainvoke(given, thread()) if asynchronous else agent.invoke(given, thread())
        [request] = out["__interrupt__"][0].value["action_requests"]
        assert (request["name"], world.log) == ("write", [])
        yes = Command(resume={"decisions": [{"type": "approve", "digest": request["digest"]}]})
        out = await agent.ainvoke(yes, thread()) if asynchronous else agent.invoke(yes, thread())
    assert world.log == [("write", "x")]
    last = out["messages"][-1]
    assert (type(last), last.text, last.name) == (AIMessage, "x is written [w].", "clerk")
    assert out["files"] == {"a.md": "text"}


def test_a_run_that_fails_answers_why(world):
    with Endpoint([{"tasks": [{"id": "l", "tool": "look", "args": {"value": 1}}]}]) as endpoint:
        world.failing = {1}
        graph = build_graph(
            tools=world.tools(), model=model_at(endpoint).chat, name="shop", description="Keeps a shop."
        )
        subagent = planwave_subagent(graph)
        assert (subagent["name"], subagent["description"]) == ("shop", "Keeps a shop.")
        out = subagent["runnable"].invoke({"messages": [("user", "Look at one.")]})
    assert "nothing at 1" in out["messages"][-1].text


def test_a_graph_and_what_to_build_one_of_are_not_given_together(world):
    with pytest.raises(UsageError, match="either a graph"):
        planwave_subagent(build_graph(tools=world.tools()), tools=world.tools())


async def test_a_deep_agent_gives_it_a_task(world):
    deepagents = pytest.importorskip("deepagents")
    with Endpoint([WRITING, "x is written [w]."]) as endpoint:
        subagent = planwave_subagent(
            tools=world.tools(), model=model_at(endpoint).chat, name="clerk", description="Does things."
        )
        call = ("task", {"description": "Write x.", "subagent_type": "clerk"})
        agent = deepagents.create_deep_agent(
            model=Worker(turns=[[call], "It is done."]), subagents=[subagent], checkpointer=InMemorySaver()
        )
        out = await agent.ainvoke({"messages": [HumanMessage("Have x written.")]}, thread())
        [request] = out["__interrupt__"][0].value["action_requests"]
        yes = Command(resume={"decisions": [{"type": "approve", "digest": request["digest"]}]})
        out = await agent.ainvoke(yes, thread())
    assert world.log == [("write", "x")]
    [told] = [message for message in out["messages"] if message.type == "tool"]
    assert told.text == "x is written [w]."
