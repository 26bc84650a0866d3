"""Runs killed among the items of a `for_each`, and between the attempts of a call."""

import pytest

from tests.crash.items_run import items, retried, run
from tests.support.forked_child import KILLED, Child
from tests.support.journal import Journal


@pytest.mark.parametrize(
    ("dispatch", "word", "count"),
    [
        ("eager", "look", 60),
        ("wave", "send", 60),
        *(
            pytest.param(*more, marks=pytest.mark.slow)
            for more in (
                ("wave", "look", 60),
                ("eager", "send", 60),
                ("eager", "stored", 60),
                ("wave", "stored", 60),
                ("eager", "send", 10_000),
            )
        ),
    ],
)
def test_items_that_were_stored_before_a_kill_are_not_called_again(
    database_url, tmp_path, dispatch, word, count, chance, seed
):
    journal = Journal(tmp_path / "journal")
    at = chance.randrange(10, count)
    killed = Child(run, database_url, str(journal.path), dispatch, items(count), (word, at)).told()
    assert killed is KILLED
    before = journal.lines()
    stored = {(task, item) for _, task, item, _ in journal.having("stored")}
    out = Child(run, database_url, str(journal.path), dispatch, items(count), None).told(600)
    assert out["status"] == "completed", out
    assert out["results"]["join"]["output"] == [2 * n for n in range(count)]
    after = journal.lines()[len(before) :]
    again = [line for line in after if line[0] in {"look", "send"} and tuple(line[:2]) in stored]
    known = set(map(tuple, before))
    repeated = [line for line in after if line[0] in {"look", "send"} and tuple(line) in known]
    print(f"\nkilled at {word} {at} ({dispatch}, seed {seed}): {len(stored)} stored, {len(repeated)} called again")
    assert again == []
    # At most what was under way: four items of each of two tasks.
    assert len(repeated) <= 8
    assert {tuple(line) for line in journal.lines() if line[0] == "look"} == {("look", str(n)) for n in range(count)}


@pytest.mark.parametrize(("dispatch", "tool"), [("eager", "shaky"), ("wave", "shaky_write")])
def test_attempts_made_before_a_kill_count_after_it(database_url, tmp_path, dispatch, tool):
    journal, plan = Journal(tmp_path / "journal"), retried(tool)
    killed = Child(run, database_url, str(journal.path), dispatch, plan, ("shaky", 3)).told()
    assert killed is KILLED
    assert [line[-1] for line in journal.having("stored", "shaky")] == ["1", "2"]
    out = Child(run, database_url, str(journal.path), dispatch, plan, None).told()
    # The third attempt was under way when the process died; it is made again, and is the last.
    assert len(journal.having("shaky")) == 4
    assert len({tuple(line) for line in journal.having("shaky")}) == 1
    assert (out["results"]["shaky"]["status"], out["results"]["shaky"]["attempts"]) == ("failed", 3)
