"""Approval at the terminal: each call that waits is shown in full, and the user decides."""

import json
import os
import select
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from pydantic import JsonValue
from rich.text import Text

from agent.core.compiler.argument_check import find_value_errors
from agent.core.visible_text import escape_invisible
from graphs.cli.terminal.approval_view import name_call, show_call, show_whole_call
from graphs.cli.terminal.screen import Screen

InterruptPayload = Mapping[str, Any]
Decisions = list[dict[str, Any]]

#: By key that is typed: the decision, and its text in the menu.
_KEYS = {
    "a": ("approve", "[a]pprove"),
    "e": ("edit", "[e]dit"),
    "v": ("view", "[v]iew all"),
    "g": ("respond", "[g]ive its result"),
    "r": ("reject", "[r]eject"),
    "q": ("quit", "[q]uit"),
}
#: Seconds between two wake-ups while waiting for input, so that a signal is noticed.
_POLL_INTERVAL_S = 0.2
#: Characters of the arguments that are printed of a call that `--yes` has approved.
_MAX_APPROVED_LENGTH = 4_000


def prompt_approvals(payload: InterruptPayload, *, screen: Screen) -> Decisions | None:
    """Ask about every call in turn and return the decisions; None if the user leaves it waiting.

    `payload` is that of the interrupt: `action_requests` and `review_configs` by position, and `error` if the previous
    answer was refused. Raises `KeyboardInterrupt`.
    """
    actions, configs = payload["action_requests"], payload["review_configs"]
    if payload.get("error"):
        screen.say(str(payload["error"]), style="bold red")
    show_uncertainty(payload, screen=screen)
    decisions: Decisions = []
    for number, (action, config) in enumerate(zip(actions, configs, strict=True), start=1):
        is_cut = show_call(action, screen=screen, number=number, of=len(actions))
        show_all = partial(show_whole_call, action, screen=screen, number=number, of=len(actions)) if is_cut else None
        decision = _prompt_decision(action, config, screen=screen, show_all=show_all)
        if decision is None:
            return None
        decisions.append(decision)
    return decisions


def show_uncertainty(payload: InterruptPayload, *, screen: Screen) -> None:
    """Say why the planner is not sure of the plan that the calls belong to; print nothing if it is sure."""
    if payload.get("unsure"):
        screen.say(f"The planner is not sure of this plan. {payload['unsure']}", style="yellow")


def approve_all(payload: InterruptPayload, *, screen: Screen) -> Decisions | None:
    """Approve every call and print that; None if one is in doubt, since only a human can find out what happened."""
    for action in payload["action_requests"]:
        if action.get("doubt"):
            screen.say(f"--yes does not answer for {action.get('task_id', '')!r}: {action['doubt']}", style="yellow")
            return None
    for action in payload["action_requests"]:
        args = json.dumps(_select_shown_args(action), ensure_ascii=False)
        more = len(args) - _MAX_APPROVED_LENGTH
        if more > 0:
            args = f"{args[:_MAX_APPROVED_LENGTH]} ... ({more:,} more characters)"
        call = f"{action['name']} {args}"
        screen.say(escape_invisible(f"approved by --yes: {action.get('task_id', '')}: {call}"), style="yellow")
    return [{"type": "approve", **_copy_digest(action)} for action in payload["action_requests"]]


def _prompt_decision(
    action: Mapping[str, Any], config: Mapping[str, Any], *, screen: Screen, show_all: Callable[[], None] | None
) -> dict[str, Any] | None:
    """Ask about one call; `show_all` shows what had to be cut off of it."""
    allowed = [*config["allowed_decisions"], *(["view"] if show_all is not None else [])]
    while True:
        # What is decided about may have left the screen.
        screen.say(name_call(action, width=screen.console.width), style="bold")
        word = prompt_choice(_KEYS, allowed, screen=screen)
        if word is None:
            return None
        if word == "view" and show_all is not None:
            show_all()
            continue
        decision = _build_decision(word, action, config, screen=screen)
        if decision is not None:
            return {**decision, **_copy_digest(action)}


def _build_decision(
    word: str, action: Mapping[str, Any], config: Mapping[str, Any], *, screen: Screen
) -> dict[str, Any] | None:
    """Return the decision; None if the user went back to the menu."""
    if word == "approve":
        return {"type": "approve"}
    if word == "reject":
        reason = read_line("reason (the replanner reads it; may be empty): ", screen=screen)
        return None if reason is None else {"type": "reject", "message": reason.strip()}
    if word == "respond":
        result = read_line("its result, as text (empty: back): ", screen=screen)
        return {"type": "respond", "message": result.strip()} if result and result.strip() else None
    args = _edit_arguments(action["args"], schema=config.get("args_schema") or {}, screen=screen)
    return None if args is None else {"type": "edit", "edited_action": {"name": action["name"], "args": args}}


