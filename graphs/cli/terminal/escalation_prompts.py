"""A run that cannot continue by itself, shown at the terminal, and what the user chooses."""

import json
from collections.abc import Mapping
from typing import Any, assert_never

from rich.panel import Panel
from rich.text import Text

from agent.core.engine.escalations import Escalation
from graphs.cli.terminal.approval_prompts import (
    Decisions,
    InterruptPayload,
    prompt_choice,
    read_line,
    show_uncertainty,
)
from graphs.cli.terminal.approval_view import show_call
from graphs.cli.terminal.screen import Screen, escape_controls

#: By key that is typed: the choice, and its text in the menu.
_ESCALATION_KEYS = {
    "g": ("guide", "[g]ive guidance"),
    "m": ("raise", "[m]ore of the budget"),
    "p": ("accept", "[p]artial results are enough"),
    "x": ("abort", "[x] abort and undo"),
    "q": ("quit", "[q]uit"),
}
_UNSURE_KEYS = {
    "r": ("run", "[r]un it"),
    "g": ("guide", "[g]ive guidance"),
    "x": ("abort", "[x] abort"),
    "q": ("quit", "[q]uit"),
}
_QUESTION_KEYS = {
    "a": ("guide", "[a]nswer"),
    "n": ("decline", "[n]o answer"),
    "q": ("quit", "[q]uit"),
}


def show_interrupt(payload: InterruptPayload, *, screen: Screen) -> None:
    """Show everything that one interrupt asks: the escalation, or each call."""
    escalation = parse_escalation(payload)
    if escalation is not None:
        show_escalation(escalation, payload, screen=screen)
        return
    show_uncertainty(payload, screen=screen)
    actions = payload["action_requests"]
    for number, action in enumerate(actions, start=1):
        show_call(action, screen=screen, number=number, of=len(actions))


def parse_escalation(payload: InterruptPayload) -> Escalation | None:
    """Return the escalation that the interrupt is about; None if it asks to approve calls."""
    document = payload.get("impasse")
    return None if document is None else Escalation.model_validate(document)


def show_escalation(escalation: Escalation, payload: InterruptPayload, *, screen: Screen) -> None:
    """Show why the run does not continue, and the plan that is asked about."""
    title, _ = _select_menu(escalation)
    text = Text(escape_controls(escalation.reason))
    if escalation.tasks:
        text.append("\ntasks    ", style="dim").append(escape_controls(", ".join(escalation.tasks)))
    for task in (payload.get("plan") or {}).get("tasks", ()):
        args = json.dumps(task["args"], ensure_ascii=False, indent=2)
        text.append(f"\n{escape_controls(task['id'])}: {escape_controls(task['tool'])}\n", style="dim").append(
            escape_controls(args)
        )
    if screen.live:
        screen.console.print(Panel(text, title=title, title_align="left", border_style="yellow"))
    else:
        screen.say(f"{title}\n{text.plain}")


def _select_menu(escalation: Escalation) -> tuple[str, Mapping[str, tuple[str, str]]]:
    """Return the title of an escalation, and what can be typed."""
    match escalation.kind:
        case "question":
            return "The replanner asks", _QUESTION_KEYS
        case "unsure":
            return "The planner is not sure", _UNSURE_KEYS
        case "budget" | "same_failure" | "no_way_on":
            return "The run cannot continue by itself", _ESCALATION_KEYS
        case _:
            assert_never(escalation.kind)


def prompt_escalation(payload: InterruptPayload, escalation: Escalation, *, screen: Screen) -> Decisions | None:
    """Ask how to continue and return the decision; None if the user leaves it waiting. Raises `KeyboardInterrupt`."""
    if payload.get("error"):
        screen.say(str(payload["error"]), style="bold red")
    show_escalation(escalation, payload, screen=screen)
    _, keys = _select_menu(escalation)
    [action] = payload["action_requests"]
    while (word := prompt_choice(keys, (*escalation.choices, "decline"), screen=screen)) is not None:
        decision = _build_decision(word, escalation, action, screen=screen)
        if decision is not None:
            return [{**decision, "digest": action["digest"]}]
    return None


def _build_decision(
    word: str, escalation: Escalation, action: Mapping[str, Any], *, screen: Screen
) -> dict[str, Any] | None:
    """Return the decision; None if the user went back to the menu."""
    if word == "guide":
        reader = "planner" if escalation.kind == "unsure" else "replanner"
        message = read_line(f"your message to the {reader} (empty: back): ", screen=screen)
        return {"type": "respond", "message": message.strip()} if message and message.strip() else None
    if word == "raise":
        typed = read_line(f"how much more (empty: {escalation.default_increment:.10g}): ", screen=screen)
        return None if typed is None else _parse_increase(typed.strip(), action, screen=screen)
    if word == "run":
        return {"type": "approve"}
    if word == "accept":
        return _build_edit(action, choice="accept")
    reason = read_line("reason (may be empty): ", screen=screen)
    return None if reason is None else {"type": "reject", "message": reason.strip()}


def _parse_increase(typed: str, action: Mapping[str, Any], *, screen: Screen) -> dict[str, Any] | None:
    if not typed:
        return {"type": "approve"}
    try:
        by = float(typed)
    except ValueError:
        screen.say(f"{typed!r} is not a number.", style="yellow")
        return None
    if not by > 0:
        screen.say(f"{typed!r} is not greater than 0.", style="yellow")
        return None
    return _build_edit(action, choice="raise", by=by)


def _build_edit(action: Mapping[str, Any], **args: str | float) -> dict[str, Any]:
    return {"type": "edit", "edited_action": {"name": action["name"], "args": args}}
