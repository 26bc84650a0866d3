"""The plan document: what a planner writes, a user may give, and the state stores."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, field_validator

#: Characters of the longest id.
MAX_ID_LENGTH = 200
TaskId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_LENGTH, pattern=r"^[^\s\x00-\x1f\x7f]+$")]
OnFailure = Literal["replan", "skip", "abort"]
OnItemFailure = Literal[
    "finish",  # make the other calls too; the task has failed
    "stop",  # begin no other call; the task has failed
    "skip",  # go on without the items that failed: the output is the list of the others, in order
    "null",  # the same, with null in the place of each
]
#: `parallel`: dependencies decide; `sequential`: one after the other as listed;
#: `conditional`: as parallel, with conditions.
ExecutionMode = Literal["parallel", "sequential", "conditional"]


class Call(BaseModel):
    """One tool and its arguments; references may stand anywhere inside the arguments."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: str = Field(min_length=1)
    args: dict[str, JsonValue] = Field(default_factory=dict)


class Task(Call):
    """One node of a plan: a call, what it waits for and how it is to be treated."""

    id: TaskId
    description: str = ""
    depends_on: tuple[TaskId, ...] = ()
    reasoning: str = ""
    expected_outcome: str = ""
    phase: str | None = None
    #: Lower runs first, as in a run queue.
    priority: int = 0
    #: A CEL expression over earlier outputs; the task is skipped where it is false.
    condition: str | None = None
    #: A reference to a list; the call runs once for each item.
    for_each: dict[str, JsonValue] | None = None
    #: What becomes of a `for_each` of which an item fails. Where all of them fail, the task has failed.
    on_item_failure: OnItemFailure = "finish"
    #: The most items of a `for_each` at the same time, within the bounds of tool and settings.
    max_concurrency: int | None = Field(default=None, ge=1)
    #: The call that undoes this one; it may refer to this task's own output. With `for_each`, one that refers to the
    #: item undoes each item by itself, and its own output is then what that item returned.
    rollback: Call | None = None
    #: Seconds for one attempt, within the bounds of the settings.
    timeout_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_retries: int | None = Field(default=None, ge=0)
    on_failure: OnFailure = "replan"
    #: Adds an approval to a tool that needs none; never takes one away.
    requires_approval: bool = False
    #: `any`: run although some of what it waits for was skipped, as long as one is done.
    run_if: Literal["all", "any"] = "all"

    @field_validator("priority", "max_retries", "max_concurrency", mode="before")
    @classmethod
    def _reject_booleans(cls, value: object) -> object:
        if isinstance(value, bool):
            raise ValueError("a number is wanted, not a truth value")  # noqa: TRY004 - what pydantic collects
        return value


class Plan(BaseModel):
    """A goal's tasks, in listed order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    execution_mode: ExecutionMode = "parallel"
    #: Descriptions of phases by name, in their order; a task may name another one.
    phases: dict[str, str] = Field(default_factory=dict)
    tasks: tuple[Task, ...] = ()

    def get_task(self, task_id: str) -> Task:
        """Return the task with that id; `KeyError` where there is none."""
        for task in self.tasks:
            if task.id == task_id:
                return task
        raise KeyError(task_id)


def make_free_id(task_id: str, taken: Iterable[str]) -> str:
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
        name = task_id[: MAX_ID_LENGTH - len(suffix)] + suffix
        if name not in used:
            return name
        number += 1


def get_execution_fields(task: Task) -> Mapping[str, JsonValue]:
    """Return the part of a task that decides what it does."""
    return task.model_dump(mode="json", exclude={"description", "reasoning", "expected_outcome", "phase"})
