"""Forks with an edited plan: what is done again, what holds, and what no longer stands in the way."""

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from agent.settings import Settings
from graphs.plan_execute import build_graph
from tests.support.worlds import APPROVE, World, ref, thread

PLAN = {
    "tasks": [
        {"id": "a", "tool": "look", "args": {"value": 1}},
        {"id": "b", "tool": "look", "args": {"value": ref("a", "value")}},
        {"id": "x", "tool": "look", "args": {"value": 9}},
        {"id": "w", "tool": "write", "args": {"value": ref("b", "value")}},
    ]
}


def edited(**values):
    """Return the plan with other values for some of its tasks."""
    tasks = [task | {"args": {"value": values[task["id"]]}} if task["id"] in values else task for task in PLAN["tasks"]]
    return {"tasks": tasks}


@pytest.fixture
def world():
    return World()


def graph_of(world, **settings):
    return build_graph(tools=world.tools(), settings=Settings(**settings), checkpointer=InMemorySaver())


async def fork(graph, plan, at="human_approval", as_node="wave_dispatch"):
    """Put `plan` in the place of the one that the newest checkpoint before the node `at` has."""
    [before, *_] = [state async for state in graph.aget_state_history(thread()) if state.next == (at,)]
    return await graph.aupdate_state(before.config, {"plan": plan}, as_node=as_node)


async def test_an_edited_task_and_what_rests_on_it_are_done_again_and_the_rest_holds(world):
    graph = graph_of(world)
    await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
    world.log.clear()
    out = await graph.ainvoke(None, await fork(graph, edited(a=5), as_node="planner"))
    assert out["status"] == "awaiting_approval"
    assert world.log == [("look", 5), ("look", 5)]
    assert out["__interrupt__"][0].value["action_requests"][0]["args"] == {"value": 5}
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert out["status"] == "completed"
    assert {task: result["output"] for task, result in out["results"].items()} == {
        "a": {"value": 5},
        "b": {"value": 5},
        "x": {"value": 9},
        "w": {"written": 5},
    }
    assert [entry for entry in world.log if entry[0] == "write"] == [("write", 5)]
    assert out["revision"] == 2


async def test_a_task_of_another_name_takes_over_the_same_work(world):
    graph = graph_of(world)
    await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
    world.log.clear()
    [a, b, x, w] = PLAN["tasks"]
    out = await graph.ainvoke(None, await fork(graph, {"tasks": [a, b, x | {"id": "y"}, w]}, as_node="planner"))
    assert world.log == []
    assert out["results"]["y"]["reused_from"] == "x"


async def test_the_plan_of_a_failed_run_is_mended_where_it_failed_and_its_writes_are_not_repeated(world):
    world.failing = {9}
    graph = graph_of(world, max_replans=0, approve="never")
    out = await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
    assert out["status"] == "failed"
    world.log.clear()
    out = await graph.ainvoke(None, await fork(graph, edited(x=8), at="answer", as_node="planner"))
    assert out["status"] == "completed"
    assert world.log == [("look", 8)]


async def test_a_plan_that_did_not_compile_can_be_mended_in_place(world):
    graph = graph_of(world, approve="never")
    broken = {"tasks": [{"id": "a", "tool": "lok", "args": {"value": 1}}]}
    assert (await graph.ainvoke({"goal": "g", "plan": broken}, thread()))["status"] == "failed"
    out = await graph.ainvoke(None, await fork(graph, PLAN, at="wave_dispatch", as_node="planner"))
    assert (out["status"], out["problems"]) == ("completed", [])


async def test_an_edit_that_does_not_compile_fails_with_its_own_problems(world):
    graph = graph_of(world, approve="never")
    await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
    world.log.clear()
    out = await graph.ainvoke(None, await fork(graph, edited(a=ref("nobody")), at="answer", as_node="planner"))
    assert out["status"] == "failed"
    assert "'nobody'" in out["problems"][0]
    assert world.log == []


async def test_what_a_person_gave_as_a_result_holds_under_an_edit_elsewhere(world):
    graph = graph_of(world)
    plan = {"tasks": [*PLAN["tasks"], {"id": "v", "tool": "write", "args": {"value": ref("w")}}]}
    await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    await graph.ainvoke(Command(resume={"decisions": [{"type": "respond", "message": "by hand"}]}), thread())
    world.log.clear()
    with_edit = {"tasks": [*edited(x=7)["tasks"], plan["tasks"][-1]]}
    out = await graph.ainvoke(None, await fork(graph, with_edit, as_node="planner"))
    assert out["results"]["w"]["output"] == "by hand"
    assert world.log == [("look", 7)]
    assert out["__interrupt__"][0].value["action_requests"][0]["args"] == {"value": "by hand"}


async def test_a_plan_that_is_no_json_fails_with_a_problem(world):
    out = await graph_of(world).ainvoke({"goal": "g", "plan": {"tasks": [{"id": "a", "tool": {1, 2}}]}}, thread())
    assert out["status"] == "failed"
    assert out["problems"]
