"""What an operator finds in the log about leases, refused writes, damaged checkpoints, upgrades and stops."""

import asyncio
import logging

import pytest

from agent.core.plan.hashing import hash_json
from agent.errors import LeaseLostError, PersistenceError, ThreadBusyError
from agent.execution.ledger import Intent
from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from graphs.stores.tables.migrations import SCHEMA_VERSION
from tests.support.stored_bytes import execute
from tests.support.worlds import World, thread

PRIVATE = "Geheimratsecken"
PLAN = {"tasks": [{"id": "a", "tool": "look", "args": {"value": PRIVATE}}]}


@pytest.fixture(autouse=True)
def log(caplog):
    caplog.set_level(logging.DEBUG, "graphs")
    return caplog


def logged(log, thread_id="t"):
    """Return level and text of what was logged about a thread."""
    return [(each.levelname, each.getMessage()) for each in log.records if getattr(each, "thread_id", "") == thread_id]


async def test_a_run_logs_its_lease_and_none_of_its_contents(tmp_path, log):
    async with open_persistence(f"sqlite:///{tmp_path}/l.db") as persistence:
        graph = build_graph(tools=World().tools(), settings=Settings(), persistence=persistence)
        await graph.ainvoke({"goal": PRIVATE, "plan": PLAN}, thread())
    assert ("INFO", f"Created the tables of planwave, version {SCHEMA_VERSION}.") in [
        (each.levelname, each.getMessage()) for each in log.records
    ]
    texts = [text for _, text in logged(log)]
    assert texts[:2] == ["Lease of thread 't' taken, epoch 1", "Run on thread 't' starts"]
    assert texts[-1] == "Lease of thread 't' released"
    assert "it ended or waits" in texts[-2]
    assert PRIVATE not in log.text


async def test_a_lease_that_is_taken_over_is_logged_on_both_sides(database_url, log):
    async with open_persistence(database_url, ttl_s=600) as late, open_persistence(database_url) as quick:
        leases, run_on_worker = late._backend.leases, late.saver.run_on_worker
        async with late.lease("t") as lease:
            await run_on_worker(leases._renew, lease)
            assert ("DEBUG", "Lease of thread 't' renewed") in logged(log)
            with pytest.raises(ThreadBusyError):
                async with quick.lease("t"):
                    pass
            assert logged(log)[-1][1].startswith("Thread 't' is refused: ")
            execute(database_url, "UPDATE planwave_leases SET expires_at = 1")
            log.clear()
            async with quick.lease("t"):
                [taken_over] = [text for level, text in logged(log) if level == "WARNING"]
                assert taken_over.startswith("Lease of thread 't' taken over from ")
                for _ in range(2):
                    await run_on_worker(leases._renew, lease)
                lost = ("WARNING", "Lease of thread 't' lost: another process took it over")
                assert logged(log).count(lost) == 1
                with pytest.raises(LeaseLostError):
                    await late.ledger.claim(
                        Intent(
                            thread="t",
                            revision=1,
                            task="w",
                            tool="write",
                            args_digest=hash_json({}),
                            is_approval_waived=True,
                        )
                    )
                assert logged(log)[-1] == (
                    "WARNING",
                    "Write for thread 't' refused: its lease, epoch 1, was taken over",
                )


async def test_a_damaged_checkpoint_is_logged_without_its_contents(database_url, log):
    async with open_persistence(database_url) as persistence:
        graph = build_graph(tools=World().tools(), settings=Settings(), persistence=persistence)
        await graph.ainvoke({"goal": PRIVATE, "plan": PLAN}, thread())
        execute(
            database_url,
            "UPDATE checkpoints SET checkpoint = ?",
            f'{{"id": "{PRIVATE}"}}' if database_url.startswith("postgres") else f"no msgpack: {PRIVATE}".encode(),
        )
        log.clear()
        with pytest.raises(PersistenceError):
            await graph.aget_state(thread())
    texts = [each.getMessage() for each in log.records if each.levelname == "WARNING"]
    assert texts
    assert all(text.startswith("A checkpoint of thread 't' cannot be read: ") for text in texts)
    assert PRIVATE not in "".join(texts)


@pytest.mark.parametrize(("grace_s", "ends"), [(30.0, True), (0.0, False)], ids=["in time", "too late"])
async def test_a_stop_is_logged_when_it_is_asked_for_and_when_it_is_done(tmp_path, log, grace_s, ends):
    world = World()
    plan = {"tasks": [{"id": "a", "tool": "wait", "args": {"seconds": 0.3 if ends else 60.0, "name": "a"}}]}
    async with open_persistence(f"sqlite:///{tmp_path}/s.db") as persistence:
        graph = build_graph(tools=world.tools(), settings=Settings(grace_s=grace_s), persistence=persistence)
        run = asyncio.create_task(graph.ainvoke({"goal": "g", "plan": plan}, thread()))
        async with asyncio.timeout(60):
            while world.now_running == 0:  # noqa: ASYNC110 - the world counts, it does not tell
                await asyncio.sleep(0.01)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
    texts = [text for _, text in logged(log)]
    stopping, stopped = texts.index("Run is stopping: stopped"), texts.index("Run has stopped")
    assert stopping < stopped
    assert ("Calls still run after 0 s and are cancelled" in texts) is not ends
