"""Goals without a plan: planned, replanned and answered by a model, in process or behind the OpenAI protocol."""

import json

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from agent.settings import Settings
from graphs.plan_execute import build_graph
from tests.support.openai_endpoint import Endpoint, Failure, Refusal, Text
from tests.support.worlds import World, ref, thread

PLAN = {
    "tasks": [
        {"id": "a", "tool": "look", "args": {"value": 1}},
        {"id": "b", "tool": "look", "args": {"value": ref("a", "value")}},
    ]
}
MENDED = {
    "tasks": [
        {"id": "a2", "tool": "look", "args": {"value": 2}},
        {"id": "b", "tool": "look", "args": {"value": ref("a2", "value")}},
    ]
}


@pytest.fixture
def world():
    return World()


def graph_of(world, *replies, **settings):
    texts = [reply if isinstance(reply, str) else json.dumps(reply) for reply in replies]
    model = FakeListChatModel(responses=texts)
    return build_graph(tools=world.tools(), model=model, settings=Settings(**settings), checkpointer=InMemorySaver())


async def test_a_goal_is_planned_run_and_answered_with_citations(world):
    out = await graph_of(world, PLAN, "Both are 1 [a] [b].").ainvoke({"goal": "look at 1"}, thread())
    assert out["status"] == "completed"
    assert out["answer"] == "Both are 1 [a] [b]."
    assert world.log == [("look", 1), ("look", 1)]


async def test_problems_go_back_to_the_planner(world):
    broken = {"tasks": [{"id": "a", "tool": "lok", "args": {"value": 1}}]}
    out = await graph_of(world, "no json at all", broken, PLAN, "1 [a]").ainvoke({"goal": "look"}, thread())
    assert out["status"] == "completed"


async def test_a_planner_that_never_makes_a_plan_ends_as_failed(world):
    out = await graph_of(world, "no json at all", max_repairs=2).ainvoke({"goal": "look"}, thread())
    assert out["status"] == "failed"
    assert out["problems"]
    assert world.log == []


async def test_a_failure_is_replanned_and_finished_work_is_kept(world):
    world.failing = {1}
    plan = {"tasks": [{"id": "z", "tool": "look", "args": {"value": 7}}, *PLAN["tasks"]]}
    out = await graph_of(world, plan, MENDED, "2 [a2]").ainvoke({"goal": "look"}, thread())
    assert out["status"] == "completed"
    assert out["replans"] == 1
    assert sorted(world.log) == [("look", 1), ("look", 2), ("look", 2), ("look", 7)]
    assert {task: result["status"] for task, result in out["results"].items()} == {
        "z": "done",
        "a": "failed",
        "a2": "done",
        "b": "done",
    }


async def test_replans_end_at_the_bound(world):
    world.failing = set(range(100))
    plans = [{"tasks": [{"id": "a", "tool": "look", "args": {"value": n}}]} for n in range(10)]
    out = await graph_of(world, *plans, max_replans=2, approve="never").ainvoke({"goal": "look"}, thread())
    assert out["status"] == "failed"
    assert out["replans"] == 2
    assert len(world.log) == 3


async def test_the_same_plan_again_is_no_progress(world):
    world.failing = {1}
    out = await graph_of(world, PLAN, PLAN, PLAN, PLAN, PLAN, PLAN, approve="never").ainvoke({"goal": "look"}, thread())
    assert out["status"] == "failed"
    assert world.log == [("look", 1)]


async def test_a_rejection_goes_to_the_replanner_and_is_not_proposed_again(world):
    writes = {"tasks": [{"id": "w", "tool": "write", "args": {"value": 1}}]}
    again = {"tasks": [{"id": "w2", "tool": "write", "args": {"value": 1}}]}
    other = {"tasks": [{"id": "w3", "tool": "write", "args": {"value": 2}}]}
    graph = graph_of(world, writes, again, other, "2 [w3]")
    await graph.ainvoke({"goal": "write"}, thread())
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "reject", "message": "not 1"}]}), thread())
    assert out["status"] == "awaiting_approval"
    assert [action["args"] for action in out["__interrupt__"][0].value["action_requests"]] == [{"value": 2}]
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), thread())
    assert out["status"] == "completed"
    assert world.log == [("write", 2)]


async def test_what_the_results_do_not_bear_out_is_not_said(world):
    out = await graph_of(world, PLAN, "Sales rose to 4711 [a].").ainvoke({"goal": "look"}, thread())
    assert out["status"] == "completed"
    assert "4711" not in out["answer"]
    assert "1" in out["answer"]


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ([Text(json.dumps(PLAN)), Text("1 [a]")], "completed"),
        ([Text(json.dumps(PLAN), finish_reason="length"), Text(json.dumps(PLAN)), Text("1 [a]")], "completed"),
        ([Text('{"tasks": [}'), Text(json.dumps(PLAN)), Text("1 [a]")], "completed"),
        ([Refusal("I would rather not."), Text(json.dumps(PLAN)), Text("1 [a]")], "completed"),
        ([Failure(429, headers={"Retry-After": "0"}), Text(json.dumps(PLAN)), Text("1 [a]")], "completed"),
        ([Failure(500), Text(json.dumps(PLAN)), Text("1 [a]")], "completed"),
        ([Failure(401)] * 3, "failed"),
    ],
    ids=["plain", "truncated", "bad json", "refusal", "429", "500", "401"],
)
async def test_a_server_that_speaks_the_openai_protocol(world, script, status):
    with Endpoint(script) as endpoint:
        model = ChatOpenAI(model="scripted", base_url=endpoint.url, api_key="sk-test", max_retries=2, timeout=10)
        graph = build_graph(tools=world.tools(), model=model, settings=Settings(), checkpointer=InMemorySaver())
        out = await graph.ainvoke({"goal": "look"}, thread())
    assert out["status"] == status, out["problems"]
