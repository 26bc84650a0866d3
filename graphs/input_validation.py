"""What a caller gives a graph: inputs and answers, checked before anything is stored; an answer that comes twice."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.graph import END
from langgraph.types import Command, Interrupt

from agent.core.engine.approvals import (
    ApprovalRequest,
    bind_to_requests,
    is_refused,
    names_digests,
    parse_decisions,
    refuse_answer,
)
from agent.core.engine.escalations import Escalation, parse_escalation_answer
from agent.core.plan.document import Plan
from agent.errors import AnswerError, UsageError
from agent.execution.ledger import create_run_id
from graphs.langgraph_internals import INTERRUPT, RESUME_CHANNEL
from graphs.messages import add_goal, find_goal, is_human, parse_messages

_INTERRUPT_ID_PATTERN = re.compile("[0-9a-f]{32}")


def validate_input(given: Any) -> Any:  # noqa: ANN401 - whatever a caller passes
    """Return the input as the graph takes it. Raises `UsageError`; nothing is stored then."""
    if given is None or isinstance(given, Command):
        return given
    if not isinstance(given, dict):
        raise UsageError(
            f"A run is started with {{'goal': '...'}} or {{'messages': [...]}}, not {type(given).__name__}."
        )
    goal, plan, run_id = given.get("goal"), given.get("plan"), create_run_id()
    if goal is not None and not isinstance(goal, str):
        raise UsageError(f"The goal is {goal!r}; it must be a string.")
    messages = parse_messages(given["messages"]) if given.get("messages") else []
    if messages and not (goal or "").strip():
        goal = find_goal(messages) if plan is None or any(map(is_human, messages)) else ""
    elif goal and goal.strip():
        messages = add_goal(messages, goal, run_id=run_id)
    elif plan is None:
        raise UsageError("The goal is empty; say in a sentence what to find out or do.")
    plan = _add_input_values(plan, given.get("inputs"))
    # Otherwise the plan of an earlier goal on the thread would count as given.
    # The thread alone would not name the run: a graph around this one starts it many times on one thread.
    rest = {name: value for name, value in given.items() if name != "inputs"}
    return {**rest, "goal": goal or "", "plan": plan, "run_id": run_id, "messages": messages}


def is_resolution(given: Any) -> bool:  # noqa: ANN401 - whatever a caller passes
    """Return whether an input ends what waits on a thread without an answer: `Command(goto=END)`, as chats say it.

    LangGraph asks again after it.
    """
    return (
        isinstance(given, Command)
        and given.resume is None
        and given.update is None
        and (given.goto == END or (isinstance(given.goto, list | tuple) and list(given.goto) == [END]))
    )


def is_message_only(given: Any) -> bool:  # noqa: ANN401 - whatever a caller passes
    """Return whether an input is a message in a chat: neither a goal nor a plan is given beside it."""
    return (
        isinstance(given, dict) and bool(given.get("messages")) and not given.get("goal") and given.get("plan") is None
    )


def _add_input_values(plan: Any, inputs: Any) -> Any:  # noqa: ANN401 - whatever a caller passes
    """Return a plan with the values of its inputs; whether they fit, the compiler says."""
    if not inputs and isinstance(inputs, dict | None):
        return plan
    if not isinstance(inputs, dict):
        raise UsageError(f"The inputs are {inputs!r}; give a dict of values by name.")
    if isinstance(plan, Plan):
        plan = plan.model_dump(mode="json", exclude_defaults=True)
    if not isinstance(plan, dict):
        raise UsageError("Inputs are the values of a plan that declares them; give such a plan with them.")
    return {**plan, "input_values": {**(plan.get("input_values") or {}), **inputs}}


def reject_unstorable(given: Any, saver: BaseCheckpointSaver[Any]) -> None:  # noqa: ANN401 - whatever a caller passes
    """Raise `UsageError`, or `AnswerError` for an answer, if an input holds a value that `saver` cannot store.

    LangGraph stores an input before anything looks at it, and its error says neither what nor where.
    """
    is_command = isinstance(given, Command)
    parts = {"The answer": given.resume, "The update": given.update} if is_command else given or {}
    for name, part in parts.items() if isinstance(parts, Mapping) else ():
        try:
            saver.serde.dumps_typed(part)
        except (TypeError, ValueError, RecursionError) as error:
            kind = AnswerError if name == "The answer" else UsageError
            what = name if is_command else f"The {name}"
            raise kind(f"{what} cannot be stored: {error}. Nothing was changed.") from None


def is_answer(given: Any) -> bool:  # noqa: ANN401 - whatever a caller passes
    """Return whether an input answers what waits, be it with nothing."""
    return isinstance(given, Command) and (given.resume is not None or (given.goto == () and given.update is None))


def bind_answer(
    command: Command[Any], waiting: Sequence[Interrupt], *, require_named: bool = False, refusal: str | None = None
) -> Command[Any]:
    """Return the answer bound to what was asked, so that it is valid for nothing else.

    LangGraph stores an answer in the checkpoint, before a node can check it, until the superstep ends. When a run is
    resumed after a crash, LangGraph gives it to whatever asks first: the next call of a worker, if the one that was
    shown has been made. So an answer to a call carries the digest of the call, and any other answer the id of its
    interrupt, which is not stored. An answer that does not fit, or for which there is a `refusal`, or that names
    neither a digest nor an interrupt although `require_named` says so, is not stored: in its place stands why it is
    refused, with which the question is asked again. Raises `AnswerError` if nothing waits, or if what waits is a
    question of a tool's own, which cannot be asked again in that way.
    """
    if not waiting:
        raise AnswerError(refusal or "Nothing on this thread waits for an answer; it may have been answered already.")
    asked = {interrupt.id: interrupt.value for interrupt in waiting}
    answers = refusal or _assign_answers(command.resume, asked, require_named=require_named)
    if isinstance(answers, str):
        bound = {key: refuse_answer(answers) for key, question in asked.items() if _is_own_question(question)}
        if not bound:
            raise AnswerError(answers)
    else:
        bound = {key: _bind_to_question(one, asked[key]) for key, one in answers.items()}
    if len(asked) == 1 and all(map(_is_own_question, asked.values())):
        [answer] = bound.values()
        return replace(command, resume=answer)
    return replace(command, resume=bound)


def _assign_answers(answer: Any, asked: Mapping[str, Any], *, require_named: bool) -> dict[str, Any] | str:  # noqa: ANN401
    """Return the answers by the id of their interrupt, or why it is not clear which answer is whose."""
    if answer is None or answer == {}:
        kind = "None" if answer is None else "empty"
        return f"The answer is {kind}; answer with {{'decisions': [{{'type': 'approve'}}, ...]}}."
    answer = _key_by_interrupt(answer, asked)
    if isinstance(answer, dict) and all(map(_INTERRUPT_ID_PATTERN.fullmatch, map(str, answer))):
        unknown = next((key for key in answer if key not in asked), None)
        if unknown is not None:
            return f"No interrupt {unknown!r} waits for an answer; it may have been answered already."
        return answer
    if len(asked) > 1:
        return f"{len(asked)} interrupts wait; answer them by id: {', '.join(asked)}."
    [key] = asked
    if require_named and not names_digests(answer):
        return (
            "The answer names neither the digest of its call nor the id of its interrupt, and the setting "
            "'require_named_answers' asks for one: give {'decisions': [{'type': 'approve', 'digest': '...'}]} or "
            f"{{{key!r}: ...}}. Nothing was approved."
        )
    return {key: answer}


def _key_by_interrupt(answer: Any, asked: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever a caller passes
    """Return decisions whose `id` is that of one interrupt as an answer to it; any other answer as it is."""
    listed = answer.get("decisions", answer) if isinstance(answer, dict) else answer
    listed = [listed] if isinstance(listed, dict) else listed
    if not isinstance(listed, list) or not listed or not all(isinstance(entry, dict) for entry in listed):
        return answer
    ids = [entry.get("id") for entry in listed]
    if ids.count(ids[0]) < len(ids) or not isinstance(ids[0], str) or ids[0] not in asked:
        return answer
    return {ids[0]: {"decisions": [{name: value for name, value in one.items() if name != "id"} for one in listed]}}


def _bind_to_question(answer: Any, asked: Any) -> Any:  # noqa: ANN401 - whatever a caller passes and a tool asks
    """Return an answer bound to the calls that it answers, or what stands in the place of a wrong one."""
    problem = _find_problem(answer, asked)
    if problem is not None:
        return refuse_answer(problem)
    return bind_to_requests(answer, _parse_requests(asked)) if _is_call_approval(asked) else answer


def _is_own_question(asked: Any) -> bool:  # noqa: ANN401 - as above
    """Return whether this package asks, and asks again after a wrong answer; not a tool by itself."""
    return _is_call_approval(asked) or _is_escalation(asked)


def _is_call_approval(asked: Any) -> bool:  # noqa: ANN401 - as above
    """Return whether an interrupt asks to approve calls; a tool may use the same schema for its own question."""
    actions = asked.get("action_requests") if isinstance(asked, dict) else None
    ours = isinstance(actions, list) and all({"task_id", "digest"} <= action.keys() for action in actions)
    return ours and not _is_escalation(asked)


def _is_escalation(asked: Any) -> bool:  # noqa: ANN401 - as above
    return isinstance(asked, dict) and bool(asked.get("impasse"))


def _find_problem(answer: Any, asked: Any) -> str | None:  # noqa: ANN401
    """Return why an answer does not fit its question, as a sentence; None if it does."""
    if _is_escalation(asked):
        mark = asked["action_requests"][0]["digest"]
        chosen = parse_escalation_answer(answer, Escalation.model_validate(asked["impasse"]), mark=mark)
        return chosen if isinstance(chosen, str) else None
    if not _is_call_approval(asked):
        return None
    decisions = parse_decisions(answer, _parse_requests(asked))
    return decisions if isinstance(decisions, str) else None


def _parse_requests(asked: Mapping[str, Any]) -> list[ApprovalRequest]:
    return [
        ApprovalRequest(
            task=action["task_id"],
            tool=action["name"],
            **{key: action[key] for key in ("args", "items", "digest", "doubt") if key in action},
        )
        for action in asked["action_requests"]
    ]


#: The newest checkpoints among which the last answered question is looked for.
_CHECKPOINTS = 200


async def find_last_answered(
    saver: BaseCheckpointSaver[Any], config: RunnableConfig
) -> tuple[list[Interrupt], Mapping[str, list[Any]]] | None:
    """Return the questions that were answered last and, by the id of each, the answers that it was given.

    None if nothing was answered lately. LangGraph keeps both beside the checkpoint in which the question was asked.
    """
    own = {key: value for key, value in config["configurable"].items() if key in {"thread_id", "checkpoint_ns"}}
    found: CheckpointTuple | None = None
    async for saved in saver.alist({"configurable": {"checkpoint_ns": "", **own}}, limit=_CHECKPOINTS):
        if any(channel == RESUME_CHANNEL for _, channel, _ in saved.pending_writes or ()):
            found = saved
            break
    if found is None:
        return None
    given: dict[str, list[Any]] = {}
    for task, channel, value in found.pending_writes or ():
        if channel == RESUME_CHANNEL:
            given.setdefault(task, []).extend(value if isinstance(value, list) else [value])
    asked = [
        (task, interrupt)
        for task, channel, value in found.pending_writes or ()
        if channel == INTERRUPT and task in given
        for interrupt in value
    ]
    return [interrupt for _, interrupt in asked], {interrupt.id: given[task] for task, interrupt in asked}


def is_same_answer(bound: Command[Any], waited: list[Interrupt], given: Mapping[str, list[Any]]) -> bool:
    """Return whether an answer, bound to the questions that `waited`, is what they were `given`."""
    answer = bound.resume
    if is_refused(answer) or (isinstance(answer, dict) and any(map(is_refused, answer.values()))):
        return False
    if isinstance(answer, dict) and answer.keys() <= given.keys() and answer:
        return all(one in given[key] for key, one in answer.items())
    return len(waited) == 1 and answer in given[waited[0].id]


def find_edited_calls(answer: Any) -> Iterator[tuple[object, object]]:  # noqa: ANN401 - whatever a caller passes
    """Yield tool and arguments of every call anywhere in an answer, in the present form or the older one."""
    waiting = [answer]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            yield each.get("name", each.get("action")), each.get("args")
            waiting += each.values()
        elif isinstance(each, list | tuple):
            waiting += each


def get_chosen_model(context: object) -> str | None:
    """Return the name of the model in the context of a run; None if that names none."""
    name = context.get("model") if isinstance(context, Mapping) else getattr(context, "model", None)
    return name if isinstance(name, str) and name else None
