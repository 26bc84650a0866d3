"""Several agents in one toolbox: each is a tool of its own, with a schema that plans are compiled against."""

import pytest
from langchain_core.messages import SystemMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel, Field

from agent.errors import ToolError, UsageError
from agent.settings import Settings
from graphs.plan_execute import build_graph
from planwave import delegate_tool
from tests.support.openai_endpoint import Endpoint
from tests.support.planning_kit import model_at
from tests.support.scripted_worker import Worker
from tests.support.worlds import APPROVE, World, ref, thread


class Finding(BaseModel):
    claim: str
    value: int = Field(ge=0)


class Findings(BaseModel):
    """What was found."""

    findings: list[Finding]
    sure: bool = True


FOUND = {"findings": [{"claim": "seven", "value": 7}]}
REPORT = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "pages": {"type": "integer", "minimum": 1}},
    "required": ["title", "pages"],
}
PLAN = {
    "tasks": [
        {"id": "r", "tool": "researcher", "args": {"task": "Find it."}},
        {"id": "w", "tool": "writer", "args": {"task": "Write.", "inputs": {"f": ref("r", "findings", 0, "value")}}},
        {"id": "keep", "tool": "write", "args": {"value": ref("w", "title")}},
    ]
}


@pytest.fixture
def world():
    return World()


def graph_of(world, researcher, writer, **settings):
    tools = world.tools()
    agents = [
        delegate_tool(
            tools,
            researcher,
            name="researcher",
            description="Looks for facts.",
            prompt="You {look}.",
            output_schema=Findings,
        ),
        delegate_tool(tools, writer, name="writer", description="Writes a report.", output_schema=REPORT, max_steps=4),
    ]
    return build_graph(
        tools=[*tools, *agents], settings=Settings(max_replans=0, **settings), checkpointer=InMemorySaver()
    )


async def test_each_agent_is_a_tool_whose_answer_has_the_fields_of_its_schema(world):
    researcher = Worker(turns=[[("look", {"value": 7})], [("Findings", FOUND)]])
    writer = Worker(turns=[[("writer_answer", {"title": "Seven", "pages": 1})]])
    graph = graph_of(world, researcher, writer)
    out = await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
    assert out["status"] == "awaiting_approval", out
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert out["status"] == "completed", out
    assert out["results"]["r"]["output"] == {**FOUND, "sure": True}
    assert out["results"]["w"]["output"] == {"title": "Seven", "pages": 1}
    # What it did is beside what it found, and the call that ends its work is none of its steps.
    assert [(step["tool"], step["args"]) for step in out["results"]["r"]["steps"]] == [("look", {"value": 7})]
    assert world.log == [("look", 7), ("write", "Seven")]
    system = researcher.asked[0][0]
    assert isinstance(system, SystemMessage)
    assert system.text.startswith("You {look}.")
    assert "call `Findings` once" in system.text
    assert '"f": 7' in writer.asked[0][0].text


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        ({"args": {"value": ref("r", "finding")}}, "finding"),
        ({"args": {"value": ref("r", "findings", 0, "claims")}}, "claims"),
        ({"tool": "wait", "args": {"seconds": ref("r", "sure")}}, "true or false where a number"),
        ({"condition": "r.certain", "args": {"value": 1}}, "certain"),
    ],
)
async def test_a_reference_that_no_answer_fits_does_not_compile(world, task, problem):
    graph = graph_of(world, Worker(turns=["x"]), Worker(turns=["x"]))
    plan = {"tasks": [PLAN["tasks"][0], {"id": "x", "tool": "look", **task}]}
    out = await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    assert (out["status"], world.log) == ("failed", [])
    assert problem in " ".join(out["problems"])


@pytest.mark.parametrize("dictionary", [False, True], ids=["model", "schema"])
async def test_an_answer_that_does_not_fit_goes_back_to_the_agent(world, dictionary):
    wrong = {"findings": [{"claim": "x", "value": -1}]}
    tools = world.tools()
    form = Findings.model_json_schema() if dictionary else Findings
    called = "r_answer" if dictionary else "Findings"
    worker = Worker(turns=[[(called, wrong)], [(called, FOUND)]])
    graph = build_graph(tools=[*tools, delegate_tool(tools, worker, name="r", output_schema=form)])
    out = await graph.ainvoke({"goal": "g", "plan": {"tasks": [{"id": "a", "tool": "r", "args": {"task": "Go."}}]}})
    assert out["status"] == "completed", out
    assert out["results"]["a"]["output"]["findings"] == FOUND["findings"]
    assert "-1" in worker.asked[1][-1].text or "greater than or equal" in worker.asked[1][-1].text


