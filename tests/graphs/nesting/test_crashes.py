"""A graph around runs dies in the middle of one, and goes on."""

from langgraph.types import Command

from graphs.persistence import open_persistence
from tests.graphs.nesting.nested_run import build_parent
from tests.support.journal import Journal
from tests.support.processes import start
from tests.support.worlds import APPROVE, thread


async def test_each_approved_write_is_made_once_under_a_key_of_its_own(database_url, tmp_path):
    journal = Journal(tmp_path / "journal")
    dead = start("graphs.nesting.nested_run", database_url, journal.path)
    dead.communicate(timeout=60)
    assert dead.returncode == -9
    async with open_persistence(database_url) as persistence:
        parent = build_parent(persistence, journal)
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
