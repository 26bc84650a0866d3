"""What the command says by its exit status, and that it never shows a traceback."""

import asyncio

import pytest

from graphs.cli.commands.exit import run_command
from tests.support.command_line import CommandLine, query, save

READ = query("read", "SELECT 42 AS answer")


def test_a_plan_that_runs_ends_with_0(planwave: CommandLine) -> None:
    ended = planwave.here("run", "Find the answer", "--plan", planwave.plan_file(READ))
    assert ended.exit_code == 0, ended.output
    assert "done read" in ended.stdout
    assert "42" in ended.stdout
    assert "\x1b" not in ended.stdout


def test_a_task_that_fails_ends_with_1(planwave: CommandLine) -> None:
    broken = query("broken", "SELECT CAST(product_name AS INTEGER) AS n FROM products")
    ended = planwave.here("run", "Fail", "--plan", planwave.plan_file(broken), "--thread", "t")
    assert ended.exit_code == 1, ended.output
    assert "failed broken" in ended.stdout
    assert planwave.thread("t")["status"] == "failed"


def test_a_plan_that_does_not_compile_ends_with_1_and_runs_nothing(planwave: CommandLine) -> None:
    plan = planwave.plan_file(READ, {"id": "x", "tool": "no_such_tool", "depends_on": ["nowhere"]})
    ended = planwave.here("run", "Fail", "--plan", plan, "--thread", "t")
    assert ended.exit_code == 1, ended.output
    assert "no_such_tool" in ended.stdout
    assert "nowhere" in ended.stdout
    assert planwave.thread("t")["results"] == {}


def test_a_write_that_nobody_approves_ends_with_3(planwave: CommandLine) -> None:
    plan = planwave.plan_file(save("keep", "a.txt", "hello"))
    ended = planwave.here("run", "Write", "--plan", plan, "--thread", "t")
    assert ended.exit_code == 3, ended.output
    assert "planwave resume t" in ended.stdout
    assert not (planwave.home / "output" / "a.txt").exists()
    again = planwave.here("resume", "t")
    assert again.exit_code == 3, again.output
    answered = planwave.here("resume", "t", "--yes")
    assert answered.exit_code == 0, answered.output
    assert "approved by --yes: keep: save_file" in answered.stdout
    assert (planwave.home / "output" / "a.txt").read_text() == "hello"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", ""], "The goal is empty"),
        (["run"], "The goal is empty"),
        (["run", "x", "--plan", "no-such-file.json"], "'no-such-file.json'"),
        (["run", "x", "--db", "planwave.db"], "'planwave.db' is not a database URL"),
        (["run", "x", "--model", "gpt"], "'gpt' names no model"),
        (["run", "x", "--model", "openai:some"], "'openai:some' needs an API key"),
        (["run", "x", "--data", "no-such.csv"], "'no-such.csv'"),
        (["resume", "nope"], "There is no thread 'nope'"),
        (["show", "nope"], "There is no thread 'nope'"),
        (["show", "nope", "--mermaid"], "There is no thread 'nope'"),
        (["plan", " "], "The goal is empty"),
        (["run", "x", "--dispatch", "sideways"], "sideways"),
        (["run", "x", "--max-replans", "-1"], "--max-replans"),
        (["frobnicate"], "frobnicate"),
        (["run", "x", "--no-such-option"], "--no-such-option"),
    ],
)
def test_bad_use_ends_with_2_and_a_sentence(planwave: CommandLine, words: list[str], sentence: str) -> None:
    ended = planwave.here(*words)
    assert ended.exit_code == 2, ended.output
    assert sentence in ended.stderr
    assert "Traceback" not in ended.output
    assert ended.stdout == ""


def test_a_setting_that_is_wrong_is_named(planwave: CommandLine) -> None:
    planwave.env["PLANWAVE_MAX_TASKS"] = "many"
    ended = planwave.here("run", "x", "--plan", planwave.plan_file(READ))
    assert ended.exit_code == 2, ended.output
    assert "'max_tasks'" in ended.stderr
    assert "'many'" in ended.stderr


def test_a_thread_that_is_not_finished_is_not_begun_anew(planwave: CommandLine) -> None:
    plan = planwave.plan_file(save("keep", "a.txt", "hello"))
    assert planwave.here("run", "Write", "--plan", plan, "--thread", "t").exit_code == 3
    ended = planwave.here("run", "Read", "--plan", planwave.plan_file(READ), "--thread", "t")
    assert ended.exit_code == 2
    assert "planwave resume t" in ended.stderr


def test_a_thread_that_has_ended_is_told_again_and_runs_nothing(planwave: CommandLine) -> None:
    planwave.here("run", "Find the answer", "--plan", planwave.plan_file(READ), "--thread", "t")
    before = planwave.thread("t")["results"]
    ended = planwave.here("resume", "t")
    assert ended.exit_code == 0
    assert "has already ended" in ended.stdout
    assert planwave.thread("t")["results"] == before


def test_a_command_that_was_cancelled_by_ctrl_c_ends_as_interrupted(planwave: CommandLine) -> None:
    # `asyncio.run` raises this, and no KeyboardInterrupt, if a task group has cancelled the main task once more.
    def cancelled(_context: object) -> int:
        raise asyncio.CancelledError

    with pytest.raises(KeyboardInterrupt):
        run_command(cancelled)
