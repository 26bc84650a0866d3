"""`for_each` on real runs: bounds, failures of items, what is kept of them, and how far they are."""

import json
import time
from contextlib import aclosing

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from agent.core.engine.outcomes import parse_outcome
from agent.core.provenance.prov_json import to_prov_json
from agent.core.provenance.xml_export import to_xml
from agent.events import ItemProgress, TaskStarted, parse_event
from agent.execution.ledger import join_scope
from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from graphs.run.plan_history import provenance_of
from tests.support.worlds import APPROVE, READ, World, ref, thread


async def stopped_after(count, graph, plan):
    """Begin a run and go away once so many items of it have ended."""
    run = graph.astream({"goal": "g", "plan": plan}, thread(), stream_mode="custom")
    async with aclosing(run) as parts:
        async for part in parts:
            if part["event"] == "items" and part["ended"] >= count:
                return


@pytest.fixture
def world():
    return World()


def graph_of(world, *, persistence=None, **settings):
    saver = None if persistence else InMemorySaver()
    return build_graph(tools=world.tools(), settings=Settings(**settings), checkpointer=saver, persistence=persistence)


def over(items, *, tool="look", item=(), **fields):
    """Return a plan that makes a list, calls a tool for each of it, and looks at what came of that."""
    return {
        "tasks": [
            {"id": "a", "tool": "look", "args": {"value": items}},
            {"id": "b", "tool": tool, "for_each": ref("a", "value"), "args": {"value": {"item": [*item]}}, **fields},
            {"id": "c", "tool": "look", "args": {"value": ref("b")}},
        ]
    }


def looked(world, *values):
    return [value for name, value in world.log if name == "look" and value in values]


@pytest.mark.parametrize("dispatch", ["eager", "wave"])
@pytest.mark.parametrize(
    ("policy", "status", "output"),
    [
        ("finish", "failed", None),
        ("stop", "failed", None),
        ("skip", "done", [{"value": 0}, {"value": 2}, {"value": 4}]),
        ("null", "done", [{"value": 0}, None, {"value": 2}, None, {"value": 4}]),
    ],
)
async def test_what_becomes_of_a_task_whose_items_fail_is_for_the_plan_to_say(world, dispatch, policy, status, output):
    world.failing = {1, 3}
    graph = graph_of(world, dispatch=dispatch, max_concurrency=1, default_retries=0)
    out = await graph.ainvoke({"goal": "g", "plan": over([0, 1, 2, 3, 4], on_item_failure=policy)}, thread())
    b = out["results"]["b"]
    assert (b["status"], b["output"]) == (status, output)
    begun = 2 if policy == "stop" else 5
    assert len(looked(world, 0, 1, 2, 3, 4)) == b["attempts"] == begun
    assert b["items"]["total"] == 5
    assert b["items"]["failed"] == ([1] if policy == "stop" else [1, 3])
    assert b["items"]["not_begun"] == 5 - begun
    assert b["items"]["errors"][0] == {"item": 1, "kind": "tool", "error": "LookupError: nothing at 1"}
    if status == "done":
        assert out["status"] == "completed"
        assert out["results"]["c"]["output"] == {"value": output}
        assert "b lacks items that failed" in out["answer"]
    else:
        assert "of 5 items failed" in b["error"]
        assert out["results"]["c"]["status"] == "skipped"
    assert json.loads(json.dumps(out["results"])) == out["results"]


@pytest.mark.parametrize("policy", ["skip", "null"])
async def test_where_every_item_fails_the_task_has_failed(world, policy):
    world.failing = {1, 2}
    out = await graph_of(world).ainvoke({"goal": "g", "plan": over([1, 2], on_item_failure=policy)}, thread())
    assert (out["status"], out["results"]["b"]["status"]) == ("failed", "failed")


class Numbers(World):
    """A world with a reading and a writing tool that take whole numbers only."""

    def tools(self):
        async def number(value: int) -> int:
            self.log.append(("number", value))
            return value

        async def send(value: int) -> int:
            self.log.append(("send", value))
            return value

        return [*super().tools(), self.tool("number", number, READ), self.tool("send", send)]


@pytest.mark.parametrize("dispatch", ["eager", "wave"])
@pytest.mark.parametrize(
    ("policy", "output"), [("skip", [1, 4]), ("null", [1, None, None, 4]), ("finish", None), ("stop", None)]
)
async def test_an_item_that_cannot_be_called_is_one_that_fails(dispatch, policy, output):
    world = Numbers()
    items = [{"n": 1}, {"n": "two"}, {"m": 3}, {"n": 4}]
    plan = over(items, tool="number", item=["n"], on_item_failure=policy)
    out = await graph_of(world, dispatch=dispatch).ainvoke({"goal": "g", "plan": plan}, thread())
    b, called = out["results"]["b"], [value for name, value in world.log if name == "number"]
    assert (b["output"], b["status"]) == (output, "failed" if output is None else "done")
    if output is None:
        assert called == []
        assert b["error"] == (
            "Item 1: The arguments do not fit the tool 'number': value: 'two' is not of type 'integer'. "
            "1 more items cannot be called either."
        )
    else:
        assert sorted(called) == [1, 4]
        assert (b["items"]["failed"], b["attempts"]) == ([1, 2], 2)
        assert [(one["kind"], one["error"][:22]) for one in b["items"]["errors"]] == [
            ("argument", "The arguments do not f"),
            ("reference", "There is no 'n' in the"),
        ]
        assert "b lacks items that failed" in out["answer"]


