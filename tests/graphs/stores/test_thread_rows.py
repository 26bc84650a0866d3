"""The row of each thread: what is listed and pruned without reading checkpoints."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.command_line import CommandLine
from tests.support.worlds import World, thread

READ = {"tasks": [{"id": "r", "tool": "look", "args": {"value": 1}}]}
WRITE = {"tasks": [{"id": "w", "tool": "write", "args": {"value": 1}}]}


async def listed(persistence):
    return {row.thread: (row.is_open, (row.summary or {}).get("status")) for row in await persistence.list_threads()}


async def test_a_row_says_what_a_run_has_left(database_url):
    async with open_persistence(database_url) as persistence:
        graph = build_graph(tools=World().tools(), persistence=persistence)
        await graph.ainvoke({"goal": "g", "plan": READ}, thread("read"))
        await graph.ainvoke({"goal": "g", "plan": WRITE}, thread("asks"))
        assert await listed(persistence) == {
            "asks": (False, "awaiting_approval"),
            "read": (False, "completed"),
        }
        # Changed from outside a run: what is stored of it may be old.
        await graph.aupdate_state(thread("read"), {"answer": "another"})
        assert (await listed(persistence))["read"] == (True, "completed")
        [newest, _] = await persistence.threads()
        assert newest == "read"
        await persistence.delete("asks")
        assert list(await listed(persistence)) == ["read"]


async def test_rows_of_an_earlier_version_and_of_a_killed_run_are_read_from_checkpoints(database_url, tmp_path):
    async with open_persistence(database_url) as persistence:
        graph = build_graph(tools=World().tools(), persistence=persistence)
        await graph.ainvoke({"goal": "g", "plan": WRITE}, thread("asks"))
        persistence.backend.database.run_in_transaction(
            lambda run: run("UPDATE planwave_threads SET is_open = 1, summary = NULL, summary_type = NULL")
        )
    command = CommandLine(tmp_path, data=tmp_path)
    for _ in range(2):  # the second time from the row
        shown = await run_here(command, "threads", "--json", "--db", database_url)
        assert [(each["thread_id"], each["status"], each["tasks"]) for each in shown["threads"]] == [
            ("asks", "awaiting_approval", 1)
        ]
    async with open_persistence(database_url) as persistence:
        assert await listed(persistence) == {"asks": (False, "awaiting_approval")}


async def test_ended_threads_are_removed_at_once_and_others_are_kept(database_url):
    async with open_persistence(database_url) as persistence:
        graph = build_graph(tools=World().tools(), persistence=persistence)
        for name in ("a", "b", "busy"):
            await graph.ainvoke({"goal": "g", "plan": READ}, thread(name))
        await graph.ainvoke({"goal": "g", "plan": WRITE}, thread("w"))
        async with persistence.lease("busy"):
            names = ["a", "b", "busy", "nobody"]
            assert await persistence.remove_ended(names, dry_run=True) == ["a", "b"]
            assert await persistence.remove_ended(names) == ["a", "b"]
        assert sorted(await persistence.threads()) == ["busy", "w"]
        for name in ("a", "b"):
            assert not await persistence.has_thread(name)
            assert (await graph.aget_state(thread(name))).created_at is None
        assert (await graph.ainvoke({"goal": "g", "plan": READ}, thread("a")))["status"] == "completed"


def fill(persistence, count):
    """Store `count` threads that ended, with a checkpoint and a row each, as a run leaves them."""
    long_ago = (datetime.now(UTC) - timedelta(days=90)).isoformat()
    summary = {"status": "completed", "goal": "g" * 40, "done": 3, "tasks": 3, "changed_at": long_ago}
    tag, data = persistence.saver.serde.dumps_typed(summary)
    names = [f"t{number}" for number in range(count)]

    def insert(run):
        for name in names:
            run("INSERT INTO planwave_leases (thread, epoch) VALUES (?, 1)", name)
            run(
                "INSERT INTO planwave_threads (thread, version, is_open, newest, summary_type, summary)"
                " VALUES (?, 1, 0, ?, ?, ?)",
                name,
                name,
                tag,
                data,
            )
            for number in range(5):
                run(
                    "INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, checkpoint, metadata)"
                    " VALUES (?, '', ?, '{}', '{}')",
                    name,
                    str(number),
                )

    persistence.backend.database.run_in_transaction(insert)


@pytest.mark.parametrize(
    "count", [pytest.param(400, id="short"), pytest.param(10_000, id="full", marks=[pytest.mark.slow])]
)
async def test_many_threads_are_listed_and_pruned_by_their_rows(database_url, count, tmp_path):
    async with open_persistence(database_url) as persistence:
        fill(persistence, count)
        started = time.process_time(), time.monotonic()
        assert len(await persistence.list_threads()) == count
        listing = time.process_time() - started[0], time.monotonic() - started[1]
    command = CommandLine(tmp_path, data=tmp_path)
    began = time.monotonic()
    shown = await run_here(command, "threads", "prune", "--older-than", "30d", "--json", "--db", database_url)
    pruning = time.monotonic() - began
    print(
        f"\n{count} threads: listed in {listing[1]:.3f} s ({listing[0]:.3f} s of CPU), pruned in {pruning:.2f} s,"
        f" {count / pruning:.0f} threads/s"
    )
    assert len(shown["removed"]) == count
    async with open_persistence(database_url) as persistence:
        assert await persistence.threads() == []


async def run_here(command, *words):
    ran = await asyncio.to_thread(command.here, *words)
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)
