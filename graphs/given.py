"""What a run is given, an input or an answer: checked before anything is stored."""

import re
from typing import Any

from langgraph.types import Command, Interrupt

from agent.core.approval import Request, read_answer
from agent.core.impasse import Impasse, read_settlement
from agent.errors import AnswerError, UsageError

_INTERRUPT_ID = re.compile("[0-9a-f]{32}")


def checked_input(given: Any) -> Any:  # noqa: ANN401 - whatever a caller passes
    """Return the input as the graph takes it. Raises `UsageError` or `AnswerError` with nothing changed."""
    if isinstance(given, Command):
        if given.resume is None and given.goto == () and given.update is None:
            raise AnswerError("The answer is None; answer with {'decisions': [{'type': 'approve'}, ...]}.")
        if given.resume == {}:
            raise AnswerError("The answer is empty; answer with {'decisions': [{'type': 'approve'}, ...]}.")
        return given
    if given is None:
        return None
    if not isinstance(given, dict):
        raise UsageError(f"A run is started with {{'goal': '...'}}, not {type(given).__name__}.")
    goal, plan = given.get("goal"), given.get("plan")
    if goal is not None and not isinstance(goal, str):
        raise UsageError(f"The goal is {goal!r}; it must be a text.")
    if not (goal or "").strip() and plan is None:
        raise UsageError("The goal is empty; say in a sentence what is to be found out or done.")
    # Without this a plan of an earlier goal on the thread would pass for one that was given.
    return {**given, "goal": goal or "", "plan": plan}


def check_answer(answer: Any, waiting: tuple[Interrupt, ...]) -> None:  # noqa: ANN401 - whatever a caller passes
    """Hold an answer against what waits for one. Raises `AnswerError`, before anything is stored.

    LangGraph keeps an answer in the checkpoint before a node can look at it.
    """
    if not waiting:
        raise AnswerError("Nothing on this thread waits for an answer; it may have been answered already.")
    by_id = {interrupt.id: interrupt for interrupt in waiting}
    answers = answer if isinstance(answer, dict) and all(map(_INTERRUPT_ID.fullmatch, map(str, answer))) else None
    if answers is None:
        if len(waiting) > 1:
            raise AnswerError(f"{len(waiting)} interrupts wait; answer them by id: {', '.join(by_id)}.")
        answers = {waiting[0].id: answer}
    for key, one in answers.items():
        if key not in by_id:
            raise AnswerError(f"No interrupt {key!r} waits for an answer; it may have been answered already.")
        _check_one(one, by_id[key].value)


def _check_one(answer: Any, asked: Any) -> None:  # noqa: ANN401
    if not isinstance(asked, dict) or "action_requests" not in asked:
        return
    if asked.get("impasse"):
        mark = asked["action_requests"][0]["digest"]
        chosen = read_settlement(answer, Impasse.model_validate(asked["impasse"]), mark=mark)
        if isinstance(chosen, str):
            raise AnswerError(chosen)
        return
    requests = [
        Request(
            task=action["task_id"],
            tool=action["name"],
            **{key: action[key] for key in ("args", "items", "digest", "doubt") if key in action},
        )
        for action in asked["action_requests"]
    ]
    decisions = read_answer(answer, requests)
    if isinstance(decisions, str):
        raise AnswerError(decisions)
