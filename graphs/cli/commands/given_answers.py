"""Answers to approvals that are given by options, so that a script can answer without a terminal."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, Final

from langgraph.types import Interrupt

from agent.errors import UsageError
from graphs.cli.terminal.approval_prompts import InterruptPayload
from graphs.cli.terminal.approval_view import SHORT_DIGEST

GivenDecision = dict[str, Any]
#: By what a decision of the file can name its call.
_NAME_KEYS: Final = ("digest", "task_id", "id")
#: Words of the older schema, which an answer may use too.
_OLDER_TYPES: Final = frozenset({"accept", "ignore", "response"})
_FILE_HELP: Final = (
    'Answers are {"decisions": [{"task_id": "...", "type": "approve"}, ...]}, or that list; '
    "a decision is what `action_requests` of `--json` is answered with."
)


@dataclass(frozen=True, slots=True)
class GivenAnswers:
    """What `resume --approve`, `--reject`, `--why` and `--answers` say."""

    approved: Sequence[str] = ()
    rejected: Sequence[str] = ()
    reasons: Sequence[str] = ()
    file: str | None = None

    def __bool__(self) -> bool:
        return bool(self.approved or self.rejected or self.reasons or self.file)

    def list_decisions(self) -> list[GivenDecision]:
        """Return the decisions, each naming its call under `id` or as the file does. Raises `UsageError`."""
        if len(self.reasons) not in {0, 1, len(self.rejected)} or (self.reasons and not self.rejected):
            raise UsageError(
                f"{len(self.reasons)} of --why and {len(self.rejected)} of --reject were given; "
                "give one for each, in the same order, or one for all."
            )
        if not all(name.strip() for name in (*self.approved, *self.rejected)):
            raise UsageError("An ID is empty; name the call by its task or digest. Nothing was answered.")
        reasons = self.reasons if len(self.reasons) == len(self.rejected) else repeat("".join(self.reasons))
        return [
            *({"type": "approve", "id": name} for name in self.approved),
            *(
                {"type": "reject", "id": name, "message": why}
                for name, why in zip(self.rejected, reasons, strict=False)
            ),
            *(_read_decisions(self.file) if self.file is not None else ()),
        ]


@dataclass(frozen=True, slots=True)
class _WaitingCall:
    interrupt: str
    action: Mapping[str, Any]
    allowed: Sequence[str]

    @property
    def task(self) -> str:
        return str(self.action.get("task_id") or self.action["name"])

    @property
    def digest(self) -> str:
        return str(self.action.get("digest") or "")

    def describe(self) -> str:
        return f"{self.task} ({self.digest[:SHORT_DIGEST]})"


def build_resume_values(
    given: GivenAnswers, interrupts: Sequence[Interrupt], *, thread: str, named_only: bool = False
) -> dict[str, Any]:
    """Return what to resume with, by interrupt id: each decision bound to the digest of the call that it names.

    `named_only`: refuse decisions that are taken by their position. Raises `UsageError`, for answers that do not fit
    what waits; nothing is answered then.
    """
    calls = [call for one in interrupts for call in _list_calls(one.id, one.value)]
    decisions = given.list_decisions()
    if not calls:
        raise UsageError(f"Nothing on the thread {thread!r} waits for an answer; resume it without answers.")
    answers: dict[str, list[GivenDecision]] = {}
    taken: set[int] = set()
    for decision, call in _match_decisions(decisions, calls, named_only=named_only):
        if id(call) in taken:
            raise UsageError(f"Two answers are for {call.describe()}; give one for each call. Nothing was answered.")
        taken.add(id(call))
        if decision["type"] not in {*call.allowed, *_OLDER_TYPES}:
            raise UsageError(
                f"{decision['type']!r} is no answer to {call.describe()}; it takes {', '.join(call.allowed)}. "
                "Nothing was answered."
            )
        bound = {key: value for key, value in decision.items() if key not in _NAME_KEYS}
        answers.setdefault(call.interrupt, []).append({**bound, **({"digest": call.digest} if call.digest else {})})
    return {interrupt: {"decisions": listed} for interrupt, listed in answers.items()}


def _list_calls(interrupt: str, payload: InterruptPayload) -> Iterator[_WaitingCall]:
    for action, config in zip(payload["action_requests"], payload["review_configs"], strict=True):
        yield _WaitingCall(interrupt, action, config["allowed_decisions"])


def _match_decisions(
    decisions: Sequence[GivenDecision], calls: Sequence[_WaitingCall], *, named_only: bool
) -> Iterator[tuple[GivenDecision, _WaitingCall]]:
    nameless = [decision for decision in decisions if not any(key in decision for key in _NAME_KEYS)]
    if not nameless:
        yield from ((decision, _find_call(decision, calls)) for decision in decisions)
        return
    if named_only or len(nameless) < len(decisions) or len(decisions) != len(calls):
        raise UsageError(
            f"{len(nameless)} of {len(decisions)} answers name no call; name each by its task_id or digest. "
            f"{_describe_waiting(calls)}"
        )
    yield from zip(decisions, calls, strict=True)


def _find_call(decision: GivenDecision, calls: Sequence[_WaitingCall]) -> _WaitingCall:
    """Return the one call that all names of a decision stand for: a task id, a digest, or how one of them begins."""
    names = [str(decision[key]) for key in _NAME_KEYS if key in decision]
    found = [call for call in calls if all(name in {call.task, call.digest} for name in names)]
    if not found:
        found = [call for call in calls if all(_begins(call, name) for name in names)]
    name = names[0]
    if len(found) > 1:
        raise UsageError(
            f"{name!r} is the beginning of {len(found)} calls: {', '.join(call.describe() for call in found)}. "
            "Write more of it. Nothing was answered."
        )
    if not found:
        raise UsageError(f"No call {name!r} waits for an answer. {_describe_waiting(calls)}")
    [call] = found
    if call.action.get("doubt") and not any(
        len(name) >= SHORT_DIGEST and call.digest.startswith(name) for name in names
    ):
        # A script that names the task was written before anybody knew of the doubt.
        raise UsageError(
            f"The call of {call.task!r} is in doubt: {call.action['doubt']} To answer for this attempt, name it by "
            f"its digest: {call.digest[:SHORT_DIGEST]}. Nothing was answered."
        )
    return call


def _begins(call: _WaitingCall, name: str) -> bool:
    return bool(name) and (call.task.startswith(name) or call.digest.startswith(name))


def _describe_waiting(calls: Sequence[_WaitingCall]) -> str:
    return f"Waiting: {', '.join(call.describe() for call in calls)}. Nothing was answered."


def _read_decisions(place: str) -> list[GivenDecision]:
    name = "Standard input" if place == "-" else f"The file of answers {place!r}"
    try:
        data = sys.stdin.buffer.read() if place == "-" else Path(place).expanduser().read_bytes()
        value = json.loads(data.decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}. {_FILE_HELP}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not JSON: {error}. {_FILE_HELP}") from None
    listed = value.get("decisions", [value]) if isinstance(value, dict) else value
    if not isinstance(listed, list) or not listed:
        raise UsageError(f"{name} has no decisions. {_FILE_HELP}")
    for position, decision in enumerate(listed, start=1):
        if not isinstance(decision, dict) or not isinstance(decision.get("type"), str):
            raise UsageError(f"Decision {position} of {name[0].lower()}{name[1:]} has no type. {_FILE_HELP}")
    return listed
