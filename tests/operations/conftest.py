"""Two PostgreSQL servers, a folder and a bucket as object stores."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from regions import Company

from tests.operations.moving_world import company_of
from tests.support.postgres import PostgresServer


@pytest.fixture(scope="session")
def southern_server() -> Iterator[PostgresServer]:
    """A second server."""
    with tempfile.TemporaryDirectory(prefix="planwave-south-") as folder:
        server = PostgresServer(Path(folder) / "data")
        yield server
        server.stop()


@pytest.fixture
def company(postgres_server: PostgresServer, southern_server: PostgresServer, tmp_path: Path) -> Iterator[Company]:
    """A company that keeps its objects in a folder."""
    (tmp_path / "store").mkdir()
    with company_of(postgres_server, southern_server, tmp_path, store=f"file://{tmp_path}/store") as made:
        yield made


@pytest.fixture
def company_with_bucket(
    postgres_server: PostgresServer, southern_server: PostgresServer, tmp_path: Path
) -> Iterator[Company]:
    """A company that keeps its objects in a bucket of a server that speaks S3."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {"key": "k", "secret": "s", "endpoint_url": f"http://{host}:{port}", "skip_instance_cache": True}
    with company_of(postgres_server, southern_server, tmp_path, store="s3://dumps", **options) as made:
        made.files().mkdir("dumps")
        yield made
    server.stop()
