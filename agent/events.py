"""Events of a run for those who watch it: one JSON object each, its kind under `event`."""

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from agent.core.engine.call_preparation import PlanDiff
from agent.core.engine.progress import TaskProgress

Role = Literal["context", "planner", "replanner", "answerer"]


class RunEvent(BaseModel):
    """The base of all kinds of events; `Event` is their union."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Thinking(RunEvent):
    """A role is working; `text` is a short line for humans."""

    event: Literal["thinking"] = "thinking"
    role: Role
    text: str


class ThinkingProgress(RunEvent):
    """A role is still working: sent at least every 3 s while it says nothing else."""

    event: Literal["thinking_progress"] = "thinking_progress"
    role: Role
    #: Which of at most `variants` plans is being made, from 1; None: only one is made, or all at once.
    variant: int | None = None
    variants: int | None = None
    #: Written of the present reply so far, counted as the server streams them; 0 while it reads the question.
    tokens: int = 0
    #: Seconds since the role began.
    elapsed_s: float

    def describe_work(self) -> str:
        """Return how far the role is, without the time; "" if nothing is known."""
        which = [f"variant {self.variant} of at most {self.variants}"] if self.variant is not None else []
        written = [f"{self.tokens:,} tokens written"] if self.tokens else []
        return ", ".join([*which, *written])


class PlanCompiled(RunEvent):
    """A plan compiled and is about to run."""

    event: Literal["plan"] = "plan"
    revision: int
    plan: dict[str, JsonValue]
    #: Task ids level by level.
    waves: list[list[str]]
    #: Compared with the previous revision; None for the first.
    difference: PlanDiff | None = None
    #: What was changed in the arguments or looks wrong in them, each with its task.
    warnings: list[str] = Field(default_factory=list)


class TaskStarted(RunEvent):
    """A tool is called; `attempt` counts from 1, `at` is ISO 8601."""

    event: Literal["task_started"] = "task_started"
    task: str
    tool: str
    attempt: int
    at: str


class TaskRetrying(RunEvent):
    """An attempt failed in a way that may pass; the next one follows after `wait_s` seconds."""

    event: Literal["task_retrying"] = "task_retrying"
    task: str
    attempt: int
    error: str
    wait_s: float


class ItemProgress(RunEvent):
    """How far a `for_each` is: reported about 200 times at most, and at its end."""

    event: Literal["items"] = "items"
    task: str
    #: Items that have ended, including those that failed.
    ended: int
    failed: int
    total: int


class TaskFinished(RunEvent):
    """A task has its outcome: the stored record, with `preview` (at most 200 characters) instead of the output."""

    event: Literal["task_finished"] = "task_finished"
    task: str
    status: str
    error: str | None = None
    because: str | None = None
    preview: str | None = None
    #: What is missing in a `for_each` that continued without the items that failed, as part of a sentence.
    missing: str | None = None
    #: What a reader of the result must know, in sentences.
    warnings: tuple[str, ...] = ()
    attempts: int = 0
    duration_s: float | None = None


class PlanProgress(RunEvent):
    """How far the plan is: reported at each dispatch, when tasks begin and end, and at the end."""

    event: Literal["progress"] = "progress"
    progress: TaskProgress


class ApprovalRequested(RunEvent):
    """The run is about to wait for a human; `request` is the interrupt's payload."""

    event: Literal["approval"] = "approval"
    request: dict[str, JsonValue]


class ReplanStarted(RunEvent):
    """These tasks failed or were rejected, and the replanner is asked. `replan` counts from 1."""

    event: Literal["replan"] = "replan"
    replan: int
    tasks: list[str]
    reason: str


class RunFinished(RunEvent):
    """The run ends."""

    event: Literal["answer"] = "answer"
    status: str
    answer: str


Event = Annotated[
    Thinking
    | ThinkingProgress
    | PlanCompiled
    | TaskStarted
    | TaskRetrying
    | ItemProgress
    | TaskFinished
    | PlanProgress
    | ApprovalRequested
    | ReplanStarted
    | RunFinished,
    Field(discriminator="event"),
]
Emit = Callable[[RunEvent], None]
_EVENT_ADAPTER: TypeAdapter[Event] = TypeAdapter(Event)


def parse_event(record: object) -> Event:
    """Parse an event from a stream. Raises `pydantic.ValidationError`."""
    return _EVENT_ADAPTER.validate_python(record)
