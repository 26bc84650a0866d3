"""A worker whose process is killed goes on where it was, and makes no write twice."""

import signal
import time

import pytest

from tests.support.processes import start

KILLED = -signal.SIGKILL


def run(tmp_path, dies_at, how):
    """Run a process to its end, once the lease of a dead one has run out; return its status and what it said."""
    time.sleep(1.2)
    process = start("graphs.delegation.delegated_run", f"sqlite:///{tmp_path}/p.db", tmp_path / "log", dies_at, how)
    said, errors = process.communicate(timeout=120)
    assert process.returncode in {0, KILLED}, errors
    return process.returncode, said.strip()


def log(tmp_path):
    return (tmp_path / "log").read_text().splitlines()


def test_a_worker_killed_in_a_read_does_not_take_its_turns_again(tmp_path):
    assert run(tmp_path, "look", "start") == (KILLED, "")
    assert log(tmp_path) == ["asked 0", "look 1", "asked 1", "look 2"]
    assert run(tmp_path, "-", "on") == (0, "awaiting_approval")
    assert log(tmp_path)[4:] == ["look 2", "asked 2"]
    assert run(tmp_path, "-", "approve") == (0, "completed")
    assert log(tmp_path)[6:] == ["write 5", "asked 3"]


@pytest.mark.parametrize("approve", ["approve", pytest.param("approve by id", marks=pytest.mark.slow)])
def test_a_worker_killed_in_a_write_asks_what_became_of_it(tmp_path, approve):
    assert run(tmp_path, "-", "start") == (0, "awaiting_approval")
    assert run(tmp_path, "write", approve) == (KILLED, "")
    assert run(tmp_path, "-", "on") == (0, "awaiting_approval in doubt")
    assert run(tmp_path, "-", "respond") == (0, "completed")
    assert log(tmp_path).count("write 5") == 1
    assert [line for line in log(tmp_path) if line.startswith("asked")] == ["asked 0", "asked 1", "asked 2", "asked 3"]


def test_that_one_attempt_did_not_happen_is_not_said_of_the_next(tmp_path):
    assert run(tmp_path, "-", "start") == (0, "awaiting_approval")
    assert run(tmp_path, "write", "approve") == (KILLED, "")
    assert run(tmp_path, "-", "on") == (0, "awaiting_approval in doubt")
    assert run(tmp_path, "write", "approve") == (KILLED, "")
    assert run(tmp_path, "-", "on") == (0, "awaiting_approval in doubt")
    assert log(tmp_path).count("write 5") == 2
    assert run(tmp_path, "-", "respond") == (0, "completed")
    assert log(tmp_path).count("write 5") == 2
