"""Workers killed, paused and cut off from their database; in the full form twenty times at each point."""

import asyncio
import random
import signal
import statistics
import time
from collections import Counter
from contextlib import suppress
from functools import partial

import pytest

from graphs.workers.client import open_queue
from planwave import submit, wait
from tests.graphs.workers.worker_run import APPROVE, POINTS, answer_all, one_task, plan_of
from tests.support.forked_child import KILLED

#: A read, a write that is asked about, and a read of what it wrote.
CHAIN = [
    {"id": "r", "tool": "look", "args": {"name": "r"}},
    {"id": "w", "tool": "post", "args": {"name": "w"}, "depends_on": ["r"]},
    {"id": "e", "tool": "look", "args": {"name": "e", "rests_on": {"output_of": "w"}}},
]
FULL = [pytest.mark.slow, pytest.mark.timeout(3600)]


def chain(thread):
    tasks = [{**task, "args": {**task["args"], "name": f"{thread}/{task['id']}"}} for task in CHAIN]
    return {"goal": "Go.", "plan": {"tasks": tasks}}


class Fleet:
    """Workers of which dead ones are replaced, until a thread has ended."""

    def __init__(self, start):
        self.start = start
        self.members = []

    def keep(self, count, **options):
        for dead in [member for member in self.members if not member.alive]:
            self.members.remove(dead)
        while len(self.members) < count:
            self.members.append(self.start(**options))

    def stop(self):
        for member in self.members:
            with suppress(ProcessLookupError):  # one that is to be killed may die right now
                member.send(signal.SIGTERM)
            member.told(60)
        self.members = []


async def end(threads, thread, journal, fleet, *, timeout_s=120):
    """Bring a thread to its end: replace workers that die, and answer what it asks."""
    until = time.monotonic() + timeout_s
    while True:
        fleet.keep(1)
        try:
            out = await threads.wait(thread, timeout_s=0.5)
        except TimeoutError:
            assert time.monotonic() < until, f"{thread} is {await threads.load(thread)}"
            continue
        if out["status"] != "awaiting_approval":
            return out
        await answer_all(threads, thread, out, journal)


#: What the short form tries.
SHORT = ("right after an answer",)


@pytest.mark.parametrize(
    ("point", "times"),
    [
        *(pytest.param(point, 1, id=f"short-{point}") for point in SHORT),
        *(pytest.param(point, 20, id=f"full-{point}", marks=FULL) for point in POINTS),
    ],
)
async def test_a_worker_is_killed_at_a_point_and_nothing_is_lost_or_done_twice(
    postgres_url, journal, workers, point, times
):
    bad, hit = [], 0
    async with open_queue(postgres_url) as threads:
        for turn in range(times):
            thread, fleet = f"t{turn}", Fleet(workers)
            fleet.members.append(workers(fault=(point, 1 + turn % (5 if "checkpoint" in point else 2))))
            await threads.submit(chain(thread), thread_id=thread)
            out = await end(threads, thread, journal, fleet)
            effects = len(journal.having("post", f"{thread}/w"))
            if out["status"] != "completed" or effects != 1:
                bad.append((thread, out["status"], effects, out.get("problems")))
            fleet.stop()
        hit = len(journal.having("fault"))
    print(f"\nkilled {point}: {times - len(bad)} of {times} ended with one effect; {hit} kills")
    assert bad == []
    assert hit >= times * 0.5


@pytest.mark.parametrize("times", [pytest.param(1, id="short"), pytest.param(20, id="full", marks=FULL)])
async def test_a_worker_is_killed_right_after_a_write_and_a_person_is_asked(postgres_url, journal, workers, times):
    asked, effects, fleet = 0, Counter(), Fleet(workers)
    async with open_queue(postgres_url) as threads:
        for turn in range(times):
            thread = f"t{turn}"
            await threads.submit(one_task("post_and_die", f"{thread}/w"), thread_id=thread)
            assert (await end(threads, thread, journal, fleet))["status"] == "completed"
            asked += len(journal.having("doubted", f"{thread}/w"))
            effects[len(journal.having("post", f"{thread}/w"))] += 1
    print(f"\nkilled right after an unkeyed effect: {asked} of {times} asked, effects {dict(effects)}")
    assert (asked, effects) == (times, {1: times})


