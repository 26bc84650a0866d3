"""A call on a terminal: it fits, says what is cut off, and shows all of it on request."""

import io
import sys
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from graphs.cli.terminal import approval_prompts
from graphs.cli.terminal.approval_prompts import prompt_approvals
from graphs.cli.terminal.approval_view import name_call, show_call
from graphs.cli.terminal.screen import Screen

ROWS = [{"customer": f"Customer {number} of the shop", "units": number, "note": "n" * 90} for number in range(40)]
CONTENTS: list[Any] = [
    ROWS,
    "one line " * 300,
    "many\nshort\nlines\n" * 60,
    {"nested": [{"deep": list(range(200))}]},
    ["x" * 50] * 50,
    "数" * 900,
]


def make_screen(columns: int, lines: int) -> Screen:
    console = Console(
        file=io.StringIO(),
        force_terminal=True,
        width=columns,
        height=lines,
        color_system=None,
        highlight=False,
        markup=False,
        emoji=False,
    )
    return Screen(console=console, live=True, interactive=True)


def printed(screen: Screen) -> list[str]:
    assert isinstance(screen.console.file, io.StringIO)
    return screen.console.file.getvalue().splitlines()


def action(**more: Any) -> dict[str, Any]:
    base = {"name": "save_file", "task_id": "keep", "digest": "3f2a9c1122", "purpose": "Keep what was found. " * 20}
    return {**base, "args": {}, **more}


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (120, 50), (44, 24), (60, 15)])
@pytest.mark.parametrize("content", CONTENTS, ids=range(len(CONTENTS)))
def test_a_call_leaves_room_for_the_question(columns: int, lines: int, content: Any) -> None:
    screen = make_screen(columns, lines)
    args = {"path": "a.csv", "content": content, "overwrite": True}
    assert show_call(action(args=args), screen=screen, number=1, of=1)
    shown = printed(screen)
    assert len(shown) <= max(lines - 4, 13), "\n".join(shown)
    assert max(map(cell_len, shown)) <= columns
    assert any("a.csv" in line for line in shown)
    assert any("overwrite" in line and "true" in line for line in shown)


@pytest.mark.parametrize("count", [1, 2, 3, 50, 10_000])
def test_calls_of_a_for_each_are_numbered_and_counted(count: int) -> None:
    screen = make_screen(80, 24)
    calls = [{"product": f"p{number}", "pieces": number} for number in range(1, count + 1)]
    is_cut = show_call(action(purpose="Order", args=calls[0], items=calls), screen=screen, number=1, of=1)
    text = "\n".join(printed(screen))
    assert f"arguments of {count} calls" in text
    assert f"p{count} " in text
    assert is_cut == (count > 3)
    assert len(text.splitlines()) <= 20
    if count > 10:
        assert "more" in text


def test_many_arguments_are_counted() -> None:
    screen = make_screen(80, 24)
    assert show_call(action(args={f"a{number}": number for number in range(60)}), screen=screen, number=1, of=1)
    assert len(printed(screen)) <= 20
    assert "more arguments" in "\n".join(printed(screen))


def test_a_text_cannot_look_like_another_argument_or_value() -> None:
    screen = make_screen(80, 24)
    forged = "x\npath  other.csv\n│ tool      delete"
    show_call(
        action(purpose="Short", args={"content": forged, "a": "3", "b": 3, "c": "\u202e"}),
        screen=screen,
        number=1,
        of=1,
    )
    shown = printed(screen)
    assert not any(line.removeprefix("│").strip().startswith(("path", "│ tool")) and line[2] != " " for line in shown)
    text = "\n".join(shown)
    assert 'a        "3"' in text
    assert "b        3" in text
    assert "\\u202e" in text


def test_what_is_in_doubt_is_never_cut() -> None:
    screen = make_screen(80, 24)
    doubt = "It was begun at noon by worker seven, and nobody knows whether it took effect. " * 5
    show_call(action(args={"path": "a"}, doubt=doubt), screen=screen, number=1, of=1)
    text = " ".join(" ".join(printed(screen)).replace("│", "").split())
    assert text.count("nobody knows") == 5
    assert "it did happen" in text


def test_view_shows_all_and_the_tool_stands_at_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = make_screen(80, 24)
    monkeypatch.setattr("sys.stdin", io.StringIO("v\na\n"))
    request = action(args={"path": "a.csv", "content": "word " * 400 + "the very end"})
    config = {"allowed_decisions": ["approve", "edit", "reject", "respond"]}
    decisions = prompt_approvals({"action_requests": [request], "review_configs": [config]}, screen=screen)
    assert decisions == [{"type": "approve", "digest": "3f2a9c1122"}]
    shown = printed(screen)
    text = " ".join("\n".join(shown).replace("│", "").split())
    before, _, after = text.partition("[v]iew all")
    assert "the very end" not in before
    assert "the very end" in after
    questions = [position for position, line in enumerate(shown) if "[q]uit?" in line]
    assert all(shown[position - 1].strip() == "save_file path=a.csv" for position in questions)


def test_a_call_that_is_shown_whole_offers_no_view(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = make_screen(80, 24)
    monkeypatch.setattr("sys.stdin", io.StringIO("v\nq\n"))
    request = action(purpose="Keep it", args={"path": "a.csv", "content": "x"})
    prompt_approvals(
        {"action_requests": [request], "review_configs": [{"allowed_decisions": ["approve"]}]}, screen=screen
    )
    assert "'v' is not one of these" in "\n".join(printed(screen))


def test_a_call_is_named_within_the_width() -> None:
    args = {"path": "a" * 30, "content": [1], "mode": "w", "note": "n" * 100, "last": 1}
    for width in (20, 44, 80):
        assert cell_len(name_call(action(args=args), width=width)) <= width
    assert name_call(action(args=args), width=80) == f"save_file path={'a' * 30} mode=w last=1"
    assert name_call(action(items=[{}] * 7), width=80) == "save_file, 7 calls"


def test_a_draft_is_filled_in_where_lines_can_be_edited(monkeypatch: pytest.MonkeyPatch) -> None:
    class TerminalInput(io.StringIO):
        def isatty(self) -> bool:
            return True

    typed: list[str] = []
    hooks: list[Any] = []

    class Readline:
        set_startup_hook = staticmethod(hooks.append)
        insert_text = staticmethod(typed.append)

    def answer(prompt: str) -> str:
        hooks[-1]()
        return typed[-1].replace("a.csv", "b.csv")

    monkeypatch.setattr("sys.stdin", TerminalInput())
    monkeypatch.setitem(sys.modules, "readline", Readline)
    monkeypatch.setattr(approval_prompts, "find_spec", lambda _name: True)
    monkeypatch.setattr("builtins.input", answer)
    written = approval_prompts.read_line("arguments: ", screen=make_screen(80, 24), draft='{"path": "a.csv"}')
    assert written == '{"path": "b.csv"}'
    assert hooks[-1] is None
