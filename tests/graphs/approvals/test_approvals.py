"""Writes that stop for a person, and every kind of answer."""

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from agent.errors import AnswerError
from agent.settings import Settings
from graphs.plan_execute import build_graph
from tests.support.worlds import APPROVE, CHAIN, READ, World, ref, thread

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
        ({"decisions": []}, "one decision for each call"),
        ({"decisions": [{"type": "approve"}, {"type": "approve"}]}, "1 calls wait"),
        ("yes", "one decision for each call"),
        (True, "one decision for each call"),
        ([], "one decision for each call"),
        ({"decisions": [{"type": "edit", "edited_action": {"name": "write", "args": {"value": 1j}}}]}, "be stored"),
        ({"decisions": [{"type": "maybe"}]}, "cannot be read"),
        ({"decisions": [{"type": "approve", "digest": "0" * 64}]}, "another call"),
        ({"a" * 32: APPROVE}, "No interrupt"),
    ],
)
async def test_a_wrong_answer_is_named_and_changes_nothing(world, answer, says):
    graph = graph_of(world)
    await graph.ainvoke({"goal": "g", "plan": CHAIN}, thread())
    before = (await graph.aget_state(thread())).config
    out = await graph.ainvoke(Command(resume=answer), thread())
    [asked] = out["__interrupt__"]
    assert (out["status"], asked.value["action_requests"][0]["task_id"]) == ("awaiting_approval", "w")
    assert says in asked.value["error"]
    state = await graph.aget_state(thread())
    assert (state.config, state.interrupts) == (before, (asked,))
    assert ("write", 1) not in world.log
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert out["status"] == "completed"
    assert (await graph.ainvoke(Command(resume=APPROVE), thread()))["status"] == "completed"
    with pytest.raises(AnswerError, match="Nothing on this thread waits"):
        await graph.ainvoke(Command(resume={"decisions": [{"type": "reject", "message": "no"}]}), thread())
    assert [entry for entry in world.log if entry[0] == "write"] == [("write", 1)]


async def test_all_pending_approvals_are_one_interrupt(world):
    plan = {"tasks": [{"id": f"w{n}", "tool": "write", "args": {"value": n}} for n in range(3)]}
    graph = graph_of(world, max_replans=0)
    out = await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    assert len(out["__interrupt__"]) == 1
    answer = {"decisions": [{"type": "approve"}, {"type": "reject"}, {"type": "approve"}]}
    out = await graph.ainvoke(Command(resume=answer), thread())
    assert sorted(world.log) == [("write", 0), ("write", 2)]


async def test_a_tool_that_asks_in_the_same_form_gets_its_answer_as_it_was_given(world):
    async def choose(value: str) -> str:
        return str(interrupt({"action_requests": [{"name": value, "args": {}}], "review_configs": []}))

    tools = [*world.tools(), world.tool("choose", choose, READ)]
    graph = build_graph(tools=tools, settings=Settings(), checkpointer=InMemorySaver())
    plan = {"tasks": [{"id": "c", "tool": "choose", "args": {"value": "v"}}]}
    await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert out["results"]["c"]["output"] == str(APPROVE)
