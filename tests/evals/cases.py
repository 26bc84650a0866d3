"""What every set and every strategy speaks of: a case, the calls that were made for it, a verdict."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool

#: Makes the model of tools that write in words.
Writer = Callable[[], BaseChatModel]
Half = Literal["work", "held"]
#: How a strategy ended: every call made; no plan that could be read; a plan that broke while it was run; the loop ran
#: out of steps.
Ending = Literal["finished", "no plan", "broken", "out of steps"]


class AbsentError(Exception):
    """What a set needs is not on this machine; the message says what and where."""


@dataclass(frozen=True)
class Call:
    """One call of a plan or a loop, with what became of it."""

    id: str
    tool: str
    #: As they were written, references included.
    args: Mapping[str, Any]
    #: Ids of the calls that it comes behind.
    needs: tuple[str, ...] = ()
    #: What it does, in words, where the strategy says so.
    text: str = ""
    done: bool = False
    output: Any = None
    error: str = ""


@dataclass(frozen=True)
class Attempt:
    """What a strategy made of a case; the calls stand in the order of the plan, or in which they were made."""

    calls: tuple[Call, ...]
    ending: Ending
    problems: tuple[str, ...] = ()
    replans: int = 0


@dataclass(frozen=True)
class Verdict:
    """Whether the goal was reached, why not, and what else is scored, between 0 and 1."""

    right: bool
    why: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A goal with the tools it is given to, and its judge.

    `tools` makes them anew, so that no run sees what another left; files go to the folder that it is given, and the
    judge looks there. Tools that write in words do so with the same model.
    """

    id: str
    goal: str
    tools: Callable[[Path, Writer], Sequence[BaseTool]]
    judge: Callable[[Attempt, Path], Verdict]
    #: A plan document to begin with: then the strategy is judged by how it goes on.
    plan: Mapping[str, Any] | None = None
    #: False where the tools are only described: then a plan is all that is asked for.
    runs: bool = True


def half(case_id: str) -> Half:
    """Return the half that a case belongs to, for ever: the last bit of its id's SHA-256."""
    return "held" if hashlib.sha256(case_id.encode()).digest()[-1] & 1 else "work"


def final_call(calls: Sequence[Call]) -> Call | None:
    """Return the call whose output is the result of them all: the last that no other comes behind.

    The rule is the same for every strategy, and needs no word of the model's.
    """
    needed = {name for call in calls for name in call.needs}
    return next((call for call in reversed(calls) if call.id not in needed), None)
