"""The problems of a plan, as sentences."""

import reprlib
from collections.abc import Iterable
from itertools import islice
from typing import Literal

from pydantic import BaseModel, ConfigDict

ProblemKind = Literal[
    "malformed",
    "empty_plan",
    "duplicate_id",
    "unknown_tool",
    "missing_argument",
    "extra_argument",
    "wrong_type",
    "unknown_reference",
    "later_reference",
    "self_dependency",
    "cycle",
    "unknown_path",
    "type_mismatch",
    "bad_condition",
    "bad_for_each",
    "bad_input",
    "bad_rollback",
    "out_of_bounds",
    "too_many_tasks",
    "used_id",
    "preflight",
    "secret",
    "further_problems",
]
#: A planner that made more mistakes than this sees the first ones, and fixing those often fixes the rest.
_MAX_PROBLEMS = 200


class Problem(BaseModel):
    """One thing that keeps a plan from running: where, what, and the remedy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ProblemKind
    #: For example `task 'chart', args.rows`.
    place: str
    #: A sentence that names the value.
    what: str
    #: A sentence that says what would fix it.
    remedy: str = ""
    #: The task that has the problem, if it is one task.
    task: str | None = None

    def __str__(self) -> str:
        place = self.place[:1].upper() + self.place[1:]
        return f"{place}: {self.what}{' ' + self.remedy if self.remedy else ''}"


def collect_problems(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return `problems`, each once; if there are more than 200, the first 200 and one that says so."""
    found = tuple(islice(_iterate_distinct(problems), _MAX_PROBLEMS + 1))
    if len(found) <= _MAX_PROBLEMS:
        return found
    further = Problem(
        kind="further_problems",
        place="plan",
        what=f"it has more problems than the {_MAX_PROBLEMS} that are listed.",
        remedy="Fix these first.",
    )
    return (*found[:_MAX_PROBLEMS], further)


def _iterate_distinct(problems: Iterable[Problem]) -> Iterable[Problem]:
    seen: set[Problem] = set()
    for problem in problems:
        if problem not in seen:
            seen.add(problem)
            yield problem


class _BoundedRepr(reprlib.Repr):
    """A `repr` of bounded length, also for values nested to any depth and for integers that Python refuses to print."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 3, 60, 60, 40

    def repr_int(self, value: int, _level: int) -> str:
        return repr(value) if value.bit_length() <= 128 else f"a whole number of {value.bit_length()} bits"


_BOUNDED_REPR = _BoundedRepr()


def format_value(value: object, *, most: int = 120) -> str:
    """Return any value as a text of at most `most` characters."""
    text = _BOUNDED_REPR.repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def format_path(place: tuple[str | int, ...]) -> str:
    """Return a place as text: `("args", "rows", 0)` is `args.rows[0]`."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
