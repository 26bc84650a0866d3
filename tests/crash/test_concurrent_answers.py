"""One approval answered by three processes at once, thread after thread: one effect each."""

from collections import Counter

import pytest

from tests.crash.approval_run import answer, begin, statuses
from tests.support.forked_child import Child, barrier
from tests.support.journal import Journal

_FULL = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.mark.parametrize(
    ("database_url", "count"),
    [
        pytest.param("sqlite", 60, id="sqlite-short"),
        pytest.param("postgresql", 30, id="postgresql-short"),
        pytest.param("sqlite", 1000, id="sqlite-full", marks=_FULL),
        pytest.param("postgresql", 300, id="postgresql-full", marks=_FULL),
    ],
    indirect=["database_url"],
)
def test_an_approval_answered_three_times_at_once_takes_effect_once(database_url, count, tmp_path, seed):
    journal = Journal(tmp_path / "journal")
    threads = [f"t{number}" for number in range(count)]
    assert Child(begin, database_url, str(journal.path), threads).told(600) is None
    together = barrier(3)
    rivals = [Child(answer, database_url, str(journal.path), threads, together, seed + n) for n in range(3)]
    met = Counter(word for rival in rivals for word in rival.told(900))
    effects = Counter(name for _, name in journal.lines())
    several, none = sum(made > 1 for made in effects.values()), count - len(effects)
    ended = Counter(Child(statuses, database_url, str(journal.path), threads).told())
    print(
        f"\n{count} threads x 3 answers (seed {seed}): {sum(effects.values())} effects, {several} threads with several,"
        f" {none} with none; the answers met {dict(met)}; the threads are {dict(ended)}"
    )
    assert effects == dict.fromkeys(threads, 1)
    # An answer that comes when the same one was taken, and the run has ended, is told how it ended; it has no effect.
    assert count <= met.pop("completed") <= 3 * count
    assert met.keys() <= {"ThreadBusyError", "AnswerError"}
    assert ended == {"completed": count}
