"""The files of a SQLite database: who may read them, and which commits wait for the disk."""

import os
import stat

import pytest

from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.worlds import World, thread

PLAN = {
    "tasks": [
        {"id": "a", "tool": "look", "args": {"value": 1}},
        {"id": "w", "tool": "write", "args": {"value": 2}, "depends_on": ["a"]},
    ]
}


@pytest.fixture(autouse=True)
def usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


async def run(url):
    async with open_persistence(url) as persistence:
        graph = build_graph(tools=World().tools(), persistence=persistence, settings=Settings(approve="never"))
        assert (await graph.ainvoke({"goal": "g", "plan": PLAN}, thread()))["status"] == "completed"
        yield persistence


async def test_a_new_database_is_this_users_alone(tmp_path):
    file = tmp_path / "one" / "two" / "t.db"
    async for _ in run(f"sqlite:///{file}"):
        modes = {each.name: mode_of(each) for each in file.parent.iterdir()}
        assert {"t.db", "t.db-wal", "t.db-shm"} <= modes.keys()
        assert set(modes.values()) == {0o600}
    assert [mode_of(file.parent), mode_of(file.parent.parent), mode_of(tmp_path)] == [0o700, 0o700, mode_of(tmp_path)]


async def test_a_folder_that_was_there_keeps_its_mode(tmp_path):
    (tmp_path / "shared").mkdir(mode=0o755)
    async for _ in run(f"sqlite:///{tmp_path}/shared/t.db"):
        pass
    assert (mode_of(tmp_path / "shared"), mode_of(tmp_path / "shared" / "t.db")) == (0o755, 0o600)


@pytest.mark.parametrize(("before", "after"), [(0o644, 0o600), (0o640, 0o600), (0o660, 0o660), (0o600, 0o600)])
async def test_a_database_from_before_is_made_private_unless_others_may_write_to_it(tmp_path, before, after):
    file = tmp_path / "t.db"
    file.touch()
    file.chmod(before)
    async for _ in run(f"sqlite:///{file}"):
        assert {mode_of(each) for each in tmp_path.glob("t.db*") if each.suffix != ".lock"} == {after}


async def test_a_database_behind_a_link_is_private_too(tmp_path):
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    async for _ in run(f"sqlite:///{tmp_path}/link.db"):
        assert mode_of(tmp_path / "real.db") == 0o600


async def test_a_claim_waits_for_the_disk_and_nothing_else_does(tmp_path):
    statements = []
    async with open_persistence(f"sqlite:///{tmp_path}/t.db") as persistence:
        persistence._backend.database.connection.set_trace_callback(statements.append)
        graph = build_graph(tools=World().tools(), persistence=persistence, settings=Settings(approve="never"))
        assert (await graph.ainvoke({"goal": "g", "plan": PLAN}, thread()))["status"] == "completed"
        persistence._backend.database.connection.set_trace_callback(None)
    level, committed = "NORMAL", {"NORMAL": [], "FULL": []}
    for statement in statements:
        if statement.startswith("PRAGMA synchronous="):
            level = statement.partition("=")[2]
        elif statement.startswith(("INSERT", "UPDATE", "DELETE")):
            committed[level].append(statement)
    assert len([each for each in committed["FULL"] if each.startswith("INSERT INTO planwave_ledger")]) == 1
    assert not [each for each in committed["NORMAL"] if each.startswith("INSERT INTO planwave_ledger")]
    assert all("planwave_ledger" in each or "planwave_approvals" in each for each in committed["FULL"])
    assert [each for each in committed["NORMAL"] if each.startswith("UPDATE planwave_ledger SET state = 'done'")]
    assert level == "NORMAL"
