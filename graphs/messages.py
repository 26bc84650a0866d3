"""The messages of a thread: goals, plans, results and answers as chat front ends show them and other graphs read them.

They hold previews, and name where the rest is. Each plan has a message with a tool call for every task that is to run,
each outcome is the tool message of its call. What is said already is found in the messages themselves, so that a run
that is resumed, forked or copied says nothing twice.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never
from uuid import uuid4

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.utils import convert_to_messages, message_chunk_to_message
from langgraph.types import Command, Interrupt
from pydantic import JsonValue

from agent.core.approval_text import escape_text
from agent.core.compiler.compiler import CompiledPlan
from agent.core.engine.outcomes import Cancelled, Done, Failed, InDoubt, Outcome, Rejected, Skipped
from agent.core.plan.hashing import hash_json
from agent.errors import UsageError
from agent.results.markdown import extract_rows

#: The ids of messages and tool calls that are made here begin with it.
_PREFIX: Final = "pw_"
#: The key, in a message's `additional_kwargs`, of what is needed to continue the messages of a run.
_OWN: Final = "planwave"
#: Characters of a result, of one text in the arguments of a call, and of all arguments in a planner's prompt.
_MAX_RESULT_LENGTH: Final = 1_000
_MAX_ARGUMENT_LENGTH: Final = 300
_MAX_CALL_LENGTH: Final = 600
#: Items of one list or object in the arguments of a call.
_MAX_ARGUMENT_ITEMS: Final = 20
_MAX_ARGUMENT_DEPTH: Final = 6
#: Tasks that a plan's message names in its text; all are among its tool calls.
_MAX_LISTED_TASKS: Final = 50
#: Characters of the earlier messages that a planner is shown, and of one of them.
_MAX_CONVERSATION_LENGTH: Final = 8_000
_MAX_MESSAGE_LENGTH: Final = 2_000
_LEFT: Final = "The run ended before this call had a result."
_HUMAN_ROLES: Final = frozenset({"user", "human"})


def parse_messages(given: object) -> list[AnyMessage]:
    """Return messages that a caller gives, in any form that LangChain takes, each with an id. Raises `UsageError`.

    Agent Chat UI answers every tool call that has no answer yet with an invented "Successfully handled tool call.":
    results of our calls that are not ours are left out.
    """
    listed: Any = given if isinstance(given, list) else [given]
    try:
        messages = [message_chunk_to_message(message) for message in convert_to_messages(listed)]
    except (ValueError, TypeError, KeyError, NotImplementedError, AttributeError) as error:
        raise UsageError(f"The messages cannot be read: {str(error).splitlines()[0]:.200}") from None
    return [
        message if message.id else message.model_copy(update={"id": str(uuid4())})  # type: ignore[misc]
        for message in messages
        if not _is_invented_result(message)
    ]


def _is_invented_result(message: BaseMessage) -> bool:
    return (
        isinstance(message, ToolMessage)
        and message.tool_call_id.startswith(_PREFIX)
        and not (message.id or "").startswith(_PREFIX)
    )


def find_goal(messages: Sequence[BaseMessage]) -> str:
    """Return the text of the last message of a human. Raises `UsageError` if there is none, or it has no text."""
    last = next((message for message in reversed(messages) if is_human(message)), None)
    if last is None:
        raise UsageError("The goal is empty: none of the messages is a human's; say what to find out or do.")
    text = get_text(last).strip()
    if not text:
        attached = f" but {', '.join(list_attachments(last))}" if list_attachments(last) else ""
        raise UsageError(f"The goal is empty: the last message has no text{attached}; say what to find out or do.")
    return text


def add_goal(messages: Sequence[AnyMessage], goal: str, *, run_id: str) -> list[AnyMessage]:
    """Return `messages` with a goal that was given beside them, unless the last one of a human says it already."""
    last = next((message for message in reversed(messages) if is_human(message)), None)
    if last is not None and get_text(last).strip() == goal.strip():
        return list(messages)
    return [*messages, HumanMessage(goal, id=f"{_PREFIX}{hash_json(run_id)[:12]}_goal")]


def is_human(message: BaseMessage) -> bool:
    """Return whether a human wrote a message."""
    return message.type == "human" or getattr(message, "role", None) in _HUMAN_ROLES


def get_text(message: BaseMessage) -> str:
    """Return the text of a message: its content, or the text blocks of it, a line each."""
    if isinstance(message.content, str):
        return message.content
    blocks = (block if isinstance(block, str) else _get_block_text(block) for block in message.content)
    return "\n".join(text for text in blocks if text)


def _get_block_text(block: Mapping[str, Any]) -> str:
    text = block.get("text")
    return text if isinstance(text, str) and str(block.get("type") or "").endswith("text") else ""


def list_attachments(message: BaseMessage) -> list[str]:
    """Return the types of the content blocks that are no text, such as `image`; nothing here reads them."""
    blocks = message.content if isinstance(message.content, list) else []
    types = [str(block.get("type")) for block in blocks if isinstance(block, dict) and not _get_block_text(block)]
    return [kind for kind in dict.fromkeys(types) if not kind.endswith("text")]


@dataclass(frozen=True, slots=True)
class PlanName:
    """Which plan of a run is meant."""

    revision: int
    #: Changes if a call of it is edited.
    digest: str
    is_rollback: bool = False

    @property
    def key(self) -> str:
        """The plan among those of its run."""
        return f"{self.revision}{'u' if self.is_rollback else ''}"


class Transcript:
    """What the messages of a thread say of one run so far; only those that are new are read."""

    def __init__(self, run: str) -> None:
        self.run = hash_json(run)[:12]
        self._forget()

    def _forget(self) -> None:
        #: By plan: its digest, and the tasks of its tool calls.
        self._plans: dict[str, tuple[str, list[str]]] = {}
        #: The call of each task in the plan that names it last, and those without a result.
        self._calls: dict[str, tuple[str, str]] = {}
        self._open: dict[str, str] = {}
        #: By task: the outcome that was said last.
        self._told: dict[str, str] = {}
        #: The ids of the run's messages.
        self._ids: set[str | None] = set()
        self._answers = 0
        self._read: tuple[int, str | None] = (0, None)

    @property
    def answer_id(self) -> str:
        """The id of the run's next answer; a run that a budget ended may have another one."""
        return f"{_PREFIX}{self.run}_answer{self._answers or ''}"

    def read(self, messages: Sequence[BaseMessage]) -> None:
        """Read what was added to the messages of the thread; all of them, if they were changed before that."""
        count, last = self._read
        if count and (len(messages) < count or messages[count - 1].id != last):
            self._forget()
            count = 0
        for message in messages[count:]:
            own = message.additional_kwargs.get(_OWN)
            if isinstance(own, dict) and own.get("run") == self.run:
                self._read_message(message, own)
        self._read = (len(messages), messages[-1].id if messages else None)

    def _read_message(self, message: BaseMessage, own: Mapping[str, Any]) -> None:
        self._ids.add(message.id)
        if isinstance(message, AIMessage) and "plan" in own:
            tasks: list[str] = list(own["tasks"])
            self._plans[own["plan"]] = own["digest"], tasks
            for task, call in zip(tasks, message.tool_calls, strict=False):
                self._calls[task] = str(call["id"]), call["name"]
                self._open[str(call["id"])] = task
        elif isinstance(message, ToolMessage):
            self._open.pop(message.tool_call_id, None)
            self._told[own["task"]] = own["status"]
        elif isinstance(message, AIMessage):
            self._answers += "status" in own

    def continue_with(
        self,
        messages: Sequence[BaseMessage],
        active: CompiledPlan | None,
        outcomes: Mapping[str, Outcome],
        *,
        plan: PlanName,
        is_end: bool = False,
    ) -> list[BaseMessage]:
        """Return the messages to add: a plan that is new, after what became of the last one, and new outcomes.

        `active` is the plan that is carried out, `plan` names it. At the end of a run no call stays without a result.
        """
        self.read(messages)
        added: list[BaseMessage] = []
        is_new = active is not None and plan.key not in self._plans
        added += self._tell_outcomes(outcomes, every=is_new or is_end)
        if is_new or is_end:
            why = "The plan was changed before this call was made." if is_new else "The run ended before this call."
            said = {message.tool_call_id for message in added if isinstance(message, ToolMessage)}
            added += [
                _make_result(self.run, call, self._calls[task][1], task, status="not_made", text=why)
                for call, task in self._open.items()
                if call not in said
            ]
        if active is not None and (is_new or self._plans[plan.key][0] != plan.digest):
            added += self._make_plan(plan, active, outcomes)
        if any(message.id in self._ids for message in added):
            # What takes the place of an earlier message is not among the new ones.
            self._forget()
        return added

    def _tell_outcomes(self, outcomes: Mapping[str, Outcome], *, every: bool) -> list[BaseMessage]:
        """Return the results that are not told yet; new ones are the last, unless `every` one is to be looked at."""
        found: list[BaseMessage] = []
        # Outcomes are in the order in which they were recorded.
        for task in outcomes if every else reversed(list(outcomes)):
            outcome = outcomes[task]
            if self._told.get(task) == outcome.status:
                if not every:
                    break
            elif task in self._calls:
                call, tool = self._calls[task]
                text = describe_outcome(outcome)
                found.append(_make_result(self.run, call, tool, task, status=outcome.status, text=text))
        return found if every else found[::-1]

    def _make_plan(self, plan: PlanName, active: CompiledPlan, outcomes: Mapping[str, Outcome]) -> Iterator[AIMessage]:
        """Yield the message of a plan; of one whose calls were edited the same again, which takes the place of it."""
        known = self._plans.get(plan.key)
        names = [task.id for task in active.plan.tasks if task.id not in outcomes] if known is None else known[1]
        tasks = [active.tasks[name] for name in names if name in active.tasks]
        if not tasks:
            return
        is_first = not self._plans or next(iter(self._plans)) == plan.key
        title = "Undoing what was written" if plan.is_rollback else "Plan" if is_first else "Revised plan"
        lines = [
            f"{number}. {escape_text(task.description) or f'Call {task.tool}.'} (`{task.id}`)"
            for number, task in enumerate(tasks[:_MAX_LISTED_TASKS], start=1)
        ]
        if len(tasks) > _MAX_LISTED_TASKS:
            lines.append(f"\n... and {len(tasks) - _MAX_LISTED_TASKS} more")
        count = "1 task" if len(tasks) == 1 else f"{len(tasks)} tasks"
        text = "\n".join([f"**{title}**, {count}{'' if known is None else ', edited'}:", "", *lines])
        yield AIMessage(
            text,
            id=f"{_PREFIX}{self.run}_plan{plan.key}",
            tool_calls=[
                {"name": task.tool, "args": _shorten_args(task.args), "id": self._make_call_id(plan.key, task.id)}
                for task in tasks
            ],
            additional_kwargs={
                _OWN: {"run": self.run, "plan": plan.key, "digest": plan.digest, "tasks": [task.id for task in tasks]}
            },
        )

    def _make_call_id(self, plan: str, task: str) -> str:
        """Return the id of a call; model servers take 40 letters, digits, `_` and `-`."""
        name = re.sub(r"[^A-Za-z0-9-]+", "_", task)[:24]
        return f"{_PREFIX}{hash_json([self.run, plan, task])[:12]}_{name}"

    def make_question(self, text: str, *, number: int) -> AIMessage:
        """Return the message of an escalation."""
        own = {"run": self.run, "question": number}
        return AIMessage(text, id=f"{_PREFIX}{self.run}_question{number}", additional_kwargs={_OWN: own})

    def make_answer(self, text: str, *, status: str, message_id: str) -> AIMessage:
        """Return the message with the answer of the run."""
        return AIMessage(text, id=message_id, additional_kwargs={_OWN: {"run": self.run, "status": status}})


