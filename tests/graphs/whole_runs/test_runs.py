"""Runs of given plans through the graph: statuses, failures, order."""

import asyncio
import json

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from agent.errors import UsageError
from agent.settings import Settings
from graphs.plan_execute import build_graph
from tests.support.worlds import APPROVE, CHAIN, World, ref, thread

MODES = pytest.mark.parametrize("dispatch", ["eager", "wave"])


@pytest.fixture
def world():
    return World()


def graph_of(world, saver=None, **settings):
    return build_graph(tools=world.tools(), settings=Settings(**settings), checkpointer=saver or InMemorySaver())


async def test_a_plan_that_does_not_compile_fails_with_every_problem_and_runs_nothing(world):
    plan = {"tasks": [{"id": "a", "tool": "lok", "args": {}}, {"id": "b", "tool": "write", "args": {"valu": ref("x")}}]}
    out = await graph_of(world).ainvoke({"goal": "g", "plan": plan}, thread())
    assert out["status"] == "failed"
    assert len(out["problems"]) == 4
    assert any("Did you mean 'look'?" in problem for problem in out["problems"])
    assert world.log == []


async def test_an_empty_goal_is_refused(world):
    for given in ({"goal": ""}, {"goal": "  "}, {}, {"goal": 3}, "goal"):
        with pytest.raises(UsageError, match="goal"):
            await graph_of(world).ainvoke(given, thread())


@MODES
async def test_a_failure_skips_what_rests_on_it_and_lets_the_rest_finish(world, dispatch):
    world.failing = {2}
    plan = {
        "tasks": [
            {"id": "a", "tool": "look", "args": {"value": 2}},
            {"id": "b", "tool": "look", "args": {"value": ref("a", "value")}},
            {"id": "c", "tool": "look", "args": {"value": 3}},
            {"id": "d", "tool": "look", "args": {"value": ref("c", "value")}},
        ]
    }
    out = await graph_of(world, dispatch=dispatch, max_replans=0).ainvoke({"goal": "g", "plan": plan}, thread())
    statuses = {task: result["status"] for task, result in out["results"].items()}
    assert out["status"] == "failed"
    assert statuses == {"a": "failed", "b": "skipped", "c": "done", "d": "done"}
    assert "nothing at 2" in out["results"]["a"]["error"]
    assert "'a'" in out["results"]["b"]["because"]


@MODES
async def test_on_failure_skip_completes_and_run_if_any_joins(world, dispatch):
    world.failing = {2}
    plan = {
        "tasks": [
            {"id": "a", "tool": "look", "args": {"value": 2}, "on_failure": "skip"},
            {"id": "b", "tool": "look", "args": {"value": 5}},
            {"id": "join", "tool": "look", "args": {"value": ref("b", "value")}, "depends_on": ["a"], "run_if": "any"},
        ]
    }
    out = await graph_of(world, dispatch=dispatch, max_replans=0).ainvoke({"goal": "g", "plan": plan}, thread())
    assert out["status"] == "completed"
    assert out["results"]["join"]["output"] == {"value": 5}


@MODES
async def test_a_false_condition_skips_the_task_and_what_rests_on_it(world, dispatch):
    plan = {
        "execution_mode": "conditional",
        "tasks": [
            {"id": "a", "tool": "look", "args": {"value": 2}},
            {"id": "yes", "tool": "look", "args": {"value": 10}, "condition": "a.value == 2"},
            {"id": "no", "tool": "write", "args": {"value": 11}, "condition": "a.value > 2"},
            {"id": "after", "tool": "look", "args": {"value": ref("no", "written")}},
        ],
    }
    out = await graph_of(world, dispatch=dispatch).ainvoke({"goal": "g", "plan": plan}, thread())
    assert out["status"] == "completed"
    assert {task: result["status"] for task, result in out["results"].items()} == {
        "a": "done",
        "yes": "done",
        "no": "skipped",
        "after": "skipped",
    }


@MODES
async def test_abort_undoes_finished_writes_in_reverse_and_reports(world, dispatch):
    world.failing = {9, ("erase", 1)}

    def write(task, value, *needs):
        rollback = {"tool": "erase", "args": {"value": ref(task, "written")}}
        return {"id": task, "tool": "write", "args": {"value": value}, "depends_on": list(needs), "rollback": rollback}

    tasks = [write("w1", 1), write("w2", 2, "w1"), write("w3", 3, "w2"), write("w4", 4)]
    tasks.append({"id": "x", "tool": "look", "args": {"value": 9}, "depends_on": ["w3", "w4"], "on_failure": "abort"})
    graph = graph_of(world, dispatch=dispatch, approve="never")
    out = await graph.ainvoke({"goal": "g", "plan": {"tasks": tasks}}, thread())
    erased = [value for name, value in world.log if name == "erase"]
    assert out["status"] == "failed"
    assert erased.index(3) < erased.index(2) < erased.index(1)
    assert sorted(out["rollback"]["undone"]) == ["w2", "w3", "w4"]
    assert "may not erase 1" in out["rollback"]["not_undone"]["w1"]


