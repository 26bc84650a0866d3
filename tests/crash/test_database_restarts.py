"""Runs during which PostgreSQL crashes and comes back."""

import signal
import time
from collections import Counter

import pytest

from tests.crash.kill_run import effects, ending, repeated, run
from tests.support.forked_child import Child, Raised
from tests.support.journal import Journal

GOES_ON = 0


class Run:
    """A run with a moment, noted in its journal, at which the server is restarted."""

    def __init__(self, url, folder, thread, point, fault):
        self.url, self.thread = url, thread
        self.journal = Journal(folder / thread)
        self.process = self._run(fault_at=point, fault=fault)

    def _run(self, **options):
        return Child(run, self.url, str(self.journal.path), "eager", self.thread, **options)

    def at_its_moment(self):
        deadline = time.monotonic() + 60
        while not self.journal.having("fault"):
            assert time.monotonic() < deadline, f"{self.thread} never came to its moment"
            time.sleep(0.001)

    def end(self):
        """Return how the run ended: by itself, or resumed after an error."""
        told = self.process.told()
        if not isinstance(told, Raised):
            return "by itself", told
        return f"resumed after {told.name}", self._run().told()


@pytest.mark.parametrize(
    "restarts",
    [pytest.param(2, id="short"), pytest.param(20, id="full", marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
def test_no_run_is_lost_when_the_server_crashes(postgres_server, postgres_url, restarts, tmp_path, chance, seed):
    whole = Child(run, postgres_url, str(tmp_path / "whole"), "eager", "whole").told()
    moments = range(1, len(whole["points"]) + 1)
    lost, twice, again, ways = [], [], [], Counter()
    for turn in range(restarts):
        paused = Run(postgres_url, tmp_path, f"paused{turn}", chance.choice(moments), signal.SIGSTOP)
        paused.at_its_moment()
        running = Run(postgres_url, tmp_path, f"running{turn}", chance.choice(moments), GOES_ON)
        running.at_its_moment()
        postgres_server.restart("immediate")
        paused.process.send(signal.SIGCONT)
        for one in (paused, running):
            way, told = one.end()
            ways[way] += 1
            if isinstance(told, Raised) or ending(told["out"]) != ending(whole["out"]):
                lost.append((one.thread, told))
            if effects(one.journal) != {"k": 1, "u": 1}:
                twice.append((one.thread, effects(one.journal)))
            again += repeated(one.journal)
    print(
        f"\n{restarts} restarts (immediate, seed {seed}) in the middle of {2 * restarts} runs: {len(lost)} lost runs,"
        f" {len(twice)} with other than one effect of a write, {len(again)} repeated finished tasks; ended {dict(ways)}"
    )
    assert (lost, twice, again) == ([], [], [])
