"""Planwave as a tool of other people's agents and graphs."""

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.types import Command

from agent.errors import UsageError
from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from planwave import planwave_tool
from tests.support.openai_endpoint import Endpoint
from tests.support.planning_kit import model_at
from tests.support.worlds import World, thread

PROGRAM = {
    "goal": "Remind somebody some times",
    "inputs": {"who": {"type": "string"}, "times": {"type": "integer", "default": 1}},
    "tasks": [
        {"id": "look", "tool": "look", "args": {"value": {"input": "times"}}},
        {"id": "w", "tool": "write", "args": {"value": {"input": "who"}}, "depends_on": ["look"]},
    ],
}


class Scripted(GenericFakeChatModel):
    def bind_tools(self, tools, **options):
        self.__dict__["bound"] = tools
        return self


def agent_of(tool, *calls, saver=None):
    said = [
        AIMessage("", tool_calls=[{"name": tool.name, "args": args, "id": str(at)}]) for at, args in enumerate(calls)
    ]
    lines = [message for call in said for message in (call, AIMessage("Said."))]
    return create_agent(Scripted(messages=iter(lines)), [tool], checkpointer=saver)


@pytest.fixture
def world():
    return World()


def test_a_tool_asks_for_a_goal_alone_and_a_program_for_its_inputs(world):
    by_goal = planwave_tool(tools=world.tools(), name="stockroom", description="Looks after the stock.")
    assert (by_goal.name, by_goal.description, [*by_goal.args]) == ("stockroom", "Looks after the stock.", ["goal"])
    by_inputs = planwave_tool(PROGRAM, tools=world.tools(), name="remind")
    assert by_inputs.description == PROGRAM["goal"]
    assert by_inputs.tool_call_schema["properties"]["times"] == {"type": "integer", "default": 1}
    assert by_inputs.tool_call_schema["required"] == ["who"]
    graph = build_graph(tools=world.tools(), name="shop", description="Keeps a shop.")
    tool = graph.as_tool()
    assert (tool.name, tool.description, [*tool.args]) == ("shop", "Keeps a shop.", ["goal"])


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_an_agent_runs_a_program_and_the_person_is_asked_through_the_agent(world, asynchronous, tmp_path):
    async with open_persistence(f"sqlite:///{tmp_path / 't.db'}") as persistence:
        tool = planwave_tool(PROGRAM, tools=world.tools(), persistence=persistence, name="remind")
        agent = agent_of(tool, {"who": "ann"}, {"who": "bob", "times": 2}, saver=persistence.saver)

        async def go(given):
            return await agent.ainvoke(given, thread()) if asynchronous else agent.invoke(given, thread())

        for made in (["ann"], ["ann", "bob"]):
            out = await go({"messages": [HumanMessage("Remind.")]})
            [request] = out["__interrupt__"][0].value["action_requests"]
            assert request["args"] == {"value": made[-1]}
            out = await go(Command(resume={"decisions": [{"type": "approve", "digest": request["digest"]}]}))
            assert [value for tool_name, value in world.log if tool_name == "write"] == made
            told = [message for message in out["messages"] if message.type == "tool"][-1]
            assert told.status == "success"
            assert told.artifact["status"] == "completed"
            assert told.artifact["results"]["w"]["output"] == {"written": made[-1]}


def test_a_goal_is_planned_by_the_model(world):
    plan = {"tasks": [{"id": "a", "tool": "look", "args": {"value": 4}}]}
    with Endpoint([plan, "It is 4 [a]."]) as endpoint:
        tool = planwave_tool(tools=world.tools(), model=model_at(endpoint).chat)
        assert tool.invoke({"goal": "What is at four?"}) == "It is 4 [a]."
        assert "What is at four?" in endpoint.requests[0].text
    assert world.log == [("look", 4)]


def test_a_run_that_fails_is_a_tool_error_that_says_why(world):
    world.failing = {1}
    tool = planwave_tool(PROGRAM, tools=world.tools(), settings=Settings(approve="never", max_replans=0), name="remind")
    out = agent_of(tool, {"who": "ann"}).invoke({"messages": [HumanMessage("Remind.")]})
    [told] = [message for message in out["messages"] if message.type == "tool"]
    assert told.status == "error"
    assert "nothing at 1" in told.content
    out = agent_of(tool, {"who": 3}).invoke({"messages": [HumanMessage("Remind.")]})
    [told] = [message for message in out["messages"] if message.type == "tool"]
    assert (told.status, "3 is not of type 'string'" in told.content) == ("error", True)


def test_where_nobody_can_be_asked_nothing_is_written_and_the_agent_is_told(world):
    tool = planwave_tool(PROGRAM, tools=world.tools(), name="remind")
    told = tool.invoke({"who": "ann"})
    assert "nobody can be asked here" in told
    assert world.log == [("look", 1)]


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ({"tasks": 5}, "The program is no plan"),
        ({"inputs": {"n": {"type": "intger"}}, "tasks": []}, "no JSON Schema"),
        ({}, "The program is no plan"),
    ],
)
def test_a_program_that_is_none_is_told_when_the_tool_is_made(world, program, sentence):
    if program:
        with pytest.raises(UsageError, match=sentence):
            planwave_tool(program, tools=world.tools())
