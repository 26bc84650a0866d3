"""Workers in processes of their own, that a test may kill, and the journal of what they did."""

import signal
from contextlib import suppress

import pytest

from tests.graphs.workers.worker_run import FAST, work
from tests.support.forked_child import Child
from tests.support.journal import Journal


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    for name, value in FAST.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal")


@pytest.fixture
def workers(postgres_url, journal):
    """Start workers; what a test leaves running is told to stop."""
    started = []

    def start(url=postgres_url, **options):
        child = Child(work, url, str(journal.path), **options)
        started.append(child)
        return child

    yield start
    for child in started:
        # Of one that has been waited for, the process is closed.
        with suppress(ProcessLookupError, TypeError, ValueError):
            child.send(signal.SIGTERM)
    for child in started:
        with suppress(ProcessLookupError, TypeError, ValueError, AssertionError):
            child.told(60)
