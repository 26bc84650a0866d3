"""How much more workers do together; what is measured is printed, and that nothing is lost is tried."""

import os
import time
from collections import Counter
from pathlib import Path

import pytest

from graphs.workers.client import open_queue
from tests.graphs.workers.test_kills import FULL
from tests.graphs.workers.worker_run import plan_of


async def run_all(url, names, given):
    """Submit the threads, wait for all, and return the seconds and how they ended."""
    async with open_queue(url) as threads:
        began = time.monotonic()
        for name in names:
            await threads.submit(given(name), thread_id=name)
        statuses = Counter([(await threads.wait(name, timeout_s=3000))["status"] for name in names])
        return time.monotonic() - began, statuses


@pytest.mark.parametrize(
    ("count", "sizes"),
    [pytest.param(12, (2,), id="short", marks=FULL), pytest.param(120, (1, 2, 3), id="full", marks=FULL)],
)
async def test_more_workers_end_more_threads(postgres_url, journal, workers, count, sizes):
    running, rates = [], {}
    for size in sizes:
        while len(running) < size:
            running.append(workers(slots=8, WORKER_CALL_S="0"))
        names = [f"s{size}t{number}" for number in range(count)]
        seconds, statuses = await run_all(
            postgres_url, names, lambda name: {"goal": "Go.", "plan": plan_of(name, gated=False)}
        )
        assert statuses == {"completed": count}
        rates[size] = count / seconds
    print(
        "\nthreads of 7 tasks without work, per second, by workers: " + repr({n: round(r, 2) for n, r in rates.items()})
    )


@pytest.mark.parametrize(
    ("calls", "sizes"),
    [pytest.param(20, (1,), id="short", marks=FULL), pytest.param(2500, (1, 2), id="full", marks=FULL)],
)
async def test_more_call_workers_make_more_calls(postgres_url, journal, workers, calls, sizes):
    runs, callers, seconds = workers(slots=20), [], {}
    for size in sizes:
        while len(callers) < size:
            callers.append(workers(calls="far", slots=2))
        tasks = [{"id": f"c{n}", "tool": "far_crunch", "args": {"number": n}} for n in range(calls)]
        began = read_cpu_s(runs.pid)
        seconds[size], statuses = await run_all(
            postgres_url, [f"s{size}"], lambda _name, tasks=tasks: {"goal": "Go.", "plan": {"tasks": tasks}}
        )
        used_ms = (read_cpu_s(runs.pid) - began) * 1000 / calls
        assert statuses == {"completed": 1}
        print(
            f"\n{calls} calls of 20 ms of CPU on {size} call workers: {seconds[size]:.1f} s, on the run's side"
            f" {used_ms:.1f} ms of CPU a call"
        )


def read_cpu_s(pid):
    """Return the seconds of CPU that a process has used (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
