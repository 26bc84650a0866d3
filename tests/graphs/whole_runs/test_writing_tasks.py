"""Summaries, drafts and classes as tasks of true runs, by a scripted model behind the OpenAI protocol."""

import json

import pytest
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver

from agent.settings import Settings
from agent.tools.writing.typed_writing import typed_writing_tools
from graphs.plan_execute import build_graph
from tests.support.openai_endpoint import Endpoint
from tests.support.worlds import World, ref, thread

SALES = [{"customer": "Acme", "revenue": 1234.5}, {"customer": "Globex", "revenue": 99}]
MOOD = {
    "type": "object",
    "properties": {"mood": {"enum": ["good", "bad"]}},
    "required": ["mood"],
    "additionalProperties": False,
}


@pytest.fixture
def served():
    """Return a function that makes a graph over a model with these replies."""
    opened = []

    def make(*replies):
        endpoint = Endpoint(replies).open()
        opened.append(endpoint)
        chat = ChatOpenAI(model="scripted", base_url=endpoint.url, api_key="any", max_retries=0)
        tools = [*World().tools(), *typed_writing_tools(lambda: chat)]
        return build_graph(tools=tools, settings=Settings(max_replans=0), checkpointer=InMemorySaver()), endpoint

    yield make
    for endpoint in opened:
        endpoint.close()


def plan(*tasks):
    return {"goal": "g", "plan": {"tasks": [{"id": "data", "tool": "look", "args": {"value": SALES}}, *tasks]}}


async def test_a_summary_names_for_each_point_the_data_it_rests_on(served):
    good = {"summary": "Acme leads.", "points": [{"text": "Acme has 1,234.5.", "inputs": ["sales"]}]}
    wrong = {"summary": "The leader is Initech.", "points": [{"text": "Acme leads.", "inputs": ["revenue"]}]}
    graph, endpoint = served(wrong, good)
    points = {"id": "say", "tool": "look", "args": {"value": ref("s", "points", 0, "text")}}
    task = {"id": "s", "tool": "summarise", "args": {"inputs": {"sales": ref("data", "value")}, "max_points": 2}}
    out = await graph.ainvoke(plan(task, points), thread())
    assert out["status"] == "completed", out
    assert out["results"]["s"]["output"] == good
    assert out["results"]["say"]["output"] == {"value": "Acme has 1,234.5."}
    repair = endpoint.requests[1].text
    assert "There is no input named 'revenue'; the inputs are: sales." in repair
    assert "'Initech'" in repair


async def test_a_draft_has_a_subject_and_a_body_of_the_length_asked_for(served):
    good = {"subject": "Acme first", "body": "Acme has the most revenue."}
    graph, endpoint = served({"subject": "Acme first", "body": "Acme " * 40}, good)
    args = {
        "kind": "email",
        "instruction": "Tell who is first.",
        "inputs": {"sales": ref("data", "value")},
        "max_words": 30,
    }
    out = await graph.ainvoke(plan({"id": "d", "tool": "draft", "args": args}), thread())
    assert out["results"]["d"]["output"] == good
    assert "40 words; 30 are allowed" in endpoint.requests[1].text


async def test_items_are_classified_by_the_schema_of_the_plan_in_batches_and_in_order(served):
    asked = []

    def reply(request):
        items = json.loads(request.text.partition("<items>")[2].partition("</items>")[0])
        asked.append(len(items))
        return {"results": [{"mood": "bad" if item % 2 else "good"} for item in items]}

    endpoint = Endpoint(reply).open()
    chat = ChatOpenAI(model="scripted", base_url=endpoint.url, api_key="any", max_retries=0)
    graph = build_graph(tools=[*World().tools(), *typed_writing_tools(lambda: chat)], checkpointer=InMemorySaver())
    args = {"items": list(range(45)), "instruction": "Even is good.", "item_schema": MOOD}
    tasks = [
        {"id": "c", "tool": "classify", "args": args},
        {"id": "moods", "tool": "look", "args": {"value": ref("c", "results", "*", "mood")}},
    ]
    out = await graph.ainvoke(plan(*tasks), thread())
    endpoint.close()
    assert out["status"] == "completed", out
    assert asked == [20, 20, 5]
    assert out["results"]["moods"]["output"]["value"] == ["good", "bad"] * 22 + ["good"]


async def test_the_given_schema_is_known_to_the_compiler(served):
    graph, endpoint = served()
    args = {"items": [1], "instruction": "i", "item_schema": MOOD}
    tasks = [
        {"id": "c", "tool": "classify", "args": args},
        {"id": "x", "tool": "look", "args": {"value": ref("c", "results", 0, "colour")}},
        {"id": "y", "tool": "classify", "args": {**args, "item_schema": {"type": "objekt"}}},
    ]
    out = await graph.ainvoke(plan(*tasks), thread())
    assert out["status"] == "failed"
    assert any("colour" in problem for problem in out["problems"])
    assert any("'item_schema' is not a JSON Schema" in problem for problem in out["problems"])
    assert endpoint.requests == []


async def test_a_class_that_the_schema_does_not_have_is_never_an_output(served):
    graph, endpoint = served(*[{"results": [{"mood": "awful"}]}] * 3)
    args = {"items": ["x"], "instruction": "i", "item_schema": MOOD}
    out = await graph.ainvoke(plan({"id": "c", "tool": "classify", "args": args}), thread())
    result = out["results"]["c"]
    assert (result["status"], result["kind"], len(endpoint.requests)) == ("failed", "tool", 3)
    assert "awful" in result["error"]


async def test_a_wrong_number_of_results_is_asked_for_again(served):
    graph, _ = served({"results": []}, {"results": [{"mood": "good"}]})
    args = {"items": ["x"], "instruction": "i", "item_schema": MOOD}
    out = await graph.ainvoke(plan({"id": "c", "tool": "classify", "args": args}), thread())
    assert out["results"]["c"]["output"] == {"results": [{"mood": "good"}]}
