"""Plan files: what is taken for a plan, and the sentence for what is not."""

import json
from pathlib import Path

import pytest

from agent.errors import UsageError
from graphs.cli.plan_commands.plan_file import read_plan

TASKS = [{"id": "a", "tool": "t"}]


def written(folder: Path, content: str | bytes) -> str:
    file = folder / "plan.json"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(file)


@pytest.mark.parametrize(
    ("document", "goal"),
    [
        ({"tasks": TASKS}, None),
        ({"tasks": TASKS, "goal": "Find out"}, "Find out"),
        ({"plan": {"tasks": TASKS}, "goal": "Find out"}, "Find out"),
        ({"plan": {"tasks": TASKS}}, None),
    ],
)
def test_a_plan_is_read_with_its_goal(tmp_path: Path, document: object, goal: str | None) -> None:
    found = read_plan(written(tmp_path, json.dumps(document)))
    assert found.document == {"tasks": TASKS}
    assert found.goal == goal


def test_a_byte_order_mark_does_not_hurt(tmp_path: Path) -> None:
    assert read_plan(written(tmp_path, b"\xef\xbb\xbf" + json.dumps({"tasks": TASKS}).encode())).document == {
        "tasks": TASKS
    }


def test_fields_that_a_plan_has_not_are_left_to_the_compiler(tmp_path: Path) -> None:
    assert read_plan(written(tmp_path, '{"tasks": [], "colour": "red"}')).document == {"tasks": [], "colour": "red"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("{", "is not JSON"),
        ("tasks: []", "is not JSON"),
        (b"\xff\xfe{", "is not UTF-8"),
        ("[" * 200_000, "is nested too deeply"),
        ("[]", "contains a list"),
        ('[{"id": "a"}]', "contains a list"),
        ("42", "contains 42"),
        ("null", "contains None"),
        ('"tasks"', "contains 'tasks'"),
        ("{}", 'has no list of "tasks"'),
        ('{"tasks": {}}', 'has no list of "tasks"'),
        ('{"goal": "x", "plan": []}', 'has no list of "tasks"'),
        ('{"goal": 3, "tasks": []}', '"goal" is 3'),
        ("1" * 5000, "is not JSON"),
    ],
)
def test_what_is_no_plan_is_named(tmp_path: Path, content: str | bytes, sentence: str) -> None:
    with pytest.raises(UsageError, match=r"plan\.json.* ") as caught:
        read_plan(written(tmp_path, content))
    assert sentence in str(caught.value)


def test_a_folder_is_no_plan(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^The plan file [^:]* cannot be read: Is a directory\."):
        read_plan(str(tmp_path))
