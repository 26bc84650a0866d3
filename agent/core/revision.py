"""What survives a replan: fingerprints, the difference between two plans, and whether there is progress."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from agent.core.digest import digest
from agent.core.outcome import Done, Failed, Outcome, Rejected
from agent.core.plan import LONGEST_ID, Plan, Task

Fate = Literal["kept", "changed", "new", "dropped"]


class Difference(BaseModel):
    """How one revision of a plan differs from the one before, by task id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kept: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = (("kept", self.kept), ("changed", self.changed), ("new", self.new), ("dropped", self.dropped))
        return "; ".join(f"{word} {', '.join(tasks)}" for word, tasks in parts if tasks) or "nothing has changed"


def fingerprint(
    tool: str, calls: Sequence[JsonValue], *, rests_on: Iterable[str | None], partial: str | None = None
) -> str:
    """Return the digest of a piece of work: tool, resolved arguments, fingerprints of all that it waited for.

    What it waited for counts although its output is already in the arguments: a reading task before a write and the
    same one after it are two pieces of work. `partial` tells in what way the output may lack items; such an output
    does not stand in for a whole one.
    """
    marks: list[JsonValue] = [*sorted(one or "" for one in rests_on)]
    work: dict[str, JsonValue] = {"tool": tool, "calls": list(calls), "rests_on": marks}
    return digest(work | {"partial": partial} if partial else work)


def difference(before: Plan, after: Plan) -> Difference:
    """Compare two plans task by task; prose (description, reasoning, expected outcome, phase) does not count."""
    old, new = {task.id: task for task in before.tasks}, {task.id: task for task in after.tasks}
    same = {task: essence(new[task]) == essence(old[task]) for task in new if task in old}
    return Difference(
        kept=tuple(task for task in same if same[task]),
        changed=tuple(task for task in same if not same[task]),
        new=tuple(task for task in new if task not in old),
        dropped=tuple(task for task in old if task not in new),
    )


def essence(task: Task) -> Mapping[str, JsonValue]:
    """Return the part of a task that decides what it does."""
    return task.model_dump(mode="json", exclude={"description", "reasoning", "expected_outcome", "phase"})


def failure_signature(outcomes: Mapping[str, Outcome], failed: Iterable[str]) -> str:
    """Return the digest of a set of failures, whatever the ids: tool calls and kinds of failure."""
    marks: list[JsonValue] = []
    for task in failed:
        outcome = outcomes[task]
        if isinstance(outcome, Failed):
            marks.append(f"{outcome.kind} {outcome.fingerprint or outcome.error}")
        elif isinstance(outcome, Rejected):
            marks.append(f"rejected {outcome.digest}")
    return digest(sorted(marks, key=str))


def reusable(outcomes: Mapping[str, Outcome], *, revision: int) -> dict[str, tuple[str, Done]]:
    """Return finished work of earlier revisions by fingerprint: the task that did it and its outcome."""
    return {
        outcome.fingerprint: (task, outcome)
        for task, outcome in outcomes.items()
        if isinstance(outcome, Done) and outcome.fingerprint and outcome.revision < revision
    }


def renamed(task_id: str, taken: Iterable[str]) -> str:
    """Return a free id for another try at `task_id`: `t2` becomes `t2a`, then `t2b`, ... `t2z`, `t2aa`.

    An id that is as long as may be loses its end.
    """
    used = set(taken)
    number = 1
    while True:
        suffix, rest = "", number
        while rest:
            rest, letter = divmod(rest - 1, 26)
            suffix = chr(ord("a") + letter) + suffix
        name = task_id[: LONGEST_ID - len(suffix)] + suffix
        if name not in used:
            return name
        number += 1
