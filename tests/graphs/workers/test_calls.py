"""Calls made by call workers: for a run elsewhere, claimed by it, and never twice."""

import asyncio
import json
import random
import signal
import time
from collections import Counter

import pytest

from graphs.workers.client import open_queue
from graphs.workers.engine import defer_call
from tests.graphs.workers.test_kills import FULL, Fleet, answer_all, noted
from tests.graphs.workers.worker_run import APPROVE, one_task
from tests.support.forked_child import KILLED


async def settle(threads, thread, journal):
    """Answer what a thread asks until it has ended, and return its output."""
    while (out := await threads.wait(thread, timeout_s=90))["status"] == "awaiting_approval":
        await answer_all(threads, thread, out, journal)
    return out


async def test_a_call_is_made_in_its_pool_and_fails_there_as_it_would_here(postgres_url, journal, workers):
    runs, calls = workers(), workers(calls="far")
    async with open_queue(postgres_url) as threads:
        tasks = [
            {"id": "r", "tool": "far_look", "args": {"name": "r"}},
            {"id": "k", "tool": "far_keep", "args": {"name": "k"}},
            {"id": "p", "tool": "far_post", "args": {"name": "p"}},
            {"id": "f", "tool": "far_fail", "args": {"name": "f"}, "on_failure": "skip"},
            {"id": "near", "tool": "look", "args": {"name": "near"}},
        ]
        thread = await threads.submit({"goal": "Go.", "plan": {"tasks": tasks}})
        out = await settle(threads, thread, journal)
    assert {task: record["status"] for task, record in out["results"].items()} == {
        **dict.fromkeys("rkp", "done"),
        "f": "failed",
        "near": "done",
    }
    assert out["results"]["r"]["output"] == "saw r"
    assert out["results"]["f"]["error"] == "LookupError: nothing at f"
    by = {line[0]: int(line[2]) for line in journal.lines() if line[0] in {"look", "far_look", "far_keep", "far_post"}}
    assert by == {"look": runs.pid, **dict.fromkeys(("far_look", "far_keep", "far_post"), calls.pid)}


@pytest.mark.parametrize("times", [pytest.param(1, id="short"), pytest.param(20, id="full", marks=FULL)])
async def test_a_kill_inside_an_unkeyed_call_is_asked_about(postgres_url, journal, workers, times):
    workers()
    async with open_queue(postgres_url) as threads:
        for turn in range(times):
            calls = workers(calls="far")
            thread, name = f"t{turn}", f"t{turn}/w"
            await threads.submit(one_task("far_post", name), thread_id=thread)
            await threads.wait(thread, timeout_s=60)
            calls.send(signal.SIGKILL)  # so that the next one is the one that makes it
            assert calls.told() is KILLED
            calls = workers(calls="far", WORKER_CALL_S="60")
            await threads.answer(thread, APPROVE)
            await noted(journal, "far_post", name)
            calls.send(signal.SIGKILL)
            assert calls.told() is KILLED
            calls = workers(calls="far")
            assert (await settle(threads, thread, journal))["status"] == "completed"
            calls.send(signal.SIGKILL)
            assert calls.told() is KILLED
    asked = len({line[1] for line in journal.having("doubted")})
    print(f"\nkilled inside an unkeyed call: {asked} of {times} asked, {len(journal.having('far_post'))} calls")
    assert (asked, len(journal.having("far_post"))) == (times, times)


async def test_a_kill_inside_a_read_or_a_keyed_write_is_made_again(postgres_url, journal, workers):
    workers()
    calls = workers(calls="far", WORKER_CALL_S="60")
    async with open_queue(postgres_url) as threads:
        keeps, looks = [await threads.submit(one_task(f"far_{tool}", tool)) for tool in ("keep", "look")]
        await threads.wait(keeps, timeout_s=60)
        await threads.answer(keeps, APPROVE)
        await noted(journal, "far_keep")
        await noted(journal, "far_look")
        calls.send(signal.SIGKILL)
        assert calls.told() is KILLED
        workers(calls="far")
        for thread in (keeps, looks):
            assert (await settle(threads, thread, journal))["status"] == "completed"
    keys = {line[-1] for line in journal.having("far_keep")}
    assert (len(keys), len(journal.having("far_keep")), len(journal.having("far_look"))) == (1, 2, 2)
    assert journal.having("doubted") == []


async def test_a_run_that_is_taken_over_asks_the_pool_before_a_person(postgres_url, journal, workers):
    runs = workers()
    workers(calls="far")
    async with open_queue(postgres_url) as threads:
        given = one_task("far_post", "w")
        given["plan"]["tasks"][0]["args"]["seconds"] = 4.0
        thread = await threads.submit(given)
        await threads.wait(thread, timeout_s=60)
        await threads.answer(thread, APPROVE)
        await noted(journal, "far_post")
        runs.send(signal.SIGKILL)
        assert runs.told() is KILLED
        workers()
        out = await threads.wait(thread, timeout_s=60)
    assert (out["status"], out["results"]["w"]["output"]) == ("completed", "posted w")
    assert len(journal.having("far_post")) == 1


