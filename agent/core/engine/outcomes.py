"""The outcome of a task: a closed union of values."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

FailureKind = Literal[
    "argument",  # the resolved arguments do not fit the tool's schema
    "reference",  # a reference pointed at nothing, or a condition could not be evaluated
    "tool",  # the tool reported a failure, or raised an exception
    "timeout",  # the last attempt did not return in time
    "transient",  # the last attempt failed with an error that another attempt might have avoided
    "output",  # the output does not fit the tool's own schema, or is not JSON
    "approval",  # a write was not approved for exactly this call
    "in_doubt",  # it is unknown whether the call took effect, and a human left it so
]


class Cut(BaseModel):
    """What is missing in a result that was cut off, or that was made from one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: The task whose result was cut off.
    task: str
    #: A clause about that result, such as "the result of 'lines' is cut off after 1,000 rows; there are more".
    what: str

    def __str__(self) -> str:
        return f"{self.what[:1].upper()}{self.what[1:]}."


class RetriedAttempt(BaseModel):
    """An attempt after which the same call was tried again. Times are ISO 8601 with UTC offset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Position within a `for_each`; None if the task is one call.
    item: int | None = None
    started_at: str
    finished_at: str
    error: str


class _BaseOutcome(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    #: The plan revision that the task ran under, from 1.
    revision: int
    output: JsonValue = None
    error: str | None = None
    #: How often the tool was called.
    attempts: int = 0
    #: ISO 8601 with UTC offset; None if no call was made.
    started_at: str | None = None
    finished_at: str | None = None
    #: What a reader of the result must know, in sentences.
    warnings: tuple[str, ...] = ()
    #: The first of those attempts that failed and were made again, as far as this process made them.
    failed_attempts: tuple[RetriedAttempt, ...] = ()

    @property
    def duration_s(self) -> float | None:
        """Seconds from the first attempt to the end, to the millisecond; None if no call was made."""
        if self.started_at is None or self.finished_at is None:
            return None
        span = datetime.fromisoformat(self.finished_at) - datetime.fromisoformat(self.started_at)
        return round(span.total_seconds(), 3)


class ItemFailure(BaseModel):
    """Why one item of a `for_each` failed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Position of the item in the list, from 0.
    item: int
    kind: FailureKind
    error: str


class PartialFailure(BaseModel):
    """What is missing from the output of a `for_each` of which some items failed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Items in the list.
    total: int
    #: Positions of the items that failed, in order.
    failed: tuple[int, ...]
    #: How many were not started, because another item had failed.
    not_begun: int = 0
    #: Why the first of them failed.
    errors: tuple[ItemFailure, ...]

    @property
    def returned(self) -> int:
        """How many items returned."""
        return self.total - len(self.failed) - self.not_begun

    def __str__(self) -> str:
        first = self.errors[0]
        rest = f" and {self.not_begun} were not started" if self.not_begun else ""
        return f"{len(self.failed)} of {self.total} items failed{rest}, first item {first.item}: {first.error}"


class Artifact(BaseModel):
    """An output that is too large for the state and is kept in a store of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: SHA-256 of the output's JSON text, as 64 hexadecimal digits.
    digest: str
    #: Size of that text in bytes.
    size: int
    #: The beginning of the value, for humans and models.
    preview: str
    #: A JSON Schema that the value fits.
    output_schema: dict[str, JsonValue]


class Done(_BaseOutcome):
    """The call returned; `output` is what it returned.

    A write whose output could not be stored is done too: `output` is null, and `error` a sentence that says so.
    """

    status: Literal["done"] = "done"
    #: Where the output is stored, if it is; the stored record has this instead of the output.
    artifact: Artifact | None = None
    #: Digest of tool, resolved arguments and what they depend on, by which a replan does not do the same work twice.
    fingerprint: str | None = None
    #: The task whose result was reused, if this task was not run itself.
    reused_from: str | None = None
    #: If the result comes from a call of another thread: when that call ended, ISO 8601.
    cached_at: str | None = None
    #: A human gave this result instead of the call.
    answered_by_person: bool = False
    #: The call was in doubt, and a human said that it took effect.
    was_in_doubt: bool = False
    #: What is missing from the output of a `for_each` that went on without the failed items.
    items: PartialFailure | None = None
    #: What was cut off in the output, and in the results that it was made from.
    cuts: tuple[Cut, ...] = ()
    #: The calls of a worker whose output has a schema of its own, which they do not fit into.
    steps: tuple[dict[str, JsonValue], ...] = ()

    @property
    def has_lost_output(self) -> bool:
        """Whether the call was made and what it returned is not known, so that nothing can refer to it."""
        return self.error is not None and self.output is None and self.artifact is None

    @property
    def is_offloaded(self) -> bool:
        """Whether the output is only in its store and must be loaded before anything reads it."""
        return self.artifact is not None and self.output is None


class Failed(_BaseOutcome):
    """The call did not return; `error` is a sentence."""

    status: Literal["failed"] = "failed"
    kind: FailureKind
    #: Digest as in `Done`, if the arguments were known; the same failure twice ends the replanning.
    fingerprint: str | None = None
    #: The items of a `for_each` that failed.
    items: PartialFailure | None = None


class Skipped(_BaseOutcome):
    """The task was not run on purpose; `error` stays empty."""

    status: Literal["skipped"] = "skipped"
    #: A sentence: the condition that was false, or the task that this one depends on.
    because: str


class Rejected(_BaseOutcome):
    """A human rejected the call."""

    status: Literal["rejected"] = "rejected"
    message: str = ""
    #: Digest of the rejected call, which is never proposed again.
    digest: str | None = None


class Cancelled(_BaseOutcome):
    """The run was stopped before the task was finished."""

    status: Literal["cancelled"] = "cancelled"
    because: str = ""


class Doubt(BaseModel):
    """One call of which it is unknown whether it took effect."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Position within a `for_each`.
    item: int | None = None
    #: How often the call was claimed in the ledger.
    epoch: int
    #: When it was started, ISO 8601.
    since: str
    #: Who started it.
    owner: str


class InDoubt(_BaseOutcome):
    """It is unknown whether a write that was started took effect; a human decides. Not final while the run goes on."""

    status: Literal["in_doubt"] = "in_doubt"
    doubts: tuple[Doubt, ...]


def find_output_warnings(output: JsonValue) -> tuple[str, ...]:
    """Return the sentences that an output, or each output of a `for_each`, has under `warnings`."""
    warnings: list[str] = []
    for each in output if isinstance(output, list) else [output]:
        said = each.get("warnings") if isinstance(each, dict) else None
        if isinstance(said, list):
            warnings.extend(sentence for sentence in said if isinstance(sentence, str))
    return tuple(dict.fromkeys(warnings))


Outcome = Annotated[Done | Failed | Skipped | Rejected | Cancelled | InDoubt, Field(discriminator="status")]
_outcome_adapter: TypeAdapter[Outcome] = TypeAdapter(Outcome)


def parse_outcome(record: JsonValue) -> Outcome:
    """Parse a stored outcome. Raises `pydantic.ValidationError` if it is not one."""
    return _outcome_adapter.validate_python(record)