@pytest.mark.parametrize("times", [pytest.param(1, id="short"), pytest.param(20, id="full", marks=FULL)])
async def test_a_paused_worker_of_another_machine_writes_nothing_late(postgres_url, journal, workers, times):
    late, slept_on = [], 0
    async with open_queue(postgres_url) as threads:
        for turn in range(times):
            thread = f"t{turn}"
            paused = workers(machine="elsewhere", WORKER_CALL_S="1")
            await threads.submit(one_task("post", f"{thread}/w"), thread_id=thread)
            await threads.wait(thread, timeout_s=60)
            await threads.answer(thread, APPROVE)
            await noted(journal, "post", f"{thread}/w")
            paused.send(signal.SIGSTOP)
            fleet = Fleet(workers)
            out = await end(threads, thread, journal, fleet)
            before = await stored(threads, thread)
            paused.send(signal.SIGCONT)
            again = await threads.submit(one_task("look", f"{thread}/again"))
            fleet.stop()
            # The one that slept is the only worker now.
            slept_on += (await threads.wait(again, timeout_s=60))["status"] == "completed"
            if out["status"] != "completed" or await stored(threads, thread) != before:
                late.append(thread)
            assert len(journal.having("post", f"{thread}/w")) == 1
            paused.send(signal.SIGTERM)
            paused.told(60)
    print(f"\npaused past dead time and lease: {times - len(late)} of {times} with nothing late; {slept_on} worked on")
    assert (late, slept_on) == ([], times)


@pytest.mark.parametrize("restarts", [pytest.param(1, id="short", marks=FULL), pytest.param(10, id="full", marks=FULL)])
async def test_no_thread_is_lost_when_the_server_crashes(postgres_server, postgres_url, journal, workers, restarts):
    fleet = Fleet(workers)
    fleet.keep(2, WORKER_CALL_S="0.2")
    lost = []
    async with open_queue(postgres_url) as threads:
        for turn in range(restarts):
            names = [f"t{turn}-{number}" for number in range(4)]
            for name in names:
                await threads.submit(chain(name), thread_id=name)
            await noted(journal, "look", f"{names[0]}/r")
            await asyncio.to_thread(postgres_server.restart, "immediate")
            for name in names:
                out = await end(threads, name, journal, fleet)
                if out["status"] != "completed" or len(journal.having("post", f"{name}/w")) != 1:
                    lost.append((name, out["status"]))
    print(f"\n{restarts} restarts (immediate): {len(lost)} of {4 * restarts} threads lost")
    assert lost == []


async def test_a_thread_of_another_machine_is_taken_over_when_its_lease_ends(postgres_url, journal, workers):
    gone = workers(machine="elsewhere", WORKER_CALL_S="30")
    thread = await submit(one_task("look", "a"), db=postgres_url)
    await noted(journal, "look", "a")
    gone.send(signal.SIGKILL)
    assert gone.told() is KILLED
    killed_at = time.monotonic()
    workers()
    assert (await wait(thread, db=postgres_url, timeout_s=60))["status"] == "completed"
    assert time.monotonic() - killed_at > 1  # nobody here could see that it had ended


@pytest.mark.parametrize(
    ("threads", "kills", "seeds"),
    [pytest.param(9, 3, 1, id="short", marks=FULL), pytest.param(200, 25, 3, id="full", marks=FULL)],
)
async def test_workers_are_killed_at_random(postgres_server, journal, workers, threads, kills, seeds):
    for seed in range(2026, 2026 + seeds):
        url = postgres_server.create()
        counts = await run_chaos(url, journal, workers, threads=threads, kills=kills, seed=seed)
        print(f"\nseed {seed}: {counts}")
        assert counts["ended"] == threads
        assert (counts["double"], counts["unapproved"]) == (0, 0)
        postgres_server.drop(url)


