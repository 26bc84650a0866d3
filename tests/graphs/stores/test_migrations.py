"""Tables: made once, brought up to date once, by however many processes at once; and how each database is set."""

import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from langgraph.types import Command

from agent.errors import PersistenceError, UsageError
from graphs.persistence import migrate_database, open_persistence
from graphs.plan_execute import build_graph
from graphs.stores import sqlite as sqlite_store
from graphs.stores.tables import migrations as schema
from tests.support.command_line import CommandLine
from tests.support.processes import ROOT
from tests.support.stored_bytes import execute, tables
from tests.support.worlds import APPROVE, World, thread

PLAN = {
    "tasks": [
        {"id": "r", "tool": "look", "args": {"value": 1}},
        {"id": "w", "tool": "write", "args": {"value": 1}, "depends_on": ["r"]},
    ]
}
_MIGRATE = """
import asyncio, sys
from graphs.persistence import migrate_database
print(asyncio.run(migrate_database(sys.argv[1])))
"""
_RUN = """
import asyncio, sys
from tests.support.worlds import World, thread
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph

async def main(url, name):
    async with open_persistence(url) as persistence:
        graph = build_graph(tools=World().tools(), persistence=persistence)
        plan = {"tasks": [{"id": "r", "tool": "look", "args": {"value": 1}}]}
        return (await graph.ainvoke({"goal": "g", "plan": plan}, thread(name)))["status"]

print(asyncio.run(main(*sys.argv[1:])))
"""


def at_once(code, *arguments):
    """Run a program as often as there are lists of arguments, all at once; return what each prints."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, *each], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for each in arguments
    ]
    shown = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0] * len(running), shown
    return [out.strip() for out, _ in shown]


async def test_tables_are_made_once_and_then_left_alone(database_url):
    first = await migrate_database(database_url)
    assert [re.sub(r", version \d+", "", sentence) for sentence in first] == [
        "Created the tables of checkpoints.",
        "Created the tables of store.",
        "Created the tables of planwave.",
    ]
    before = sorted(tables(database_url))
    assert await migrate_database(database_url) == []
    assert sorted(tables(database_url)) == before


def test_of_processes_that_migrate_at_once_one_makes_the_tables(database_url):
    shown = at_once(_MIGRATE, *[(database_url,)] * 3)
    assert sum("planwave" in each for each in shown) == 1
    assert at_once(_MIGRATE, (database_url,)) == ["[]"]
    assert [row[0] for row in execute(database_url, "SELECT version FROM planwave_schema ORDER BY version")] == [
        *range(1, schema.SCHEMA_VERSION + 1)
    ]


def test_processes_that_open_a_new_database_at_once_all_run(database_url):
    assert at_once(_RUN, *[(database_url, f"t{number}") for number in range(3)]) == ["completed"] * 3
    assert execute(database_url, "SELECT COUNT(DISTINCT thread_id) FROM checkpoints") == [(3,)]


async def as_of_version_1(url):
    """Leave a waiting thread in a database as the first version of our tables had it."""
    async with open_persistence(url) as persistence:
        graph = build_graph(tools=World().tools(), persistence=persistence)
        await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
    for table in set(re.findall(r"CREATE TABLE (\w+)", str(schema.MIGRATIONS))):
        execute(url, f"DROP TABLE {table}")
    for statement in schema.MIGRATIONS[0]:
        execute(url, statement.format(bytes="BLOB" if url.startswith("sqlite") else "BYTEA"))
    execute(url, "DELETE FROM planwave_schema WHERE version > 1")


async def test_older_tables_are_brought_up_to_date_and_their_threads_go_on(database_url):
    await as_of_version_1(database_url)
    assert await migrate_database(database_url) == [
        f"Upgraded the tables of planwave from version 1 to {schema.SCHEMA_VERSION}."
    ]
    async with open_persistence(database_url) as persistence:
        graph = build_graph(tools=World().tools(), persistence=persistence)
        assert (await graph.ainvoke(Command(resume=APPROVE), thread()))["status"] == "completed"


async def test_processes_that_upgrade_at_once_do_it_once(database_url):
    await as_of_version_1(database_url)
    shown = at_once(_MIGRATE, *[(database_url,)] * 3)
    assert sum("from version 1" in each for each in shown) == 1
    assert execute(database_url, "SELECT COUNT(*) FROM planwave_schema") == [(schema.SCHEMA_VERSION,)]


async def test_tables_of_a_newer_planwave_are_left_alone(database_url):
    await migrate_database(database_url)
    execute(
        database_url,
        "INSERT INTO planwave_schema (version, applied_at) VALUES (?, ?)",
        schema.SCHEMA_VERSION + 1,
        "now",
    )
    with pytest.raises(PersistenceError, match="upgrade Planwave"):
        await migrate_database(database_url)
    with pytest.raises(PersistenceError, match="upgrade Planwave"):
        async with open_persistence(database_url):
            pass


async def test_sqlite_writes_ahead_and_keeps_commits_through_a_killed_process(tmp_path):
    async with open_persistence(f"sqlite:///{tmp_path}/p.db") as persistence:
        database = persistence._backend.database
        pragmas = {name: database.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode",)}
        pragmas["synchronous"] = database.connection.execute("PRAGMA synchronous").fetchone()[0]
        store = persistence._backend.store.conn
        assert pragmas == {"journal_mode": "wal", "synchronous": 1}
        assert store.execute("PRAGMA synchronous").fetchone()[0] == 1
    # The mode stays with the file, for whoever opens it next.
    assert sqlite3.connect(tmp_path / "p.db").execute("PRAGMA journal_mode").fetchone()[0] == "wal"


async def test_postgresql_connections_that_were_cut_are_replaced(postgres_url):
    async with open_persistence(postgres_url) as persistence:
        graph = build_graph(tools=World().tools(), persistence=persistence)
        assert (await graph.ainvoke({"goal": "g", "plan": PLAN}, thread()))["status"] == "awaiting_approval"
        cut = execute(
            postgres_url,
            "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )[0][0]
        assert cut >= 1
        assert (await graph.ainvoke(Command(resume=APPROVE), thread()))["status"] == "completed"


@pytest.mark.parametrize("url", ["mysql://h/d", "planwave.db", "sqlite://planwave.db", ""])
async def test_what_is_no_database_is_refused(url):
    with pytest.raises(UsageError):
        await migrate_database(url)


@pytest.mark.parametrize("file", ["folder", "text"])
async def test_what_cannot_be_a_database_is_an_error_of_ours(tmp_path, file):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("This is no database. " * 100)
    with pytest.raises(PersistenceError, match="cannot be used"):
        await migrate_database(f"sqlite:///{tmp_path}/{file}")


async def test_who_finds_the_file_taken_for_too_long_is_told_what_to_do(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/p.db"
    await migrate_database(url)
    monkeypatch.setattr(sqlite_store, "_BUSY_S", 0.1)
    with closing(sqlite3.connect(tmp_path / "p.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(PersistenceError, match=r"Another process has been writing .* continue it if it is paused"):
            await migrate_database(url)
    assert await migrate_database(url) == []


def test_the_command_says_what_it_did(planwave: CommandLine) -> None:
    first = planwave.here("migrate")
    assert first.exit_code == 0
    assert "Created the tables of planwave" in first.stdout
    again = planwave.here("migrate")
    assert "up to date" in again.stdout
    assert json.loads(planwave.here("migrate", "--json").stdout) == {"done": []}
    assert planwave.here("migrate", "--db", "nowhere").exit_code == 2
