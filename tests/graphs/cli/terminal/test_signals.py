"""Ctrl-C, SIGTERM and SIGKILL in the middle of a run, and what `resume` makes of them."""

import json
import signal
import subprocess

import pytest

from tests.support.command_line import PATIENCE_S, SLOW, CommandLine, query

TASKS = (
    query("first", "SELECT 1 AS n"),
    query("slow", SLOW),
    query("second", "SELECT 2 AS n", depends_on=["first"]),
    query("last", "SELECT 3 AS n", depends_on=["second", "slow"]),
)


def begun(planwave: CommandLine, *words: str, grace_s: float = 0) -> "subprocess.Popen[str]":
    """Return a run of which all that is quick is done, and that is at work on the slow task."""
    plan, env = planwave.plan_file(*TASKS), {"PLANWAVE_GRACE_S": str(grace_s)}
    process = planwave.apart("run", "Slow", "--thread", "t", "--plan", plan, *words, env=env)
    told = process.stderr if "--json" in words else process.stdout
    assert told is not None
    seen: set[str] = set()
    while not {"started slow", "done second"} <= seen:
        line = told.readline()
        assert line, process.communicate()
        seen.add(" ".join(line.split()[:2]))
    return process


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_is_resumed_and_nothing_runs_twice(
    planwave: CommandLine, number: signal.Signals, status: int
) -> None:
    process = begun(planwave)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == status, stderr
    assert "planwave resume t" in stdout
    assert stderr == ""
    before = planwave.thread("t")
    assert before["status"] == "interrupted"
    assert {task for task, record in before["results"].items() if record["status"] == "done"} == {"first", "second"}
    ended = planwave.here("resume", "t", "--json")
    assert ended.exit_code == 0, ended.output
    after = json.loads(ended.stdout)["results"]
    assert {task: record["status"] for task, record in after.items()} == dict.fromkeys(
        ("first", "second", "slow", "last"), "done"
    )
    for task in ("first", "second"):
        assert after[task] == before["results"][task]
    assert "started first" not in ended.stderr
    assert "started slow" in ended.stderr


def test_a_stopped_run_waits_for_what_runs_and_begins_nothing_new(planwave: CommandLine) -> None:
    process = begun(planwave, grace_s=60)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 143, stderr
    assert "started last" not in stdout
    before = planwave.thread("t")["results"]
    assert {task for task, record in before.items() if record["status"] == "done"} == {"first", "second", "slow"}
    ended = planwave.here("resume", "t", "--json")
    assert ended.exit_code == 0, ended.output
    after = json.loads(ended.stdout)["results"]
    assert {task: after[task] for task in ("first", "second", "slow")} == {
        task: before[task] for task in ("first", "second", "slow")
    }


def test_a_stopped_run_prints_its_object_too(planwave: CommandLine) -> None:
    process = begun(planwave, "--json")
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=PATIENCE_S)
    record = json.loads(stdout)
    assert process.returncode == 130
    assert record["status"] == "interrupted"
    assert record["results"]["second"]["status"] == "done"
    assert record["thread_id"] == "t"


def test_a_killed_run_is_resumed(planwave: CommandLine) -> None:
    process = begun(planwave)
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    before = planwave.thread("t")["results"]
    ended = planwave.here("resume", "t", "--json")
    assert ended.exit_code == 0, ended.output
    after = json.loads(ended.stdout)["results"]
    assert after.keys() == {"first", "second", "slow", "last"}
    assert {task: after[task] for task in before} == before


def test_a_second_ctrl_c_ends_at_once(planwave: CommandLine) -> None:
    process = begun(planwave, grace_s=60)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    while "Ctrl-C again" not in (line := process.stdout.readline()):
        assert line, process.communicate()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    # The call in flight was not waited for: within the grace its result would have been stored.
    assert "slow" not in planwave.thread("t")["results"]
    ended = planwave.here("resume", "t", "--json")
    assert ended.exit_code == 0, ended.output
