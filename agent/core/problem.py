"""What is wrong with a plan, as sentences."""

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
]


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


def dotted(place: tuple[str | int, ...]) -> str:
    """Return a place as text: `("args", "rows", 0)` is `args.rows[0]`."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