async def test_an_answer_in_words_is_read_if_it_is_the_object_and_asked_for_again_if_not(world):
    tools = world.tools()
    worker = Worker(turns=["I found seven.", 'Here: {"findings": [{"claim": "seven", "value": 7}]}'])
    graph = build_graph(tools=[*tools, delegate_tool(tools, worker, name="r", output_schema=Findings)])
    plan = {"tasks": [{"id": "a", "tool": "r", "args": {"task": "Go."}}]}
    out = await graph.ainvoke({"goal": "g", "plan": plan})
    assert out["results"]["a"]["output"] == {**FOUND, "sure": True}
    never = build_graph(
        tools=[*tools, delegate_tool(tools, Worker(turns=["Seven."]), name="r", output_schema=Findings)],
        settings=Settings(max_replans=0),
    )
    out = await never.ainvoke({"goal": "g", "plan": plan})
    assert (out["status"], "cannot be used" in out["results"]["a"]["error"]) == ("failed", True)


async def test_the_most_turns_of_an_agent_are_its_own(world):
    graph = graph_of(world, Worker(turns=["x"]), Worker(turns=[[("look", {"value": 1})]]))
    task = {"id": "w", "tool": "writer", "args": {"task": "Go on."}}
    out = await graph.ainvoke({"goal": "g", "plan": {"tasks": [task]}}, thread())
    assert "did not end within 4 turns" in out["results"]["w"]["error"]
    more = {**task, "args": {**task["args"], "max_steps": 5}}
    out = await graph.ainvoke({"goal": "g", "plan": {"tasks": [more]}}, thread("2"))
    assert "4" in out["problems"][0]


def test_the_planner_is_shown_each_agent_with_what_it_gives(world):
    plan = {"tasks": [{"id": "a", "tool": "look", "args": {"value": 4}}]}
    with Endpoint([plan, "It is 4 [a]."]) as endpoint:
        tools = world.tools()
        agents = [
            delegate_tool(
                tools, Worker(turns=["x"]), name="researcher", description="Looks up.", output_schema=Findings
            ),
            delegate_tool(tools, Worker(turns=["x"]), name="writer", description="Writes.", output_schema=REPORT),
        ]
        out = build_graph(tools=[*tools, *agents], model=model_at(endpoint).chat).invoke({"goal": "What is at four?"})
        assert out["status"] == "completed"
        shown = endpoint.requests[0].text
    assert "- researcher (reads only): Looks up." in shown
    assert "- writer (reads only): Writes." in shown
    assert "gives {findings: a list of {claim: a text, value: a number}" in shown.replace("whole number", "number")


def test_what_cannot_be_an_agent_is_told_when_it_is_made(world):
    tools = world.tools()
    worker = Worker(turns=["x"])
    first = delegate_tool(tools, worker, name="first")
    with pytest.raises(ToolError, match="'second' cannot be given the worker 'first'"):
        delegate_tool([*tools, first], worker, name="second")
    with pytest.raises(ToolError, match="must describe an object"):
        delegate_tool(tools, worker, output_schema={"type": "array"})
    with pytest.raises(ToolError, match="not a JSON Schema"):
        delegate_tool(tools, worker, output_schema={"type": "objekt"})
    with pytest.raises(ToolError, match="Pydantic model or the JSON Schema"):
        delegate_tool(tools, worker, output_schema=list)
    with pytest.raises(ToolError, match="max_steps=99"):
        delegate_tool(tools, worker, max_steps=99)
    with pytest.raises(UsageError, match="names no model"):
        delegate_tool(tools, "gpt")
    with pytest.raises(ToolError, match="Two tools are named 'first'"):
        build_graph(tools=[*tools, first, delegate_tool(tools, worker, name="first")])
