"""The plan document: what a planner writes, a user can pass in, and the state stores."""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, field_validator

#: Length of the longest id, in characters.
MAX_ID_LENGTH = 200
TaskId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_LENGTH, pattern=r"^[^\s\x00-\x1f\x7f]+$")]
OnFailure = Literal["replan", "skip", "abort"]
OnItemFailure = Literal[
    "finish",  # make the other calls too; the task fails
    "stop",  # start no other call; the task fails
    "skip",  # go on without the failed items: the output is the list of the others, in order
    "null",  # the same, with null in place of each failed item
]
#: What conditions call the values of a plan's inputs.
INPUTS: Final = "inputs"
#: The tool that stands for them where a plan is checked without values; no tool of a user's is called so.
INPUTS_TOOL: Final = "(inputs)"
#: `parallel`: the dependencies decide; `sequential`: one after the other as listed; `conditional`: as `parallel`, with
#: conditions.
ExecutionMode = Literal["parallel", "sequential", "conditional"]


class Call(BaseModel):
    """One tool and its arguments; references are allowed anywhere inside the arguments."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    tool: str = Field(min_length=1)
    """The name of the tool."""
    args: dict[str, JsonValue] = Field(default_factory=dict, title="Arguments")
    """By name: values, or references such as `{"output_of": "task", "path": ["rows"]}`."""


class ArgumentRepair(BaseModel):
    """What was changed in the arguments that a model wrote, before they were run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: The arguments that were changed, as the model wrote them.
    as_written: dict[str, JsonValue]
    #: A sentence for each change.
    changes: tuple[str, ...]


class Task(Call):
    """One node of a plan: a call, what it waits for, and how it is run."""

    id: TaskId = Field(title="Id")
    """Names the task in references; without spaces."""
    description: str = ""
    """What the task is for, for humans."""
    depends_on: tuple[TaskId, ...] = ()
    """Tasks that it waits for beside those that it refers to."""
    reasoning: str = ""
    """Why the task is needed."""
    expected_outcome: str = ""
    """What is expected of it."""
    phase: str | None = None
    """The phase of the plan that it belongs to."""
    priority: int = 0
    """Lower runs first, as in a run queue."""
    condition: str | None = None
    """A CEL expression over earlier outputs; the task is skipped if it is false."""
    for_each: dict[str, JsonValue] | list[JsonValue] | None = None
    """A reference to a list, or the list; the call runs once for each item."""
    on_item_failure: OnItemFailure = "finish"
    """What to do if an item of a `for_each` fails. If all of them fail, the task fails."""
    max_concurrency: int | None = Field(default=None, ge=1)
    """How many items of a `for_each` may run at the same time, within the limits of tool and settings."""
    rollback: Call | None = None
    """The call that undoes this one; it may refer to the output of this task. With `for_each`, a rollback that refers
    to the item runs once for each item, and the output of this task is then what that item returned."""
    timeout_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Timeout of one attempt in seconds, within the limits of the settings."""
    max_retries: int | None = Field(default=None, ge=0)
    """Retries of the call, within the limits of the settings."""
    on_failure: OnFailure = "replan"
    """What follows a failure: another plan, going on without the task, or the end of the run."""
    requires_approval: bool = False
    """Adds an approval to a tool that needs none; false takes none away."""
    run_if: Literal["all", "any"] = "all"
    """`any`: run even if some of what it waits for failed or was skipped, as long as one is done."""
    repaired: ArgumentRepair | None = None
    """What a check changed in `args`, which are as they run; None if they are as they were written."""

    @field_validator("for_each", mode="before")
    @classmethod
    def _reject_scalars(cls, value: object) -> object:
        # A union alone would report one error for each of its members.
        if value is not None and not isinstance(value, dict | list):
            raise ValueError("a reference or a list is expected")
        return value

    @field_validator("priority", "max_retries", "max_concurrency", mode="before")
    @classmethod
    def _reject_booleans(cls, value: object) -> object:
        if isinstance(value, bool):
            raise ValueError("a number is expected, not true or false")  # noqa: TRY004 - what pydantic collects
        return value


class Plan(BaseModel):
    """The tasks for a goal, in listed order."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    execution_mode: ExecutionMode = "parallel"
    """Whether the dependencies decide what runs at the same time, or tasks run one after the other as listed."""
    phases: dict[str, str] = Field(default_factory=dict)
    """Descriptions of the phases by name, in order; a task may name a phase that is not described here."""
    inputs: dict[str, JsonValue] | None = None
    """Named values that the tasks refer to: a JSON Schema for each name, or one schema of an object of them all."""
    input_values: dict[str, JsonValue] | None = None
    """The values of this run, by name."""
    tasks: tuple[Task, ...] = ()
    """The tasks, each after those that it refers to."""

    #: Draws a plan for a notebook; set by `agent.report`, because nothing here draws.
    render_html: ClassVar[Callable[["Plan"], str] | None] = None

    def get_task(self, task_id: str) -> Task:
        """Return the task with that id. Raises `KeyError` if there is none."""
        for task in self.tasks:
            if task.id == task_id:
                return task
        raise KeyError(task_id)

    def _repr_html_(self) -> str | None:
        return None if Plan.render_html is None else Plan.render_html(self)


def make_free_id(task_id: str, taken: Iterable[str]) -> str:
    """Return a free id for another try at `task_id`: `t2` becomes `t2a`, then `t2b`, ... `t2z`, `t2aa`.

    An id that would become longer than `MAX_ID_LENGTH` is shortened at its end first.
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
    """Return the fields of a task that affect what it does, without its prose, its phase and what was repaired."""
    return task.model_dump(mode="json", exclude={"description", "reasoning", "expected_outcome", "phase", "repaired"})
