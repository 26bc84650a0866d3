"""Threads stored before the state keys were renamed: each continues where it was.

`threads.db.gz` was written by commit b97e30c, two of its processes killed by SIGKILL: while a read of a dispatch ran
(`dispatching`), inside a write (`in_doubt`), and inside the undoing of a write (`undoing`).
"""

import gzip
import shutil
from pathlib import Path

import pytest
from langgraph.types import Command

from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.worlds import APPROVE, World, thread

STORED = Path(__file__).with_name("threads.db.gz")


@pytest.fixture
async def old(tmp_path):
    """A copy of the stored threads, and a world whose calls are noted from now on."""
    with gzip.open(STORED) as stored, (tmp_path / "threads.db").open("wb") as copy:
        shutil.copyfileobj(stored, copy)
    world = World()
    world.failing = {9}
    async with open_persistence(f"sqlite:///{tmp_path / 'threads.db'}") as persistence:
        yield build_graph(tools=world.tools(), persistence=persistence), world


def asked(out):
    return [(action["task_id"], action["args"]) for action in out["__interrupt__"][0].value["action_requests"]]


async def test_one_that_waits_for_approval_takes_its_answer(old):
    graph, world = old
    out = await graph.ainvoke(Command(resume=APPROVE), thread("waiting"))
    assert out["status"] == "completed"
    assert world.log == [("write", 1), ("look", 1)]
    assert set(out["results"]) == {"a", "b", "w", "c"}


async def test_one_that_waits_asks_the_same_again(old):
    graph, world = old
    out = await graph.ainvoke(None, thread("waiting"))
    assert (out["status"], asked(out), world.log) == ("awaiting_approval", [("w", {"value": 1})], [])


async def test_one_killed_in_a_dispatch_repeats_only_what_had_not_ended(old):
    graph, world = old
    out = await graph.ainvoke(None, thread("dispatching"))
    assert (out["status"], asked(out)) == ("awaiting_approval", [("w", {"value": 7})])
    assert world.log == [("look", 7)]
    out = await graph.ainvoke(Command(resume=APPROVE), thread("dispatching"))
    assert (out["status"], world.log) == ("completed", [("look", 7), ("write", 7), ("look", 7)])


async def test_one_killed_inside_a_write_asks_about_the_doubt(old):
    graph, world = old
    out = await graph.ainvoke(None, thread("in_doubt"))
    assert (out["status"], asked(out), world.log) == ("awaiting_approval", [("w", {"value": 1})], [])
    assert out["__interrupt__"][0].value["action_requests"][0]["doubt"]
    out = await graph.ainvoke(Command(resume=APPROVE), thread("in_doubt"))
    assert (out["status"], world.log) == ("completed", [("write", 1), ("look", 1)])


async def test_one_that_waits_inside_a_rollback_goes_on_with_it(old):
    graph, world = old
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}] * 2}), thread("rolling_back"))
    assert (out["status"], out["rollback"]) == ("failed", {"undone": ["w2", "w1"], "not_undone": {}})
    assert world.log == [("erase", 2), ("erase", 1)]


async def test_one_killed_inside_an_undoing_asks_about_it(old):
    graph, world = old
    out = await graph.ainvoke(None, thread("undoing"))
    assert (out["status"], asked(out), world.log) == ("awaiting_approval", [("undo:w1", {"value": 1})], [])
    out = await graph.ainvoke(Command(resume=APPROVE), thread("undoing"))
    assert (out["rollback"]["undone"], world.log) == (["w2", "w1"], [("erase", 1)])


async def test_one_that_asks_how_to_go_on_takes_its_answer(old):
    graph, world = old
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "reject"}]}), thread("escalated"))
    assert (out["status"], world.log) == ("failed", [])
    assert out["results"]["good"]["status"] == "done"


async def test_one_that_ended_is_read_and_takes_another_goal(old):
    graph, world = old
    state = await graph.aget_state(thread("ended"))
    assert (state.values["status"], set(state.values["results"])) == ("completed", {"a", "b", "w", "c"})
    again = {"goal": "Look again", "plan": {"tasks": [{"id": "x", "tool": "look", "args": {"value": 4}}]}}
    out = await graph.ainvoke(again, thread("ended"))
    assert (out["status"], set(out["results"]), world.log) == ("completed", {"x"}, [("look", 4)])
