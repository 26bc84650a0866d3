"""`--json`: one object on standard output, whatever happens, and nothing else there."""

import json
from pathlib import Path

import pytest

from tests.support.command_line import PATIENCE_S, CommandLine, query, save

KEYS = {"status", "answer", "plan", "results", "replans", "problems", "warnings", "thread_id"}
STRANGE = "SELECT 'naïve ✓ \u202e' AS text, 'nan'::DOUBLE AS no_number, 1e300 * 1e300 AS too_big, chr(27) AS control"


def test_a_process_prints_one_object_and_the_rest_on_standard_error(planwave: CommandLine) -> None:
    plan = planwave.plan_file(query("read", STRANGE))
    process = planwave.apart("run", "Read", "--plan", plan, "--json", env={"LC_ALL": "C", "PYTHONIOENCODING": "ascii"})
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, stderr
    record = json.loads(stdout, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert record.keys() == KEYS
    assert record["status"] == "completed"
    row = record["results"]["read"]["output"]["rows"][0]
    assert row["text"] == "naïve ✓ \u202e"
    assert row["control"] == "\x1b"
    assert "done read" in stderr
    assert "\x1b" not in stderr
    assert "\u202e" not in stderr


def test_what_waits_is_told_with_its_question(planwave: CommandLine) -> None:
    plan = planwave.plan_file(
        query("read", "SELECT 7 AS n"), save("keep", "a.csv", {"output_of": "read", "path": ["rows"]})
    )
    ended = planwave.here("run", "Keep", "--plan", plan, "--json")
    record = json.loads(ended.stdout)
    assert ended.exit_code == 3
    assert record.keys() == KEYS | {"interrupt"}
    assert record["status"] == "awaiting_approval"
    (asked,) = record["interrupt"]["action_requests"]
    assert asked["name"] == "save_file"
    assert asked["args"] == {"path": "a.csv", "content": [{"n": 7}]}
    assert record["results"]["read"]["status"] == "done"
    answered = planwave.here("resume", record["thread_id"], "--yes", "--json")
    assert answered.exit_code == 0, answered.output
    done = json.loads(answered.stdout)
    assert done["status"] == "completed"
    assert Path(done["results"]["keep"]["output"]["path"]).read_text() == "n\n7\n"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["run", "", "--json"], 2),
        (["run", "x", "--json", "--plan", "no-such-file.json"], 2),
        (["run", "x", "--json", "--model", "openai:some"], 2),
        (["resume", "nope", "--json"], 2),
        (["show", "nope", "--json"], 2),
    ],
)
def test_an_error_is_an_object_too(planwave: CommandLine, words: list[str], status: int) -> None:
    ended = planwave.here(*words)
    record = json.loads(ended.stdout)
    assert ended.exit_code == status
    assert record.keys() == KEYS
    assert record["status"] == "failed"
    assert record["problems"]
    assert record["problems"][0] in ended.stderr


def test_problems_of_a_plan_are_listed(planwave: CommandLine) -> None:
    ended = planwave.here(
        "run", "x", "--json", "--plan", planwave.plan_file({"id": "a", "tool": "b"}, {"id": "c", "tool": "d"})
    )
    record = json.loads(ended.stdout)
    assert ended.exit_code == 1
    assert record["status"] == "failed"
    assert {problem.partition(":")[0] for problem in record["problems"]} == {"Task 'a'", "Task 'c'"}


def test_a_plan_comes_from_standard_input_with_its_goal(planwave: CommandLine) -> None:
    given = json.dumps({"goal": "Count", "plan": {"tasks": [query("read", "SELECT 1 AS n")]}})
    ended = planwave.here("run", "--plan", "-", "--json", given=given)
    assert ended.exit_code == 0, ended.output
    shown = planwave.thread(json.loads(ended.stdout)["thread_id"])
    assert shown["goal"] == "Count"