def _make_result(run: str, call: str, tool: str, task: str, *, status: str, text: str) -> ToolMessage:
    return ToolMessage(
        text,
        tool_call_id=call,
        name=tool,
        status="success" if status == "done" else "error",
        id=f"{call}_result",
        additional_kwargs={_OWN: {"run": run, "task": task, "status": status}},
    )


def close_calls(messages: Sequence[BaseMessage]) -> list[ToolMessage]:
    """Return a result for each call of a plan that has none, because its run was left for another goal, say.

    Model servers refuse messages in which a call has no result.
    """
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    return [
        _make_result(own["run"], str(call["id"]), call["name"], task, status="not_made", text=_LEFT)
        for message in messages
        if isinstance(message, AIMessage)
        and isinstance(own := message.additional_kwargs.get(_OWN), dict)
        and "plan" in own
        for task, call in zip(own["tasks"], message.tool_calls, strict=False)
        if call["id"] not in answered
    ]


def _shorten_args(args: Mapping[str, JsonValue]) -> dict[str, Any]:
    return {name: _shorten(value, _MAX_ARGUMENT_DEPTH) for name, value in args.items()}


def _shorten(value: JsonValue, levels: int) -> JsonValue:
    """Return a value with its long texts, lists and objects cut; each says how much is left out."""
    match value:
        case str() if len(value) > _MAX_ARGUMENT_LENGTH:
            return f"{value[:_MAX_ARGUMENT_LENGTH]}... ({len(value):,} characters; the plan has all)"
        case dict() | list() if levels == 0:
            return "... (the plan has all)"
        case dict():
            kept = {name: _shorten(inner, levels - 1) for name, inner in list(value.items())[:_MAX_ARGUMENT_ITEMS]}
            left = len(value) - len(kept)
            return {**kept, "...": f"{left:,} more; the plan has all"} if left else kept
        case list():
            items = [_shorten(inner, levels - 1) for inner in value[:_MAX_ARGUMENT_ITEMS]]
            left = len(value) - len(items)
            return [*items, f"... ({left:,} more; the plan has all)"] if left else items
        case int() if not isinstance(value, bool) and abs(value) >= 2**53:
            # Front ends read it as a floating-point number.
            return str(value)
        case _:
            return value


