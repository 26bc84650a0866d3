"""What became of a task: a closed union of values."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

FailureKind = Literal[
    "argument",  # the resolved arguments do not fit the tool's schema
    "reference",  # a reference or a condition had nothing to point at
    "tool",  # the tool said no, or raised
    "timeout",  # no answer within the time of one attempt, attempts used up
    "transient",  # a failure that may pass did not, attempts used up
    "output",  # the tool's output does not fit its own schema or is not JSON
    "approval",  # a call that writes came without an approval of exactly this call
    "in_doubt",  # a person chose to leave a call of which nobody knows whether it took effect
]


class _BaseOutcome(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    #: The plan revision it ran under, from 1.
    revision: int
    output: JsonValue = None
    error: str | None = None
    #: How often the tool was called.
    attempts: int = 0
    #: ISO 8601 with UTC offset; None where no call was made.
    started_at: str | None = None
    finished_at: str | None = None

    @property
    def duration_s(self) -> float | None:
        """Seconds from the first attempt to the end, to the millisecond; None where no call was made."""
        if self.started_at is None or self.finished_at is None:
            return None
        span = datetime.fromisoformat(self.finished_at) - datetime.fromisoformat(self.started_at)
        return round(span.total_seconds(), 3)


class ItemFailure(BaseModel):
    """Why one item of a `for_each` failed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Its position in the list, from 0.
    item: int
    kind: FailureKind
    error: str


class PartialFailure(BaseModel):
    """What is missing of a `for_each` of which some items failed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Items in the list.
    total: int
    #: The positions of those that failed, in order.
    failed: tuple[int, ...]
    #: How many were not begun, because another had failed.
    not_begun: int = 0
    #: Why the first of them failed.
    errors: tuple[ItemFailure, ...]

    @property
    def returned(self) -> int:
        """How many items returned."""
        return self.total - len(self.failed) - self.not_begun

    def __str__(self) -> str:
        first = self.errors[0]
        rest = f" and {self.not_begun} were not begun" if self.not_begun else ""
        return f"{len(self.failed)} of {self.total} items failed{rest}, first item {first.item}: {first.error}"


class Artifact(BaseModel):
    """An output that is too large for the state, kept in a store of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: SHA-256 of the output's JSON text, as 64 hexadecimal digits.
    digest: str
    #: Bytes of that text.
    size: int
    #: How the value begins, for people and models.
    preview: str
    #: What the value looks like, as a JSON Schema that it fits.
    output_schema: dict[str, JsonValue]


class Done(_BaseOutcome):
    """The call returned; `output` is what it returned."""

    status: Literal["done"] = "done"
    #: Where the output is stored; then a record keeps this in its place.
    artifact: Artifact | None = None
    #: Digest of tool, resolved arguments and what they rest on; the same work is not done twice across replans.
    fingerprint: str | None = None
    #: The task whose result this is, where it was taken over instead of run.
    reused_from: str | None = None
    #: When the call of another thread ended whose result this is, ISO 8601; None where the tool was called.
    cached_at: str | None = None
    #: A person gave this result in place of the call.
    answered_by_person: bool = False
    #: The call was in doubt, and a person said that it took effect.
    was_in_doubt: bool = False
    #: What is missing of the output of a `for_each` that goes on without the items that failed.
    items: PartialFailure | None = None

    @property
    def is_offloaded(self) -> bool:
        """Whether the output is in its store only, to be loaded before anything looks into it."""
        return self.artifact is not None and self.output is None


class Failed(_BaseOutcome):
    """The call did not return; `error` is a sentence."""

    status: Literal["failed"] = "failed"
    kind: FailureKind
    #: Digest as in `Done`, where the arguments were known; the same failure twice ends the replanning.
    fingerprint: str | None = None
    #: The items of a `for_each` that failed.
    items: PartialFailure | None = None


class Skipped(_BaseOutcome):
    """The task was not run, on purpose; `error` stays empty."""

    status: Literal["skipped"] = "skipped"
    #: A sentence: the condition that was false, or the task that this one rests on.
    because: str


class Rejected(_BaseOutcome):
    """A person said no to the call."""

    status: Literal["rejected"] = "rejected"
    message: str = ""
    #: Digest of the call that was rejected; it is never proposed again.
    digest: str | None = None


class Cancelled(_BaseOutcome):
    """The run was stopped before the task was finished."""

    status: Literal["cancelled"] = "cancelled"
    because: str = ""


class Doubt(BaseModel):
    """One call of which nobody knows whether it took effect."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Position within a `for_each`.
    item: int | None = None
    #: The ledger's count of claims of this call.
    epoch: int
    #: ISO 8601.
    since: str
    #: Who began it.
    owner: str


class InDoubt(_BaseOutcome):
    """A write was begun and its end is unknown; a person decides. Not an end while the run goes on."""

    status: Literal["in_doubt"] = "in_doubt"
    doubts: tuple[Doubt, ...]


Outcome = Annotated[Done | Failed | Skipped | Rejected | Cancelled | InDoubt, Field(discriminator="status")]
_outcome_adapter: TypeAdapter[Outcome] = TypeAdapter(Outcome)


def parse_outcome(record: JsonValue) -> Outcome:
    """Read a stored outcome; `pydantic.ValidationError` where it is none."""
    return _outcome_adapter.validate_python(record)
