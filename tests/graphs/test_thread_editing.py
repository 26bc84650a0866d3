"""The plan of a resting thread edited from Python: what is kept, what is void, what is refused."""

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langgraph.types import Command

from agent.core.compiler.editor import EditError
from agent.core.plan.limits import Limits
from agent.errors import ThreadBusyError, UsageError
from agent.execution.ledger import Intent
from agent.settings import Settings
from agent.tools.toolbox import Toolbox
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from graphs.run.plan_history import list_plan_changes
from graphs.thread_editing import load_plan_editor, replace_plan
from tests.support.worlds import APPROVE, World, ref, thread

PLAN = {
    "tasks": [
        {"id": "a", "tool": "look", "args": {"value": 1}},
        {"id": "w", "tool": "write", "args": {"value": ref("a", "value")}},
        {"id": "v", "tool": "write", "args": {"value": 7}},
    ]
}


@pytest.fixture
async def stored(tmp_path):
    async with open_persistence(f"sqlite:///{tmp_path / 'threads.db'}") as persistence:
        yield persistence


@pytest.fixture
def world():
    return World()


@pytest.fixture
async def graph(world, stored):
    graph = build_graph(tools=world.tools(), persistence=stored)
    await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
    return graph


async def put(graph, world, stored, editor):
    await replace_plan(
        graph, thread(), editor.plan, toolbox=Toolbox(world.tools()), limits=Limits(), ledger=stored.ledger
    )


async def test_an_edited_plan_goes_on_where_it_was_and_asks_anew_about_every_write(graph, world, stored):
    asked = (await graph.aget_state(thread())).interrupts[0].value["action_requests"]
    editor = (await load_plan_editor(graph, thread())).update("v", {"args": {"value": 8}})
    await put(graph, world, stored, editor)
    out = await graph.ainvoke(None, thread())
    again = out["__interrupt__"][0].value["action_requests"]
    assert {request["task_id"]: request["args"] for request in again} == {"w": {"value": 1}, "v": {"value": 8}}
    assert not {request["digest"] for request in asked} & {request["digest"] for request in again}
    out = await graph.ainvoke(Command(resume={"decisions": APPROVE["decisions"] * 2}), thread())
    assert (out["status"], out["revision"]) == ("completed", 2)
    assert sorted(world.log) == [("look", 1), ("write", 1), ("write", 8)]


async def test_how_a_person_changed_the_plan_is_stored_and_told(graph, world, stored):
    editor = (await load_plan_editor(graph, thread())).update("v", {"args": {"value": 8}}).remove("w")
    await put(graph, world, stored, editor.add({"id": "u", "tool": "look", "args": {"value": 9}}))
    told = [part async for part in graph.astream(None, thread(), stream_mode="custom") if part["event"] == "plan"]
    state = await graph.aget_state(thread())
    changes = {"kept": ["a"], "changed": ["v"], "new": ["u"], "dropped": ["w"]}
    assert [part["difference"] for part in told] == [changes]
    assert state.values["plan_changes"] == state.interrupts[0].value["plan_changes"] == changes
    assert [(one["author"], one["difference"]) for one in list_plan_changes(state.values)] == [("person", changes)]


async def test_what_is_done_cannot_be_changed_by_any_plan(graph, world, stored):
    editor = await load_plan_editor(graph, thread())
    assert editor.settled == {"a"}
    with pytest.raises(EditError, match="it has run"):
        editor.update("a", {"args": {"value": 2}})
    free = type(editor)(editor.plan).update("a", {"args": {"value": 2}})
    with pytest.raises(EditError, match="it has run, so it cannot be changed"):
        await put(graph, world, stored, free)
    with pytest.raises(EditError, match="there is no tool 'lok'"):
        await put(graph, world, stored, editor.add({"id": "x", "tool": "lok"}))
    assert (await graph.aget_state(thread())).values["plan"] == PLAN | {"execution_mode": "parallel"}


async def test_a_plan_is_not_edited_while_a_write_is_not_settled(graph, world, stored):
    write = Intent(thread="t", revision=1, task="w", tool="write", args_digest="x", is_approval_waived=True)
    await stored.ledger.claim(write)
    editor = await load_plan_editor(graph, thread())
    with pytest.raises(UsageError, match="A write of 'w' was started and its outcome is not recorded"):
        await put(graph, world, stored, editor.remove("v"))


async def test_a_plan_is_not_edited_while_a_run_has_the_thread(graph, world, stored):
    editor = await load_plan_editor(graph, thread())
    async with stored.lease("t"):
        assert await stored.is_busy("t")
        with pytest.raises(ThreadBusyError):
            await put(graph, world, stored, editor.remove("v"))
    assert not await stored.is_busy("t")
    await put(graph, world, stored, editor.remove("v"))


async def test_a_thread_that_ended_has_no_plan_to_edit(graph):
    await graph.ainvoke(Command(resume={"decisions": APPROVE["decisions"] * 2}), thread())
    with pytest.raises(UsageError, match="has ended"):
        await load_plan_editor(graph, thread())


async def test_a_plan_edited_where_a_person_is_asked_how_to_go_on_is_not_asked_about_so_again(world, stored):
    world.failing = {1}
    model = FakeListChatModel(responses=["no plan"] * 4)
    graph = build_graph(tools=world.tools(), model=model, settings=Settings(max_repairs=0), persistence=stored)
    plan = {"tasks": [{"id": "a", "tool": "look", "args": {"value": 1}}]}
    out = await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    assert out["__interrupt__"][0].value["impasse"]["kind"] == "no_way_on"
    editor = (
        (await load_plan_editor(graph, thread())).remove("a").add({"id": "b", "tool": "write", "args": {"value": 5}})
    )
    await put(graph, world, stored, editor)
    out = await graph.ainvoke(None, thread())
    assert [asked["name"] for asked in out["__interrupt__"][0].value["action_requests"]] == ["write"]
