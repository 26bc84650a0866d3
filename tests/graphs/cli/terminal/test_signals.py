"""Ctrl-C, SIGTERM and SIGKILL in the middle of a run, and what `resume` makes of them."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.command_line import PATIENCE_S, SLOW, CommandLine, query

TASKS = (
    query("first", "SELECT 1 AS n"),
    query("slow", SLOW),
    query("second", "SELECT 2 AS n", depends_on=["first"]),
    query("last", "SELECT 3 AS n", depends_on=["second", "slow"]),
)


#: One call of a function that takes minutes, which no engine interrupts: at run time, and already when it is bound.
_SCALAR = "SELECT levenshtein(repeat('a', 400000) || i::text, repeat('b', 400000)) AS n FROM range(2) t(i)"
_CONSTANT = "SELECT levenshtein(repeat('a', 400000), repeat('b', 400000)) AS n"


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


def test_one_ctrl_c_ends_a_query_that_nothing_interrupts(planwave: CommandLine) -> None:
    plan = planwave.plan_file(query("slow", _SCALAR))
    process = planwave.apart("run", "Slow", "--thread", "t", "--plan", plan, env={"PLANWAVE_GRACE_S": "0.5"})
    assert process.stdout is not None
    while "started slow" not in " ".join((line := process.stdout.readline()).split()):
        assert line, process.communicate()
    process.send_signal(signal.SIGINT)
    # The engine would be busy for minutes.
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert planwave.thread("t")["status"] == "interrupted"


def test_the_time_limit_of_a_task_ends_such_a_query(planwave: CommandLine) -> None:
    plan = planwave.plan_file(query("slow", _SCALAR, timeout_s=1, max_retries=0))
    process = planwave.apart("run", "Slow", "--thread", "t", "--plan", plan)
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert planwave.thread("t")["results"]["slow"]["kind"] == "timeout"


@pytest.mark.parametrize("words", [("plan", "validate"), ("run", "Slow", "--thread", "t", "--plan")])
def test_one_ctrl_c_ends_a_check_that_nothing_interrupts(planwave: CommandLine, words: tuple[str, ...]) -> None:
    process = planwave.apart(*words, planwave.plan_file(query("slow", _CONSTANT)))
    while not _has_busy_child(process.pid):
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=30)
    assert process.returncode == 130, (out, error)


def _has_busy_child(pid: int) -> bool:
    """Whether a process has a child that has worked for more than two seconds."""
    time.sleep(0.05)
    for entry in Path(f"/proc/{pid}/task/{pid}/children").parent.parent.glob("*/children"):
        for child in entry.read_text().split():
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            if (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") > 2:
                return True
    return False
