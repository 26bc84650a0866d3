"""What a run is given, an input or an answer: checked before anything is stored."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from langgraph.types import Command, Interrupt

from agent.core.approval import Request, read_answer, with_digests
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


def checked_answer(command: Command[Any], waiting: Sequence[Interrupt]) -> Command[Any]:
    """Return an answer so that it holds for what was asked and for nothing else.

    LangGraph keeps an answer in the checkpoint, before a node can look at it, until the superstep ends. When a run is
    taken up after a crash it gives it to whatever asks first: a worker's next call, once the one that was shown is
    made. So an answer to a call carries its digest, and any other the id of its interrupt, which is not kept.
    Raises `AnswerError` for one that does not fit, before anything is stored.
    """
    if not waiting:
        raise AnswerError("Nothing on this thread waits for an answer; it may have been answered already.")
    asked, answer = {interrupt.id: interrupt.value for interrupt in waiting}, command.resume
    if isinstance(answer, dict) and all(map(_INTERRUPT_ID.fullmatch, map(str, answer))):
        answers = answer
    elif len(waiting) > 1:
        raise AnswerError(f"{len(waiting)} interrupts wait; answer them by id: {', '.join(asked)}.")
    else:
        answers = {waiting[0].id: answer}
    for key, one in answers.items():
        if key not in asked:
            raise AnswerError(f"No interrupt {key!r} waits for an answer; it may have been answered already.")
        _check_one(one, asked[key])
    marked = {key: _marked(one, asked[key]) for key, one in answers.items()}
    if len(asked) == 1 and all(_asks_for_calls(question) or _is_impasse(question) for question in asked.values()):
        [answer] = marked.values()
        return replace(command, resume=answer)
    return replace(command, resume=marked)


def _marked(answer: Any, asked: Any) -> Any:  # noqa: ANN401 - whatever a caller passes, and a tool asks
    if not _asks_for_calls(asked):
        return answer
    return with_digests(answer, [action["digest"] for action in asked["action_requests"]])


def _asks_for_calls(asked: Any) -> bool:  # noqa: ANN401 - as above
    """Whether a question is one of ours about calls; a tool that asks may use the same schema for its own."""
    actions = asked.get("action_requests") if isinstance(asked, dict) else None
    ours = isinstance(actions, list) and all({"task_id", "digest"} <= action.keys() for action in actions)
    return ours and not _is_impasse(asked)


def _is_impasse(asked: Any) -> bool:  # noqa: ANN401 - as above
    return isinstance(asked, dict) and bool(asked.get("impasse"))


def _check_one(answer: Any, asked: Any) -> None:  # noqa: ANN401
    if _is_impasse(asked):
        mark = asked["action_requests"][0]["digest"]
        chosen = read_settlement(answer, Impasse.model_validate(asked["impasse"]), mark=mark)
        if isinstance(chosen, str):
            raise AnswerError(chosen)
    if not _asks_for_calls(asked):
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
