"""What is deleted with a thread, which threads are pruned, and which never."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from langgraph.types import Command

from agent.errors import ThreadBusyError, UsageError
from agent.settings import Settings
from graphs.cli.terminal.units import parse_duration
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.command_line import CommandLine, save
from tests.support.processes import start, wait_for
from tests.support.stored_bytes import rows_of, tables
from tests.support.worlds import APPROVE, World, thread

#: One task reads, one writes and is asked about.
PLAN = {
    "tasks": [
        {"id": "r", "tool": "look", "args": {"value": "some text"}},
        {"id": "w", "tool": "write", "args": {"value": 1}, "depends_on": ["r"]},
    ]
}
ENDS = {"tasks": PLAN["tasks"][:1]}


@pytest.fixture
def cli(planwave: CommandLine, database_url: str) -> CommandLine:
    """The command over a database of each kind."""
    planwave.env["PLANWAVE_DB"] = database_url
    return planwave


async def fill(url, **plans):
    """Run a plan on each thread; a plan of None is stopped before its end."""
    async with open_persistence(url) as persistence:
        world = World()
        graph = build_graph(tools=world.tools(), persistence=persistence, settings=Settings(artifact_bytes=1))
        for name, plan in plans.items():
            stop = {"interrupt_before": ["wave_dispatch"]} if plan is None else {}
            await graph.ainvoke({"goal": "g", "plan": plan or ENDS}, thread(name), **stop)
            if plan is PLAN and name.startswith("done"):
                await graph.ainvoke(Command(resume=APPROVE), thread(name))


async def pruned(cli, span, *words):
    """Return what the command says; it has an event loop of its own."""
    shown = await asyncio.to_thread(cli.here, "threads", "prune", "--older-than", span, *words, "--json")
    return json.loads(shown.stdout)


async def listed(url):
    async with open_persistence(url) as persistence:
        return sorted(await persistence.threads())


def of_thread(url, name):
    """Return how many rows of each table are the thread's; its lease's epoch stays."""
    columns = {"checkpoints": "thread_id", "writes": "thread_id", "checkpoint_writes": "thread_id"}
    columns |= {"checkpoint_blobs": "thread_id"}
    columns |= {f"planwave_{table}": "thread" for table in ("ledger", "approvals", "artifacts")}
    there = set(tables(url))
    return {table: rows_of(url, table, **{column: name}) for table, column in columns.items() if table in there}


async def test_a_deleted_thread_leaves_nothing_and_no_other_is_touched(database_url):
    await fill(database_url, done_a=PLAN, done_b=PLAN)
    before = of_thread(database_url, "done_a")
    assert all(before.values()), before
    async with open_persistence(database_url) as persistence:
        assert await persistence.delete("done_a") is True
        assert await persistence.delete("done_a") is False
    assert set(of_thread(database_url, "done_a").values()) == {0}
    assert of_thread(database_url, "done_b") == before
    assert await listed(database_url) == ["done_b"]


async def test_a_thread_of_a_deleted_one_s_name_starts_from_nothing(database_url):
    await fill(database_url, done_a=PLAN)
    async with open_persistence(database_url) as persistence:
        await persistence.delete("done_a")
        world = World()
        graph = build_graph(tools=world.tools(), persistence=persistence)
        out = await graph.ainvoke({"goal": "g", "plan": PLAN}, thread("done_a"))
        assert out["status"] == "awaiting_approval"
        await graph.ainvoke(Command(resume=APPROVE), thread("done_a"))
    assert world.log == [("look", "some text"), ("write", 1)]


async def test_a_running_thread_is_not_deleted(database_url, tmp_path):
    run = start("graphs.stores.leased_run", database_url, tmp_path / "log", 30)
    try:
        wait_for(tmp_path / "log", "start b", run)
        async with open_persistence(database_url) as persistence:
            with pytest.raises(ThreadBusyError, match="is being run by"):
                await persistence.delete("t")
    finally:
        out, _ = run.communicate(timeout=60)
    assert out.strip() == "completed"


async def test_pruning_takes_what_ended_and_keeps_what_waits_was_stopped_or_is_young(cli, database_url):
    await fill(database_url, done_1=ENDS, waits=PLAN, stopped=None, done_2=PLAN)
    assert (await pruned(cli, "1h"))["removed"] == []
    told = await pruned(cli, "0h", "--dry-run")
    assert told == {
        "removed": ["done_1", "done_2"],
        "kept": [
            {"thread_id": "waits", "why": "it waits for an answer"},
            {"thread_id": "stopped", "why": "it was stopped before its end and can be resumed"},
        ],
        "dry_run": True,
    }
    assert len(await listed(database_url)) == 4
    shown = await asyncio.to_thread(cli.here, "threads", "prune", "--older-than", "0h")
    assert shown.exit_code == 0
    assert "removed done_1" in shown.stdout
    assert "kept waits: it waits for an answer" in shown.stdout
    assert "Removed 2 threads" in shown.stdout
    assert await listed(database_url) == ["stopped", "waits"]
    assert set(of_thread(database_url, "done_2").values()) == {0}
    async with open_persistence(database_url) as persistence:
        out = await build_graph(tools=World().tools(), persistence=persistence).ainvoke(
            Command(resume=APPROVE), thread("waits")
        )
    assert out["status"] == "completed"


async def test_only_threads_older_than_the_span_are_pruned(cli, database_url, monkeypatch):
    await fill(database_url, old=ENDS)
    later = datetime.now(UTC) + timedelta(days=40)

    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return later

    monkeypatch.setattr("graphs.cli.commands.retention.datetime", Later)
    shown = await pruned(cli, "41d")
    assert shown["removed"] == []
    shown = await pruned(cli, "30d")
    assert shown["removed"] == ["old"]


async def test_pruning_leaves_a_thread_that_another_process_runs(cli, database_url, tmp_path):
    await fill(database_url, done_1=ENDS)
    run = start("graphs.stores.leased_run", database_url, tmp_path / "log", 30)
    try:
        wait_for(tmp_path / "log", "start b", run)
        told = await pruned(cli, "0h")
    finally:
        out, _ = run.communicate(timeout=60)
    assert told["removed"] == ["done_1"]
    assert told["kept"] == [{"thread_id": "t", "why": "it is running"}]
    assert out.strip() == "completed"


def test_deleting_asks_and_says_what_is_not_there(planwave: CommandLine) -> None:
    planwave.here("run", "g", "--plan", planwave.plan_file(save("s", "a.txt", "x")), "--thread", "t")
    refused = planwave.here("threads", "delete", "t")
    assert refused.exit_code == 2
    assert "add --yes" in refused.stderr
    unknown = planwave.here("threads", "delete", "u", "--yes")
    assert unknown.exit_code == 2
    assert "There is no thread 'u'" in unknown.stderr
    assert planwave.here("threads", "--db", "sqlite:///other.db", "delete", "t", "--yes").exit_code == 2
    assert "t" in planwave.here("threads").stdout
    done = planwave.here("threads", "delete", "t", "--yes", "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"removed": ["t"]})
    assert "There are no threads yet" in planwave.here("threads").stdout


@pytest.mark.parametrize(("typed", "status", "left"), [("y\r", 0, 0), ("\r", 1, 1), ("no\r", 1, 1)])
def test_a_person_is_asked_before_a_thread_is_deleted(
    planwave: CommandLine, typed: str, status: int, left: int
) -> None:
    planwave.here("run", "g", "--plan", planwave.plan_file(save("s", "a.txt", "x")), "--thread", "t")
    terminal = planwave.at_terminal("threads", "delete", "t")
    assert "awaiting approval" in terminal.until("[y/N]")
    terminal.type(typed)
    assert terminal.end()[0] == status
    assert len(json.loads(planwave.here("threads", "--json").stdout)["threads"]) == left


@pytest.mark.parametrize("text", ["5m", "12h", "30d", "8w", " 1d "])
def test_durations_are_parsed(text):
    units = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
    assert parse_duration(text) == timedelta(**{units[text.strip()[-1]]: int(text.strip()[:-1])})


@pytest.mark.parametrize("text", ["", "d", "-1d", "1.5d", "30", "1y", "30 d", "999999999w", "٣d"])
def test_what_is_not_a_duration_is_refused(text):
    with pytest.raises(UsageError, match="duration"):
        parse_duration(text)