async def test_a_person_is_told_which_items_of_a_write_are_left_out(database_url):
    world = Numbers()
    plan = over(["one", 2, 3], tool="send", on_item_failure="skip")
    async with open_persistence(database_url) as persistence:
        graph = graph_of(world, persistence=persistence)
        out = await graph.ainvoke({"goal": "g", "plan": plan}, thread())
        [asked] = out["__interrupt__"][0].value["action_requests"]
        assert (asked["args"], asked["items"]) == ({"value": 2}, [{}, {"value": 2}, {"value": 3}])
        assert "1 of 3 items cannot be called and are left out, first item 0: The arguments" in asked["description"]
    async with open_persistence(database_url) as persistence:
        out = await graph_of(world, persistence=persistence).ainvoke(Command(resume=APPROVE), thread())
        rows = await persistence.ledger.list_rows("t")
    assert (out["status"], out["results"]["b"]["output"]) == ("completed", [2, 3])
    assert sorted(value for name, value in world.log if name == "send") == [2, 3]
    assert sorted(row.intent.item for row in rows) == [1, 2]


@pytest.mark.parametrize("dispatch", ["eager", "wave"])
async def test_over_an_empty_list_nothing_is_called_and_the_output_is_empty(world, dispatch):
    out = await graph_of(world, dispatch=dispatch).ainvoke({"goal": "g", "plan": over([])}, thread())
    assert out["results"]["b"]["output"] == []
    assert out["results"]["c"]["output"] == {"value": []}
    assert len(world.log) == 2


async def test_over_what_turns_out_to_be_no_list_the_task_fails_with_a_sentence(world):
    out = await graph_of(world).ainvoke({"goal": "g", "plan": over("text")}, thread())
    assert out["results"]["b"]["kind"] == "reference"
    assert "'for_each' of this task does not refer to a list" in out["results"]["b"]["error"]


async def test_a_for_each_over_the_output_of_another_one_keeps_the_order(world):
    plan = over([3, 1, 2])
    plan["tasks"][2] |= {"for_each": ref("b"), "args": {"value": {"item": ["value"]}}}
    out = await graph_of(world).ainvoke({"goal": "g", "plan": plan}, thread())
    assert out["results"]["c"]["output"] == [{"value": 3}, {"value": 1}, {"value": 2}]


@pytest.mark.parametrize(
    ("bounds", "task_bound", "most"), [({"max_concurrency": 3}, None, 3), ({}, 2, 2), ({"max_concurrency": 2}, 5, 2)]
)
async def test_items_run_within_the_bounds_of_run_and_task(world, bounds, task_bound, most):
    plan = over([0.02] * 12)
    plan["tasks"][1] |= {"tool": "wait", "args": {"seconds": {"item": []}}, "max_concurrency": task_bound}
    out = await graph_of(world, **bounds).ainvoke({"goal": "g", "plan": plan}, thread())
    assert out["status"] == "completed"
    assert world.most_running == most


async def test_items_run_within_the_bound_of_their_tool(world):
    tools = world.tools()
    tools[1].metadata = {**tools[1].metadata, "max_concurrency": 2}
    plan = over([0.02] * 8)
    plan["tasks"][1] |= {"tool": "wait", "args": {"seconds": {"item": []}}}
    out = await build_graph(tools=tools).ainvoke({"goal": "g", "plan": plan}, thread())
    assert (out["status"], world.most_running) == ("completed", 2)


async def test_who_watches_sees_how_far_the_items_are(world):
    world.failing = {7}
    given = {"goal": "g", "plan": over(list(range(600)), on_item_failure="skip")}
    told = [parse_event(part) async for part in graph_of(world).astream(given, thread(), stream_mode="custom")]
    items = [event for event in told if isinstance(event, ItemProgress)]
    assert items[-1] == ItemProgress(task="b", ended=600, failed=1, total=600)
    assert [event.ended for event in items] == list(range(3, 601, 3))
    assert [event.task for event in told if isinstance(event, TaskStarted)] == ["a", "b", "c"]