def describe_outcome(outcome: Outcome) -> str:
    """Return an outcome as the text of a tool message: a result as JSON, cut if it is long."""
    match outcome:
        case Done(error=str(error)) if outcome.has_lost_output:
            return error
        case Done():
            missing = f"\nIncomplete: {outcome.items}" if outcome.items is not None else ""
            return "\n".join([_preview_result(outcome) + missing, *(f"Note: {text}" for text in outcome.warnings)])
        case Failed():
            return f"Failed: {outcome.error}"[:_MAX_RESULT_LENGTH]
        case Rejected(message=message):
            return f"Rejected by a person{': ' + message if message else '.'}"[:_MAX_RESULT_LENGTH]
        case Skipped(because=because):
            return f"Skipped: {because}"[:_MAX_RESULT_LENGTH]
        case Cancelled(because=because):
            return f"Not finished: {because}"[:_MAX_RESULT_LENGTH]
        case InDoubt():
            return "This call was started, and it is not known whether it took effect."
        case _:
            assert_never(outcome)


def _preview_result(done: Done) -> str:
    if done.artifact is not None:
        return f"{done.artifact.preview}\n({done.artifact.size:,} bytes; the result of the task has all)"
    text = done.output if isinstance(done.output, str) else json.dumps(done.output, ensure_ascii=False)
    if len(text) <= _MAX_RESULT_LENGTH:
        return text
    rows = extract_rows(done.output)
    if rows is None:
        return f"{text[:_MAX_RESULT_LENGTH]}... ({len(text):,} characters; the result of the task has all)"
    shown, length = 0, 0
    for row in rows:
        length += len(json.dumps(row, ensure_ascii=False)) + 2
        if length > _MAX_RESULT_LENGTH:
            break
        shown += 1
    cut: JsonValue = {"rows": list(rows[:shown]), "rows_shown": shown, "rows_in_all": len(rows)}
    return json.dumps(cut, ensure_ascii=False)


