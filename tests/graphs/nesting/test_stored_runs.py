"""Runs inside other graphs as the commands on threads show them, and as they are deleted."""

import asyncio
import json

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from agent.errors import ThreadBusyError
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.graphs.nesting.test_identity import Parent, parent_of, remind
from tests.support.worlds import APPROVE, World, thread


def as_json(planwave, *words):
    done = planwave.here(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


async def two_turns(planwave, *, own_saver, answers):
    """Run two turns of a graph that asks in each, of which so many are answered."""
    world = World()
    async with open_persistence(planwave.env["PLANWAVE_DB"]) as persistence:
        child = build_graph(tools=world.tools(), persistence=persistence)
        parent = parent_of(child, saver=InMemorySaver() if own_saver else persistence.saver)
        for at in range(2):
            await parent.ainvoke(remind(at), thread())
            if at < answers:
                await parent.ainvoke(Command(resume=APPROVE), thread())
    assert len(world.log) == answers


@pytest.mark.parametrize("own_saver", [False, True])
def test_they_are_listed_shown_and_deleted_with_their_thread(planwave, own_saver):
    asyncio.run(two_turns(planwave, own_saver=own_saver, answers=2))
    [row] = as_json(planwave, "threads")["threads"]
    assert (row["thread_id"], row["done"], row["tasks"]) == ("t", 2, 2)
    shown = as_json(planwave, "show", "t")
    assert [(run["done"], run["tasks"]) for run in shown["nested"]] == [(1, 1), (1, 1)]
    if not own_saver:
        assert {(run["called_by"], run["goal"], run["status"]) for run in shown["nested"]} == {
            ("n0", "Remind.", "completed")
        }
    assert "nested" in planwave.here("show", "t").output
    assert planwave.here("resume", "t").exit_code == 2
    assert planwave.here("threads", "prune", "--older-than", "1d").exit_code == 0
    assert as_json(planwave, "threads")["threads"]
    assert planwave.here("threads", "delete", "t", "--yes").exit_code == 0
    assert as_json(planwave, "threads")["threads"] == []


def test_a_thread_with_one_that_waits_says_so_and_is_not_pruned(planwave):
    asyncio.run(two_turns(planwave, own_saver=False, answers=1))
    [row] = as_json(planwave, "threads")["threads"]
    assert row["status"] == "awaiting_approval"
    assert '"value": 1' in planwave.here("show", "t").output
    pruned = as_json(planwave, "threads", "prune", "--older-than", "0h")
    assert (pruned["removed"], [kept["thread_id"] for kept in pruned["kept"]]) == ([], ["t"])


def test_a_thread_whose_runs_all_ended_is_pruned_with_all_its_rows(planwave):
    for own_saver in (False, True):
        asyncio.run(two_turns(planwave, own_saver=own_saver, answers=2))
        assert as_json(planwave, "threads", "prune", "--older-than", "0h")["removed"] == ["t"]
        assert as_json(planwave, "threads")["threads"] == []


async def test_one_task_is_not_run_twice_at_once(tmp_path):
    world, entered, may_go_on = World(), asyncio.Event(), asyncio.Event()
    async with open_persistence(f"sqlite:///{tmp_path / 'p.db'}") as persistence:

        async def hold(value):
            entered.set()
            await may_go_on.wait()
            return value

        child = build_graph(tools=[world.tool("write", hold)], persistence=persistence)

        async def call(state: Parent) -> Parent:
            return {"outs": [(await child.ainvoke(remind(1)))["status"]]}

        parent = parent_of(call, saver=persistence.saver)
        await parent.ainvoke({}, thread())
        first = asyncio.create_task(parent.ainvoke(Command(resume=APPROVE), thread()))
        await entered.wait()
        with pytest.raises(ThreadBusyError):
            await parent.ainvoke(None, thread())
        with pytest.raises(ThreadBusyError):
            await child.ainvoke(remind(2), thread())
        may_go_on.set()
        assert (await first)["outs"] == ["completed"]