async def run_chaos(url, journal, start, *, threads, kills, seed):
    """Run threads on three workers, one of which is killed every now and then; return what is counted."""
    chance, killed, statuses = random.Random(seed), [], Counter()  # noqa: S311 - faults, not secrets
    names = [f"s{seed}t{number}" for number in range(threads)]
    fleet = Fleet(lambda **options: start(url=url, machine=f"m{chance.random()}", **options))
    async with open_queue(url) as queue:
        for number, name in enumerate(names):
            await queue.submit({"goal": "Go.", "plan": plan_of(name, gated=number % 3 == 0)}, thread_id=name)

        async def finish(name):
            while (out := await queue.wait(name))["status"] == "awaiting_approval":
                await answer_all(queue, name, out, journal)
            statuses[out["status"]] += 1

        running = [asyncio.create_task(finish(name)) for name in names]
        while not all(task.done() for task in running):
            fleet.keep(3)
            await asyncio.sleep(chance.uniform(0.5, 3.0))
            if len(killed) < kills:
                victim = chance.choice(fleet.members)
                jobs = await list_jobs(queue, victim.pid)
                victim.send(signal.SIGKILL)
                assert victim.told() is KILLED
                fleet.members.remove(victim)
                killed.append(asyncio.create_task(watch_recovery(queue, jobs)))
        await asyncio.gather(*running)
        recoveries = [seconds for each in killed for seconds in await each]
    fleet.stop()
    return {"ended": statuses["completed"], "kills": len(killed), **count_effects(journal, names, recoveries)}


async def list_jobs(queue, pid):
    """Return the jobs that the worker of a process runs, with its number in the engine."""
    return await asyncio.to_thread(
        queue.persistence.backend.database.run_in_transaction,
        lambda run: run(
            "SELECT job.id, job.worker_id FROM procrastinate_jobs AS job JOIN planwave_workers AS worker"
            " ON worker.engine_id = job.worker_id WHERE worker.pid = ? AND job.status = 'doing'",
            pid,
        ),
    )


def select_jobs(run, jobs):
    return run("SELECT id, status, worker_id FROM procrastinate_jobs WHERE id = ANY(?)", jobs)


async def watch_recovery(queue, jobs):
    """Return after how many seconds each of a killed worker's jobs is run by another one."""
    began, waiting, seconds = time.monotonic(), dict(jobs), []
    while waiting:
        await asyncio.sleep(0.1)
        select = partial(select_jobs, jobs=list(waiting))
        rows = await asyncio.to_thread(queue.persistence.backend.database.run_in_transaction, select)
        open_jobs = {job for job, status, by in rows if status == "todo" or by in {None, waiting[job]}}
        seconds += [time.monotonic() - began] * len(waiting.keys() - open_jobs)
        waiting = {job: by for job, by in waiting.items() if job in open_jobs}
    return seconds


def count_effects(journal, names, recoveries):
    """Count writes that were made twice, or before their approval, and how soon killed threads went on."""
    lines = [line for line in journal.lines() if line[1].split("/")[0] in set(names)]
    keyed = Counter(
        line[1] for line in {(line[0], line[1], line[-1]): line for line in lines if line[0] == "keep"}.values()
    )
    posted = Counter(line[1] for line in lines if line[0] == "post")
    approved, unapproved = set(), 0
    for word, name, *_ in lines:
        if word == "approved":
            approved.add(name)
        elif word in {"keep", "post"} and name not in approved:
            unapproved += 1
    p95 = statistics.quantiles(recoveries, n=20)[-1] if len(recoveries) > 1 else max(recoveries, default=0.0)
    double = sum(count > 1 for count in (keyed + posted).values())
    doubts = sum(line[0] == "doubted" for line in lines)
    return {
        "double": double,
        "unapproved": unapproved,
        "doubts": doubts,
        "recovered": len(recoveries),
        "p95": round(p95, 2),
    }


async def stored(threads, thread):
    """Return what is stored of a thread."""
    newest = await threads.persistence.saver.aget_tuple({"configurable": {"thread_id": thread}})
    rows = await threads.persistence.ledger.list_rows(thread)
    return newest.checkpoint["id"], newest.pending_writes, [row.model_dump() for row in rows]


async def noted(journal, *words, timeout_s=60):
    """Wait until the journal has a line that begins with `words`."""
    until = time.monotonic() + timeout_s
    while not journal.having(*words):
        assert time.monotonic() < until, f"{words} was never noted"
        await asyncio.sleep(0.01)
