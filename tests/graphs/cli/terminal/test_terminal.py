"""The command at a terminal: the live plan, questions and their answers."""

from pathlib import Path

import pytest

from tests.support.command_line import SLOW, CommandLine, query, save

READ = query("read", "SELECT 7 AS n")
KEEP = save("keep", "a.csv", {"output_of": "read", "path": ["rows"]})
ASKED = "[q]uit? "


def test_the_plan_is_shown_and_a_call_is_approved(planwave: CommandLine) -> None:
    terminal = planwave.at_terminal("run", "Keep it", "--thread", "t", "--plan", planwave.plan_file(READ, KEEP))
    shown = " ".join(terminal.until(ASKED).split())
    for word in (
        "wave",
        "Read read",
        "save_file",
        "awaiting approval",
        "purpose Keep keep",
        "path a.csv",
        "content 1 row",
        "save_file path=a.csv",
    ):
        assert word in shown
    terminal.type("x\n")
    assert "'x' is not one of these" in terminal.until(ASKED)
    terminal.type("a\n")
    status, shown = terminal.end()
    assert status == 0, shown
    assert str(planwave.home / "output" / "a.csv") in "".join(shown.split())
    assert "planwave show t" in shown
    assert "Traceback" not in shown


def test_a_rejection_carries_its_reason(planwave: CommandLine) -> None:
    terminal = planwave.at_terminal("run", "Keep it", "--thread", "t", "--plan", planwave.plan_file(READ, KEEP))
    terminal.until(ASKED)
    terminal.type("r\n")
    terminal.until("may be empty): ")
    terminal.type("not this folder\n")
    status, shown = terminal.end()
    assert status == 1, shown
    rejected = planwave.thread("t")["results"]["keep"]
    assert rejected["status"] == "rejected"
    assert rejected["message"] == "not this folder"
    assert not (planwave.home / "output").exists()


def test_edited_arguments_are_checked_here_and_by_the_plan(planwave: CommandLine) -> None:
    terminal = planwave.at_terminal("run", "Keep it", "--plan", planwave.plan_file(READ, KEEP))
    terminal.until(ASKED)
    terminal.type("e\n")
    terminal.until("back): ")
    # Ctrl-U clears what is filled in.
    terminal.type('\x15{"path": 3, "content": "x"}\n')
    assert "path: 3 is not of type 'string'" in terminal.until("back): ")
    terminal.type("\x15{\n")
    assert "not JSON" in terminal.until("back): ")
    terminal.type('\x15{"path": "../b.txt", "content": "x"}\n')
    assert "'../b.txt'" in terminal.until(ASKED)
    terminal.type("e\n")
    terminal.until("back): ")
    terminal.type('\x15{"path": "b.txt", "content": "mine"}\n')
    status, shown = terminal.end()
    assert status == 0, shown
    assert (planwave.home / "output" / "b.txt").read_text() == "mine"
    assert not (planwave.home / "output" / "a.csv").exists()


def test_an_editor_of_ones_own_is_used(planwave: CommandLine, tmp_path: Path) -> None:
    editor = tmp_path / "my editor"
    editor.write_text('#!/bin/sh\nsed -i s/a.csv/c.csv/ "$1"\n')
    editor.chmod(0o755)
    plan = planwave.plan_file(READ, KEEP)
    terminal = planwave.at_terminal("run", "Keep it", "--plan", plan, EDITOR=f"'{editor}'")
    terminal.until(ASKED)
    terminal.type("e\n")
    status, shown = terminal.end()
    assert status == 0, shown
    assert (planwave.home / "output" / "c.csv").read_text() == "n\n7\n"


@pytest.mark.parametrize(("keys", "status"), [("q\n", 3), ("\x04", 3), ("\x03", 130)])
def test_who_leaves_a_question_finds_it_again(planwave: CommandLine, keys: str, status: int) -> None:
    terminal = planwave.at_terminal("run", "Keep it", "--thread", "t", "--plan", planwave.plan_file(READ, KEEP))
    terminal.until(ASKED)
    terminal.type(keys)
    ended, shown = terminal.end()
    assert ended == status, shown
    assert "planwave resume t" in shown
    assert "Traceback" not in shown
    again = planwave.at_terminal("resume", "t")
    again.until(ASKED)
    again.type("approve\n")
    ended, shown = again.end()
    assert ended == 0, shown
    assert (planwave.home / "output" / "a.csv").exists()


def test_no_word_is_broken_after_ctrl_c_on_a_narrow_terminal(planwave: CommandLine) -> None:
    terminal = planwave.at_terminal(
        *("run", "Keep it", "--thread", "t", "--plan", planwave.plan_file(READ, KEEP)), columns=44, rows=24
    )
    terminal.until(ASKED)
    terminal.type("\x03")
    status, shown = terminal.end()
    assert status == 130, shown
    # Where Ctrl-C comes before the line is read, the question is shown once more behind it.
    after = shown.rpartition("^C")[2].rpartition(ASKED)[2]
    lines = after.splitlines()
    assert lines[0] == "", "what follows begins on a line of its own"
    assert max(map(len, lines)) <= 44
    assert "1 task is finished and stored." in " ".join(after.split())


def test_a_line_of_arguments_is_filled_in_where_no_editor_is_set(planwave: CommandLine) -> None:
    plan = planwave.plan_file(save("keep", "a.txt", "x"))
    terminal = planwave.at_terminal("run", "Keep it", "--plan", plan)
    terminal.until(ASKED)
    terminal.type("e\n")
    terminal.until('"content": "x"}')
    # To the end of the line, three letters back, and a letter more.
    terminal.type("\x05\x1b[D\x1b[Dyz\n")
    status, shown = terminal.end()
    assert status == 0, shown
    assert (planwave.home / "output" / "a.txt").read_text() == "xyz"


def test_ctrl_c_stops_a_running_table_and_gives_the_terminal_back(planwave: CommandLine) -> None:
    plan = planwave.plan_file(READ, query("slow", SLOW))
    terminal = planwave.at_terminal("run", "Slow", "--thread", "t", "--plan", plan)
    terminal.until("1 of 2 done, 1 running")
    terminal.type("\x03")
    status, shown = terminal.end()
    assert status == 130, shown
    assert "planwave resume t" in shown
    assert terminal.shown.rfind("\x1b[?25h") > terminal.shown.rfind("\x1b[?25l")


def test_a_call_cannot_steer_the_terminal(planwave: CommandLine) -> None:
    wicked = "\x1b]0;owned\x07\x1b[2J\u202e[bold]"
    plan = planwave.plan_file(save("keep", "a.txt", wicked, description=wicked))
    terminal = planwave.at_terminal("run", wicked, "--plan", plan)
    terminal.until(ASKED)
    terminal.type("q\n")
    terminal.end()
    assert "\x1b]0;" not in terminal.shown
    assert "\x1b[2J" not in terminal.shown
    assert "\u202e" not in terminal.shown
    assert "[bold]" in terminal.shown