async def test_a_stopped_run_keeps_the_items_that_ended_and_goes_on_with_the_others(world, database_url):
    plan = over(list(range(40)))
    async with open_persistence(database_url) as persistence:
        graph = graph_of(world, persistence=persistence, max_concurrency=2)
        await stopped_after(10, graph, plan)
        scope = join_scope("t", (await graph.aget_state(thread())).values["run_id"])
        kept = await persistence.calls.load_task_calls(scope, revision=1, task="b", tool="look")
        assert 10 <= len(kept) < 40
        begun = len(looked(world, *range(40)))
        assert begun == len(kept)
        out = await graph_of(world, persistence=persistence).ainvoke(None, thread())
        assert out["results"]["b"]["output"] == [{"value": n} for n in range(40)]
        assert sorted(looked(world, *range(40))) == list(range(40))
        assert out["results"]["b"]["attempts"] == 40
        assert await persistence.calls.load_task_calls(scope, revision=9, task="-", tool="look") == []


async def test_in_memory_too_a_stopped_run_calls_no_item_twice(world):
    graph = graph_of(world, max_concurrency=2)
    await stopped_after(10, graph, over(list(range(40))))
    out = await graph.ainvoke(None, thread())
    assert out["status"] == "completed"
    assert sorted(looked(world, *range(40))) == list(range(40))


@pytest.mark.parametrize("tool", ["look", "write"])
async def test_a_plan_edited_after_items_failed_calls_only_those_again(world, tool):
    world.failing = {2}
    graph = graph_of(world, approve="never")
    out = await graph.ainvoke({"goal": "g", "plan": over([1, 2, 3], tool=tool)}, thread())
    assert out["results"]["b"]["status"] == "failed"
    world.failing = set()
    called = len(world.log)
    plan = over([1, 2, 3, 4], tool=tool)
    plan["tasks"] = [over([1, 2, 3])["tasks"][0], {**plan["tasks"][1], "id": "b2"}, {**plan["tasks"][2], "id": "c2"}]
    plan["tasks"][2]["args"] = {"value": ref("b2")}
    await graph.aupdate_state(thread(), {"plan": plan, "termination": None}, as_node="planner")
    out = await graph.ainvoke(None, thread())
    assert out["status"] == "completed"
    assert [value for _, value in world.log[called:]] == [2, out["results"]["b2"]["output"]]
    assert out["results"]["b2"]["attempts"] == 1


async def test_a_replan_that_goes_on_without_failed_items_calls_only_those_again(world):
    world.failing = {2}
    first, second = over([1, 2, 3]), over([1, 2, 3], on_item_failure="skip")
    second["tasks"][1]["id"], second["tasks"][2]["args"] = "b2", {"value": ref("b2")}
    model = FakeListChatModel(responses=[json.dumps(first), json.dumps(second), "Without 2 [b2]."])
    graph = build_graph(tools=world.tools(), model=model, settings=Settings(), checkpointer=InMemorySaver())
    out = await graph.ainvoke({"goal": "look at them"}, thread())
    assert (out["status"], out["replans"]) == ("completed", 1)
    assert out["results"]["b2"]["output"] == [{"value": 1}, {"value": 3}]
    assert sorted(looked(world, 1, 2, 3)) == [1, 2, 2, 3]


async def test_provenance_and_xml_tell_which_items_failed(world):
    world.failing = {2}
    graph = graph_of(world)
    await graph.ainvoke({"goal": "g", "plan": over([1, 2, 3], on_item_failure="null")}, thread())
    state = (await graph.aget_state(thread())).values
    outcomes = {task: parse_outcome(record) for task, record in state["results"].items()}
    told = to_prov_json(provenance_of(state, outcomes), thread="t")
    assert "[1]" in [activity.get("pw:failedItems") for activity in told["activity"].values()]
    assert '<array key="failed">' in to_xml(state["results"]["b"])


async def test_a_second_goal_calls_everything_anew(world):
    graph = graph_of(world)
    world.failing = {2}
    await graph.ainvoke({"goal": "one", "plan": over([1, 2])}, thread())
    world.failing = set()
    await graph.ainvoke({"goal": "two", "plan": over([1, 2])}, thread())
    assert looked(world, 1) == [1, 1]


async def test_writes_over_items_are_asked_about_once_and_made_once(world):
    graph = graph_of(world)
    await graph.ainvoke({"goal": "g", "plan": over([1, 2, 3], tool="write", on_item_failure="skip")}, thread())
    world.failing = {2}
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert out["results"]["b"]["output"] == [{"written": 1}, {"written": 3}]
    assert sorted(value for name, value in world.log if name == "write") == [1, 2, 3]


@pytest.mark.parametrize("dispatch", ["eager", "wave"])
@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_many_items_take_time_in_proportion_and_little_memory(world, dispatch, count, tmp_path):
    async with open_persistence(f"sqlite:///{tmp_path}/run.db") as persistence:
        graph = graph_of(world, dispatch=dispatch, persistence=persistence)
        await graph.ainvoke({"goal": "g", "plan": over([1, 2])}, thread("first"))
        begun = time.process_time()
        out = await graph.ainvoke({"goal": "g", "plan": over(list(range(count)))}, thread())
        per_item = (time.process_time() - begun) / count
    print(f"\n{count:,} items ({dispatch}): {per_item * 1000:.2f} ms of processor time each")
    assert [row["value"] for row in out["results"]["b"]["output"]] == list(range(count))
    assert per_item < 0.01
