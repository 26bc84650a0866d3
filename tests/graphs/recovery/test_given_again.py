"""What a queue of jobs does: an answer given again, a run taken over from another machine, a cancel and a resume."""

import asyncio
import sqlite3
from contextlib import closing

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from agent.errors import AnswerError, SettingsError, ThreadBusyError
from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.graphs.recovery.killed_run import run
from tests.support.forked_child import KILLED, Child
from tests.support.worlds import APPROVE, CHAIN, READ, World, thread

REJECT = {"decisions": [{"type": "reject", "message": "no"}]}


@pytest.fixture
def world():
    return World()


@pytest.mark.parametrize("stored", [True, False])
async def test_an_answer_given_again_goes_on_and_another_one_is_refused(world, tmp_path, stored):
    async with open_persistence(f"sqlite:///{tmp_path / 'threads.db'}") as persistence:
        kept = {"persistence": persistence} if stored else {"checkpointer": InMemorySaver()}
        graph = build_graph(tools=world.tools(), **kept)
        with pytest.raises(AnswerError, match="Nothing on this thread waits"):
            await graph.ainvoke(Command(resume=APPROVE), thread("new"))
        asked = (await graph.ainvoke({"goal": "g", "plan": CHAIN}, thread()))["__interrupt__"][0]
        # The run stops after the answer was taken, before the write is made.
        await graph.ainvoke(Command(resume=APPROVE), thread(), interrupt_before=["tool_executor"])
        assert ("write", 1) not in world.log
        with pytest.raises(AnswerError, match="Nothing on this thread waits"):
            await graph.ainvoke(Command(resume=REJECT), thread())
        out = await graph.ainvoke(Command(resume=APPROVE), thread())
        assert out["status"] == "completed"
        for again in (APPROVE, {asked.id: APPROVE}, Command(resume=APPROVE).resume):
            assert (await graph.ainvoke(Command(resume=again), thread()))["status"] == "completed"
        for other in (REJECT, {"0" * 32: APPROVE}, {"decisions": [*APPROVE["decisions"] * 2]}):
            with pytest.raises(AnswerError):
                await graph.ainvoke(Command(resume=other), thread())
    assert world.log.count(("write", 1)) == 1


async def test_a_thread_of_a_dead_run_on_another_machine_is_busy_until_its_time_is_over(
    planwave, shop_folder, monkeypatch
):
    url = planwave.env["PLANWAVE_DB"]
    assert Child(run, url, str(shop_folder), "t", kill_before=4).told() is KILLED
    monkeypatch.setenv("PLANWAVE_LEASE_TTL_S", "0.9")
    async with open_persistence(url) as persistence:
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database, database:
            database.execute("UPDATE planwave_leases SET machine = 'elsewhere'")
        graph = build_graph(settings=Settings(data_folder=shop_folder), persistence=persistence)
        with pytest.raises(ThreadBusyError, match="is being run by"):
            await graph.ainvoke(None, thread())
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database, database:
            database.execute("UPDATE planwave_leases SET expires_at = 1")
        assert (await graph.ainvoke(None, thread()))["status"] == "completed"
        assert persistence._backend.leases.ttl_s == 0.9


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
async def test_a_lease_time_that_is_none_is_refused(monkeypatch, text):
    monkeypatch.setenv("PLANWAVE_LEASE_TTL_S", text)
    with pytest.raises(SettingsError, match="PLANWAVE_LEASE_TTL_S"):
        async with open_persistence("sqlite:///:memory:"):
            pass


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("reads", [True, False])
async def test_a_resume_right_after_a_cancel_waits_for_the_stopping_run_and_goes_on(world, tmp_path, stored, reads):
    begun, release = asyncio.Event(), asyncio.Event()

    async def hold() -> str:
        world.log.append(("hold", None))
        begun.set()
        await release.wait()
        return "held"

    plan = {
        "tasks": [{"id": "a", "tool": "hold"}, {"id": "b", "tool": "look", "args": {"value": 1}, "depends_on": ["a"]}]
    }
    async with open_persistence(f"sqlite:///{tmp_path / 'threads.db'}") as persistence:
        kept = {"persistence": persistence} if stored else {"checkpointer": InMemorySaver()}
        tools = [*world.tools(), world.tool("hold", hold, READ if reads else None)]
        graph = build_graph(tools=tools, settings=Settings(approve="never", grace_s=60), **kept)
        first = asyncio.create_task(graph.ainvoke({"goal": "g", "plan": plan}, thread()))
        await begun.wait()
        first.cancel()
        await asyncio.sleep(0)
        second = asyncio.create_task(graph.copy().ainvoke(None, thread()))
        # The call ends within its grace time, while the second run waits.
        asyncio.get_running_loop().call_later(0.3, release.set)
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (await second)["status"] == "completed"
    assert world.log == [("hold", None), ("look", 1)]