def render_conversation(messages: Sequence[BaseMessage]) -> str:
    """Return what was said before the last message of a human, for a planner; the oldest of it is left out first."""
    last = next((place for place in reversed(range(len(messages))) if is_human(messages[place])), 0)
    parts: list[str] = []
    length = 0
    for message in reversed(messages[:last]):
        part = _render_message(message)
        length += len(part) + 1
        if length > _MAX_CONVERSATION_LENGTH:
            parts.append("...")
            break
        parts.append(part)
    attached = list_attachments(messages[last]) if messages else []
    unread = [f"The goal came with what cannot be read here: {', '.join(attached)}."] if attached else []
    said = ["## Earlier on this thread", *reversed(parts)] if parts else []
    return "\n".join([*said, *unread])


def _render_message(message: BaseMessage) -> str:
    text = get_text(message)
    text = text if len(text) <= _MAX_MESSAGE_LENGTH else f"{text[:_MAX_MESSAGE_LENGTH]}..."
    if is_human(message):
        return f"Goal: {text}"
    if isinstance(message, ToolMessage):
        return f"Result of {message.name or message.tool_call_id}: {text}"
    if isinstance(message, AIMessage) and message.tool_calls:
        return "\n".join(["Calls:", *map(_render_call, message.tool_calls)])
    return f"{'Answer' if message.type == 'ai' else message.type.capitalize()}: {text}"


