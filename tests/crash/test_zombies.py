"""Runs that are paused until another process has finished their thread, and then woken."""

import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.crash.kill_run import effects, ending, record_of, run
from tests.crash.paused_run import pause_in_a_transaction, pause_while_storing, store_with_the_lease
from tests.support.forked_child import Child, Raised
from tests.support.journal import Journal

TTL_S = 1.0


def wait_for_the_pause(journal):
    deadline = time.monotonic() + 60
    while not journal.having("fault"):
        assert time.monotonic() < deadline, f"{journal.path.name} was never reached"
        time.sleep(0.01)


def told_when_free(started):
    """Return what a process tells that is started anew for as long as it finds its thread busy."""
    deadline = time.monotonic() + 60
    while isinstance(told := started().told(60), Raised) and told.name == "ThreadBusyError":
        assert time.monotonic() < deadline, told.text
        time.sleep(0.1)
    return told


class Zombie:
    """A run that stops itself at a point, and what others saw of its thread before and after it was woken."""

    def __init__(self, url, folder, dispatch, point):
        self.url, self.dispatch, self.thread = url, dispatch, f"{dispatch}-{point}"
        self.journal = Journal(folder / self.thread)
        self._process = self._run(fault_at=point, fault=signal.SIGSTOP, ttl_s=TTL_S)

    def _run(self, **options):
        return Child(run, self.url, str(self.journal.path), self.dispatch, self.thread, **options)

    def finished_by_another(self):
        return told_when_free(lambda: self._run(leaves_doubts=True))

    def woken(self):
        self._process.send(signal.SIGCONT)
        told = self._process.told()
        return told.name if isinstance(told, Raised) else told["out"]["status"]

    def record(self):
        return Child(record_of, self.url, self.thread).told()


@pytest.mark.parametrize(
    "count",
    [pytest.param(3, id="short"), pytest.param(15, id="full", marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
@pytest.mark.parametrize("dispatch", ["eager", "wave"])
def test_a_woken_zombie_neither_rolls_back_nor_writes_again(database_url, dispatch, count, tmp_path, chance, seed):
    whole = Child(run, database_url, str(tmp_path / "whole"), dispatch, "whole").told()
    points = sorted(chance.sample(range(1, len(whole["points"]) + 1), count))
    rolled_back, again, wrong, met = [], [], [], Counter()
    with ThreadPoolExecutor(2) as pool:
        zombies = list(pool.map(lambda point: Zombie(database_url, tmp_path, dispatch, point), points))
        for zombie in zombies:
            wait_for_the_pause(zombie.journal)
        time.sleep(TTL_S)
        finished = list(pool.map(Zombie.finished_by_another, zombies))
        before = list(pool.map(Zombie.record, zombies))
        met.update(pool.map(Zombie.woken, zombies))
        after = list(pool.map(Zombie.record, zombies))
    for zombie, told, then, now in zip(zombies, finished, before, after, strict=True):
        [[_, point]] = zombie.journal.having("fault")
        if then != now:
            rolled_back.append(point)
        if any(made > 1 for made in effects(zombie.journal).values()):
            again.append(point)
        left = zombie.journal.having("asked", "doubt")
        if isinstance(told, Raised) or (not left and ending(told["out"]) != ending(whole["out"])):
            wrong.append((point, told))
    print(
        f"\n{count} zombies ({dispatch}, seed {seed}, points {points}): {len(rolled_back)} rollbacks, {len(again)}"
        f" second effects, {len(wrong)} threads that ended otherwise; woken they met {dict(met)}"
    )
    assert (rolled_back, again, wrong) == ([], [], [])
    # Paused within a transaction, a run may find its connection ended before it can find its lease lost.
    assert met.keys() <= {"LeaseLostError", "PersistenceError", "completed"}


def test_who_is_paused_in_a_transaction_keeps_nobody_from_the_thread(postgres_url, tmp_path):
    journal = Journal(tmp_path / "journal")
    zombie = Child(pause_in_a_transaction, postgres_url, str(journal.path), "t", TTL_S)
    wait_for_the_pause(journal)
    time.sleep(2 * TTL_S)
    told = Child(run, postgres_url, str(tmp_path / "run"), "eager", "t").told(30)
    zombie.send(signal.SIGCONT)
    assert zombie.told().name == "LeaseLostError"
    assert told["out"]["status"] == "completed"


def test_who_is_paused_at_any_word_with_the_server_keeps_nobody_from_the_thread(postgres_url, tmp_path):
    words = Child(pause_while_storing, postgres_url, str(tmp_path / "whole"), "whole", TTL_S).told()

    def told_of_another(at):
        journal, thread = Journal(tmp_path / str(at)), f"t{at}"
        zombie = Child(pause_while_storing, postgres_url, str(journal.path), thread, TTL_S, pause_at=at)
        wait_for_the_pause(journal)
        told = told_when_free(lambda: Child(store_with_the_lease, postgres_url, thread))
        zombie.send(signal.SIGKILL)
        return told

    with ThreadPoolExecutor(6) as pool:
        assert [*pool.map(told_of_another, range(1, words + 1))] == [None] * words
    print(f"\npaused at each of {words} waits for the server")
