"""Runs of given plans through the graph: statuses, gates, failures, order."""

import asyncio
import json
import queue
import sqlite3
import time

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command
from worlds import APPROVE, World, ref, thread

from agent.errors import AnswerError, UsageError
from agent.settings import Settings
from graphs import invocation
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph

CHAIN = {
    "tasks": [
        {"id": "a", "tool": "look", "args": {"value": 1}},
        {"id": "b", "tool": "look", "args": {"value": ref("a", "value")}},
        {"id": "w", "tool": "write", "args": {"value": ref("b", "value")}},
        {"id": "c", "tool": "look", "args": {"value": ref("w", "written")}},
    ]
}
MODES = pytest.mark.parametrize("dispatch", ["eager", "wave"])


@pytest.fixture
def world():
    return World()


def graph_of(world, saver=None, **settings):
    return build_graph(tools=world.tools(), settings=Settings(**settings), checkpointer=saver or InMemorySaver())


@MODES
async def test_a_write_stops_for_approval_and_runs_once_approved(world, dispatch):
    graph = graph_of(world, dispatch=dispatch)
    out = await graph.ainvoke({"goal": "g", "plan": CHAIN}, thread())
    assert out["status"] == "awaiting_approval"
    assert [name for name, _ in world.log] == ["look", "look"]
    action = out["__interrupt__"][0].value["action_requests"][0]
    assert (action["name"], action["args"], action["task_id"]) == ("write", {"value": 1}, "w")
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert out["status"] == "completed"
    assert {task: result["status"] for task, result in out["results"].items()} == dict.fromkeys("abwc", "done")
    assert world.log == [("look", 1), ("look", 1), ("write", 1), ("look", 1)]
    assert out["replans"] == 0
    assert "1" in out["answer"]


async def test_approve_never_runs_writes_unasked(world):
    out = await graph_of(world, approve="never").ainvoke({"goal": "g", "plan": CHAIN}, thread())
    assert out["status"] == "completed"


def test_sync_invoke_with_each_kind_of_saver(world, tmp_path):
    connection = sqlite3.connect(tmp_path / "sync.db", check_same_thread=False)
    for saver in (InMemorySaver(), SqliteSaver(connection)):
        graph = graph_of(world, saver)
        assert graph.invoke({"goal": "g", "plan": CHAIN}, thread())["status"] == "awaiting_approval"
        assert graph.invoke(Command(resume=APPROVE), thread())["status"] == "completed"
    connection.close()


async def test_async_invoke_with_the_blocking_and_the_async_sqlite_saver(world, tmp_path):
    connection = sqlite3.connect(tmp_path / "sync.db", check_same_thread=False)
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "async.db")) as saver:
        for each in (SqliteSaver(connection), saver):
            graph = graph_of(world, each)
            await graph.ainvoke({"goal": "g", "plan": CHAIN}, thread())
            assert (await graph.ainvoke(Command(resume=APPROVE), thread()))["status"] == "completed"
    connection.close()


async def test_sync_invoke_inside_a_running_loop_does_not_deadlock(world, tmp_path):
    async with open_persistence(f"sqlite:///{tmp_path}/p.db") as persistence:
        graph = build_graph(tools=world.tools(), persistence=persistence)
        assert graph.invoke({"goal": "g", "plan": CHAIN}, thread())["status"] == "awaiting_approval"
        assert graph.invoke(Command(resume=APPROVE), thread())["status"] == "completed"
        assert await persistence.threads() == ["t"]


class LateQueue(queue.SimpleQueue):
    """A queue whose taker goes on before its giver does."""

    def put(self, item):
        super().put(item)
        time.sleep(0.02)


def test_a_sync_run_whose_last_part_is_taken_before_it_has_ended_is_not_taken_for_cancelled(world, monkeypatch):
    monkeypatch.setattr(invocation.queue, "SimpleQueue", LateQueue)
    plan = {"tasks": [{"id": "a", "tool": "look", "args": {"value": 1}}]}
    assert graph_of(world).invoke({"goal": "g", "plan": plan}, thread())["status"] == "completed"


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


async def test_a_rejected_write_without_a_model_ends_cancelled(world):
    graph = graph_of(world, max_replans=0)
    await graph.ainvoke({"goal": "g", "plan": CHAIN}, thread())
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "reject", "message": "not today"}]}), thread())
    assert out["status"] == "cancelled"
    assert out["results"]["w"]["status"] == "rejected"
    assert out["results"]["c"]["status"] == "skipped"
    assert ("write", 1) not in world.log


async def test_a_response_takes_the_place_of_the_call(world):
    graph = graph_of(world)
    plan = {
        "tasks": [
            {"id": "w", "tool": "write", "args": {"value": 1}},
            {"id": "c", "tool": "look", "args": {"value": ref("w")}},
        ]
    }
    await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "respond", "message": "done by hand"}]}), thread())
    assert world.log == [("look", "done by hand")]
    assert out["results"]["w"]["output"] == "done by hand"


async def test_an_edited_call_is_checked_again_and_runs_as_edited(world):
    graph = graph_of(world)
    await graph.ainvoke({"goal": "g", "plan": CHAIN}, thread())
    bad = {"type": "edit", "edited_action": {"name": "write", "args": {"vlue": 7}}}
    out = await graph.ainvoke(Command(resume={"decisions": [bad]}), thread())
    assert out["status"] == "awaiting_approval"
    assert "no argument 'vlue'" in out["__interrupt__"][0].value["error"]
    good = {"type": "edit", "edited_action": {"name": "write", "args": {"value": 7}}}
    out = await graph.ainvoke(Command(resume={"decisions": [good]}), thread())
    assert out["status"] == "completed"
    assert world.log[2:] == [("write", 7), ("look", 7)]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (None, "None"),
        ({}, "empty"),
        ({"decisions": []}, "one for each call"),
        ({"decisions": [{"type": "approve"}, {"type": "approve"}]}, "1 calls wait"),
        ({"decisions": [{"type": "maybe"}]}, "cannot be read"),
        ({"decisions": [{"type": "approve", "digest": "0" * 64}]}, "another call"),
        ({"a" * 32: APPROVE}, "No interrupt"),
    ],
)
async def test_a_wrong_answer_is_named_and_changes_nothing(world, answer, says):
    graph = graph_of(world)
    await graph.ainvoke({"goal": "g", "plan": CHAIN}, thread())
    before = (await graph.aget_state(thread())).config
    with pytest.raises(AnswerError, match=says):
        await graph.ainvoke(Command(resume=answer), thread())
    assert (await graph.aget_state(thread())).config == before
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert out["status"] == "completed"
    with pytest.raises(AnswerError, match="Nothing on this thread waits"):
        await graph.ainvoke(Command(resume=APPROVE), thread())
    assert [entry for entry in world.log if entry[0] == "write"] == [("write", 1)]


async def test_all_pending_approvals_are_one_interrupt(world):
    plan = {"tasks": [{"id": f"w{n}", "tool": "write", "args": {"value": n}} for n in range(3)]}
    graph = graph_of(world, max_replans=0)
    out = await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    assert len(out["__interrupt__"]) == 1
    answer = {"decisions": [{"type": "approve"}, {"type": "reject"}, {"type": "approve"}]}
    out = await graph.ainvoke(Command(resume=answer), thread())
    assert sorted(world.log) == [("write", 0), ("write", 2)]


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
        assert json.loads(json.dumps(checkpoint.values)) == checkpoint.values


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
