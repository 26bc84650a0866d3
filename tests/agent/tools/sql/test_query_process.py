"""Queries in processes of their own: limits of time, memory and size that hold, and what happens to the processes."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest
from jsonschema import Draft202012Validator

from agent.errors import DataError, ToolFailure
from agent.tools.sql.data_source import open_data_source
from agent.tools.sql.engines import postgres
from agent.tools.sql.query_database import database_tools
from agent.tools.sql.query_process import QueryLimits
from tests.support.databases import LIBRARY, library_duckdb, library_sqlite

#: One call of a function, which the engine cannot interrupt; it would take minutes.
SCALAR = "SELECT levenshtein(repeat('a', 300000) || i::text, repeat('b', 300000)) AS n FROM range(2) t(i)"


def wait_until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def pids(source):
    return [process._process.pid for process in (*source.processes._idle, *source.processes._busy)]


@pytest.fixture
def library(tmp_path):
    with closing(open_data_source(library_duckdb(tmp_path), limits=QueryLimits(seconds=1, result_bytes=10_000))) as it:
        yield it


@pytest.mark.parametrize(
    "sql",
    [
        SCALAR,
        "SELECT levenshtein(repeat('a', 300000), repeat('b', 300000)) AS n",
        "WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM r) SELECT count(*) AS n FROM r",
    ],
)
async def test_what_the_engine_cannot_stop_ends_at_the_time_limit(library, sql):
    _, query, analyze = database_tools(library)
    for tool, more in ((query, {}), (analyze, {"tables": {"t": [{"a": 1}]}})):
        with pytest.raises(ToolFailure, match="took longer than 1 seconds and was stopped"):
            await asyncio.wait_for(tool.ainvoke({"sql": sql, **more}), 15)
    assert (await query.ainvoke({"sql": "SELECT 1 AS one"}))["rows"] == [{"one": 1}]


async def test_memory_is_bounded_and_the_process_replaced(tmp_path):
    limits = QueryLimits(seconds=20, memory_bytes=2**28)
    with closing(open_data_source(library_duckdb(tmp_path), limits=limits)) as source:
        _, query, _ = database_tools(source)
        before = pids(source)
        for sql in (
            "SELECT list_sum(range(1000000000)) AS n",
            "SELECT repeat('x', 50000000) || i AS a FROM range(80) t(i)",
        ):
            with pytest.raises(ToolFailure, match="needs more memory than the 256 MB that it may have"):
                await query.ainvoke({"sql": sql})
        assert (await query.ainvoke({"sql": "SELECT 1 AS one"}))["rows"] == [{"one": 1}]
        assert pids(source) != before


async def test_the_engine_has_its_limits_and_keeps_them(tmp_path):
    # The reader of row tables alone takes 32 MiB for each thread.
    limits = QueryLimits(memory_bytes=2**28, temp_bytes=2**20)
    with closing(open_data_source(library_duckdb(tmp_path), limits=limits)) as source:
        _, query, analyze = database_tools(source)
        sql = "SELECT current_setting('memory_limit') AS m, current_setting('max_temp_directory_size') AS t"
        for tool, more in ((query, {}), (analyze, {"tables": {"t": [{"a": 1}]}})):
            assert (await tool.ainvoke({"sql": sql, **more}))["rows"] == [{"m": "256.0 MiB", "t": "1.0 MiB"}]
        with pytest.raises(ToolFailure, match="Only a SELECT"):
            await query.ainvoke({"sql": "SET memory_limit = '10GB'"})


async def test_a_result_is_cut_off_at_its_bytes_and_says_so(library):
    _, query, _ = database_tools(library)
    output = await query.ainvoke({"sql": "SELECT repeat('x', 900) AS a FROM range(500)"})
    assert 5 < output["row_count"] == len(output["rows"]) < 12
    assert output["truncated"] is True
    assert f"cut off after {output['row_count']} rows: more would have over 10,000 bytes" in output["warning"]
    Draft202012Validator(query.metadata["output_schema"]).validate(output)
    one = await query.ainvoke({"sql": "SELECT repeat('x', 90000) AS a"})
    assert (one["rows"], one["truncated"]) == ([], True)
    small = await query.ainvoke({"sql": "SELECT repeat('x', 900) AS a FROM range(500)", "max_rows": 2})
    assert (small["row_count"], small["truncated"], "warning" in small) == (2, True, False)


async def test_a_killed_process_is_a_failure_of_its_query_only(library):
    _, query, _ = database_tools(library)
    slow = asyncio.create_task(query.ainvoke({"sql": SCALAR}))
    await asyncio.to_thread(wait_until, lambda: library.processes._busy)
    [pid] = [process._process.pid for process in library.processes._busy]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ToolFailure, match="ended its process, probably because it needed too much memory"):
        await slow
    assert (await query.ainvoke({"sql": "SELECT 1 AS one"}))["rows"] == [{"one": 1}]
    # Also one that dies while it has nothing to do.
    [pid] = pids(library)
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(wait_until, lambda: library.processes._idle[0].has_ended)
    assert (await query.ainvoke({"sql": "SELECT 2 AS two"}))["rows"] == [{"two": 2}]


async def test_a_cancelled_query_leaves_no_process_and_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with closing(open_data_source(library_duckdb(tmp_path))) as source:
        _, query, _ = database_tools(source)
        [pid] = pids(source)
        slow = asyncio.create_task(query.ainvoke({"sql": SCALAR}))
        await asyncio.to_thread(wait_until, lambda: source.processes._busy)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        await asyncio.to_thread(wait_until, lambda: not is_alive(pid))
        await asyncio.to_thread(wait_until, lambda: not list(tmp_path.glob("planwave-*")))


async def test_a_preflight_is_bounded_and_can_be_cancelled(library, monkeypatch):
    monkeypatch.setattr("agent.tools.sql.query_database.PREFLIGHT_SECONDS", 0.5)
    _, query, _ = database_tools(library)
    constant = "SELECT levenshtein(repeat('a', 300000), repeat('b', 300000)) AS n"
    found = await asyncio.wait_for(asyncio.to_thread(query.preflight, {"sql": constant}, {}), 20)
    assert "took longer than 0.5 seconds" in found.problems[0]


async def test_a_view_that_cannot_be_counted_costs_only_its_counts(tmp_path, monkeypatch):
    import duckdb

    monkeypatch.setattr("agent.tools.sql.query_database._SCHEMA_SECONDS", 2.0)
    with duckdb.connect(str(tmp_path / "slow.duckdb")) as database:
        database.execute(f"CREATE VIEW slow AS {SCALAR} WHERE levenshtein(repeat('a', 300000), repeat('b', i)) > 0")
        database.execute("CREATE TABLE t AS SELECT 1 AS a")
    with closing(open_data_source(tmp_path / "slow.duckdb")) as source:
        describe, query, _ = database_tools(source)
        described = await asyncio.wait_for(describe.ainvoke({}), 30)
        assert [relation["name"] for relation in described["relations"]] == ["slow", "t"]
        assert (await query.ainvoke({"sql": "SELECT a FROM t"}))["rows"] == [{"a": 1}]


def test_a_process_ends_with_a_caller_that_is_killed(tmp_path):
    program = (
        "import sys\nfrom agent.tools.sql.data_source import open_data_source\n"
        "from agent.tools.sql.query_database import database_tools\n"
        "source = open_data_source(sys.argv[1])\n"
        "print(source.processes._idle[0]._process.pid, flush=True)\n"
        "database_tools(source)[1].invoke({'sql': sys.argv[2]})\n"
    )
    file = library_duckdb(tmp_path)
    with subprocess.Popen([sys.executable, "-c", program, str(file), SCALAR], stdout=subprocess.PIPE) as caller:
        pid = int(caller.stdout.readline())
        time.sleep(0.3)  # it is within the query by then
        assert is_alive(pid)
        caller.kill()
    wait_until(lambda: not is_alive(pid))


async def test_a_locked_sqlite_file_is_a_failure_in_time(tmp_path):
    file = library_sqlite(tmp_path)
    with (
        closing(sqlite3.connect(file)) as other,
        closing(open_data_source(file, limits=QueryLimits(seconds=8))) as source,
    ):
        other.execute("BEGIN EXCLUSIVE")
        _, query, _ = database_tools(source)
        with pytest.raises(ToolFailure, match=r"locked|took longer"):
            await asyncio.wait_for(query.ainvoke({"sql": "SELECT * FROM authors"}), 20)
        other.rollback()
        assert (await query.ainvoke({"sql": "SELECT count(*) AS n FROM authors"}))["rows"] == [{"n": 3}]


async def test_a_locked_table_of_postgresql_hangs_nothing(postgres_url, monkeypatch):
    monkeypatch.setattr(postgres, "_LOCK_TIMEOUT_MS", 300)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(LIBRARY)
    with psycopg.connect(postgres_url) as other, closing(open_data_source(postgres_url)) as source:
        other.execute("LOCK TABLE members IN ACCESS EXCLUSIVE MODE")
        describe, query, _ = database_tools(source)
        described = await asyncio.wait_for(describe.ainvoke({}), 30)
        counts = {relation["name"]: relation["row_count"] for relation in described["relations"]}
        assert counts["books"] == 4
        assert counts["members"] is None
        assert (await query.ainvoke({"sql": "SELECT count(*) AS n FROM books"}))["rows"] == [{"n": 4}]
        with pytest.raises(ToolFailure, match="lock timeout"):
            await asyncio.wait_for(query.ainvoke({"sql": "SELECT * FROM members"}), 20)
        other.rollback()
        assert (await query.ainvoke({"sql": "SELECT count(*) AS n FROM members"}))["rows"] == [{"n": 3}]


@pytest.mark.parametrize("ends", ["time limit", "cancelled"])
async def test_a_query_is_cancelled_on_the_server(postgres_url, ends):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE VIEW slow AS SELECT 1 AS a, pg_sleep(100)::text AS b")

        def running():
            found = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'planwave-%' AND state = 'active'"
            ).fetchone()
            return found[0]

        limits = QueryLimits(seconds=1.0 if ends == "time limit" else 60.0)
        with closing(open_data_source(postgres_url, limits=limits)) as source:
            _, query, _ = database_tools(source)
            slow = asyncio.create_task(query.ainvoke({"sql": "SELECT * FROM slow"}))
            await asyncio.to_thread(wait_until, running)
            if ends == "cancelled":
                slow.cancel()
            with pytest.raises((ToolFailure, asyncio.CancelledError)):
                await asyncio.wait_for(slow, 20)
            await asyncio.to_thread(wait_until, lambda: not running())


async def test_queries_run_at_the_same_time_up_to_a_limit(tmp_path):
    limits = QueryLimits(processes=2, seconds=60)
    with closing(open_data_source(library_duckdb(tmp_path), limits=limits)) as source:
        _, query, _ = database_tools(source)
        sql = "SELECT count(*) AS n FROM range(3000000) t(i) WHERE hash(i) % 7 = 1"
        await asyncio.gather(*(query.ainvoke({"sql": sql}) for _ in range(6)))
        assert 1 <= len(pids(source)) <= 2
        found = pids(source)
    wait_until(lambda: not any(map(is_alive, found)))


def test_secrets_are_not_in_the_environment_of_a_process(tmp_path, monkeypatch):
    monkeypatch.setenv("PLANWAVE_SECRET_TOKEN", "swordfish")
    with closing(open_data_source(library_duckdb(tmp_path))) as source:
        [pid] = pids(source)
        with suppress(FileNotFoundError), Path(f"/proc/{pid}/environ").open() as file:
            assert "swordfish" not in file.read()


def test_a_file_that_was_deleted_is_said(tmp_path):
    file = library_duckdb(tmp_path)
    with closing(open_data_source(file)) as source:
        os.kill(pids(source)[0], signal.SIGKILL)
        wait_until(lambda: source.processes._idle[0].has_ended)
        file.unlink()
        with pytest.raises(DataError, match="cannot be opened"):
            database_tools(source)[1].invoke({"sql": "SELECT 1 AS a"})
