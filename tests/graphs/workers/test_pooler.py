"""A connection pooler between a worker and PostgreSQL; runs where `pgbouncer` is installed."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from agent.errors import UsageError
from graphs.workers.client import open_queue
from planwave import submit
from tests.graphs.workers.worker_run import one_task

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")


@pytest.fixture
def pooled_url(postgres_url, tmp_path):
    """The URL of a database behind PgBouncer in transaction mode."""
    parts = urlsplit(postgres_url)
    [folder] = parse_qs(parts.query)["host"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    name = parts.path.strip("/")
    config = tmp_path / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n{name} = host={folder} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n"
        "server_reset_query =\ndefault_pool_size = 2\n"
    )
    for each in (tmp_path, *list(tmp_path.parents)[:2], config):
        each.chmod(0o755)
    # The server's own user, who can reach its socket; PgBouncer does not run as root.
    as_user = ["-u", pwd.getpwuid(os.stat(folder).st_uid).pw_name] if os.geteuid() == 0 else []  # noqa: PTH116
    running = subprocess.Popen([PGBOUNCER, *as_user, str(config)], stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield f"postgresql://postgres@127.0.0.1:{port}/{name}"
    running.terminate()
    running.communicate(timeout=20)


@pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")
async def test_a_pooler_is_refused_in_a_sentence(postgres_url, pooled_url):
    for _ in range(3):  # whichever connection of the pooler it gets
        with pytest.raises(UsageError, match="connection pooler such as PgBouncer"):
            await submit(one_task("look", "a"), db=pooled_url)
    async with open_queue(postgres_url) as threads:
        assert await threads.persistence.threads() == []