def _edit_arguments(args: Mapping[str, Any], *, schema: dict[str, Any], screen: Screen) -> dict[str, Any] | None:
    """Return new arguments that fit the schema of the tool; None for an empty answer or unchanged arguments."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    draft = json.dumps(args, ensure_ascii=False, indent=2 if editor else None)
    while True:
        if editor:
            written = _open_editor(editor, draft, screen=screen)
        else:
            written = read_line("arguments as one line of JSON (empty: back): ", screen=screen, draft=draft)
        if written is None or not written.strip():
            return None
        try:
            edited = json.loads(written)
        except (ValueError, RecursionError) as error:
            problem = f"That is not JSON: {error}."
        else:
            if edited == args:
                screen.say("Nothing was changed.", style="yellow")
                return None
            errors = find_value_errors(schema, edited) if schema else []
            if isinstance(edited, dict) and not errors:
                return edited
            problem = f"These arguments do not fit the tool: {'; '.join(errors) or 'they are not an object'}."
        screen.say(problem, style="yellow")
        draft = written
        if editor and read_line("Enter opens the editor again, anything else goes back: ", screen=screen) != "":
            return None


def _open_editor(editor: str, draft: str, *, screen: Screen) -> str | None:
    with tempfile.TemporaryDirectory(prefix="planwave-") as folder:
        file = Path(folder) / "arguments.json"
        file.write_text(draft + "\n", encoding="utf-8")
        try:
            subprocess.run([*shlex.split(editor), os.fspath(file)], check=True)  # noqa: S603 - the user's own editor
            return file.read_text(encoding="utf-8")
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            status = getattr(error, "returncode", None)
            why = (
                f"it ended with exit status {status}"
                if status is not None
                else getattr(error, "strerror", None) or error
            )
            screen.say(f"The editor {editor!r} failed: {why}. Set EDITOR to another one.", style="yellow")
            return None


def prompt_choice(menu: Mapping[str, tuple[str, str]], allowed: Iterable[str], *, screen: Screen) -> str | None:
    """Ask for one of the `allowed` choices of a menu until one is typed; None to quit, or at the end of input.

    `menu` gives for each letter the choice and its text, and contains `quit`.
    """
    choices = {key: choice for key, (choice, _) in menu.items() if choice in {*allowed, "quit"}}
    offer = ", ".join(menu[key][1] for key in choices)
    while True:
        answer = read_line(f"{offer}? ", screen=screen)
        if answer is None:
            return None
        word = answer.strip().lower()
        choice = choices.get(word) or (word if word in choices.values() else None)
        if choice is not None:
            return choice if choice != "quit" else None
        screen.say(f"{answer.strip()!r} is not one of these; type one letter of {offer}.", style="yellow")


def read_line(prompt: str, *, screen: Screen, draft: str = "") -> str | None:
    """Read one line; None at the end of input. At a terminal that can edit lines, `draft` is filled in."""
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    try:
        if draft and screen.interactive and sys.stdin.isatty() and find_spec("readline"):
            return _edit_line(prompt, draft)
        if draft:
            screen.say(draft, style="dim")
        screen.console.print(Text(prompt, style="bold"), end="")
        _await_input()
        return input()
    except EOFError:
        screen.console.print()
        return None
    except KeyboardInterrupt:
        # The terminal has written `^C`; what follows begins on a line of its own, or its last word would be broken.
        screen.console.print()
        raise


def _edit_line(prompt: str, draft: str) -> str:
    """Read a line that begins as `draft`; it is written by `readline`, prompt and all, as that redraws it."""
    # Not before it is needed: once it is loaded, a Ctrl-D that comes before `input` is called is lost.
    import readline  # noqa: PLC0415 - see above

    readline.set_startup_hook(lambda: readline.insert_text(escape_invisible(draft)))
    try:
        return input(prompt)
    finally:
        readline.set_startup_hook(None)


def _await_input() -> None:
    """Wait until there is a line to read, waking up regularly.

    A signal that arrives right before the blocking read starts does not interrupt it, and its Python handler would run
    only after a line was entered.
    """
    if os.name == "posix" and sys.stdin.isatty():
        while not select.select((sys.stdin,), (), (), _POLL_INTERVAL_S)[0]:
            pass


def _select_shown_args(action: Mapping[str, Any]) -> JsonValue:
    shown: JsonValue = action["items"] if action.get("items") else action["args"]
    return shown


def _copy_digest(action: Mapping[str, Any]) -> dict[str, str]:
    """Bind the decision to the call that was shown."""
    return {"digest": action["digest"]} if "digest" in action else {}
