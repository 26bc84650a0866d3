"""What is wrong with a plan, as sentences."""

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
    "bad_rollback",
    "out_of_bounds",
    "too_many_tasks",
    "used_id",
    "preflight",
    "further_problems",
]
#: A planner that made more mistakes than this reads the first ones, and mending those often mends the rest.
_MAX_PROBLEMS = 200


class Problem(BaseModel):
    """One thing that keeps a plan from running: where, what, and what to do about it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ProblemKind
    #: As in `task 'chart', args.rows`.
    place: str
    #: A sentence that names the value.
    what: str
    #: A sentence that says what would mend it.
    remedy: str = ""
    #: The task it belongs to, where it belongs to one.
    task: str | None = None

    def __str__(self) -> str:
        place = self.place[:1].upper() + self.place[1:]
        return f"{place}: {self.what}{' ' + self.remedy if self.remedy else ''}"


def collect_problems(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return `problems`, each once; of more than 200 the first ones, and a last one that says so."""
    found = tuple(islice(_iterate_distinct(problems), _MAX_PROBLEMS + 1))
    if len(found) <= _MAX_PROBLEMS:
        return found
    further = Problem(
        kind="further_problems",
        place="plan",
        what=f"it has more problems than the {_MAX_PROBLEMS} that are listed.",
        remedy="Mend these first.",
    )
    return (*found[:_MAX_PROBLEMS], further)


def _iterate_distinct(problems: Iterable[Problem]) -> Iterable[Problem]:
    seen: set[Problem] = set()
    for problem in problems:
        if problem not in seen:
            seen.add(problem)
            yield problem


class _BoundedRepr(reprlib.Repr):
    """`repr` that ends: of values nested without bound, and of whole numbers that Python refuses to print."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 3, 60, 60, 40

    def repr_int(self, value: int, _level: int) -> str:
        return repr(value) if value.bit_length() <= 128 else f"a whole number of {value.bit_length()} bits"


def format_value(value: object, *, most: int = 120) -> str:
    """Return `value` as a text of at most `most` characters, whatever it is."""
    text = _BOUNDED_REPR.repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


_BOUNDED_REPR = _BoundedRepr()


def format_path(place: tuple[str | int, ...]) -> str:
    """Return a place as text: `("args", "rows", 0)` is `args.rows[0]`."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