async def test_a_call_that_takes_too_long_is_cancelled_where_it_is_made(postgres_url, journal, workers):
    workers()
    workers(calls="far")
    async with open_queue(postgres_url) as threads:
        given = one_task("far_look", "w", timeout_s=2.0, max_retries=0)
        given["plan"]["tasks"][0]["args"]["seconds"] = 60.0
        thread = await threads.submit(given)
        out = await threads.wait(thread, timeout_s=60)
        assert "within 2 s" in out["results"]["w"]["error"]
        await noted(journal, "cancelled", "w")


async def test_a_forged_row_or_job_makes_no_call(postgres_url, journal, workers):
    async with open_queue(postgres_url) as threads:
        serde, database = threads.persistence.saver.serde, threads.persistence.backend.database
        tag, data = serde.dumps_typed({"args": {"name": "forged"}, "secrets": []})

        def forge(run):
            for number, (tool, claimed) in enumerate((tool, c) for tool in ("far_look", "far_post") for c in (0, 1)):
                run(
                    "INSERT INTO planwave_pool_calls (id, thread, run, revision, task, item, tool, pool, claimed,"
                    " epoch, state, attempts, call_type, call)"
                    " VALUES (?, 't', 'r', 1, 'w', -1, ?, 'far', ?, 1, 'queued', 0, ?, ?)",
                    f"forged{number}",
                    tool,
                    claimed,
                    tag,
                    data,
                )
                defer_call(run, f"forged{number}", pool="far", priority=0)
            defer_call(run, "no such row", pool="far", priority=0)

        await asyncio.to_thread(database.run_in_transaction, forge)
        workers(calls="far")
        end = time.monotonic() + 60
        states = Counter()
        while states != {"failed": 4}:
            assert time.monotonic() < end, states
            await asyncio.sleep(0.1)
            rows = await asyncio.to_thread(
                database.run_in_transaction, lambda run: run("SELECT state FROM planwave_pool_calls")
            )
            states = Counter(state for (state,) in rows)
    assert journal.lines() == []


@pytest.mark.parametrize(
    ("threads", "call_kills", "thread_kills"),
    [pytest.param(3, 1, 1, id="short"), pytest.param(75, 14, 5, id="full", marks=FULL)],
)
async def test_calls_survive_kills_on_both_sides(postgres_url, journal, workers, threads, call_kills, thread_kills):
    chance = random.Random(2026)  # noqa: S311 - faults, not secrets
    names = [f"t{number}" for number in range(threads)]
    sides = {
        "far": Fleet(lambda: workers(calls="far", machine=f"m{chance.random()}")),
        "runs": Fleet(lambda: workers(machine=f"m{chance.random()}")),
    }
    kills = ["far"] * call_kills + ["runs"] * thread_kills
    chance.shuffle(kills)
    statuses = Counter()
    async with open_queue(postgres_url) as queue:
        for name in names:
            tools = ["far_look"] * 6 + ["far_keep"] * 2 + ["far_post"] * 2
            tasks = [{"id": f"w{n}", "tool": tool, "args": {"name": f"{name}/w{n}"}} for n, tool in enumerate(tools)]
            await queue.submit({"goal": "Go.", "plan": {"tasks": tasks}}, thread_id=name)

        async def finish(name):
            statuses[(await settle(queue, name, journal))["status"]] += 1

        running = [asyncio.create_task(finish(name)) for name in names]
        while not all(task.done() for task in running):
            for side in sides.values():
                side.keep(2)
            await asyncio.sleep(chance.uniform(0.5, 2.0))
            if kills:
                side = sides[kills.pop()]
                victim = chance.choice(side.members)
                side.members.remove(victim)
                victim.send(signal.SIGKILL)
                assert victim.told() is KILLED
        await asyncio.gather(*running)
    for side in sides.values():
        side.keep(0)
        side.stop()
    effects = Counter(
        name
        for tool, name, *rest in {(line[0], line[1], line[-1]) for line in journal.lines() if line[0] == "far_keep"}
    ) + Counter(line[1] for line in journal.having("far_post"))
    double = {name: count for name, count in effects.items() if count > 1}
    print(
        f"\n{statuses['completed']} of {threads} runs with {10 * threads} calls ended over {call_kills} call-worker and"
        f" {thread_kills} thread-worker kills; {len(effects)} writes, {len(double)} double, "
        f"{len(journal.having('doubted'))} doubts asked"
    )
    assert (statuses, double, len(effects)) == ({"completed": threads}, {}, 4 * threads), json.dumps(double)
