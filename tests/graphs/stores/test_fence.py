"""What a run that lost its thread can still do to it: nothing."""

import sqlite3

from langgraph.checkpoint.base import empty_checkpoint
from langgraph.types import Command

from agent.errors import LeaseLostError, ThreadBusyError
from agent.execution.ledger import Grant, Intent
from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.processes import start
from tests.support.worlds import APPROVE, World, thread

AT = {"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "c"}}
CALL = Intent(thread="t", revision=1, task="w", tool="write", args_digest="d", is_approval_waived=True)


async def everything(persistence):
    """Return each write of a thread, by name."""
    saver, ledger = persistence.saver, persistence.ledger
    return {
        "put": lambda: saver.aput(AT, empty_checkpoint(), {}, {}),
        "put (blocking)": lambda: saver.put(AT, empty_checkpoint(), {}, {}),
        "put_writes": lambda: saver.aput_writes(AT, [("x", 1)], "task"),
        "delete_thread": lambda: saver.adelete_thread("t"),
        "claim": lambda: ledger.claim(CALL),
        "complete": lambda: ledger.complete(CALL, epoch=1, record={}),
        "grant": lambda: ledger.grant([Grant(digest="A", thread="t", revision=1, task="w")]),
        "forget": lambda: ledger.delete_thread("t"),
    }


async def stored(persistence):
    """Return all that is stored of the thread."""
    listed = [found async for found in persistence.saver.alist(thread())]
    return (
        [(found.config, found.checkpoint["id"], found.pending_writes) for found in listed],
        await persistence.ledger.list_rows("t"),
        await persistence.ledger.find_usable_grants(["A"]),
    )


async def attempt(persistence, error):
    for name, write in (await everything(persistence)).items():
        try:
            made = write()
            if hasattr(made, "__await__"):
                await made
        except error:
            continue
        raise AssertionError(f"{name} was not stopped")


async def fill(persistence):
    start = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    await persistence.saver.aput(start, empty_checkpoint(), {"source": "input", "step": -1}, {})
    await persistence.saver.aput_writes(AT, [("x", 1)], "earlier")
    await persistence.ledger.claim(CALL)


async def test_a_lost_lease_writes_nothing_more(database_url):
    async with open_persistence(database_url, ttl_s=600) as late, open_persistence(database_url) as quick:
        async with late.lease("t"):
            await fill(late)
            await expire(late)
            async with quick.lease("t"):
                before = await stored(quick)
                await attempt(late, LeaseLostError)
                assert await stored(quick) == before
            # Neither while the thread is held by the other, nor after it was given back.
            await attempt(late, LeaseLostError)
            assert await stored(quick) == before
        async with late.lease("t") as again:
            assert again.epoch == 3
            await late.ledger.delete_thread("t")


async def test_who_holds_no_lease_writes_only_while_nobody_does(database_url):
    async with open_persistence(database_url) as holder, open_persistence(database_url) as script:
        await fill(script)
        async with holder.lease("t"):
            before = await stored(holder)
            await attempt(script, ThreadBusyError)
            assert await stored(holder) == before
        await script.ledger.complete(CALL, epoch=1, record={})
        await script.saver.adelete_thread("t")


async def test_a_write_without_a_lease_shuts_out_an_owner_whose_time_was_over(database_url):
    async with open_persistence(database_url, ttl_s=600) as late, open_persistence(database_url) as script:  # noqa: SIM117
        async with late.lease("t"):
            await expire(late)
            await fill(script)
            before = await stored(script)
            await attempt(late, LeaseLostError)
            assert await stored(script) == before


async def expire(persistence):
    """Let the lease run out, as it does while its process is paused."""
    database = persistence._backend.database
    await persistence.saver.run_on_worker(
        database.run_in_transaction, lambda run: run("UPDATE planwave_leases SET expires_at = 1")
    )


async def test_a_deleted_thread_leaves_only_its_epoch(database_url):
    async with open_persistence(database_url) as persistence:
        async with persistence.lease("t"):
            await fill(persistence)
        await persistence.saver.adelete_thread("t")
        assert await stored(persistence) == ([], [], set())
        async with persistence.lease("t") as lease:
            assert lease.epoch == 2


async def test_fork_update_and_second_input_go_on_working(database_url):
    world = World()
    plan = {
        "tasks": [{"id": "a", "tool": "look", "args": {"value": 1}}, {"id": "w", "tool": "write", "args": {"value": 2}}]
    }
    async with open_persistence(database_url) as persistence:
        graph = build_graph(tools=world.tools(), settings=Settings(), persistence=persistence)
        await graph.ainvoke({"goal": "g", "plan": plan}, thread())
        assert (await graph.ainvoke(Command(resume=APPROVE), thread()))["status"] == "completed"
        [past] = [state async for state in graph.aget_state_history(thread()) if state.next == ("planner",)]
        assert (await graph.ainvoke(None, past.config))["status"] == "awaiting_approval"
        forked = await graph.aupdate_state(past.config, {"goal": "another"})
        assert (await graph.ainvoke(None, forked))["status"] == "awaiting_approval"
        assert (await graph.aget_state(thread())).values["goal"] == "another"
        assert (await graph.ainvoke({"goal": "second", "plan": plan}, thread()))["status"] == "awaiting_approval"
        assert (await graph.ainvoke(Command(resume=APPROVE), thread()))["status"] == "completed"


def test_the_sql_of_a_lease_row_is_what_people_can_read(tmp_path):
    log = tmp_path / "log"
    start("graphs.stores.leased_run", f"sqlite:///{tmp_path}/r.db", log, 30).communicate(timeout=60)
    with sqlite3.connect(tmp_path / "r.db") as connection:
        rows = connection.execute("SELECT thread, epoch, owner, expires_at FROM planwave_leases").fetchall()
    assert rows == [("t", 1, None, 0.0)]
