"""Questions about calls, and the decisions that answers make."""

import io
from typing import Any

import pytest
from rich.console import Console

from agent.core.engine.approvals import ApprovalRequest, build_hitl_request, list_allowed_decisions, parse_decisions
from agent.core.plan.tool_spec import ToolSpec
from graphs.cli.terminal.approval_prompts import approve_all, prompt_approvals
from graphs.cli.terminal.screen import Screen

SPEC = ToolSpec(
    name="send",
    args_schema={"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]},
)


def request(task: str = "mail", **more: Any) -> ApprovalRequest:
    return ApprovalRequest(
        task=task, tool="send", args={"to": "all"}, description="Tell them", digest=f"digest of {task}", **more
    )


def payload(*requests: ApprovalRequest) -> dict[str, Any]:
    return build_hitl_request(requests, [SPEC] * len(requests))


@pytest.fixture
def screen() -> Screen:
    console = Console(file=io.StringIO(), width=120, highlight=False, markup=False, emoji=False)
    return Screen(console=console, live=False, interactive=True)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("EDITOR", raising=False)
    monkeypatch.delenv("VISUAL", raising=False)
    return lambda *lines: monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def shown(screen: Screen) -> str:
    assert isinstance(screen.console.file, io.StringIO)
    return screen.console.file.getvalue()


def test_each_call_is_asked_about_in_turn(screen: Screen, typed: Any) -> None:
    requests = (request("one"), request("two"), request("three"))
    typed("a", "r", "too many", "e", '{"to": "me"}')
    decisions = prompt_approvals(payload(*requests), screen=screen)
    read = parse_decisions({"decisions": decisions}, requests)
    assert not isinstance(read, str), read
    assert [decision.type for decision in read.values()] == ["approve", "reject", "edit"]
    assert decisions is not None
    assert decisions[1]["message"] == "too many"
    assert decisions[2]["edited_action"] == {"name": "send", "args": {"to": "me"}}
    assert [decision["digest"] for decision in decisions] == ["digest of one", "digest of two", "digest of three"]
    assert "Approval 2 of 3" in shown(screen)


@pytest.mark.parametrize("lines", [("a", "q"), ("a",), ("a", "QUIT")])
def test_who_leaves_has_answered_nothing(screen: Screen, typed: Any, lines: tuple[str, ...]) -> None:
    typed(*lines)
    assert prompt_approvals(payload(request("one"), request("two")), screen=screen) is None


@pytest.mark.parametrize("wrong", ["", "yes", "ap", "aa", "1", "\x1b[A", "approve it"])
def test_a_wrong_key_asks_again(screen: Screen, typed: Any, wrong: str) -> None:
    typed(wrong, "a")
    decisions = prompt_approvals(payload(request()), screen=screen)
    assert decisions is not None
    assert decisions[0]["type"] == "approve"
    assert "is not one of these" in shown(screen)
    assert "\x1b" not in shown(screen)


def test_who_thinks_better_of_an_edit_is_asked_again(screen: Screen, typed: Any) -> None:
    typed("e", "", "e", '{"to": "all"}', "e", "[]", '{"to": 1}', "", "g", "", "g", "sent by hand")
    decisions = prompt_approvals(payload(request()), screen=screen)
    assert decisions == [{"type": "respond", "message": "sent by hand", "digest": "digest of mail"}]
    assert "Nothing was changed." in shown(screen)
    assert "to: 1 is not of type 'string'" in shown(screen)


def test_the_calls_of_each_item_are_all_shown_and_not_edited(screen: Screen, typed: Any) -> None:
    each = request(items=({"to": "ann"}, {"to": "bob"}))
    typed("e", "a")
    decisions = prompt_approvals(payload(each), screen=screen)
    assert decisions is not None
    assert decisions[0]["type"] == "approve"
    text = shown(screen)
    assert "arguments of 2 calls" in text
    assert '"ann"' in text
    assert '"bob"' in text
    assert "'e' is not one of these" in text


def test_the_terminal_shows_hidden_letters_defaults_and_secrets(screen: Screen, typed: Any) -> None:
    each = request(items=({"to": "ann"}, {"to": "b\u200bob"}, {"to": "cy"}), expected="All\u202e told")
    shown_payload = payload(each)
    shown_payload["action_requests"][0] |= {"defaults": {"retries": 3}, "secrets": ["PROD"]}
    typed("a")
    prompt_approvals(shown_payload, screen=screen)
    text = shown(screen)
    for expected in (
        "arguments of 3 calls",
        '2: {"to": "b\\u200bob"}',
        "All\\u202e told",
        "retries: 3 (default)",
        "PROD",
    ):
        assert expected in text
    assert not {"\u200b", "\u202e"} & set(text)


def test_yes_approves_what_it_names(screen: Screen) -> None:
    decisions = approve_all(payload(request("one"), request("two")), screen=screen)
    assert decisions == [{"type": "approve", "digest": "digest of one"}, {"type": "approve", "digest": "digest of two"}]
    assert 'approved by --yes: two: send {"to": "all"}' in shown(screen)


def test_yes_never_answers_for_a_call_in_doubt(screen: Screen, typed: Any) -> None:
    doubtful = request("two", doubt="Begun on Monday; nobody knows whether it took effect.")
    assert "edit" not in list_allowed_decisions(doubtful)
    assert approve_all(payload(request("one"), doubtful), screen=screen) is None
    assert "Begun on Monday" in shown(screen)
    typed("e", "g", "it went out")
    decisions = prompt_approvals(payload(doubtful), screen=screen)
    assert decisions is not None
    assert decisions[0]["type"] == "respond"
    assert "it did happen" in shown(screen)


def test_why_an_answer_did_not_do_is_said_first(screen: Screen, typed: Any) -> None:
    typed("q")
    prompt_approvals({**payload(request()), "error": "There is no such folder."}, screen=screen)
    assert shown(screen).startswith("There is no such folder.")
