"""One run at a time for each thread, and what becomes of a lease whose owner is gone."""

import asyncio
import os
import signal
import sqlite3
import time
from contextlib import aclosing

import pytest

from agent.errors import ThreadBusyError
from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from graphs.stores.tables.leases import Owner, get_current_process
from tests.support.processes import start, wait_for
from tests.support.worlds import World, thread

PLAN = {"tasks": [{"id": "a", "tool": "wait", "args": {"seconds": 0.3, "name": "a"}}]}
BEGIN = {"goal": "g", "plan": PLAN}


def graph_over(persistence, world):
    return build_graph(tools=world.tools(), settings=Settings(), persistence=persistence)


async def begun(world):
    """Wait until a task of the run is under way."""
    async with asyncio.timeout(60):
        while world.now_running == 0:  # noqa: ASYNC110 - the world counts, it does not tell
            await asyncio.sleep(0.01)


async def test_a_thread_is_held_by_one_and_its_epoch_grows(database_url):
    async with open_persistence(database_url) as one, open_persistence(database_url) as other:
        epochs = []
        for holder in (one, other, one):
            async with holder.lease("x") as lease:
                epochs.append(lease.epoch)
                for second in (one, other):
                    with pytest.raises(ThreadBusyError, match=rf"Thread 'x' .*pid {os.getpid()} since \d{{4}}-"):
                        async with second.lease("x"):
                            pass
                async with other.lease("y"):
                    pass
        assert epochs == [1, 2, 3]


async def test_of_many_at_once_one_holds_the_thread(database_url):
    async with open_persistence(database_url) as one, open_persistence(database_url) as other:
        held = 0

        async def hold(persistence):
            nonlocal held
            async with persistence.lease("x"):
                held += 1
                await asyncio.sleep(0.5)

        found = await asyncio.gather(*(hold(p) for p in (one, other) * 5), return_exceptions=True)
        assert held == 1
        assert sum(isinstance(error, ThreadBusyError) for error in found) == 9


async def test_a_second_run_of_a_thread_is_refused_and_changes_nothing(database_url):
    world = World()
    async with open_persistence(database_url) as persistence:
        graph = graph_over(persistence, world)
        first = asyncio.create_task(graph.ainvoke(BEGIN, thread()))
        while world.now_running == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        with pytest.raises(ThreadBusyError):
            await graph.ainvoke(BEGIN, thread())
        other = await graph.ainvoke(BEGIN, thread("other"))
        assert (await first)["status"] == other["status"] == "completed"
        assert (await graph.ainvoke(BEGIN, thread()))["status"] == "completed"


async def test_a_closed_or_cancelled_run_gives_its_thread_back(database_url):
    world = World()
    async with open_persistence(database_url) as persistence:
        graph = graph_over(persistence, world)
        async with aclosing(graph.astream(BEGIN, thread(), stream_mode="updates")) as parts:
            async for _ in parts:
                break
        async with persistence.lease("t"):
            pass
        run = asyncio.create_task(graph.ainvoke(BEGIN, thread("u")))
        while world.now_running == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert (await graph.ainvoke(None, thread("u")))["status"] == "completed"
        for part in graph.stream(BEGIN, thread("v"), stream_mode="updates"):
            assert part
            break
        async with persistence.lease("v"):
            pass


async def test_a_cancelled_wait_for_a_lease_leaves_none_behind(database_url):
    async with open_persistence(database_url) as persistence:

        async def hold(name):
            async with persistence.lease(name):
                await asyncio.sleep(60)

        for turn in range(20):
            waiting = asyncio.create_task(hold(f"x{turn}"))
            for _ in range(turn % 4):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            async with persistence.lease(f"x{turn}"):
                pass


async def test_a_busy_event_loop_does_not_cost_the_lease(database_url):
    async with open_persistence(database_url, ttl_s=0.9) as one, open_persistence(database_url) as other:  # noqa: SIM117
        async with one.lease("x"):
            time.sleep(2.5)  # noqa: ASYNC251 - the loop is kept busy on purpose
            with pytest.raises(ThreadBusyError):
                async with other.lease("x"):
                    pass


async def test_the_thread_of_a_killed_process_is_free_at_once(database_url, tmp_path):
    log = tmp_path / "log"
    running = start("graphs.stores.leased_run", database_url, log, 600)
    await asyncio.to_thread(wait_for, log, "start b", running)
    async with open_persistence(database_url) as persistence:
        with pytest.raises(ThreadBusyError, match=f"pid {running.pid} "):
            async with persistence.lease("t"):
                pass
        # Not waited for: a process that has ended and was not yet reaped is gone too.
        running.send_signal(signal.SIGKILL)
        await asyncio.sleep(0.2)
        async with persistence.lease("t") as lease:
            assert lease.epoch == 2
    running.communicate()


async def test_a_process_that_is_paused_beyond_its_time_loses_the_thread(database_url, tmp_path):
    log = tmp_path / "log"
    running = start("graphs.stores.leased_run", database_url, log, 1.5)
    await asyncio.to_thread(wait_for, log, "start b", running)
    running.send_signal(signal.SIGSTOP)
    try:
        async with open_persistence(database_url) as persistence:
            with pytest.raises(ThreadBusyError):
                async with persistence.lease("t"):
                    pass
            await asyncio.sleep(2.5)
            async with persistence.lease("t") as lease:
                assert lease.epoch == 2
    finally:
        running.send_signal(signal.SIGCONT)
        running.kill()
        running.communicate()


@pytest.mark.parametrize(
    ("change", "free"),
    [
        ("machine = 'another'", False),
        ("machine = 'another', expires_at = 1", True),
        ("pid_started = 'another time'", True),
        ("pid = 2147483646", True),
    ],
)
async def test_another_hosts_process_is_believed_until_its_time_is_over(tmp_path, change, free):
    url = f"sqlite:///{tmp_path}/l.db"
    async with open_persistence(url) as one, open_persistence(url) as other, one.lease("x"):
        with sqlite3.connect(tmp_path / "l.db") as connection:
            connection.execute(f"UPDATE planwave_leases SET {change}")
        if free:
            async with other.lease("x") as lease:
                assert lease.epoch == 2
        else:
            with pytest.raises(ThreadBusyError):
                async with other.lease("x"):
                    pass


def test_this_process_is_not_gone_and_a_later_one_of_its_number_is_another():
    me = get_current_process()
    assert not me.has_ended()
    assert me.model_copy(update={"pid_started": "1"}).has_ended()
    assert not Owner(host="h", machine="elsewhere", pid=1, pid_started="1").has_ended()
