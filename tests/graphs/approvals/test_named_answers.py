"""Answers that say which call they are for: by digest, task or interrupt, never by chance."""

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from agent.settings import Settings
from graphs.plan_execute import build_graph
from tests.support.worlds import APPROVE, World, thread

PLAN = {
    "tasks": [
        {"id": "s", "tool": "write", "args": {"value": "s"}},
        {"id": "d", "tool": "write", "args": {"value": "d"}},
    ]
}


async def asked(world, plan=PLAN, **settings):
    graph = build_graph(tools=world.tools(), settings=Settings(**settings), checkpointer=InMemorySaver())
    out = await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    [waiting] = out["__interrupt__"]
    return graph, waiting


@pytest.mark.parametrize("name", ["task_id", "digest", "id"])
async def test_decisions_are_taken_by_name_in_any_order(name):
    world = World()
    graph, waiting = await asked(world, max_replans=0, escalate=False)
    shown = {action["task_id"]: action for action in waiting.value["action_requests"]}
    value = {task: shown[task]["task_id" if name == "id" else name] for task in shown}
    order = reversed([action["task_id"] for action in waiting.value["action_requests"]])
    decisions = [{"type": "reject" if task == "s" else "approve", name: value[task]} for task in order]
    await graph.ainvoke(Command(resume={"decisions": decisions}), thread())
    assert world.log == [("write", "d")]


async def test_an_answer_that_names_nothing_is_refused_if_the_setting_says_so():
    world = World()
    plan = {"tasks": PLAN["tasks"][:1]}
    graph, waiting = await asked(world, plan, require_named_answers=True)
    for blind in (
        APPROVE,
        [{"type": "accept"}],
        {"type": "approve"},
        {"decisions": [{"type": "approve", "task_id": "s"}]},
    ):
        out = await graph.ainvoke(Command(resume=blind), thread())
        assert "require_named_answers" in out["__interrupt__"][0].value["error"]
    assert world.log == []
    digest = waiting.value["action_requests"][0]["digest"]
    out = await graph.ainvoke(Command(resume={"type": "approve", "digest": f"{digest[:-1]}x"}), thread())
    assert "another call" in out["__interrupt__"][0].value["error"]
    assert world.log == []
    out = await graph.ainvoke(Command(resume={"type": "approve", "digest": digest}), thread())
    assert (out["status"], world.log) == ("completed", [("write", "s")])


@pytest.mark.parametrize("form", ["key", "id"])
async def test_the_interrupts_id_is_a_name_too(form):
    world = World()
    graph, waiting = await asked(world, require_named_answers=True)
    both = [{"type": "approve"}] * 2
    answer = {waiting.id: both} if form == "key" else [{**each, "id": waiting.id} for each in both]
    out = await graph.ainvoke(Command(resume=answer), thread())
    assert (out["status"], sorted(world.log)) == ("completed", [("write", "d"), ("write", "s")])


def test_the_setting_is_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("PLANWAVE_REQUIRE_NAMED_ANSWERS", "1")
    assert Settings().require_named_answers
