"""A graph around runs dies in the middle of one, and goes on."""

from langgraph.types import Command

from graphs.persistence import open_persistence
from tests.graphs.nesting.nested_run import build_parent
from tests.support.journal import Journal
from tests.support.processes import start
from tests.support.worlds import APPROVE, thread


async def test_each_approved_write_is_made_once_under_a_key_of_its_own(database_url, tmp_path):
    journal = Journal(tmp_path / "journal")
    dead = start("graphs.nesting.nested_run", database_url, journal.path, "keyed")
    dead.communicate(timeout=60)
    assert dead.returncode == -9
    async with open_persistence(database_url) as persistence:
        parent = build_parent(persistence, journal, keyed=True)
        # The write in which it died is repeated under its key: its receiver knows what it has.
        out = await parent.ainvoke(None, thread())
        assert out["__interrupt__"][0].value["action_requests"][0]["args"] == {"name": "three"}
        out = await parent.ainvoke(Command(resume=APPROVE), thread())
        assert out["outs"] == ["one", "two", "three"]
        made = [(name, key) for _, name, key in journal.lines()]
        assert [name for name, _ in made] == ["one", "two", "two", "three"]
        assert made[1] == made[2]
        assert len({key for _, key in made}) == 3
        assert len(await persistence.ledger.list_rows("t")) == 3
        assert await persistence.delete("t")
        assert await persistence.ledger.list_rows("t") == []


async def test_a_write_that_was_cut_off_is_asked_about_and_no_earlier_answer_is_taken_for_it(tmp_path):
    url, journal = f"sqlite:///{tmp_path / 'p.db'}", Journal(tmp_path / "journal")
    start("graphs.nesting.nested_run", url, journal.path, "plain").communicate(timeout=60)
    async with open_persistence(url) as persistence:
        parent = build_parent(persistence, journal, keyed=False)
        out = await parent.ainvoke(None, thread())
        [request] = out["__interrupt__"][0].value["action_requests"]
        assert (request["args"], bool(request["doubt"])) == ({"name": "two"}, True)
        assert [name for _, name, _ in journal.lines()] == ["one", "two"]
        # It happened: the result is given by hand.
        out = await parent.ainvoke(Command(resume={"decisions": [{"type": "respond", "message": "sent"}]}), thread())
        assert out["__interrupt__"][0].value["action_requests"][0]["args"] == {"name": "three"}
        out = await parent.ainvoke(Command(resume=APPROVE), thread())
        assert out["outs"] == ["one", "sent", "three"]
        assert [name for _, name, _ in journal.lines()] == ["one", "two", "three"]