async def test_an_undoing_asks_before_it_writes(world):
    world.failing = {9}
    plan = {
        "tasks": [
            {"id": "w", "tool": "write", "args": {"value": 1}, "rollback": {"tool": "erase", "args": {"value": 1}}},
            {"id": "x", "tool": "look", "args": {"value": 9}, "depends_on": ["w"], "on_failure": "abort"},
        ]
    }
    graph = graph_of(world)
    await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert out["__interrupt__"][0].value["action_requests"][0]["name"] == "erase"
    assert ("erase", 1) not in world.log
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert out["status"] == "failed"
    assert out["rollback"] == {"undone": ["w"], "not_undone": {}}


async def test_for_each_runs_once_for_each_item_and_joins_in_order(world):
    plan = {
        "tasks": [
            {"id": "a", "tool": "look", "args": {"value": [{"n": 3}, {"n": 1}, {"n": 2}]}},
            {"id": "b", "tool": "look", "for_each": ref("a", "value"), "args": {"value": {"item": ["n"]}}},
            {"id": "c", "tool": "look", "args": {"value": ref("b", "*", "value")}},
        ]
    }
    out = await graph_of(world).ainvoke({"goal": "g", "plan": plan}, thread())
    assert out["results"]["c"]["output"] == {"value": [3, 1, 2]}


async def test_eager_tasks_wait_for_their_own_needs_only(world):
    plan = {
        "tasks": [
            {"id": "slow", "tool": "wait", "args": {"seconds": 0.4, "name": "slow"}},
            {"id": "quick", "tool": "wait", "args": {"seconds": 0.01, "name": "quick"}},
            {"id": "next", "tool": "wait", "args": {"seconds": 0.01, "name": "next"}, "depends_on": ["quick"]},
        ]
    }
    await graph_of(world, dispatch="eager").ainvoke({"goal": "g", "plan": plan}, thread("1"))
    await graph_of(world, dispatch="wave").ainvoke({"goal": "g", "plan": plan}, thread("2"))
    assert [name for _, name in world.log] == ["quick", "next", "slow", "quick", "slow", "next"]


async def test_concurrency_is_bounded_and_priority_goes_first(world):
    tasks = [
        {"id": f"t{n}", "tool": "wait", "args": {"seconds": 0.02, "name": str(n)}, "priority": -n} for n in range(9)
    ]
    await graph_of(world, max_concurrency=2).ainvoke({"goal": "g", "plan": {"tasks": tasks}}, thread())
    assert world.most_running == 2
    assert world.log[0][1] in "87"
    assert world.log[-1][1] in "01"


async def test_a_deep_chain_under_one_place_does_not_deadlock(world):
    tasks = [{"id": "t0", "tool": "look", "args": {"value": 0}}]
    tasks += [{"id": f"t{n}", "tool": "look", "args": {"value": ref(f"t{n - 1}", "value")}} for n in range(1, 60)]
    graph = graph_of(world, max_concurrency=1)
    out = await asyncio.wait_for(graph.ainvoke({"goal": "g", "plan": {"tasks": tasks}}, thread()), 30)
    assert out["status"] == "completed"


async def test_a_second_goal_on_a_thread_starts_afresh(world):
    graph = graph_of(world, approve="never")
    await graph.ainvoke({"goal": "one", "plan": CHAIN}, thread())
    out = await graph.ainvoke({"goal": "two", "plan": {"tasks": [CHAIN["tasks"][0]]}}, thread())
    assert list(out["results"]) == ["a"]
    assert out["revision"] == 2


async def test_the_state_is_plain_json(world):
    graph = graph_of(world)
    await graph.ainvoke({"goal": "g", "plan": CHAIN}, thread())
    async for checkpoint in graph.aget_state_history(thread()):
        # The messages are LangChain's, which front ends and other graphs expect.
        values = {name: value for name, value in checkpoint.values.items() if name != "messages"}
        assert json.loads(json.dumps(values)) == values


async def test_a_deadline_ends_the_run(world):
    tasks = [
        {"id": f"t{n}", "tool": "wait", "args": {"seconds": 0.2}, "depends_on": [f"t{n - 1}"] * (n > 0)}
        for n in range(9)
    ]
    graph = graph_of(world, dispatch="wave", deadline_s=0.5, approve="never")
    out = await graph.ainvoke({"goal": "g", "plan": {"tasks": tasks}}, thread())
    assert out["status"] == "failed"
    assert "deadline of 0.5 s" in out["problems"][0]
    assert out["results"]["t8"]["status"] == "cancelled"
