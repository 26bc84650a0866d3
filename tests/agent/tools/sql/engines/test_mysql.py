import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from agent.errors import DataError, ToolFailure
from agent.tools.sql.data_source import open_data_source

#: The folder of the statements that make the tables of a new server.
SHARE = Path("/usr/share/mysql")
PASSWORD = "se cr@t'x"
TABLES = """
CREATE DATABASE shop;
CREATE USER 'reader'@'%' IDENTIFIED BY 'se cr@t''x';
CREATE USER 'reader'@'localhost' IDENTIFIED BY 'se cr@t''x';
GRANT ALL ON *.* TO 'reader'@'%';
GRANT ALL ON *.* TO 'reader'@'localhost';
CREATE TABLE shop.sales (id INT PRIMARY KEY COMMENT 'key', brand VARCHAR(20), price DECIMAL(20, 4), placed DATETIME, \
flag TINYINT(1), big BIGINT UNSIGNED);
INSERT INTO shop.sales VALUES (1, 'Nordvik', 1234567890123456.7891, '2024-01-01 10:00:00', 2, 18446744073709551615), \
(2, 'Abc', 0.1, '2024-02-01 10:00:00', 0, 1);
CREATE TABLE shop.parts (id INT, sale_id INT, FOREIGN KEY (sale_id) REFERENCES shop.sales(id)) COMMENT 'the parts';
CREATE DATABASE elsewhere;
CREATE TABLE elsewhere.hidden (id INT);
"""


@pytest.fixture(scope="module")
def mysql_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database of a real server."""
    program = shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin")
    if program is None or not (SHARE / "mysql_system_tables.sql").exists():
        pytest.skip("MariaDB's server is not installed (mariadb-server-core)")
    folder = tmp_path_factory.mktemp("mariadb")
    data = folder / "data"
    (data / "mysql").mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = [program, "--no-defaults", "--user=root", f"--datadir={data}"]
    scripts = [(SHARE / f"mysql_system_tables{part}.sql").read_text() for part in ("", "_data")]
    bootstrap = "USE mysql;\n" + "\n".join(scripts)
    subprocess.run([*common, "--bootstrap"], input=bootstrap.encode(), check=True, capture_output=True)
    (folder / "init.sql").write_text(TABLES)
    options = [
        f"--port={port}",
        "--bind-address=127.0.0.1",
        f"--socket={folder / 's'}",
        f"--init-file={folder / 'init.sql'}",
    ]
    server = subprocess.Popen([*common, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        limit = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert server.poll() is None
                assert time.monotonic() < limit
                time.sleep(0.1)
        yield f"mysql://reader:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/shop"
    finally:
        server.terminate()
        server.wait(60)


def test_a_database_of_mysql_is_described_and_queried(mysql_url, open_tools):
    describe, query = open_tools(mysql_url)
    relations = {each["name"]: each for each in describe.invoke({})["relations"]}
    assert set(relations) == {"sales", "parts"}
    assert relations["sales"]["row_count"] == 2
    assert relations["sales"]["columns"][0]["comment"] == "key"
    assert relations["sales"]["columns"][1]["values"] == ["Abc", "Nordvik"]
    assert relations["parts"]["comment"] == "the parts"
    assert relations["parts"]["foreign_keys"] == [{"columns": ["sale_id"], "table": "sales", "references": ["id"]}]
    output = query.invoke({"sql": "SELECT SUM(price) AS s, MAX(big) AS b, MAX(flag) AS f, MIN(placed) AS p FROM sales"})
    assert output["rows"] == [
        {"s": "1234567890123456.8891", "b": 18446744073709551615, "f": 2, "p": "2024-01-01T10:00:00"}
    ]


def test_its_own_dialect_is_translated(mysql_url, open_tools):
    _, query = open_tools(mysql_url)
    sql = "SELECT date_format(placed, '%Y-%m') AS m, `brand` FROM sales ORDER BY id LIMIT 1, 5"
    assert query.preflight({"sql": sql}, {}).problems == ()
    output = query.invoke({"sql": sql})
    assert output["rows"] == [{"m": "2024-02", "brand": "Abc"}]
    assert "The SQL is in the dialect of MySQL. As written: SELECT date_format(" in output["warning"]


@pytest.mark.parametrize(
    "sql", ["SELECT * FROM mysql_query('source', 'SELECT 1')", "DELETE FROM sales", "SELECT * FROM duckdb_secrets()"]
)
def test_it_is_read_only_and_keeps_its_password(mysql_url, open_tools, sql):
    _, query = open_tools(mysql_url)
    with pytest.raises(ToolFailure):
        query.invoke({"sql": sql})
    with query.database.source.get_connection() as connection:
        paths = connection.execute("SELECT path FROM duckdb_databases()").fetchall()
    assert "cr@t" not in str(paths)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("se%20", "wrong", "check the user and the password in the URL"),
        ("/shop", "/nope", "check the name of the database in the URL"),
        ("/shop", "", "write mysql://user:password@host:3306/database"),
        ("/shop", "/shop?charset=x", "has the option 'charset', which is not known"),
    ],
)
def test_what_cannot_be_opened_is_a_sentence_without_the_password(mysql_url, old, new, said):
    with pytest.raises(DataError, match=said) as caught:
        open_data_source(mysql_url.replace(old, new))
    assert "cr@t" not in str(caught.value)


def test_a_server_that_is_not_there_is_a_sentence():
    with pytest.raises(DataError, match="check that the server runs and the host and port are right"):
        open_data_source("mysql://reader@127.0.0.1:9/shop")