def _render_call(call: Mapping[str, Any]) -> str:
    args = json.dumps(call["args"], ensure_ascii=False, default=str)
    return f"- {call['name']} {args if len(args) <= _MAX_CALL_LENGTH else f'{args[:_MAX_CALL_LENGTH]}...'}"


def reply_to_waiting(text: str, messages: Sequence[BaseMessage], waiting: Sequence[Interrupt]) -> Command[Any]:
    """Return what a message does to a thread that waits for a human.

    It answers a question that is answered in words, and decides nothing else: the thread says what waits, and waits on.
    """
    for interrupt in waiting:
        if "respond" in _list_decisions(interrupt.value) and interrupt.value.get("impasse"):
            answer = {"decisions": [{"type": "respond", "message": text}]}
            return Command(resume={interrupt.id: answer}, update={"messages": list(messages)})
    calls = [line for interrupt in waiting for line in _describe_waiting(interrupt.value)]
    notice = "\n".join(
        [
            "This thread waits for a decision, and a message does not decide it:",
            "",
            *calls,
            "",
            "Approve, edit or reject what waits. A new goal can be given after that, or on another thread.",
        ]
    )
    return Command(update={"messages": [*messages, AIMessage(notice, id=f"{_PREFIX}{uuid4().hex[:12]}_waits")]})


def _list_decisions(question: object) -> list[str]:
    configs = question.get("review_configs") if isinstance(question, Mapping) else None
    return list(configs[0].get("allowed_decisions") or ()) if configs else []


def _describe_waiting(question: object) -> Iterator[str]:
    actions = question.get("action_requests") if isinstance(question, Mapping) else None
    for action in actions or ():
        task = action.get("task_id")
        yield f"- `{action.get('name')}`" + (f" (task `{task}`)" if task else "")
    if not actions:
        yield f"- {escape_text(str(question))[:_MAX_ARGUMENT_LENGTH]}"
