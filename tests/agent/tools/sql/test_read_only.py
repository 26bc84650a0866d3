"""What SQL must not do, asked of the engine itself and of the tools."""

import sqlite3
from contextlib import closing

import duckdb
import pytest

from agent.errors import ToolFailure
from agent.tools.sql.data_source import open_data_source
from agent.tools.sql.query_database import database_tools

#: Statements that the locked engine refuses by itself, whatever the tools would let through.
ATTACKS = [
    "INSERT INTO customers SELECT * FROM customers",
    "UPDATE customers SET segment = 'x'",
    "DELETE FROM payments",
    "DROP VIEW sales",
    "COPY customers TO '{folder}/stolen.csv'",
    "COPY (SELECT 1) TO '{folder}/stolen.parquet' (FORMAT parquet)",
    "EXPORT DATABASE '{folder}/stolen'",
    "ATTACH '{folder}/other.duckdb' AS other",
    "ATTACH '{folder}/secret.sqlite' AS other (TYPE sqlite)",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SELECT * FROM read_csv('{folder}/secret.csv')",
    "SELECT * FROM read_text('{folder}/secret.csv')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM '{folder}/secret.csv'",
    "FROM '/etc/passwd'",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "RESET enable_external_access",
]
#: Statements that harm nothing in the engine, or that its locks do not hold: the tool's check refuses them.
REFUSED = [
    "SELECT 1; DROP TABLE customers",
    "SELECT 1; SELECT 2",
    "",
    "-- nothing",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "SELECT * FROM duckdb_secrets()",
    "CALL pragma_version()",
    "CREATE TEMP TABLE mine AS SELECT 1",
    "USE memory",
    "BEGIN",
    "EXPLAIN SELECT 1",
    "SET VARIABLE x = 1",
    "PREPARE p AS SELECT 1",
    "SELECT * FROM sqlite_scan('{folder}/secret.sqlite', 'secrets')",
    "SELECT * FROM system.main.SQLITE_SCAN('{folder}/secret.sqlite', 'secrets')",
    "SELECT (SELECT max(word) FROM sqlite_scan('{folder}/secret.sqlite', 'secrets'))",
    "WITH x AS (FROM query('SELECT 1')) SELECT * FROM x",
    "SELECT * FROM query_table('customers')",
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "secret.csv").write_text("word\nswordfish\n")
    with closing(sqlite3.connect(tmp_path / "secret.sqlite")) as database:
        database.executescript("CREATE TABLE secrets (word TEXT); INSERT INTO secrets VALUES ('swordfish')")
    return tmp_path


@pytest.mark.parametrize("sql", ATTACKS)
def test_the_engine_refuses(shop, folder, sql):
    before = sorted(file.name for file in folder.iterdir())
    with shop.get_connection() as connection, pytest.raises(duckdb.Error):
        connection.execute(sql.format(folder=folder)).fetchall()
    assert sorted(file.name for file in folder.iterdir()) == before


@pytest.mark.parametrize("sql", [*ATTACKS, *REFUSED])
async def test_the_tools_refuse(shop, folder, sql):
    _, query, analyze = database_tools(shop)
    sql = sql.format(folder=folder)
    with pytest.raises(ToolFailure):
        await query.ainvoke({"sql": sql} if sql else {"sql": " "})
    with pytest.raises(ToolFailure):
        await analyze.ainvoke({"sql": sql or " ", "tables": {"customers": [{"a": 1}]}})
    assert query.preflight({"sql": sql}, {}).problems


@pytest.mark.parametrize(
    "value",
    ["'; DROP TABLE customers; --", "x' OR '1'='1", "$other", "{{name}}", 'a"b', "\\'; SELECT 1", "\u0000; SELECT 1"],
)
async def test_a_value_is_never_sql(shop, value):
    _, query, _ = database_tools(shop)
    output = await query.ainvoke(
        {
            "sql": "SELECT $name AS said, count(*) AS n FROM customers WHERE customer_name = $name",
            "params": {"name": value},
        }
    )
    assert output["rows"] == [{"said": value, "n": 0}]


async def test_tables_of_python_are_out_of_reach(shop):
    rows = duckdb.sql("SELECT 1 AS a")  # noqa: F841 - a name that DuckDB would find in this frame
    _, query, _ = database_tools(shop)
    with pytest.raises(ToolFailure, match="does not exist"):
        await query.ainvoke({"sql": "SELECT * FROM rows"})


async def test_scanning_another_sqlite_file_is_refused_where_the_scanner_is_loaded(folder):
    """The engine's lock does not hold scanners that are loaded; the tool's list of functions does."""
    source = open_data_source(folder / "secret.sqlite")
    _, query, _ = database_tools(source)
    assert (await query.ainvoke({"sql": "SELECT word FROM secrets"}))["rows"] == [{"word": "swordfish"}]
    for sql in (
        f"SELECT * FROM sqlite_scan('{folder}/secret.sqlite', 'secrets')",
        "SELECT * FROM sqlite_query('source', 'SELECT * FROM secrets')",
    ):
        with pytest.raises(ToolFailure, match="cannot be used in FROM"):
            await query.ainvoke({"sql": sql})
    source.close()
