"""`resume` with answers by options or by a file: which call an ID means, what is refused, what still waits."""

import json
from typing import Any

import pytest

from tests.support.command_line import CommandLine, save

NAMES = ("alpha", "alps", "beta")


@pytest.fixture
def waiting(planwave: CommandLine) -> dict[str, str]:
    """Return the digests of three calls that wait, by task."""
    plan = planwave.plan_file(*(save(name, f"{name}.txt", name) for name in NAMES))
    begun = planwave.here("run", "Keep them", "--thread", "t", "--plan", plan, "--json")
    assert begun.exit_code == 3, begun.output
    requests = json.loads(begun.stdout)["interrupt"]["action_requests"]
    return {request["task_id"]: request["digest"] for request in requests}


def files(planwave: CommandLine) -> set[str]:
    return {path.name for path in (planwave.home / "output").glob("*.txt")}


def test_calls_are_named_by_task_digest_or_beginning(planwave: CommandLine, waiting: dict[str, str]) -> None:
    words = ("--approve", "alph", "--approve", waiting["alps"][:10], "--reject", "beta", "--why", "not this one")
    ended = planwave.here("resume", "t", *words, "--json")
    assert ended.exit_code == 1, ended.output
    results = json.loads(ended.stdout)["results"]
    assert {task: record["status"] for task, record in results.items()} == {
        "alpha": "done",
        "alps": "done",
        "beta": "rejected",
    }
    assert results["beta"]["message"] == "not this one"
    assert files(planwave) == {"alpha.txt", "alps.txt"}


def test_what_is_not_named_waits_or_is_approved_by_yes(planwave: CommandLine, waiting: dict[str, str]) -> None:
    part = planwave.here("resume", "t", "--approve", "beta")
    assert part.exit_code == 3, part.output
    assert "Waiting for approval; answer with: planwave resume t" in part.stdout
    assert files(planwave) <= {"beta.txt"}
    gone = planwave.here("resume", "t", "--approve", "beta")
    assert (gone.exit_code, "Waiting: alpha (" in gone.stderr) == (2, True), gone.output
    rest = planwave.here("resume", "t", "--reject", "alps", "--yes", "--json")
    statuses = {task: one["status"] for task, one in json.loads(rest.stdout)["results"].items()}
    assert statuses == {"alpha": "done", "alps": "rejected", "beta": "done"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--approve", "gamma"), "No call 'gamma' waits for an answer. Waiting: alpha ("),
        (("--approve", "al"), "'al' is the beginning of 2 calls: alpha ("),
        (("--approve", ""), "An ID is empty"),
        (("--reject", "  "), "An ID is empty"),
        (("--approve", "beta", "--reject", "bet"), "Two answers are for beta ("),
        (("--why", "because"), "1 of --why and 0 of --reject were given"),
        (("--reject", "beta", "--why", "a", "--why", "b"), "2 of --why and 1 of --reject were given"),
        (("--answers", "no-such.json"), "cannot be read: No such file"),
    ],
)
def test_a_wrong_answer_is_a_sentence_and_answers_nothing(
    planwave: CommandLine, waiting: dict[str, str], words: tuple[str, ...], says: str
) -> None:
    refused = planwave.here("resume", "t", *words)
    assert refused.exit_code == 2, refused.output
    assert says in refused.stderr
    assert "Traceback" not in refused.output
    assert files(planwave) == set()
    assert len(planwave.thread("t")["interrupt"]["action_requests"]) == len(waiting)


@pytest.mark.parametrize("is_list", [True, False])
def test_answers_come_from_a_file_and_from_standard_input(
    planwave: CommandLine, waiting: dict[str, str], is_list: bool
) -> None:
    edit = {"name": "save_file", "args": {"path": "other.txt", "content": "mine"}}
    decisions: list[dict[str, Any]] = [
        {"type": "edit", "task_id": "beta", "edited_action": edit},
        {"type": "approve", "digest": waiting["alpha"]},
        {"type": "reject", "id": "alps", "message": "not needed"},
    ]
    given = json.dumps(decisions if is_list else {"decisions": decisions})
    if is_list:
        ended = planwave.here("resume", "t", "--answers", "-", "--json", given=given)
    else:
        (planwave.home / "answers.json").write_text(given, encoding="utf-8")
        ended = planwave.here("resume", "t", "--answers", str(planwave.home / "answers.json"), "--json")
    assert ended.exit_code == 1, ended.output
    assert files(planwave) == {"alpha.txt", "other.txt"}
    assert json.loads(ended.stdout)["results"]["alps"]["message"] == "not needed"


def test_an_answer_that_the_tool_cannot_take_is_asked_about_again(
    planwave: CommandLine, waiting: dict[str, str]
) -> None:
    given = json.dumps([{"type": "respond", "id": "alps", "message": "kept by hand"}])
    again = planwave.here("resume", "t", "--answers", "-", given=given)
    assert (again.exit_code, "cannot be the result of 'save_file'" in again.stderr) == (3, True), again.output
    assert len(planwave.thread("t")["interrupt"]["action_requests"]) == len(waiting)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is not JSON"),
        ("[]", "has no decisions"),
        ('["yes"]', "Decision 1 of standard input has no type"),
        ('[{"type": "approve"}]', "1 of 1 answers name no call"),
        ('[{"type": "approve", "task_id": ""}]', "No call '' waits"),
        ('[{"type": "maybe", "task_id": "beta"}]', "'maybe' is no answer to beta ("),
        ('[{"type": "approve", "task_id": "beta", "digest": "0000"}]', "No call"),
    ],
)
def test_a_wrong_file_is_a_sentence(planwave: CommandLine, waiting: dict[str, str], content: str, says: str) -> None:
    refused = planwave.here("resume", "t", "--answers", "-", given=content)
    assert (refused.exit_code, says in refused.stderr) == (2, True), refused.output
    assert files(planwave) == set()


def test_a_thread_that_waits_for_nothing_takes_no_answer(planwave: CommandLine) -> None:
    planwave.here("run", "Keep it", "--thread", "t", "--yes", "--plan", planwave.plan_file(save("one", "a.txt", "x")))
    refused = planwave.here("resume", "t", "--approve", "one")
    assert (refused.exit_code, "Nothing on the thread 't' waits" in refused.stderr) == (2, True), refused.output


def test_help_has_examples_that_can_be_copied(planwave: CommandLine) -> None:
    for words in (("resume",), ("plan", "edit")):
        shown = planwave.here(*words, "--help").stdout
        examples = [line.strip() for line in shown.partition("Examples:")[2].splitlines() if line.strip()]
        assert len(examples) >= 3, shown
        assert all(line.startswith(f"planwave {' '.join(words)} ") for line in examples)
