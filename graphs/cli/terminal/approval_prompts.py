"""Approval at the terminal: each call that waits is shown in full, and the user decides."""

import json
import os
import select
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from pydantic import JsonValue
from rich.panel import Panel
from rich.text import Text

from agent.core.approval_text import flatten_text, format_call, format_default, list_calls
from agent.core.compiler.argument_check import find_value_errors
from agent.core.visible_text import escape_invisible
from graphs.cli.terminal.screen import Screen

InterruptPayload = Mapping[str, Any]
Decisions = list[dict[str, Any]]

#: By key that is typed: the decision, and its text in the menu.
_KEYS = {
    "a": ("approve", "[a]pprove"),
    "e": ("edit", "[e]dit"),
    "g": ("respond", "[g]ive its result"),
    "r": ("reject", "[r]eject"),
    "q": ("quit", "[q]uit"),
}
#: Seconds between two wake-ups while waiting for input, so that a signal is noticed.
_POLL_INTERVAL_S = 0.2
#: Characters of the arguments that are printed of a call that `--yes` has approved.
_MAX_APPROVED_LENGTH = 4_000
_IN_DOUBT_HELP = "Approve: it did not happen; make it now. Give its result: it did happen. Reject: leave it as it is."


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
        show_call(action, screen=screen, number=number, of=len(actions))
        decision = _prompt_decision(action, config, screen=screen)
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


def show_call(action: Mapping[str, Any], *, screen: Screen, number: int, of: int) -> None:
    """Show one call: tool, task, purpose, and all arguments as they will be passed."""
    text = Text()
    text.append("tool     ", style="dim").append(flatten_text(action["name"]), style="bold")
    text.append("\ntask     ", style="dim").append(flatten_text(str(action.get("task_id", ""))))
    purpose = action.get("purpose") or action.get("description", "")
    text.append("\npurpose  ", style="dim").append(flatten_text(str(purpose)))
    if action.get("expected_outcome"):
        text.append("\nexpected ", style="dim").append(flatten_text(str(action["expected_outcome"])))
    if action.get("doubt"):
        text.append("\nin doubt ", style="dim").append(flatten_text(str(action["doubt"])), style="bold yellow")
        text.append(f"\n         {_IN_DOUBT_HELP}", style="dim")
    if action.get("secrets"):
        text.append("\nsecrets  ", style="dim").append(flatten_text(", ".join(action["secrets"])), style="bold")
    _append_calls(text, action)
    for place, value in (action.get("defaults") or {}).items():
        text.append(f"\n{format_default(place, value)}", style="dim")
    title = f"Approval {number} of {of}" if of > 1 else "Approval"
    if screen.live:
        screen.console.print(Panel(text, title=title, title_align="left", border_style="yellow"))
    else:
        screen.say(f"{title}\n{text.plain}")


def _append_calls(text: Text, action: Mapping[str, Any]) -> None:
    """Append the arguments of a call, or of all calls: the first and the last in full, the others a line each."""
    calls = action.get("items")
    if not calls:
        text.append("\narguments\n", style="dim").append(format_call(action["args"]))
        return
    text.append(f"\narguments of {len(calls)} calls", style="dim")
    text.append("\n1: ", style="dim").append(format_call(calls[0]))
    for line in list_calls(calls):
        text.append(f"\n{line}")
    if len(calls) > 1:
        text.append(f"\n{len(calls)}: ", style="dim").append(format_call(calls[-1]))


def _prompt_decision(action: Mapping[str, Any], config: Mapping[str, Any], *, screen: Screen) -> dict[str, Any] | None:
    while (word := prompt_choice(_KEYS, config["allowed_decisions"], screen=screen)) is not None:
        decision = _build_decision(word, action, config, screen=screen)
        if decision is not None:
            return {**decision, **_copy_digest(action)}
    return None


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
    draft = json.dumps(args, ensure_ascii=False, indent=2)
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    while True:
        if editor:
            written = _open_editor(editor, draft, screen=screen)
        else:
            written = read_line("arguments as one line of JSON (empty: back): ", screen=screen)
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
            screen.say(f"The editor {editor!r} failed: {error}. Set EDITOR to another one.", style="yellow")
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


def read_line(prompt: str, *, screen: Screen) -> str | None:
    """Read one line; None at the end of input."""
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    try:
        screen.console.print(Text(prompt, style="bold"), end="")
        _await_input()
        return input()
    except EOFError:
        screen.console.print()
        return None


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
